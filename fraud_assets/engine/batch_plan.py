"""What a group computes of each block, laid out once: which words, which outputs, which rows.

Units that fold the same sources share everything up to their outputs: reads aligned with events,
places of windows, totals, extremes. `EventsPlan` says what is needed of one such set of sources,
`GroupLayout` where it all goes; `batch_units` computes it.
"""

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field

import numpy as np

from fraud_assets.engine.batch_finish import KIND, NARROW, PLACE, STATUS, WIDE, A, B
from fraud_assets.engine.batch_ordered import ENDLESS
from fraud_assets.engine.plan import GroupPlan, Ints, ServicePlan
from fraud_assets.features.layout import Acc, AccSpec, Input, InputKey, Out, OutSpec, Unit
from fraud_assets.features.windows import Window

SUMS = (Acc.COUNT, Acc.SUM)
EXTREMES = (Acc.MIN, Acc.MAX)
# Kinds of output that sums make, in the order in which they are finished.
_MOMENTS = (int(Out.COUNT), int(Out.SUM), int(Out.STD), int(Out.MEAN))
WORDS = (*SUMS, Acc.SQUARES, *EXTREMES)


# Without end or not, MIN or MAX, row of the value.
_Extreme = tuple[bool, int, int]


@dataclass(frozen=True)
class Place:
    """A window as a view places it: its floor depends on the view's lateness too."""

    window: Window
    lateness_ms: int


@dataclass
class SetJob:
    """One accumulator of several words over one window, and the outputs made of it."""

    spec: AccSpec
    place: int
    outs: list[list[int]] = field(default_factory=list)


class EventsPlan:
    """Everything the units of one set of sources need of a block."""

    def __init__(self, mask: int) -> None:
        self.mask = mask
        self.places: dict[Place, int] = {}
        self.specs: dict[tuple[object, ...], tuple[AccSpec, int]] = {}
        self._word_outs: list[tuple[OutSpec, int, list[int]]] = []
        self._sets: dict[tuple[object, ...], SetJob] = {}

    def add(self, out: OutSpec, lateness_ms: int, rows: list[int]) -> None:
        """Ask for one output. rows: its row in the narrow and the wide matrix, and of its view's status."""
        place = self.places.setdefault(Place(out.window, lateness_ms), len(self.places))
        spec = out.accs[0]
        if spec.acc in WORDS:
            for part in out.accs:
                self.specs.setdefault((place, *part.key()), (part, place))
            self._word_outs.append((out, place, rows))
            return
        fields = len(spec.inputs) if spec.acc is Acc.PROFILE else spec.cap
        job = self._sets.setdefault((place, *spec.key()), SetJob(spec, place))
        job.outs.append([int(out.kind), 0, 0, 0, fields, out.field, *rows])

    def close(self, alone: bool, input_rows: Mapping[InputKey, int]) -> None:
        """Give everything its row, once all outputs are known.

        alone: only one source has these events. input_rows: row of a block's values of each input.
        """
        self.sets = [(job.spec, job.place, _table(job.outs, 9)) for job in self._sets.values()]
        # Row 0 is the time.
        self.input_rows = np.array([0, *sorted({input_rows[item.key()] for item in self.inputs})], np.int64)
        self._lay_words()
        self._lay_channels(alone, input_rows)

    def _lay_words(self) -> None:
        """Rows of words, for keys with late events."""
        self.rows: dict[tuple[object, ...], int] = {}
        self.height = 0
        for key, (spec, _) in self.specs.items():
            self.rows[key] = self.height
            self.height += spec.width
        self.word_outs = _table([self._word_out(*item) for item in self._word_outs], 9)

    def _word_out(self, out: OutSpec, place: int, rows: list[int]) -> list[int]:
        a, b, c = (*[self.rows[(place, *spec.key())] for spec in out.accs], 0, 0)[:3]
        return [int(out.kind), a, b, c, out.accs[0].cap, out.field, *rows]

    def _lay_channels(self, alone: bool, input_rows: Mapping[InputKey, int]) -> None:
        """Running totals, sums of squares and extremes, for keys in order, and the outputs made of each."""
        totals: dict[InputKey, int] = {}
        squares: dict[InputKey, int] = {}
        between: list[list[int]] = []
        best: dict[_Extreme, list[list[int]]] = {}
        for out, place, rows in self._word_outs:
            spec = out.accs[0]
            if spec.acc in EXTREMES:
                job = int(spec.acc), input_rows[spec.inputs[0].key()]
                best.setdefault((out.window.is_lifetime, *job), []).append([int(out.kind), place, 0, 0, 0, *rows])
                continue
            channels: list[int] = []
            for part in out.accs:
                item = part.inputs[0]
                if alone and part.acc is Acc.COUNT and _counts_all(item):
                    channels.append(-1)
                else:
                    among = totals if part.acc in SUMS else squares
                    channels.append(among.setdefault(item.key(), len(among)))
            a, b, c = (*channels, 0, 0)[:3]
            between.append([int(out.kind), place, a, b, c, *rows])
        # Outputs of one window side by side, its count, sum and deviation first: one pass makes the three.
        between.sort(key=lambda out: (out[PLACE], out[STATUS], _MOMENTS.index(out[KIND])))
        self.between = _table([[*out, _are_moments(between[o : o + 3])] for o, out in enumerate(between)], 9)
        self.total_rows = np.array([input_rows[key] for key in totals], np.int64)
        self.square_rows = np.array([input_rows[key] for key in squares], np.int64)
        windows = [[p.window.length_ms or ENDLESS, p.window.tile_ms, p.lateness_ms] for p in self.places]
        self.windows = np.ascontiguousarray(_table(windows, 3).T)
        # The minimum of a value before its maximum: the spans that cover a window are found once for both.
        best = dict(sorted(best.items(), key=lambda item: (item[0][0], item[0][2], item[0][1])))
        ends = np.cumsum([0, *(len(outs) for outs in best.values())]).tolist()
        paired = [_are_both(list(best.items())[x : x + 2]) for x in range(len(best))]
        jobs = [
            (lifetime, [op, value, first, end, pair])
            for (lifetime, op, value), first, end, pair in zip(best, ends, ends[1:], paired, strict=False)
        ]
        self.extremes = _table([job for lifetime, job in jobs if not lifetime], 5)
        self.lifetimes = _table([job for lifetime, job in jobs if lifetime], 5)
        self.best_outs = _table([[*out, 0] for outs in best.values() for out in outs], 9)

    @property
    def inputs(self) -> Iterable[Input]:
        """Every input of every accumulator."""
        for spec, _ in self.specs.values():
            yield from spec.inputs
        for job in self._sets.values():
            yield from job.spec.inputs


def _are_moments(outs: list[list[int]]) -> bool:
    """Whether three outputs are the count, sum and deviation of one window, of every event, and only served."""
    if tuple(out[KIND] for out in outs) != _MOMENTS[:3] or len({(out[PLACE], out[STATUS]) for out in outs}) > 1:
        return False
    count, total, std = outs
    every = count[A] == std[A] == -1 and total[A] == std[B] >= 0
    return every and all(out[NARROW] >= 0 and out[WIDE] < 0 for out in outs)


def _are_both(items: list[tuple[_Extreme, list[list[int]]]]) -> bool:
    """Whether two extremes are the minimum and the maximum of one value over the same windows, and only served."""
    if len(items) < 2:
        return False
    ((lifetime, op, value), outs), (other, others) = items
    windows = [(out[PLACE], out[STATUS]) for out in outs] == [(out[PLACE], out[STATUS]) for out in others]
    served = all(out[KIND] in (Out.MIN, Out.MAX) and out[NARROW] >= 0 and out[WIDE] < 0 for out in (*outs, *others))
    return op == Acc.MIN and other == (lifetime, Acc.MAX, value) and windows and served


def _counts_all(item: Input) -> bool:
    return item.of is None and item.where is None and item.present is None and not item.signed


def _table(rows: list[list[int]], columns: int) -> Ints:
    return np.array(rows, np.int64).reshape(len(rows), columns)


class GroupLayout:
    """Rows of a block's matrices, and the plans that fill them.

    narrow: float32, what is only served. wide: float64, first what request features read, then parts of
    ratios that no one else wants. narrow_columns, wide_columns: where the rows go in the caller's matrices.
    """

    def __init__(
        self, service: ServicePlan, group: GroupPlan, narrow_of: Mapping[int, int], wide_of: Mapping[int, int]
    ) -> None:
        self.group = group
        self.units = [
            (place, number, unit) for place, (owner, number, unit) in enumerate(service.units) if owner is group
        ]
        slots = [service.slot(unit, item) for _, _, unit in self.units for item in unit.features]
        parts = [
            service.slot(unit, out)
            for _, _, unit in self.units
            for out in unit.outs
            if any(out.name in (item.numerator, *item.denominators) for item in unit.ratios)
        ]
        self.narrow = {slot: row for row, slot in enumerate(slot for slot in slots if slot in narrow_of)}
        kept = [slot for slot in slots if slot in wide_of]
        self.wide = {slot: row for row, slot in enumerate(dict.fromkeys([*kept, *parts]))}
        self.narrow_columns = np.array([narrow_of[slot] for slot in self.narrow], np.int64)
        self.wide_columns = np.array([wide_of[slot] for slot in kept], np.int64)
        self.ttls = list(dict.fromkeys(int(service.engine.units[number][2]) for _, number, _ in self.units))
        self.ratios = _table([row for _, _, unit in self.units for row in self._ratios(service, unit)], 5)
        self.plans = self._plans(service)

    @property
    def inputs(self) -> Iterable[Input]:
        """Inputs of every accumulator of the group."""
        for plan in self.plans:
            yield from plan.inputs

    def packed(self) -> "GroupLayout":
        """The same, for matrices that hold this group's values only, in this order."""
        other = copy(self)
        other.narrow_columns = np.arange(len(self.narrow_columns), dtype=np.int64)
        other.wide_columns = np.arange(len(self.wide_columns), dtype=np.int64)
        return other

    def _ratios(self, service: ServicePlan, unit: Unit) -> Iterable[list[int]]:
        slot_of = {out.name: service.slot(unit, out) for out in unit.outs}
        for item in unit.ratios:
            below = [self.wide[slot_of[name]] for name in item.denominators]
            own = service.slot(unit, item)
            yield [
                self.wide[slot_of[item.numerator]], below[0], below[1] if len(below) > 1 else -1,
                self.narrow.get(own, -1), self.wide.get(own, -1),
            ]  # fmt: skip

    def _plans(self, service: ServicePlan) -> list[EventsPlan]:
        plans: dict[int, EventsPlan] = {}
        for _, number, unit in self.units:
            mask, lateness, ttl = (int(value) for value in service.engine.units[number][:3])
            plan = plans.setdefault(mask, EventsPlan(mask))
            for out in unit.outs:
                slot = service.slot(unit, out)
                rows = [self.narrow.get(slot, -1), self.wide.get(slot, -1), self.ttls.index(ttl)]
                if rows[:2] != [-1, -1]:
                    plan.add(out, lateness, rows)
        inputs = (item.key() for plan in plans.values() for item in plan.inputs)
        self.input_rows = {key: row for row, key in enumerate(dict.fromkeys(inputs), start=1)}
        for plan in plans.values():
            plan.close(plan.mask.bit_count() == 1, self.input_rows)
        return list(plans.values())
