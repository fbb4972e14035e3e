"""The batch execution: columns of events in, point-in-time vectors of any spine out.

`Log` holds every source's events in log order. A `Spine` says for which rows, at what times, and
knowing what: everything before the event itself (`Spine.of_events`), everything that had arrived
before a time (`Spine.at_times`), or everything up to logged positions (`Spine.at_positions`).
`vector_chunks` streams the rows; memory is bounded by the largest view group, not by the service.
"""

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fraud_assets.engine import batch_outputs as outputs
from fraud_assets.engine import batch_sorting as sorting
from fraud_assets.engine.batch_blocks import GroupRows
from fraud_assets.engine.batch_plan import GroupLayout
from fraud_assets.engine.batch_shards import EventTable, joined
from fraud_assets.engine.batch_units import Scratch, Targets, run_block
from fraud_assets.engine.kernels import NULL
from fraud_assets.engine.plan import EnginePlan, Ints, ServicePlan
from fraud_assets.engine.prepare import Columns
from fraud_assets.engine.request_features import compiled_assembly
from fraud_assets.engine.tile_kernels import MISSING
from fraud_assets.features.layout import Input

Floats32 = npt.NDArray[np.float32]
Floats64 = npt.NDArray[np.float64]

# Rows above which group blocks go to scratch files: the blocks of a million rows fit a laptop.
SPILL_ROWS = 2_000_000
# A chunk's memory then goes back to the heap and serves the next one, where more would come fresh each time.
CHUNK_ROWS = 16_384
DEFAULT_THREADS = 2

Position = Mapping[tuple[str, int], int]


class BadSpine(ValueError):
    """A spine the engine cannot place in the log; the message names the row or the field."""


def log_order(arrival_ms: Ints, tp: Ints, offset: Ints) -> Ints | None:
    """(n,) places of events in log order; None if they stand in it."""
    if sorting.in_log_order(arrival_ms, tp, offset):
        return None
    order: Ints = np.lexsort((offset, tp, arrival_ms))
    return order


class Log:
    """Events of every source with their rank in log order: (arrival, topic, partition, offset)."""

    def __init__(self, plan: EnginePlan, columns: Sequence[Columns]) -> None:
        self.plan = plan
        self.columns = {item.source.name: item for item in columns}
        if len(self.columns) != len(columns):
            raise BadSpine("BadSpine: a source is given twice; concatenate its columns first.")
        arrival, tp, offset = (
            joined([getattr(item, name) for item in columns]) for name in ("arrival_ms", "tp", "offset")
        )
        rank = np.arange(len(arrival), dtype=np.int64)
        self.arrivals = arrival
        if (order := log_order(arrival, tp, offset)) is not None:
            rank[order] = np.arange(len(arrival), dtype=np.int64)
            self.arrivals = arrival[order]
        ends = np.cumsum([len(item) for item in columns])
        self.ranks = {item.source.name: rank[end - len(item) : end] for item, end in zip(columns, ends, strict=True)}


@dataclass(frozen=True)
class Spine:
    """Rows to compute vectors for.

    scored: (n,) fields of each row's scored event (identifiers name the entities). time: (n,) ms.
    rank: (n,) events of the log below it are known. positions: instead of rank, per row and group
    name, the logged P.
    """

    scored: Columns
    time: Ints
    rank: Ints | None = None
    positions: Sequence[Mapping[str, Position]] | None = None

    def __len__(self) -> int:
        return len(self.time)

    @classmethod
    def of_events(cls, log: Log, scored: str) -> "Spine":
        """Every event of a source at its own time, knowing what came before it in log order."""
        columns = log.columns[scored]
        return cls(columns, columns.time, log.ranks[scored])

    @classmethod
    def at_times(cls, log: Log, scored: Columns, time: Ints) -> "Spine":
        """Given rows at given times, knowing every event that had arrived before that time."""
        return cls(scored, time, np.searchsorted(log.arrivals, time, side="left").astype(np.int64))

    @classmethod
    def at_positions(cls, scored: Columns, time: Ints, positions: Sequence[Mapping[str, Position]]) -> "Spine":
        """Decisions as served: each row knows, per view group, exactly what its logged position holds."""
        if len(positions) != len(time):
            raise BadSpine(f"BadSpine: {len(time)} rows and {len(positions)} positions.")
        return cls(scored, time, None, positions)

    def take(self, chosen: Ints) -> "Spine":
        """The chosen rows."""
        positions = None if self.positions is None else [self.positions[i] for i in chosen]
        return Spine(
            self.scored.take(chosen), self.time[chosen], None if self.rank is None else self.rank[chosen], positions
        )


@dataclass(frozen=True)
class Vectors:
    """features: (n, n_features) float32, NaN for null. status: (n, n_units) int8 and age_s: (n, n_units)
    float32 by `ServicePlan.unit_names`, None unless asked for. first: place of the first row in the spine.
    """

    features: Floats32
    status: npt.NDArray[np.int8] | None
    age_s: Floats32 | None
    first: int = 0


def vectors(
    service: ServicePlan,
    log: Log,
    spine: Spine,
    *,
    threads: int = DEFAULT_THREADS,
    freshness: bool = False,
    out: Floats32 | None = None,
) -> Vectors:
    """All rows at once; for more than memory holds use `vector_chunks`.

    freshness: also status and age. out: (n, n_features) array to fill, for a caller that computes again
    and again: a large array's fresh memory costs as much as half of what is written to it.
    Raises BadSpine if `out` has another shape.
    """
    columns = _ColumnsOf(service)
    shape = (len(spine), len(service.names))
    features = np.empty(shape, np.float32) if out is None else out
    if features.shape != shape or features.dtype != np.float32:
        raise BadSpine(f"BadSpine: out is {features.dtype} {features.shape}; these vectors are float32 {shape}.")
    wide = np.empty((len(spine), len(columns.wide)), np.float64)
    status = np.full((len(spine), len(service.units)), MISSING, np.int8) if freshness else None
    age_s = np.full((len(spine), len(service.units)), np.nan, np.float32) if freshness else None
    assembly, layouts = _Assembly(service, spine, columns), _layouts(service, columns)
    with ThreadPoolExecutor(threads) as pool:
        table = EventTable(log, _inputs(layouts), pool)
        for layout in layouts:
            _run_group(service, log, spine, layout, table, Targets(features, wide, status, age_s), pool)
        chunks = [_chunk(first, spine) for first in range(0, len(spine), CHUNK_ROWS)]
        list(pool.map(lambda chunk: assembly(chunk, wide[chunk], features[chunk]), chunks))
    return Vectors(features, status, age_s)


def vector_chunks(
    service: ServicePlan,
    log: Log,
    spine: Spine,
    *,
    threads: int = DEFAULT_THREADS,
    scratch: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Iterator[Vectors]:
    """Vectors in spine order, CHUNK_ROWS at a time, each feature's values side by side in memory.

    Above SPILL_ROWS each group's values wait in files under `scratch` (default: the system's temporary
    folder), so memory holds one group at a time. progress: called with (group, done, of).
    """
    with ThreadPoolExecutor(threads) as pool, ExitStack() as stack:
        files = _Files(scratch, stack) if len(spine) > SPILL_ROWS else None
        columns = _ColumnsOf(service)
        layouts = _layouts(service, columns)
        table = EventTable(log, _inputs(layouts), pool)
        parts = []
        for done, layout in enumerate(layouts, start=1):
            parts.append(_Part.of(service, log, spine, layout, table, pool, files))
            if progress is not None:
                progress(layout.group.name, done, len(layouts))
        # The values remain; what they were made of makes room for what is written.
        del table
        assembly = _Assembly(service, spine, columns)
        waiting: deque[tuple[int, Future[Floats32]]] = deque()
        for first in range(0, len(spine), CHUNK_ROWS):
            waiting.append((first, pool.submit(_assemble, parts, assembly, _chunk(first, spine))))
            # One chunk for each thread, and one more to take: what is ready early would only fill memory.
            if len(waiting) > threads:
                yield _ready(*waiting.popleft())
        while waiting:
            yield _ready(*waiting.popleft())


def _chunk(first: int, spine: Spine) -> slice:
    return slice(first, min(first + CHUNK_ROWS, len(spine)))


def _ready(first: int, features: "Future[Floats32]") -> Vectors:
    return Vectors(features.result(), None, None, first)


class _ColumnsOf:
    """Where values wait for assembly, by slot.

    Values that a request feature reads are float64, in columns of `wide`; what is only served is float32
    from the start, in its column of the served vector: `narrow`.
    """

    def __init__(self, service: ServicePlan) -> None:
        read = {service.slots[name] for item in service.service.request for name in item.inputs}
        column_of = {slot: column for column, slot in enumerate(service.served.tolist())}
        slots = [service.slot(unit, item) for _, _, unit in service.units for item in unit.features]
        self.wide = {slot: column for column, slot in enumerate(slot for slot in slots if slot in read)}
        self.narrow = {slot: column_of[slot] for slot in slots if slot not in read and slot in column_of}


class _Assembly:
    """What makes the rest of the served row: request features, and values they read, as float32."""

    def __init__(self, service: ServicePlan, spine: Spine, columns: _ColumnsOf) -> None:
        self.service, self.spine = service, spine
        self.kernel = compiled_assembly(service)
        self.wide_slots = np.array(list(columns.wide), np.int64)
        late = [(slot, column) for column, slot in enumerate(service.served.tolist()) if slot not in columns.narrow]
        self.slots = np.array([slot for slot, _ in late], np.int64)
        self.columns = np.array([column for _, column in late], np.int64)

    def __call__(self, rows: slice, wide: Floats64, features: Floats32) -> None:
        fields = np.empty((rows.stop - rows.start, len(self.service.scored_fields)), np.float64)
        for place, name in enumerate(self.service.scored_fields):
            column = self.spine.scored.fields[name][rows]
            fields[:, place] = np.where(column == NULL, np.nan, column.astype(np.float64))
        values = np.full(len(self.service.slots), np.nan)
        self.kernel(fields, wide, self.wide_slots, self.slots, self.columns, values, features)


def _layouts(service: ServicePlan, columns: _ColumnsOf) -> list[GroupLayout]:
    return [GroupLayout(service, group, columns.narrow, columns.wide) for group in service.groups]


def _inputs(layouts: Sequence[GroupLayout]) -> list[Input]:
    return [item for layout in layouts for item in layout.inputs]


def _run_group(
    service: ServicePlan, log: Log, spine: Spine, layout: GroupLayout, table: EventTable, to: Targets, pool: ThreadPoolExecutor
) -> None:  # fmt: skip
    """Compute a group's values, shards of keys side by side."""
    rows = GroupRows(service.engine, log, spine, layout.group, table, layout.input_rows, pool)
    scratch = Scratch()

    def run_shard(shard: int) -> None:
        for block in rows.blocks(shard):
            run_block(layout, block, to, scratch)

    for _ in pool.map(run_shard, range(len(rows))):
        pass
    if rows.names_all:
        return
    for matrix, columns in ((to.narrow, layout.narrow_columns), (to.wide, layout.wide_columns)):
        outputs.blank_rows(rows.read_keys, columns, matrix)


@dataclass(frozen=True)
class _Part:
    """One group's values by row, in memory or in files, and the columns they belong to."""

    narrow: "Floats32 | _Spilled"
    narrow_columns: Ints
    wide: "Floats64 | _Spilled"
    wide_columns: Ints

    @classmethod
    def of(
        cls, service: ServicePlan, log: Log, spine: Spine, layout: GroupLayout, table: EventTable,
        pool: ThreadPoolExecutor, files: "_Files | None",
    ) -> "_Part":  # fmt: skip
        narrow = np.empty((len(spine), len(layout.narrow_columns)), np.float32)
        wide = np.empty((len(spine), len(layout.wide_columns)), np.float64)
        _run_group(service, log, spine, layout.packed(), table, Targets(narrow, wide), pool)
        if files is None:
            return cls(narrow, layout.narrow_columns, wide, layout.wide_columns)
        return cls(files.spill(narrow), layout.narrow_columns, files.spill(wide), layout.wide_columns)

    def put(self, rows: slice, narrow: Floats32, wide: Floats64) -> None:
        """Write the values of some rows to their columns, (n_columns, n_rows)."""
        outputs.columns_of_rows(self.narrow[rows], self.narrow_columns, narrow)
        outputs.columns_of_rows(self.wide[rows], self.wide_columns, wide)


class _Files:
    """Files without a name, for as long as a `with` block lasts: the system takes them back however it ends."""

    def __init__(self, folder: Path | None, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack

    def spill(self, values: npt.NDArray[Any]) -> "_Spilled":
        file = self._stack.enter_context(tempfile.TemporaryFile(dir=self._folder, buffering=0))  # noqa: SIM115  # the stack closes it
        values.tofile(file)
        return _Spilled(file.fileno(), values.shape[1], values.dtype)


@dataclass(frozen=True)
class _Spilled:
    """A matrix in a file, read some rows at a time; mapped, all of it would end up in memory once more."""

    descriptor: int
    width: int
    dtype: np.dtype[Any]

    def __getitem__(self, rows: slice) -> npt.NDArray[Any]:
        found = np.empty((rows.stop - rows.start, self.width), self.dtype)
        row_bytes = self.width * self.dtype.itemsize
        read = os.preadv(self.descriptor, [found.data], rows.start * row_bytes) if found.size else 0
        if read != found.nbytes:
            raise OSError(
                f"rows {rows.start} to {rows.stop} of a scratch file ended after {read} bytes of {found.nbytes}"
            )
        return found


def _assemble(parts: Sequence[_Part], assembly: _Assembly, rows: slice) -> Floats32:
    """The served rows of a chunk, stored feature by feature."""
    count = rows.stop - rows.start
    by_feature = np.empty((len(assembly.service.names), count), np.float32)
    wide = np.empty((len(assembly.wide_slots), count), np.float64)
    for part in parts:
        part.put(rows, by_feature, wide)
    assembly(rows, wide.T, by_feature.T)
    return by_feature.T
