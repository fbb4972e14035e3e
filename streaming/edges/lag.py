"""How far each partition is behind its log, as librdkafka counts it for every consumer of ours."""

from collections.abc import Callable

import msgspec

from streaming import metrics

# Counting costs librdkafka and us a millisecond of each.
EVERY_MS = 5_000
NOBODYS = "-1"  # librdkafka's own, for records without a partition


class _Partition(msgspec.Struct):
    """consumer_lag: behind what is committed; -1 before anything is. hi_offset, app_offset: the log's end, and what was taken last."""

    fetch_state: str = ""
    consumer_lag: int = -1
    hi_offset: int = -1
    app_offset: int = -1

    @property
    def lag(self) -> int | None:
        """None while nobody knows."""
        if self.consumer_lag >= 0:
            return self.consumer_lag
        return self.hi_offset - self.app_offset if min(self.hi_offset, self.app_offset) >= 0 else None


class _Topic(msgspec.Struct):
    partitions: dict[str, _Partition] = {}


class _Statistics(msgspec.Struct):
    topics: dict[str, _Topic] = {}


_decode = msgspec.json.Decoder(_Statistics).decode


def lag_gauge(role: str) -> Callable[[str], None]:
    """A `stats_cb`: sets `fraud_worker_lag_records` of the partitions this member holds, and forgets those it has given up."""
    known: set[tuple[str, str]] = set()

    def count(raw: str) -> None:
        held: set[tuple[str, str]] = set()
        for name, topic in _decode(raw).topics.items():
            for number, partition in topic.partitions.items():
                if number != NOBODYS and partition.fetch_state == "active" and partition.lag is not None:
                    metrics.LAG.labels(role, name, number).set(partition.lag)
                    held.add((name, number))
        for gone in known - held:
            metrics.LAG.remove(role, *gone)
        known.clear()
        known.update(held)

    return count
