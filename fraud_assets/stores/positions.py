"""A decision's logged positions, as the engine takes them."""

from collections.abc import Iterable, Mapping
from typing import Any

from fraud_assets.engine.batch import Position
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


def _topic_partition(name: str) -> tuple[str, int]:
    topic, _, partition = name.rpartition("/")
    return topic, int(partition)
