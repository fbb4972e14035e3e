"""The batch execution: columns of events in, point-in-time vectors of any spine out.

`Log` holds every source's events in log order. A `Spine` says for which rows, at what times, and
knowing what: everything before the event itself (`Spine.of_events`), everything that had arrived
before a time (`Spine.at_times`), or everything up to logged positions (`Spine.at_positions`).
`vector_chunks` streams the rows; memory is bounded by the largest view group, not by the service.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fraud_assets.engine import batch_kernels as kernels
from fraud_assets.engine.batch_units import UnitJob, UnitOutputs
from fraud_assets.engine.fold_kernels import MISSING
from fraud_assets.engine.kernels import NULL
from fraud_assets.engine.plan import EnginePlan, GroupPlan, Ints, ServicePlan
from fraud_assets.engine.prepare import Columns, input_values
from fraud_assets.engine.request_features import compiled_assembly
from fraud_assets.features.layout import Input, Unit

Floats32 = npt.NDArray[np.float32]
Floats64 = npt.NDArray[np.float64]

# Rows above which group blocks go to scratch files: the blocks of a million rows fit a laptop.
SPILL_ROWS = 2_000_000
CHUNK_ROWS = 65_536
DEFAULT_THREADS = 2

Position = Mapping[tuple[str, int], int]


class BadSpine(ValueError):
    """A spine the engine cannot place in the log; the message names the row or the field."""


class Log:
    """Events of every source with their rank in log order: (arrival, topic, partition, offset)."""

    def __init__(self, plan: EnginePlan, columns: Sequence[Columns]) -> None:
        self.plan = plan
        self.columns = {item.source.name: item for item in columns}
        if len(self.columns) != len(columns):
            raise BadSpine("BadSpine: a source is given twice; concatenate its columns first.")
        arrival = np.concatenate([item.arrival_ms for item in columns]) if columns else np.empty(0, np.int64)
        tp = np.concatenate([item.tp for item in columns]) if columns else np.empty(0, np.int64)
        offset = np.concatenate([item.offset for item in columns]) if columns else np.empty(0, np.int64)
        order = None if _in_order(arrival, tp, offset) else np.lexsort((offset, tp, arrival))
        rank = np.arange(len(arrival), dtype=np.int64)
        if order is not None:
            rank[order] = np.arange(len(arrival), dtype=np.int64)
        self.arrivals = arrival if order is None else arrival[order]
        ends = np.cumsum([len(item) for item in columns])
        self.ranks = {item.source.name: rank[end - len(item) : end] for item, end in zip(columns, ends, strict=True)}


def _in_order(arrival: Ints, tp: Ints, offset: Ints) -> bool:
    """Whether events already stand in log order, as a lake scan of one source leaves them."""
    step, tie = np.diff(arrival), np.diff(tp)
    return bool(np.all((step > 0) | ((step == 0) & ((tie > 0) | ((tie == 0) & (np.diff(offset) > 0))))))


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
    float32 by `unit_names`, None unless asked for. first: place of the first row in the spine.
    """

    features: Floats32
    status: npt.NDArray[np.int8] | None
    age_s: Floats32 | None
    first: int = 0


def unit_names(service: ServicePlan) -> tuple[str, ...]:
    """Columns of status and age: `<view>@<entity>`."""
    return tuple(f"{unit.view.name}@{group.name}" for group, _, unit in service.units)


def vectors(
    service: ServicePlan, log: Log, spine: Spine, *, threads: int = DEFAULT_THREADS, freshness: bool = False
) -> Vectors:
    """All rows at once; for more than memory holds use `vector_chunks`. freshness: also status and age."""
    with ThreadPoolExecutor(threads) as pool:
        work = _Work(service, log, spine, _Matrices(service, len(spine), freshness), pool)
        for group in service.groups:
            work.run(group, None)
        list(pool.map(work.assemble, range(0, len(spine), CHUNK_ROWS)))
        made = work.matrices
        return Vectors(made.features, made.status, made.age_s)


def vector_chunks(
    service: ServicePlan,
    log: Log,
    spine: Spine,
    *,
    threads: int = DEFAULT_THREADS,
    scratch: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Iterator[Vectors]:
    """Vectors in spine order, CHUNK_ROWS at a time.

    Above SPILL_ROWS each group's values wait in files under `scratch` (default: the system's temporary
    folder), so memory holds one group at a time. progress: called with (view, done, of).
    """
    with ThreadPoolExecutor(threads) as pool, ExitStack() as stack:
        if len(spine) <= SPILL_ROWS:
            work = _Work(service, log, spine, _Matrices(service, len(spine), False), pool)
            for group in service.groups:
                work.run(group, progress)
            firsts = range(0, len(spine), CHUNK_ROWS)
            yield from (
                Vectors(features, None, None, first)
                for first, features in zip(firsts, pool.map(work.assemble, firsts), strict=True)
            )
            return
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=scratch, prefix="vectors-")))
        spilled = _Spilled(service, log, spine, pool, folder)
        for group in service.groups:
            spilled.run(group, progress)
        for first in range(0, len(spine), CHUNK_ROWS):
            yield Vectors(spilled.assemble(first), None, None, first)


class _Matrices:
    """Where values wait for assembly.

    Values that a ratio or a request feature reads are float64 (`wide`); what is only served goes
    straight to its float32 column of `features`.
    """

    def __init__(self, service: ServicePlan, rows: int, freshness: bool) -> None:
        read = {service.slots[name] for item in service.service.request for name in item.inputs}
        read.update(int(slot) for slot in service.ratios[:, :3].ravel() if slot >= 0)
        column_of = {slot: column for column, slot in enumerate(service.served.tolist())}
        outs = [service.slot(unit, out) for _, _, unit in service.units for out in unit.outs]
        self.wide_of = {slot: column for column, slot in enumerate(slot for slot in outs if slot in read)}
        self.narrow_of = {slot: column_of[slot] for slot in outs if slot not in read and slot in column_of}
        self.features = np.empty((rows, len(service.names)), np.float32)
        self.wide = np.empty((rows, len(self.wide_of)), np.float64)
        self.status = np.full((rows, len(service.units)), MISSING, np.int8) if freshness else None
        self.age_s = np.full((rows, len(service.units)), np.nan, np.float32) if freshness else None


class _Assembly:
    """What turns waiting values into served rows: ratios, request features, float32."""

    def __init__(self, service: ServicePlan, spine: Spine, matrices: _Matrices) -> None:
        self.service, self.spine = service, spine
        self.kernel = compiled_assembly(service)
        self.wide_slots = np.array(list(matrices.wide_of), np.int64)
        late = [(slot, column) for column, slot in enumerate(service.served.tolist()) if slot not in matrices.narrow_of]
        self.slots = np.array([slot for slot, _ in late], np.int64)
        self.columns = np.array([column for _, column in late], np.int64)

    def __call__(self, rows: slice, wide: Floats64, features: Floats32) -> Floats32:
        fields = np.empty((rows.stop - rows.start, len(self.service.scored_fields)), np.float64)
        for place, name in enumerate(self.service.scored_fields):
            column = self.spine.scored.fields[name][rows]
            fields[:, place] = np.where(column == NULL, np.nan, column.astype(np.float64))
        values = np.full(len(self.service.slots), np.nan)
        self.kernel(fields, wide, self.wide_slots, self.service.ratios, self.slots, self.columns, values, features)
        return features


class _Work:
    """Runs groups into matrices that stay in memory."""

    def __init__(
        self, service: ServicePlan, log: Log, spine: Spine, matrices: _Matrices, pool: ThreadPoolExecutor
    ) -> None:
        self.service, self.log, self.spine, self.matrices, self.pool = service, log, spine, matrices, pool
        self.assembly = _Assembly(service, spine, matrices)

    def run(self, group: GroupPlan, progress: Callable[[str, int, int], None] | None) -> None:
        _GroupJob(self.service, self.log, self.spine, group, self.matrices).run(self.pool, progress)

    def assemble(self, first: int) -> Floats32:
        rows = slice(first, min(first + CHUNK_ROWS, len(self.spine)))
        return self.assembly(rows, self.matrices.wide[rows], self.matrices.features[rows])


class _Spilled:
    """Runs groups one at a time, each into files, and joins them chunk by chunk."""

    def __init__(self, service: ServicePlan, log: Log, spine: Spine, pool: ThreadPoolExecutor, folder: Path) -> None:
        self.service, self.log, self.spine, self.pool, self.folder = service, log, spine, pool, folder
        self.shape = _Matrices(service, 0, False)
        self.assembly = _Assembly(service, spine, self.shape)
        self.parts: list[tuple[Floats32, list[int], Floats64, list[int]]] = []

    def run(self, group: GroupPlan, progress: Callable[[str, int, int], None] | None) -> None:
        mine = {
            self.service.slot(unit, out) for owner, _, unit in self.service.units if owner is group for out in unit.outs
        }
        block = _Matrices(self.service, 0, False)
        narrow = {slot: column for slot, column in self.shape.narrow_of.items() if slot in mine}
        wide = {slot: column for slot, column in self.shape.wide_of.items() if slot in mine}
        block.narrow_of = {slot: place for place, slot in enumerate(narrow)}
        block.wide_of = {slot: place for place, slot in enumerate(wide)}
        block.features = np.empty((len(self.spine), len(narrow)), np.float32)
        block.wide = np.empty((len(self.spine), len(wide)), np.float64)
        _GroupJob(self.service, self.log, self.spine, group, block).run(self.pool, progress)
        mapped = []
        for name, array in (("narrow", block.features), ("wide", block.wide)):
            path = self.folder / f"{group.name}.{name}.npy"
            np.save(path, array)
            mapped.append(np.load(path, mmap_mode="r"))
        self.parts.append((mapped[0], list(narrow.values()), mapped[1], list(wide.values())))

    def assemble(self, first: int) -> Floats32:
        rows = slice(first, min(first + CHUNK_ROWS, len(self.spine)))
        count = rows.stop - rows.start
        features = np.empty((count, len(self.service.names)), np.float32)
        wide = np.empty((count, len(self.shape.wide_of)), np.float64)
        for narrow, columns, doubles, wide_columns in self.parts:
            features[:, columns] = narrow[rows]
            wide[:, wide_columns] = doubles[rows]
        return self.assembly(rows, wide, features)


class _GroupJob:
    """Sorts one group's events and reads by key, then runs its units over blocks of keys."""

    def __init__(self, service: ServicePlan, log: Log, spine: Spine, group: GroupPlan, matrices: _Matrices) -> None:
        self.service, self.log, self.spine, self.group, self.matrices = service, log, spine, group, matrices
        self.sources = [log.columns[source.name] for source in group.sources if source.name in log.columns]
        self.units = [
            (place, number, unit) for place, (owner, number, unit) in enumerate(service.units) if owner is group
        ]
        self._sort()

    def _sort(self) -> None:
        entity = self.group.group.entity
        read_keys = self.spine.scored.keys(entity)
        table = np.empty((2, 1 << max(4, (2 * len(read_keys)).bit_length())), np.int64)
        table[1] = -1
        read_codes = np.empty(len(read_keys), np.int32)
        self.n_keys = int(kernels.number_keys(read_keys, table, read_codes, 0))
        codes = []
        for columns in self.sources:
            found = np.empty(len(columns), np.int32)
            kernels.find_keys(columns.keys(entity), table, found)
            codes.append(found)
        self._sort_events(np.concatenate(codes) if codes else np.empty(0, np.int32))
        self.read_codes, self.nameless = read_codes, bool((read_codes < 0).any())
        self._sort_reads(read_codes)

    def _sort_events(self, codes: npt.NDArray[np.int32]) -> None:
        """events: (n_keys + 1,) starts; order: index into the sources' concatenation, by key and log order."""
        rank = self._joined(lambda columns: self.log.ranks[columns.source.name])
        merged = None if len(self.sources) <= 1 and bool(np.all(np.diff(rank) > 0)) else np.argsort(rank, kind="stable")
        self.events = np.empty(self.n_keys + 1, np.int64)
        ordered = codes if merged is None else codes[merged]
        order = np.empty(int((codes >= 0).sum()), np.int64)
        kernels.sort_by_key(ordered, self.events, order)
        self.order = order if merged is None else merged[order]
        self.rank = rank
        self.time = self._joined(lambda columns: columns.time)

    def _sort_reads(self, codes: npt.NDArray[np.int32]) -> None:
        """reads: (n_keys + 1,) starts; row_of: spine row of each sorted read; rd_rank, rd_time beside it."""
        by_rank = self._chain_order() if self.spine.rank is None else self.spine.rank
        sorted_already = len(by_rank) < 2 or bool(np.all(np.diff(by_rank) >= 0))
        first = None if sorted_already else np.argsort(by_rank, kind="stable")
        self.reads = np.empty(self.n_keys + 1, np.int64)
        order = np.empty(int((codes >= 0).sum()), np.int64)
        kernels.sort_by_key(codes if first is None else codes[first], self.reads, order)
        self.row_of = order if first is None else first[order]
        self.rd_time = self.spine.time[self.row_of]
        if self.spine.rank is None:
            self._rank_by_position()
        else:
            self.rd_rank = self.spine.rank[self.row_of]

    def _chain_order(self) -> Ints:
        """Positions of one key are nested, so their sums order them."""
        assert self.spine.positions is not None
        return np.array(
            [sum(offset + 1 for offset in row.get(self.group.name, {}).values()) for row in self.spine.positions],
            np.int64,
        )

    def _rank_by_position(self) -> None:
        """Give each event the rank of the first read that holds it; reads are ranked by their place."""
        assert self.spine.positions is not None
        engine = self.service.engine
        held = [self.spine.positions[row].get(self.group.name, {}) for row in self.row_of]
        starts = np.cumsum([0, *(len(position) for position in held)]).astype(np.int64)
        tps = np.array([engine.topic_code(*tp) for position in held for tp in position], np.int64)
        offsets = np.array([offset for position in held for offset in position.values()], np.int64)
        tp, offset = self._joined(lambda columns: columns.tp), self._joined(lambda columns: columns.offset)
        ranks = np.empty(len(self.order), np.int64)
        bad = kernels.covered_ranks(
            self.events, tp[self.order], offset[self.order], self.reads, starts, tps, offsets, ranks
        )
        if bad >= 0:
            row = int(self.row_of[self.reads[bad]])
            raise BadSpine(
                f"BadSpine: positions of {self.group.name} at row {row} are no chain; compute rows of different epochs apart."
            )
        # Events of one key that the same read first holds keep log order; fold order does not matter.
        self.rank = np.full(len(self.rank), np.iinfo(np.int64).max, np.int64)
        self.rank[self.order] = ranks
        by_rank = np.lexsort((ranks, np.repeat(np.arange(self.n_keys), np.diff(self.events))))
        self.order = self.order[by_rank]
        self.rd_rank = np.arange(1, len(self.row_of) + 1, dtype=np.int64)

    def _joined(self, column: Callable[[Columns], Ints]) -> Ints:
        parts = [column(columns) for columns in self.sources]
        return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.empty(0, np.int64)

    @cached_property
    def sorted_time(self) -> Ints:
        """Event times by key and log order; most units take all of a group's events."""
        return self.time[self.order]

    @cached_property
    def sorted_rank(self) -> Ints:
        return self.rank[self.order]

    @cached_property
    def source(self) -> Ints:
        """Registry number of each event's source."""
        engine = self.service.engine
        return self._joined(lambda columns: np.full(len(columns), engine.source_number(columns.source), np.int64))

    @cached_property
    def ids(self) -> Ints:
        return self._joined(lambda columns: columns.ids)

    @cached_property
    def payload(self) -> Ints:
        return self._joined(lambda columns: columns.payload())

    def input(self, item: Input) -> Ints:
        """One input of every event of the group, NULL for other sources'."""
        return self._joined(
            lambda columns: (
                input_values(item, columns)
                if columns.source.name == item.source.name
                else np.full(len(columns), NULL, np.int64)
            )
        )

    def run(self, pool: ThreadPoolExecutor, progress: Callable[[str, int, int], None] | None) -> None:
        """Compute every unit, blocks of keys side by side."""
        made = self.matrices
        for place, number, unit in self.units:
            self._blank_nameless(unit)
            outputs = UnitOutputs(
                made.features, made.wide, made.narrow_of, made.wide_of, made.status, made.age_s, place
            )
            job = UnitJob(self, self.service, number, unit, outputs)
            for _ in pool.map(job.run_block, job.key_blocks()):
                pass
            if progress is not None:
                progress(unit.view.name, place + 1, len(self.service.units))

    def _blank_nameless(self, unit: Unit) -> None:
        """Null the values of rows that name no such entity; no kernel visits them."""
        slots = [self.service.slot(unit, out) for out in unit.outs]
        for matrix, column_of in (
            (self.matrices.features, self.matrices.narrow_of),
            (self.matrices.wide, self.matrices.wide_of),
        ):
            columns = np.array([column_of[slot] for slot in slots if slot in column_of], np.int64)
            if self.nameless:
                kernels.blank_rows(self.read_codes, columns, matrix)
