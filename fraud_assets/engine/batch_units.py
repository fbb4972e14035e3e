"""Running a plan over a block: by `batch_ordered`, or by `batch_sliding` where a key has late events."""

import math
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from fraud_assets.engine import batch_distinct as distinct
from fraud_assets.engine import batch_ordered as ordered
from fraud_assets.engine import batch_outputs as outputs
from fraud_assets.engine import batch_runs as runs
from fraud_assets.engine import batch_sliding as sliding
from fraud_assets.engine import batch_sorting as sorting
from fraud_assets.engine.batch_blocks import Block, BlockEvents
from fraud_assets.engine.batch_plan import SUMS, EventsPlan, GroupLayout, Place
from fraud_assets.engine.kernels import ROW_INPUTS
from fraud_assets.engine.plan import Ints
from fraud_assets.features.layout import Acc, AccSpec

SCRATCH_WORDS = 256

Floats32 = npt.NDArray[np.float32]
Floats64 = npt.NDArray[np.float64]


@lru_cache(maxsize=32)
def _log2_table(bits: int) -> Ints:
    """Whole part of the logarithm of every number below 2**bits; 0 for 0."""
    return np.frexp(np.maximum(np.arange(1 << bits), 1))[1].astype(np.int64) - 1


def log2_upto(longest: int) -> Ints:
    """(longest + 1,) or longer: `floor(log2(n))` of each n."""
    return _log2_table(longest.bit_length())


@dataclass(frozen=True)
class Targets:
    """The caller's matrices: narrow (n, k) float32, wide (n, k) float64; status and age of each unit, if wanted."""

    narrow: Floats32
    wide: Floats64
    status: npt.NDArray[np.int8] | None = None
    age_s: Floats32 | None = None


class Scratch(threading.local):
    """Arrays that one block leaves to the next of its thread: fresh memory costs more than what is done with it.

    One name is one array: the next call with it takes the memory.
    """

    def __init__(self) -> None:
        self.buffers: dict[str, npt.NDArray[Any]] = {}

    def at_least(self, name: str, size: int, dtype: type[np.generic] = np.int64) -> npt.NDArray[Any]:
        """(size,) or longer, of whatever was in it."""
        held = self.buffers.get(name)
        if held is None or len(held) < size:
            held = self.buffers[name] = np.empty(size + size // 4, dtype)
        return held

    def array(self, name: str, shape: tuple[int, ...], dtype: type[np.generic] = np.int64) -> npt.NDArray[Any]:
        """Exactly this shape."""
        size = math.prod(shape)
        return self.at_least(name, size, dtype)[:size].reshape(shape)


def run_block(layout: GroupLayout, block: Block, to: Targets, scratch: Scratch) -> None:
    """Compute every unit of the group for the reads of a block, and put the values in their rows."""
    made = Made(layout, block, scratch)
    views = {plan.mask: block.of_sources(plan.mask, plan.input_rows) for plan in layout.plans}
    for plan in layout.plans:
        made.judge(views[plan.mask])
        _Run(plan, block, views[plan.mask], made).run()
        if to.status is not None and to.age_s is not None:
            made.put_status(plan.mask, to.status, to.age_s)
    outputs.finish_ratios(layout.ratios, made.wide, made.narrow)
    outputs.scatter_rows(made.narrow, layout.narrow_columns, block.row_of, to.narrow)
    outputs.scatter_rows(made.wide, layout.wide_columns, block.row_of, to.wide)


class Made:
    """Values of one block, output by output, and the status of its views at the events being worked on."""

    def __init__(self, layout: GroupLayout, block: Block, scratch: Scratch) -> None:
        self.layout, self.block, self.scratch = layout, block, scratch
        self.narrow = scratch.array("narrow", (len(layout.narrow), len(block)), np.float32)
        self.wide = scratch.array("wide", (len(layout.wide), len(block)), np.float64)
        self.statuses = scratch.array("statuses", (len(layout.ttls), len(block)), np.int8)
        self.age_s = scratch.array("age_s", (len(block),), np.float64)

    def judge(self, events: BlockEvents) -> None:
        """Status of every time to live, and the age."""
        for ttl, status in zip(self.layout.ttls, self.statuses, strict=True):
            sorting.judge_freshness(events.newest, self.block.rd_time, ttl, status, self.age_s)

    def put_status(self, mask: int, status: npt.NDArray[np.int8], age_s: Floats32) -> None:
        """Status and age of every unit of these sources, to the rows of the spine."""
        for place, number, _ in self.layout.units:
            table = self.block.rows.plan.units[number]
            if table[0] == mask:
                mine = self.statuses[self.layout.ttls.index(table[2])]
                outputs.put_unit_status(mine, self.age_s, self.block.row_of, place, status, age_s)


@dataclass(frozen=True)
class _Slots:
    """slot of each event, first slot of each key, first slot each read may see, number of slots."""

    slot: Ints
    starts: Ints
    low: Ints
    count: int


class _Run:
    """One plan over one block."""

    def __init__(self, plan: EventsPlan, block: Block, events: BlockEvents, made: Made) -> None:
        self.plan, self.block, self.events, self.made = plan, block, events, made
        self.array = made.scratch.array
        self.places = list(plan.places)
        self._slots: dict[int, _Slots] = {}

    def run(self) -> None:
        if self.events.in_order:
            self._finish_runs()
        else:
            self._slide_words()
        for spec, place, outs in self.plan.sets:
            if not self.events.in_order or spec.acc in (Acc.MODE, Acc.PROFILE):
                self._slide_sets(spec, place, outs)
            elif spec.acc is Acc.DISTINCT:
                self._distinct(spec, place, outs)
            else:
                self._last(spec, place, outs)

    # ------------------------------------------------------------------------------- keys in order

    def _finish_runs(self) -> None:
        plan, events, block, made = self.plan, self.events, self.block, self.made
        reads, size = (max(1, int(most)) for most in runs.most_of_a_run(block.reads, events.events))
        log2, some = log2_upto(size), made.scratch.at_least
        levels = int(log2[size]) + 1
        self.low = self.array("low", (len(self.places), len(block)))
        runs.finish_runs(
            plan.windows, bool(plan.sets), plan.between, plan.total_rows, plan.square_rows, plan.extremes, plan.lifetimes, plan.best_outs,
            log2, block.reads, events.events, events.values, events.applied, events.newest, block.rd_time,
            made.statuses, self.low, made.narrow, made.wide,
            some("run_reads", len(block.reads)), some("run_events", len(block.reads)), some("run_applied", reads),
            self.array("reached", (len(self.places),)), some("floor", reads), some("totals", len(plan.total_rows) * (size + 1)),
            some("squares", 2 * len(plan.square_rows) * (size + 1)), some("spans", levels * size), some("pairs", 2 * levels * size, np.float32),
            some("best", reads), some("carry", 2),
        )  # fmt: skip

    def _distinct(self, spec: AccSpec, place: int, outs: Ints) -> None:
        events, block, made = self.events, self.block, self.made
        before, after = events.links(spec.inputs[0])
        counts, crowded = self.array("counts", (len(block),)), np.empty(len(block.reads) - 1, np.bool_)
        low = self.low[place]
        distinct.distinct_in_order(
            events.events, block.reads, before, after, events.applied, low, spec.cap, counts, crowded
        )
        for *_, narrow_row, wide_row, status in outs.tolist():
            to = made.statuses[status], made.narrow, narrow_row, made.wide, wide_row
            distinct.finish_distinct(counts, *to)
            for key in np.flatnonzero(crowded).tolist():
                self._crowd(spec, key, low, (narrow_row, wide_row, status))

    def _crowd(self, spec: AccSpec, key: int, low: Ints, row: tuple[int, int, int]) -> None:
        """The reads of one key that see more distinct values than the cap."""
        events, made = self.events, self.made
        narrow_row, wide_row, status = row
        before, after = events.links(spec.inputs[0])
        ranks, ranked = events.ranked(spec.inputs[0], key)
        reads = slice(self.block.reads[key], self.block.reads[key + 1])
        distinct.distinct_of_crowd(
            events.events[key], before, after, events.applied[reads], low[reads], spec.cap, ranks, ranked,
            np.zeros(len(ranked) // 64 + 1, np.uint64), made.statuses[status][reads], reads.start,
            made.narrow, narrow_row, made.wide, wide_row,
        )  # fmt: skip

    def _last(self, spec: AccSpec, place: int, outs: Ints) -> None:
        events, block, made = self.events, self.block, self.made
        chosen, value = np.empty(len(block), np.int64), events.input(spec.inputs[0])
        ordered.last_in_order(
            events.events, block.reads, events.time, *events.identity(), value, events.applied, chosen
        )
        for *_, narrow_row, wide_row, status in outs.tolist():
            to = made.statuses[status], made.narrow, narrow_row, made.wide, wide_row
            ordered.finish_last(chosen, self.low[place], value, *to)

    # --------------------------------------------------------------------------- keys with late events

    def _slots_of(self, place: int) -> _Slots:
        if place not in self._slots:
            self._slots[place] = self._place_tiles(self.places[place])
        return self._slots[place]

    def _place_tiles(self, place: Place) -> _Slots:
        events, block, tile_ms = self.events, self.block, place.window.tile_ms
        count = len(events)
        slot, slot_start, scratch = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.int64)
        starts, low = np.empty(len(events.events), np.int64), np.empty(len(block), np.int64)
        slots = sliding.place_tiles(events.events, events.time, tile_ms, slot, slot_start, starts, scratch)
        sliding.place_reads(
            block.reads, block.rd_time, events.newest, place.window.length_ms, tile_ms, place.lateness_ms,
            slot_start, starts, low,
        )  # fmt: skip
        return _Slots(slot, starts, low, int(slots))

    def _slide_words(self) -> None:
        made, words = self.made, self.array("words", (self.plan.height, len(self.block)))
        for key, (spec, place) in self.plan.specs.items():
            self._slide(spec, self._slots_of(place), self.plan.rows[key], words)
        for matrix, target in ((made.narrow, outputs.NARROW), (made.wide, outputs.WIDE)):
            outputs.finish_outputs(self.plan.word_outs, words, self.block.rd_time, made.statuses, matrix, target)

    def _slide(self, spec: AccSpec, slots: _Slots, row: int, words: Ints) -> None:
        events, block = self.events, self.block
        value = events.input(spec.inputs[0])
        common = (events.events, block.reads, slots.slot, value, events.applied, slots.starts, slots.low)
        if spec.acc in SUMS:
            sliding.slide_sums(*common, np.empty(slots.count, np.int64), words[row])
        elif spec.acc is Acc.SQUARES:
            tiles = np.empty(2 * slots.count, np.int64)
            sliding.slide_squares(*common, tiles, np.empty(2, np.int64), words[row], words[row + 1])
        else:
            tiles, suffix = np.empty(slots.count, np.int64), np.empty(slots.count, np.int64)
            sliding.slide_extreme(int(spec.acc), *common, tiles, suffix, words[row])

    def _slide_sets(self, spec: AccSpec, place: int, outs: Ints) -> None:
        rows, column = self._rows(spec)
        events, block, made = self.events, self.block, self.made
        fields, width = len(spec.inputs) if spec.acc is Acc.PROFILE else 0, spec.width
        if self.places[place].window.is_lifetime:
            sliding.sets_so_far(
                int(spec.acc), spec.cap, fields, events.events, block.reads, rows, column, events.applied,
                np.empty(width, np.int64), np.empty(SCRATCH_WORDS, np.int64), block.rd_time, made.statuses, outs,
                made.narrow, made.wide,
            )  # fmt: skip
            return
        slots = self._slots_of(place)
        tiles, suffix = self.array("tiles", (slots.count * width,)), self.array("suffix", (slots.count * width,))
        back, both, scratch = np.empty(width, np.int64), np.empty(width, np.int64), np.empty(SCRATCH_WORDS, np.int64)
        sliding.slide_sets(
            int(spec.acc), spec.cap, fields, width, events.events, block.reads, slots.slot, rows, column, events.applied,
            slots.starts, slots.low, tiles, suffix, back, both, scratch, block.rd_time, made.statuses, outs,
            made.narrow, made.wide,
        )  # fmt: skip

    def _rows(self, spec: AccSpec) -> tuple[Ints, int]:
        """Event rows as the aggregators take them; sets of values need the value alone."""
        events = self.events
        values = [events.input(item) for item in spec.inputs]
        if spec.acc in (Acc.DISTINCT, Acc.MODE):
            return values[0].reshape(-1, 1), 0
        rows = np.zeros((len(events), ROW_INPUTS + len(values)), np.int64)
        rows[:, 0] = events.time
        rows[:, 3], rows[:, 4], rows[:, 5] = events.identity()
        for place, column in enumerate(values):
            rows[:, ROW_INPUTS + place] = column
        return rows, ROW_INPUTS
