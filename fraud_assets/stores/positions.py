"""A decision's logged positions, as the engine takes them."""

from collections.abc import Iterable, Mapping
from typing import Any

from fraud_assets.engine.batch import Position


def positions_of(states: Iterable[Mapping[str, Any]]) -> dict[str, Position]:
    """P by view group, of `Decision.states` as the lake gives them; an unknown entity's is empty."""
    return {
        state["group"]: {_topic_partition(name): offset for name, offset in state["position"].items()}
        for state in states
    }


def _topic_partition(name: str) -> tuple[str, int]:
    topic, _, partition = name.rpartition("/")
    return topic, int(partition)
