"""What a group computes of each block, laid out once: which words, which outputs, which rows.

Units that fold the same sources share everything up to their outputs: reads aligned with events,
places of windows, totals, extremes. `EventsPlan` says what is needed of one such set of sources,
`GroupLayout` where it all goes; `batch_units` computes it.
"""

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field

import numpy as np

from fraud_assets.engine.kernels import HIGHEST, NULL
from fraud_assets.engine.plan import GroupPlan, Ints, ServicePlan
from fraud_assets.features.layout import Acc, AccSpec, Input, OutSpec, Unit
from fraud_assets.features.windows import Window

SUMS = (Acc.COUNT, Acc.SUM)
EXTREMES = (Acc.MIN, Acc.MAX)
WORDS = (*SUMS, Acc.SQUARES, *EXTREMES)


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

    def close(self, alone: bool) -> None:
        """Give every word its row, once all outputs are known. alone: only one source has these events."""
        self.sets = [(job.spec, job.place, _table(job.outs, 9)) for job in self._sets.values()]
        self.rows: dict[tuple[object, ...], int] = {}
        self.height = 0
        self._place_extremes()
        self.totals: dict[tuple[object, ...], tuple[Input, int]] = {}
        self.squares: dict[tuple[object, ...], tuple[Input, int]] = {}
        total_jobs: list[list[int]] = []
        square_jobs: list[list[int]] = []
        for key, (spec, place) in self.specs.items():
            if spec.acc not in EXTREMES:
                item = spec.inputs[0]
                channels, jobs = (self.totals, total_jobs) if spec.acc in SUMS else (self.squares, square_jobs)
                every = alone and spec.acc is Acc.COUNT and _counts_all(item)
                channel = -1 if every else channels.setdefault(item.key(), (item, len(channels)))[1]
                jobs.append([channel, place, self._row(key, spec.width)])
        self.total_jobs, self.square_jobs = _table(total_jobs, 3), _table(square_jobs, 3)
        self.word_outs = _table([self._word_out(*item) for item in self._word_outs], 9)

    def _place_extremes(self) -> None:
        """Windows of one extreme stand in consecutive rows, for one pass fills them all."""
        self.extremes: dict[tuple[object, ...], tuple[AccSpec, list[int], int]] = {}
        wanted: dict[tuple[object, ...], list[tuple[tuple[object, ...], int, AccSpec]]] = {}
        lifetime = [place.window.is_lifetime for place in self.places]
        for key, (spec, place) in self.specs.items():
            if spec.acc in EXTREMES and not lifetime[place]:
                wanted.setdefault(spec.key(), []).append((key, place, spec))
        for name, items in wanted.items():
            self.extremes[name] = items[0][2], [place for _, place, _ in items], self.height
            for key, _, _ in items:
                self._row(key, 1)

        self.n_extremes = self.height
        self.lifetimes = [
            (spec, self._row(key, 1))
            for key, (spec, place) in self.specs.items()
            if spec.acc in EXTREMES and lifetime[place]
        ]
        # What an extreme over nothing is, row by row: the value for a block without events.
        empty = [HIGHEST if spec.acc is Acc.MIN else NULL for spec, places, _ in self.extremes.values() for _ in places]
        self.nothing = np.array(empty, np.int64).reshape(-1, 1)

    def _row(self, key: tuple[object, ...], width: int) -> int:
        self.rows[key] = self.height
        self.height += width
        return self.rows[key]

    def _word_out(self, out: OutSpec, place: int, rows: list[int]) -> list[int]:
        a, b, c = (*[self.rows[(place, *spec.key())] for spec in out.accs], 0, 0)[:3]
        return [int(out.kind), a, b, c, out.accs[0].cap, out.field, *rows]

    @property
    def inputs(self) -> Iterable[Input]:
        """Every input of every accumulator."""
        for spec, _ in self.specs.values():
            yield from spec.inputs
        for spec, _, _ in self.sets:
            yield from spec.inputs


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
        for plan in plans.values():
            plan.close(alone=plan.mask.bit_count() == 1)
        return list(plans.values())
