"""The worker's two uses of the lake: it appends what it accepted, and reads it back after a loss."""

import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.abc import MetaPathFinder

import numpy.ma  # noqa: F401  # np.unique loads it, at the first rows of the lake, when events wait
import pyarrow.compute as pc

from fraud_assets.stores.lake import Lake, append_name
from fraud_assets.stores.schemas import LogPosition, from_events, to_events
from streaming.core.accept import TopicPartition
from streaming.core.dedupe import First, identity_hash, payload_hash
from streaming.core.records import Accepted
from streaming.core.sources import SOURCES, RawSource
from streaming.core.uncommitted import by_partition


def append_accepted(
    lake: Lake, writer: str, accepted: Iterable[Accepted], is_wanted: Callable[[], bool] = lambda: True
) -> int:
    """One file per partition and event date, named by its first row's offset and by who writes it; how many rows.

    writer: the worker, which is one process at a time. is_wanted: asked before each file. Partitions that were lost have
    another owner, who writes the same rows.

    A replay starts at the committed offset, so the first row accepted after it is the same, and so
    is the name: the file is replaced. By the first *record*, a refused one, a replay that ends
    before its first row would leave that row in two files.

    Nobody replaces the file of another worker. An owner that is stopped in the middle of a file and wakes up behind its
    successor would put its shorter one in place of the longer. So a failover may leave rows in two files; a reader takes a log
    position once, and compaction usually leaves each in one.
    """
    appended = 0
    for (topic, partition), rows in by_partition(accepted):
        if not is_wanted():
            break
        source = SOURCES[topic]
        positions = [LogPosition(a.arrival_ms, topic, partition, a.record.offset, a.is_duplicate) for a in rows]
        table = from_events(source.contract, [a.event for a in rows], positions)
        lake.append(source.table, table, append_name(topic, partition, rows[0].record.offset, writer))
        appended += len(rows)
    return appended


def read_until(lake: Lake, sources: Iterable[RawSource]) -> dict[TopicPartition, int]:
    """The offset after the last row of each raw partition that the lake has rows of."""
    found = {}
    for source in sources:
        rows = lake.scan(source.table, columns=["source_topic", "source_partition", "source_offset"], duplicates=True)
        last = rows.group_by(["source_topic", "source_partition"]).aggregate([("source_offset", "max")])
        for row in last.to_pylist():
            if row["source_topic"] == source.topic.name:
                found[row["source_topic"], row["source_partition"]] = row["source_offset_max"] + 1
    return found


class LakeHistory:
    """`History` of the dedupe stage: what was accepted, not its duplicates.

    recent: rows that the lake may not have yet. A store that is flushed while we run has lost those too.
    """

    def __init__(self, lake: Lake, recent: Callable[[], Sequence[Accepted]] = tuple) -> None:
        self._lake = lake
        self._recent = recent

    def firsts(self, at: TopicPartition, before_offset: int, horizon_ms: int) -> tuple[dict[bytes, First], int | None]:
        found, newest = self._written(at, before_offset, horizon_ms)
        source = SOURCES[at[0]]
        for one in self._recent():
            position = one.record
            if (position.topic, position.partition) == at and position.offset < before_offset:
                newest = max(one.arrival_ms, newest or one.arrival_ms)
                if not one.is_duplicate:
                    identity = identity_hash(at[0], *source.identity(one.event))
                    found[identity] = First(position.offset, one.arrival_ms, payload_hash(one.event))
        return found, newest

    def _written(
        self, at: TopicPartition, before_offset: int, horizon_ms: int
    ) -> tuple[dict[bytes, First], int | None]:
        topic, partition = at
        source = SOURCES[topic]
        rows = self._lake.scan(source.table, duplicates=True)
        mine = pc.and_(
            pc.and_(pc.equal(rows["source_topic"], topic), pc.equal(rows["source_partition"], partition)),
            pc.less(rows["source_offset"], before_offset),
        )
        rows = rows.filter(mine)
        if rows.num_rows == 0:
            return {}, None
        newest: int = pc.max(rows["ingested_at_ms"]).as_py()
        rows = rows.filter(pc.greater_equal(rows["ingested_at_ms"], newest - horizon_ms))
        rows = rows.filter(pc.invert(rows["is_duplicate"]))
        found = {}
        arrivals = zip(rows["source_offset"].to_pylist(), rows["ingested_at_ms"].to_pylist(), strict=True)
        for event, (offset, arrival_ms) in zip(to_events(source.contract, rows), arrivals, strict=True):
            identity = identity_hash(topic, *source.identity(event))
            found[identity] = First(offset, arrival_ms, payload_hash(event))
        return found, newest


class _NoPandas(MetaPathFinder):
    """Not `sys.modules["pandas"] = None`: pyarrow, which is compiled, would take the None for it."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:  # noqa: ARG002  # as importlib calls it
        if name.partition(".")[0] == "pandas":
            raise ModuleNotFoundError(f"{name} is of no use here", name=name)


def without_pandas() -> None:
    """In a process of the worker. Arrow loads it to ask whether a list is one of its series: at the first rows of the lake, when
    events wait, for a quarter of a second of a core and 30 MiB.
    """
    sys.meta_path.insert(0, _NoPandas())
