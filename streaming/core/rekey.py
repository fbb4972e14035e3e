"""From an accepted event to the records of the entities it names."""

from collections import defaultdict
from typing import NamedTuple

from fraud_assets.contracts.codec import encode
from fraud_assets.contracts.topics import entity_topic
from fraud_assets.engine.prepare import entity_key
from fraud_assets.features.registry import Registry
from fraud_assets.features.sources import Entity
from streaming.core.records import Accepted, Record, Send

TOPIC, PARTITION, OFFSET, ARRIVAL = "source_topic", "source_partition", "source_offset", "arrival_ms"


class Origin(NamedTuple):
    """Where an entity record's event arrived: its position in the log, and when."""

    topic: str
    partition: int
    offset: int
    arrival_ms: int


class ReKeyer:
    """One record per entity type that folds the event's source and that the event names."""

    def __init__(self, registry: Registry) -> None:
        self._targets: dict[str, list[tuple[str, Entity]]] = defaultdict(list)
        for group in registry.groups:
            for source in group.sources:
                if source.topic:
                    self._targets[source.topic].append((entity_topic(group.name).name, group.entity))

    def records(self, accepted: Accepted) -> list[Send]:
        """In registry order; the event's own bytes unless they hold something raw or a row's change, its position in headers."""
        at = accepted.record
        value = encode(accepted.event) if accepted.was_raw or accepted.was_change else at.value
        headers = origin_headers(Origin(at.topic, at.partition, at.offset, accepted.arrival_ms))
        sends = []
        for topic, entity in self._targets.get(at.topic, ()):
            key = entity_key(entity, accepted.event)
            if key is not None:
                sends.append(Send(topic, key.encode(), value, headers))
        return sends


def origin_headers(origin: Origin) -> list[tuple[str, bytes | None]]:
    return [
        (TOPIC, origin.topic.encode()),
        (PARTITION, str(origin.partition).encode()),
        (OFFSET, str(origin.offset).encode()),
        (ARRIVAL, str(origin.arrival_ms).encode()),
    ]


def origin_of(record: Record) -> Origin:
    """Raises ValueError for a record that no router made."""
    found = dict(record.headers)
    try:
        topic, partition, offset, arrival = (found[name] or b"" for name in (TOPIC, PARTITION, OFFSET, ARRIVAL))
        return Origin(topic.decode(), int(partition), int(offset), int(arrival))
    except KeyError as missing:
        raise ValueError(f"no header {missing}") from None
