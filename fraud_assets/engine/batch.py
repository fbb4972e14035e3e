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
from fraud_assets.engine.fold_kernels import fill_ratios_rows
from fraud_assets.engine.kernels import NULL
from fraud_assets.engine.plan import EnginePlan, GroupPlan, Ints, ServicePlan
from fraud_assets.engine.prepare import Columns, input_values
from fraud_assets.engine.request_features import compiled_rows
from fraud_assets.features.layout import Input
from fraud_assets.features.sources import Entity

Floats32 = npt.NDArray[np.float32]
Floats64 = npt.NDArray[np.float64]

# Rows above which group blocks go to scratch files: the blocks of a million rows fit a laptop.
SPILL_ROWS = 2_000_000
CHUNK_ROWS = 131_072
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
        return Spine(self.scored.take(chosen), self.time[chosen], None if self.rank is None else self.rank[chosen], positions)


@dataclass(frozen=True)
class Vectors:
    """features: (n, n_features) float32, NaN for null. status: (n, n_units) int8, age_s: (n, n_units)
    float32, by `unit_names`. first: place of the first row in the spine.
    """

    features: Floats32
    status: npt.NDArray[np.int8]
    age_s: Floats32
    first: int = 0


def unit_names(service: ServicePlan) -> tuple[str, ...]:
    """Columns of status and age: `<view>@<entity>`."""
    return tuple(f"{unit.view.name}@{group.name}" for group, _, unit in service.units)


def vectors(service: ServicePlan, log: Log, spine: Spine, threads: int = DEFAULT_THREADS) -> Vectors:
    """All rows at once; for more than memory holds use `vector_chunks`."""
    count = len(spine)
    whole = Vectors(
        np.empty((count, len(service.names)), np.float32),
        np.empty((count, len(service.units)), np.int8),
        np.empty((count, len(service.units)), np.float32),
    )
    for chunk in vector_chunks(service, log, spine, threads=threads):
        rows = slice(chunk.first, chunk.first + len(chunk.features))
        whole.features[rows], whole.status[rows], whole.age_s[rows] = chunk.features, chunk.status, chunk.age_s
    return whole


def vector_chunks(
    service: ServicePlan,
    log: Log,
    spine: Spine,
    *,
    threads: int = DEFAULT_THREADS,
    chunk_rows: int = CHUNK_ROWS,
    scratch: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Iterator[Vectors]:
    """Vectors in spine order, `chunk_rows` at a time.

    scratch: folder for blocks of spines above SPILL_ROWS (default: the system's temporary folder).
    progress: called with (view, done, of) as views are computed.
    """
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(threads))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=scratch, prefix="vectors-"))) if len(spine) > SPILL_ROWS else None
        layout = _Layout(service)
        blocks = []
        done = 0
        for group in service.groups:
            job = _GroupJob(service, layout, log, spine, group)
            for view in job.run(pool, threads):
                done += 1
                if progress is not None:
                    progress(view, done, len(service.units))
            blocks.append(job.block.spilled(folder, group.name) if folder else job.block)
        assemble = _Assembler(service, layout, spine, blocks)
        yield from pool.map(assemble, range(0, len(spine), chunk_rows), [chunk_rows] * -(-len(spine) // chunk_rows)) if not folder else map(
            assemble, range(0, len(spine), chunk_rows), [chunk_rows] * -(-len(spine) // chunk_rows)
        )


class _Layout:
    """Which slots of the value vector a group's block keeps, and how wide.

    Values that a ratio or a request feature reads stay float64; what is only served is float32.
    """

    def __init__(self, service: ServicePlan) -> None:
        read = {service.slots[name] for item in service.service.request for name in item.inputs}
        read.update(int(slot) for slot in service.ratios[:, :3].ravel() if slot >= 0)
        served = set(service.served.tolist())
        self.narrow: dict[str, dict[int, int]] = {}
        self.wide: dict[str, dict[int, int]] = {}
        for group, _, unit in service.units:
            narrow, wide = self.narrow.setdefault(group.name, {}), self.wide.setdefault(group.name, {})
            for out in unit.outs:
                slot = service.slot(unit, out)
                if slot in read:
                    wide[slot] = len(wide)
                elif slot in served:
                    narrow[slot] = len(narrow)


@dataclass
class _Block:
    """One group's values of every row: float32 and float64 columns, unit status and age."""

    narrow: Floats32
    wide: Floats64
    status: npt.NDArray[np.int8]
    age_s: Floats32

    def spilled(self, folder: Path, name: str) -> "_Block":
        """The same block in scratch files, mapped; memory is given back as rows are consumed."""
        mapped = []
        for part, array in (("narrow", self.narrow), ("wide", self.wide), ("status", self.status), ("age", self.age_s)):
            path = folder / f"{name}.{part}.npy"
            np.save(path, array)
            mapped.append(np.load(path, mmap_mode="r"))
        return _Block(*mapped)


class _GroupJob:
    """Sorts one group's events and reads by key, then runs its units over blocks of keys."""

    def __init__(self, service: ServicePlan, layout: _Layout, log: Log, spine: Spine, group: GroupPlan) -> None:
        self.service, self.log, self.spine, self.group = service, log, spine, group
        self.narrow, self.wide = layout.narrow[group.name], layout.wide[group.name]
        self.sources = [log.columns[source.name] for source in group.sources if source.name in log.columns]
        self.units = [(number, unit) for owner, number, unit in service.units if owner is group]
        self._sort()
        count = len(spine)
        self.block = _Block(
            np.full((count, len(self.narrow)), np.nan, np.float32),
            np.full((count, len(self.wide)), np.nan, np.float64),
            np.full((count, len(self.units)), kernels.MISSING, np.int8),
            np.full((count, len(self.units)), np.nan, np.float32),
        )

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
        self.source = self._joined(lambda columns: np.full(len(columns), self.service.engine.source_number(columns.source), np.int64))

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
        return np.array([sum(offset + 1 for offset in row.get(self.group.name, {}).values()) for row in self.spine.positions], np.int64)

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
        bad = kernels.covered_ranks(self.events, tp[self.order], offset[self.order], self.reads, starts, tps, offsets, ranks)
        if bad >= 0:
            row = int(self.row_of[self.reads[bad]])
            raise BadSpine(f"BadSpine: positions of {self.group.name} at row {row} are no chain; compute rows of different epochs apart.")
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
    def ids(self) -> Ints:
        return self._joined(lambda columns: columns.ids)

    @cached_property
    def payload(self) -> Ints:
        return self._joined(lambda columns: columns.payload())

    def input(self, item: Input) -> Ints:
        """One input of every event of the group, NULL for other sources'."""
        return self._joined(
            lambda columns: input_values(item, columns) if columns.source.name == item.source.name else np.full(len(columns), NULL, np.int64)
        )

    def run(self, pool: ThreadPoolExecutor, threads: int) -> Iterator[str]:
        """Compute every unit; yields its view's name when it is done."""
        for place, (number, unit) in enumerate(self.units):
            outputs = UnitOutputs(self.block.narrow, self.block.wide, self.narrow, self.wide)
            job = UnitJob(self, self.service, number, unit, outputs)
            for first, status, age_s in pool.map(job.run_block, job.key_blocks(threads)):
                rows = self.row_of[first : first + len(status)]
                self.block.status[rows, place] = status
                self.block.age_s[rows, place] = age_s
            yield unit.view.name


class _Assembler:
    """Joins the groups' blocks for a range of rows: ratios, request features, float32."""

    def __init__(self, service: ServicePlan, layout: _Layout, spine: Spine, blocks: list[_Block]) -> None:
        self.service, self.layout, self.spine, self.blocks = service, layout, spine, blocks
        self.request = compiled_rows(service)
        column_of = {slot: place for place, slot in enumerate(service.served.tolist())}
        self.narrow = [[(place, column_of[slot]) for slot, place in layout.narrow[group.name].items()] for group in service.groups]
        kept_units = {}
        for group in service.groups:
            kept_units[group.name] = sum(1 for owner, _, _ in service.units if owner is group)

    def __call__(self, first: int, count: int) -> Vectors:
        service = self.service
        rows = slice(first, min(first + count, len(self.spine)))
        n = rows.stop - rows.start
        values = np.full((n, len(service.slots)), np.nan, np.float64)
        for place, name in enumerate(service.scored_fields):
            column = self.spine.scored.fields[name][rows]
            values[:, place] = np.where(column == NULL, np.nan, column.astype(np.float64))
        features = np.empty((n, len(service.names)), np.float32)
        for group, block in zip(service.groups, self.blocks, strict=True):
            wide = self.layout.wide[group.name]
            if wide:
                values[:, list(wide)] = block.wide[rows][:, list(wide.values())]
        fill_ratios_rows(service.ratios, values)
        self.request(values)
        features[:] = values[:, service.served]
        for block, pairs in zip(self.blocks, self.narrow, strict=True):
            if pairs:
                features[:, [column for _, column in pairs]] = block.narrow[rows][:, [place for place, _ in pairs]]
        return Vectors(
            features,
            np.concatenate([block.status[rows] for block in self.blocks], axis=1),
            np.concatenate([block.age_s[rows] for block in self.blocks], axis=1),
            first,
        )


def keys_hash(entity: Entity, columns: Columns) -> Ints:
    """(n,) the entity of each row as the engine groups it; NULL where it names none."""
    return columns.keys(entity)
