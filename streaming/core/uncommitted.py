"""What is routed and not committed yet: the rows that the lake still owes, and how far was read."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from streaming.core.accept import TopicPartition
from streaming.core.records import Accepted, Record


class Batch(NamedTuple):
    """Rows for the lake in the order of their acceptance; ends: the offsets that may be committed once it has them."""

    rows: Sequence[Accepted]
    ends: Mapping[TopicPartition, int]


class Uncommitted:
    """Everything routed since the last commit. A batch is cut from its beginning and leaves with its commit."""

    def __init__(self) -> None:
        self.rows: list[Accepted] = []
        self.ends: dict[TopicPartition, int] = {}

    def __bool__(self) -> bool:
        return bool(self.ends)

    def add(self, records: Sequence[Record], accepted: Sequence[Accepted]) -> None:
        """Refused records are no rows; their offsets are committed like those of others."""
        self.rows.extend(accepted)
        for record in records:
            self.ends[record.topic, record.partition] = record.offset + 1

    def cut(self) -> Batch:
        return Batch(tuple(self.rows), dict(self.ends))

    def leave(self, batch: Batch) -> None:
        """The batch is committed; what came after it stays."""
        del self.rows[: len(batch.rows)]
        self.ends = {at: end for at, end in self.ends.items() if batch.ends.get(at) != end}


def by_partition(rows: Iterable[Accepted]) -> list[tuple[TopicPartition, list[Accepted]]]:
    """The most rows first: a file costs the same however few it holds, and to read again costs by the row."""
    found: dict[TopicPartition, list[Accepted]] = defaultdict(list)
    for one in rows:
        found[one.record[:2]].append(one)
    return sorted(found.items(), key=lambda each: -len(each[1]))
