"""A decision's logged positions, as the engine takes them."""

from collections.abc import Container, Iterable, Mapping
from typing import Any

import pyarrow as pa

from fraud_assets.engine.batch import Position
from fraud_assets.engine.plan import PARTITION_BITS
from fraud_assets.stores.served import BadStates, offsets_in

# A decision has either: no state in the one, or null in the other, as in all files of before there was `states_read`.
STATE_COLUMNS = ("states", "states_read")


def positions_of(states: Iterable[Mapping[str, Any]], read: Mapping[str, Any] | None) -> dict[str, Position]:
    """P by view group, of STATE_COLUMNS as the lake gives them; an unknown entity's is empty. Raises BadStates."""
    found: dict[str, Position] = {
        state["group"]: {_topic_partition(name): offset for name, offset in state["position"].items()}
        for state in states
    }
    if read is None:
        return found
    if found:
        raise BadStates("one of states and states_read must be given, and not both")
    if len({len(read[name]) for name in ("groups", "keys", "positions")}) > 1:
        raise BadStates("of other groups than keys or positions")
    return {
        group: {
            (topic, partition): offset
            for topic, partition, offset in offsets_in(position, read["topics"], read["partition_bits"])
        }
        for group, key, position in zip(read["groups"], read["keys"], read["positions"], strict=True)
        if key is not None
    }


def readable_positions(decisions: pa.Table, topics: Container[str]) -> list[dict[str, Position] | None]:
    """The same of each decision of a table, None where it is none: a torn one must not cost the others theirs.

    topics: those that the log has; a position of another is none either.
    """
    columns = (decisions[name].to_pylist(maps_as_pydicts="strict") for name in STATE_COLUMNS)
    return [_readable(states, read, topics) for states, read in zip(*columns, strict=True)]


def _readable(
    states: Iterable[Mapping[str, Any]], read: Mapping[str, Any] | None, topics: Container[str]
) -> dict[str, Position] | None:
    try:
        found = positions_of(states, read)
    except BadStates:
        return None
    return found if all(_is_sound(position, topics) for position in found.values()) else None


def _is_sound(position: Position, topics: Container[str]) -> bool:
    """Of partitions that there are; and its offsets can be added up in 64 bits, which orders positions."""
    known = all(topic in topics and 0 <= partition < 1 << PARTITION_BITS for topic, partition in position)
    return known and min(position.values(), default=0) >= 0 and sum(position.values()) + len(position) < 1 << 63


def _topic_partition(name: str) -> tuple[str, int]:
    topic, _, partition = name.rpartition("/")
    if not (partition.isascii() and partition.isdigit()):
        raise BadStates("a position's name that is not <topic>/<partition>")
    return topic, int(partition)
