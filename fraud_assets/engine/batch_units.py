"""One unit of the batch execution: its windows over blocks of keys."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fraud_assets.engine import batch_kernels as kernels
from fraud_assets.engine.kernels import ROW_INPUTS
from fraud_assets.engine.plan import Ints, ServicePlan
from fraud_assets.features.layout import Acc, AccSpec, Input, OutSpec, Unit
from fraud_assets.features.windows import Window

if TYPE_CHECKING:
    from fraud_assets.engine.batch import _GroupJob

SCRATCH_WORDS = 256

# Columns of the output table: kind, offsets a, b, c, cap, field, then the row in each matrix of the block or -1.
NARROW, WIDE = 6, 7

# Reads a block holds: its scratch then stays in the second-level cache.
BLOCK_READS = 8_192

_SUMS = (Acc.COUNT, Acc.SUM)
_EXTREMES = (Acc.MIN, Acc.MAX)
_WORDS = (*_SUMS, Acc.SQUARES, *_EXTREMES)

KeyBlock = tuple[int, int]


@dataclass(frozen=True)
class UnitOutputs:
    """Where values go: the matrices and the column of each slot in them; the unit's place in status and age."""

    narrow: npt.NDArray[np.float32]
    wide: npt.NDArray[np.float64]
    narrow_of: Mapping[int, int]
    wide_of: Mapping[int, int]
    status: npt.NDArray[np.int8] | None
    age_s: npt.NDArray[np.float32] | None
    place: int


class UnitJob:
    """A unit's events, filtered and sorted once; `run_block` computes the reads of a range of keys."""

    def __init__(self, group: "_GroupJob", service: ServicePlan, number: int, unit: Unit, outputs: UnitOutputs) -> None:
        self.group, self.service, self.unit, self.outputs = group, service, unit, outputs
        self.table = service.engine.units[number]
        self._keep_sources()
        everything = self.order is group.order
        self.time = group.sorted_time if everything else group.time[self.order]
        self.rank = group.sorted_rank if everything else group.rank[self.order]
        self.inputs = {
            spec_input.key(): group.input(spec_input) for spec in self._specs() for spec_input in spec.inputs
        }
        slots = [service.slot(unit, out) for out in unit.outs]
        self.narrow_slots = [slot for slot in slots if slot in outputs.narrow_of]
        self.wide_slots = [slot for slot in slots if slot in outputs.wide_of]
        self.narrow_columns = np.array([outputs.narrow_of[slot] for slot in self.narrow_slots], np.int64)
        self.wide_columns = np.array([outputs.wide_of[slot] for slot in self.wide_slots], np.int64)
        self.windows = [
            _WindowJob(self.table, window, list(specs.values()), self) for window, specs in unit.windows.items()
        ]

    def _specs(self) -> Iterator[AccSpec]:
        for specs in self.unit.windows.values():
            yield from specs.values()

    def _keep_sources(self) -> None:
        mask = int(self.table[0])
        everything = sum(1 << self.service.engine.source_number(columns.source) for columns in self.group.sources)
        if mask & everything == everything:
            self.events, self.order = self.group.events, self.group.order
            return
        self.events = np.empty_like(self.group.events)
        order = np.empty_like(self.group.order)
        kept = kernels.keep_sources(self.group.order, self.group.events, self.group.source, mask, order, self.events)
        self.order = order[:kept]

    def key_blocks(self) -> Iterator[KeyBlock]:
        """Ranges of keys with about BLOCK_READS reads, or events, each."""
        work = self.events + self.group.reads
        first = 0
        while first < self.group.n_keys:
            end = int(np.searchsorted(work, work[first] + 2 * BLOCK_READS, side="left"))
            end = min(max(end, first + 1), self.group.n_keys)
            yield first, end
            first = end

    def run_block(self, keys: KeyBlock) -> None:
        """Compute the reads of keys [first, end)."""
        first_key, end_key = keys
        block = Block(self, first_key, end_key)
        kernels.align_reads(
            block.events, block.reads, block.rank, block.time,
            block.rd_rank, block.rd_time, int(self.table[2]), block.applied, block.newest, block.status, block.age_s,
        )  # fmt: skip
        for window in self.windows:
            window.run(block)
        out = self.outputs
        kernels.scatter_rows(block.narrow, self.narrow_columns, block.row_of, out.narrow)
        kernels.scatter_rows(block.wide, self.wide_columns, block.row_of, out.wide)
        if out.status is not None and out.age_s is not None:
            kernels.put_unit_status(block.status, block.age_s, block.row_of, out.place, out.status, out.age_s)


class Block:
    """Arrays of one block of keys, all relative to its first event and read."""

    def __init__(self, job: UnitJob, first_key: int, end_key: int) -> None:
        group = job.group
        self.job = job
        self._inputs: dict[tuple[object, ...], Ints] = {}
        self.base, self.end = int(job.events[first_key]), int(job.events[end_key])
        self.rd_base, self.rd_end = int(group.reads[first_key]), int(group.reads[end_key])
        self.events = job.events[first_key : end_key + 1] - self.base
        self.reads = group.reads[first_key : end_key + 1] - self.rd_base
        self.order = job.order[self.base : self.end]
        self.time, self.rank = job.time[self.base : self.end], job.rank[self.base : self.end]
        rows = slice(self.rd_base, self.rd_end)
        self.rd_time, self.rd_rank, self.row_of = group.rd_time[rows], group.rd_rank[rows], group.row_of[rows]
        count = self.rd_end - self.rd_base
        self.applied, self.newest = np.empty(count, np.int64), np.empty(count, np.int64)
        self.status, self.age_s = np.empty(count, np.int8), np.empty(count, np.float64)
        self.ordered = bool(kernels.all_in_order(self.events, self.time))
        self.places = np.arange(len(self.time) if self.ordered else 0, dtype=np.int64)
        self._totals: dict[tuple[object, ...], Ints] = {}
        self._squares: dict[tuple[object, ...], tuple[Ints, Ints]] = {}
        self.narrow = np.empty((len(job.narrow_slots), count), np.float32)
        self.wide = np.empty((len(job.wide_slots), count), np.float64)

    def __len__(self) -> int:
        return self.rd_end - self.rd_base

    def input(self, item: Input) -> Ints:
        """(n_events,) one input in the block's order; gathered once for all windows."""
        key = item.key()
        if key not in self._inputs:
            self._inputs[key] = self.job.inputs[key][self.order]
        return self._inputs[key]

    def totals(self, item: Input) -> Ints:
        """Running total of an input over the block, made once for all windows."""
        key = item.key()
        if key not in self._totals:
            self._totals[key] = np.empty(len(self.time) + 1, np.int64)
            kernels.running_totals(self.input(item), self._totals[key])
        return self._totals[key]

    def squares(self, item: Input) -> tuple[Ints, Ints]:
        """Running 128-bit sum of squares of an input over the block."""
        key = item.key()
        if key not in self._squares:
            size = len(self.time) + 1
            self._squares[key] = np.empty(size, np.int64), np.empty(size, np.int64)
            kernels.running_squares(self.input(item), *self._squares[key], np.empty(2, np.int64))
        return self._squares[key]


class _WindowJob:
    """One window's accumulators and outputs."""

    def __init__(self, table: Ints, window: Window, specs: list[AccSpec], job: UnitJob) -> None:
        self.job, self.window, self.specs = job, window, specs
        self.lateness = int(table[1])
        self.places = {}
        at = 1
        for spec in specs:
            if spec.acc in _WORDS:
                self.places[spec.key()] = at
                at += spec.width
        self.stride = at
        outs = [out for out in job.unit.outs if out.window == window]
        self.word_outs = self._table([out for out in outs if out.accs[0].acc in _WORDS])
        self.set_outs = {
            spec.key(): self._table([out for out in outs if out.accs[0].key() == spec.key()], relative=True)
            for spec in specs
            if spec.acc not in _WORDS
        }

    def _table(self, outs: list[OutSpec], relative: bool = False) -> Ints:
        rows = []
        for out in outs:
            slot = self.job.service.slot(self.job.unit, out)
            narrow, wide = _place_in(self.job.narrow_slots, slot), _place_in(self.job.wide_slots, slot)
            a, b, c = (*[0 if relative else self.places[spec.key()] for spec in out.accs], 0, 0)[:3]
            spec = out.accs[0]
            cap = len(spec.inputs) if spec.acc is Acc.PROFILE else spec.cap
            if narrow >= 0 or wide >= 0:
                rows.append([int(out.kind), a, b, c, cap, out.field, narrow, wide])
        return np.array(rows, np.int64).reshape(len(rows), 8)

    def run(self, block: Block) -> None:
        placed = self._place(block)
        words = np.empty((self.stride, len(block)), np.int64)
        for spec in self.specs:
            if spec.acc in _WORDS:
                self._words(block, placed, spec, words)
            elif len(self.set_outs[spec.key()]):
                self._sets(block, placed, spec)
        for matrix, target in ((block.narrow, NARROW), (block.wide, WIDE)):
            kernels.finish_window(self.word_outs, words.ravel(), block.rd_time, block.status, matrix, target)

    def _place(self, block: Block) -> "_Placed":
        if block.ordered:
            low = np.empty(len(block), np.int64)
            kernels.place_in_order(
                block.reads, block.events, block.time, block.rd_time, block.newest, block.applied,
                self.window.length_ms, self.window.tile_ms, self.lateness, low,
            )  # fmt: skip
            return _Placed(block.places, block.events, low, len(block.time))
        count, tile_ms = len(block.time), self.window.tile_ms
        slot, slot_start, scratch = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.int64)
        starts, low = np.empty(len(block.events), np.int64), np.empty(len(block), np.int64)
        slots = kernels.place_tiles(block.events, block.time, tile_ms, slot, slot_start, starts, scratch)
        length = self.window.length_ms
        kernels.place_reads(
            block.reads, block.rd_time, block.newest, length, tile_ms, self.lateness, slot_start, starts, low
        )
        return _Placed(slot, starts, low, int(slots))

    def _words(self, block: Block, placed: "_Placed", spec: AccSpec, words: Ints) -> None:
        at = self.places[spec.key()]
        value = block.input(spec.inputs[0])
        common = (block.events, block.reads, placed.slot, value, block.applied, placed.starts, placed.low)
        if block.ordered and spec.acc in _SUMS:
            kernels.total_between(block.totals(spec.inputs[0]), placed.low, block.applied, words[at])
        elif block.ordered and spec.acc is Acc.SQUARES:
            kernels.squares_between(*block.squares(spec.inputs[0]), placed.low, block.applied, words[at], words[at + 1])
        elif spec.acc in _SUMS:
            kernels.slide_sums(*common, np.empty(placed.count, np.int64), words[at])
        elif spec.acc is Acc.SQUARES:
            kernels.slide_squares(
                *common, np.empty(2 * placed.count, np.int64), np.empty(2, np.int64), words[at], words[at + 1]
            )
        else:
            tiles, suffix = np.empty(placed.count, np.int64), np.empty(placed.count, np.int64)
            kernels.slide_extreme(int(spec.acc), *common, tiles, suffix, words[at])

    def _sets(self, block: Block, placed: "_Placed", spec: AccSpec) -> None:
        rows, column = self._rows(block, spec)
        fields, width = len(spec.inputs) if spec.acc is Acc.PROFILE else 0, spec.width
        tiles, suffix = np.empty(placed.count * width, np.int64), np.empty(placed.count * width, np.int64)
        back, both, scratch = np.empty(width, np.int64), np.empty(width, np.int64), np.empty(SCRATCH_WORDS, np.int64)
        kernels.slide_sets(
            int(spec.acc), spec.cap, fields, width, block.events, block.reads, placed.slot, rows, column, block.applied,
            placed.starts, placed.low, tiles, suffix, back, both, scratch, block.rd_time, block.status,
            self.set_outs[spec.key()], block.narrow, block.wide,
        )  # fmt: skip

    def _rows(self, block: Block, spec: AccSpec) -> tuple[Ints, int]:
        """Event rows as the aggregators take them; sets of values need the value alone."""
        inputs = [block.input(item) for item in spec.inputs]
        if spec.acc in (Acc.DISTINCT, Acc.MODE):
            return inputs[0].reshape(-1, 1), 0
        rows = np.zeros((len(block.order), ROW_INPUTS + len(inputs)), np.int64)
        group = self.job.group
        rows[:, 0], rows[:, 3] = block.time, group.source[block.order]
        rows[:, 4], rows[:, 5] = group.ids[block.order], group.payload[block.order]
        for place, column in enumerate(inputs):
            rows[:, ROW_INPUTS + place] = column
        return rows, ROW_INPUTS


def _place_in(slots: list[int], slot: int) -> int:
    return slots.index(slot) if slot in slots else -1


@dataclass(frozen=True)
class _Placed:
    """slot of each event, first slot of each key, first slot each read may see, number of slots."""

    slot: Ints
    starts: Ints
    low: Ints
    count: int
