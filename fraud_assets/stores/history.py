"""The lake's tables as the engine's log, as known at one time.

Training sets, feature views, snapshots and skew reports all begin here, so that all of them see the
same events in the same order. What memory would not hold is in files: a history of fifty million payments has 10 GB of columns.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import pyarrow.fs as pafs

from fraud_assets.engine.batch import DEFAULT_THREADS, Log, log_order
from fraud_assets.engine.plan import EnginePlan, Ints, ServicePlan
from fraud_assets.engine.prepare import Columns
from fraud_assets.features.language import FeatureService, FeatureView
from fraud_assets.features.sources import Source
from fraud_assets.stores.frames import columns_from_arrow, needed_columns
from fraud_assets.stores.lake import Lake, again_if_replaced
from fraud_assets.stores.scratch import ColumnOnDisk, array_on_disk

# Of a table's compressed files: some five million payments, which take 1 GB as columns and twice that while they are read.
IN_MEMORY_BYTES = 512 << 20


@dataclass
class HistoryReader:
    """Reads each source once and keeps its columns: forty views of one run share one scan.

    Made for one run. Rows that arrive in the lake meanwhile are not seen, and that is the point:
    everything in a run agrees on what had happened. in_memory_bytes: of a source's files; of a larger one the columns are on disk.
    """

    lake: Lake
    plan: EnginePlan
    in_memory_bytes: int = IN_MEMORY_BYTES
    _kept: dict[tuple[str, int | None], Columns] = field(default_factory=dict)

    def columns(self, source: Source, as_known_at_ms: int | None = None) -> Columns:
        """Events of a source in log order, those that arrived before `as_known_at_ms`. Raises OSError for a disk that is full."""
        key = (source.name, as_known_at_ms)
        if key not in self._kept:
            size = sum(info.size for _, info in self.lake.files(source.table))
            read = self._in_memory if size <= self.in_memory_bytes else self._on_disk
            self._kept[key] = again_if_replaced(lambda: read(source, as_known_at_ms))
        return self._kept[key]

    def log(self, sources: Sequence[Source], as_known_at_ms: int | None = None) -> Log:
        return Log(self.plan, [self.columns(source, as_known_at_ms) for source in sources])

    def _in_memory(self, source: Source, as_known_at_ms: int | None) -> Columns:
        rows = self.lake.scan(source.table, as_known_at_ms=as_known_at_ms, columns=needed_columns(source))
        return columns_from_arrow(self.plan, source, rows)

    def _on_disk(self, source: Source, as_known_at_ms: int | None) -> Columns:
        """Day by day, of the files that there are now: all days are then as known at one moment."""
        pages = [ColumnOnDisk(np.int64) for _ in range(len(source.fields) + 3)]
        days = [[info for _, info in of] for _, of in groupby(self.lake.files(source.table), lambda one: one[0])]
        with ThreadPoolExecutor(DEFAULT_THREADS) as pool:
            for first in range(0, len(days), DEFAULT_THREADS):
                read = [
                    pool.submit(self._of_files, source, files, as_known_at_ms)
                    for files in days[first : first + DEFAULT_THREADS]
                ]
                for day in read:
                    for page, column in zip(pages, _columns(day.result()), strict=True):
                        page.append(column)
        whole = _of_columns(source, [page.whole() for page in pages])
        order = log_order(whole.arrival_ms, whole.tp, whole.offset)
        return whole if order is None else _of_columns(source, [_taken(column, order) for column in _columns(whole)])

    def _of_files(self, source: Source, files: Sequence[pafs.FileInfo], as_known_at_ms: int | None) -> Columns:
        rows = self.lake.scan_files(source.table, files, needed_columns(source))
        found = columns_from_arrow(self.plan, source, rows)
        if as_known_at_ms is None:
            return found
        return found.take(np.flatnonzero(found.arrival_ms < as_known_at_ms).astype(np.int64))


def _columns(columns: Columns) -> list[Ints]:
    return [*columns.fields.values(), columns.arrival_ms, columns.tp, columns.offset]


def _of_columns(source: Source, columns: Sequence[Ints]) -> Columns:
    *fields, arrival_ms, tp, offset = columns
    return Columns(source, dict(zip(source.fields, fields, strict=True)), arrival_ms, tp, offset)


def _taken(column: Ints, order: Ints) -> Ints:
    found = array_on_disk(column.shape, np.int64)
    np.take(column, order, out=found, mode="clip")  # any other mode makes a copy first
    return found


def view_service(plan: EnginePlan, view: FeatureView, scored: Source) -> ServicePlan:
    """The features of one view as a service of its own, over the whole registry's plan."""
    return ServicePlan(plan, FeatureService(name=view.name, scored=scored, views=(view,)))


def rows_between(columns: Columns, from_ms: int, to_ms: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Places of the events with event time in [from_ms, to_ms)."""
    return np.flatnonzero((columns.time >= from_ms) & (columns.time < to_ms)).astype(np.int64)
