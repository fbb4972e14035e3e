"""What a request reads, as one array in the order in which it is needed.

A request comes to a processor whose nearest memory others have used since the last one. As tables of 64-bit numbers its
plan takes 80 kB, most of them never looked at, and fetching those took longer than reading the states. So it is one stream
of 32-bit numbers, a quarter of that, which is walked from front to back:

    per group: where its units' part begins, in `code` and in `spans`; number of segments
        per segment: number of windows
            per window: numbers of accumulators, of their columns and of outputs; the accumulators (op, place, cap, parts);
            the outputs (kind, three places, cap, field, slot)
        number of units of the service
            per unit: its segment, number of slots, the slots of its outputs
    number of ratios; per ratio: slots of numerator, denominator, second denominator or -1, its own
    number of served features; the slot of each

`spans` has, in the same order, what 32 bits do not hold: per segment its lateness, per window its length and its tile's,
per unit its time to live, all in ms.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fraud_assets.engine.plan import (
    ACC_CAP,
    ACC_OP,
    ACC_PARTS,
    ACC_PLACE,
    SEG_LATENESS,
    SEG_WINDOWS,
    SEG_WINDOWS_END,
    UNIT_SEGMENT,
    UNIT_TTL,
    WIN_ACCS,
    WIN_ACCS_END,
    WIN_COLUMNS,
    WIN_LENGTH,
    WIN_TILE,
    GroupPlan,
    ServicePlan,
)
from fraud_assets.features.layout import Acc, OutSpec, Unit

ACC_WORDS, OUT_WORDS, RATIO_WORDS = 4, 7, 4
_ACC_COLUMNS = (ACC_OP, ACC_PLACE, ACC_CAP, ACC_PARTS)


class ReadProgram(NamedTuple):
    """code: int32. spans: int64, ms."""

    code: npt.NDArray[np.int32]
    spans: npt.NDArray[np.int64]

    @classmethod
    def of(cls, plan: ServicePlan) -> "ReadProgram":
        code: list[int] = []
        spans: list[int] = []
        outs = _outs_by_window(plan)
        for group in plan.groups:
            _add_group(plan, group, outs, code, spans)
        ratios = _ratios(plan)
        code += [len(ratios), *(word for row in ratios for word in row)]
        code += [len(plan.served), *plan.served.tolist()]
        return cls(np.array(code, np.int32), np.array(spans, np.int64))


def _add_group(
    plan: ServicePlan, group: GroupPlan, outs: dict[int, list[list[int]]], code: list[int], spans: list[int]
) -> None:
    engine, head = plan.engine, len(code)
    code += [0, 0, group.end_segment - group.first_segment]
    for segment in range(group.first_segment, group.end_segment):
        windows = range(int(engine.segments[segment, SEG_WINDOWS]), int(engine.segments[segment, SEG_WINDOWS_END]))
        code.append(len(windows))
        spans.append(int(engine.segments[segment, SEG_LATENESS]))
        for window in windows:
            accs = engine.accs[engine.windows[window, WIN_ACCS] : engine.windows[window, WIN_ACCS_END]]
            mine = outs.get(window, [])
            code += [
                len(accs),
                int(engine.windows[window, WIN_COLUMNS]),
                len(mine),
                *accs[:, _ACC_COLUMNS].ravel().tolist(),
            ]
            code += [word for row in mine for word in row]
            spans += engine.windows[window, [WIN_LENGTH, WIN_TILE]].tolist()
    code[head], code[head + 1] = len(code), len(spans)
    units = [(number, unit) for owner, number, unit in plan.units if owner is group]
    code.append(len(units))
    for number, unit in units:
        slots = [plan.slot(unit, out) for out in unit.outs]
        code += [int(engine.units[number, UNIT_SEGMENT]) - group.first_segment, len(slots), *slots]
        spans.append(int(engine.units[number, UNIT_TTL]))


def _outs_by_window(plan: ServicePlan) -> dict[int, list[list[int]]]:
    """The outputs that the service reads of each of the engine's windows."""
    found: dict[int, list[list[int]]] = {}
    for _, _, unit in plan.units:
        for out in unit.outs:
            window, row = _out(plan, unit, out)
            found.setdefault(window, []).append(row)
    return found


def _out(plan: ServicePlan, unit: Unit, out: OutSpec) -> tuple[int, list[int]]:
    places = [plan.engine.place(unit, out.window, spec) for spec in out.accs]
    a, b, c = (*[place for _, place in places], 0, 0)[:3]
    spec = out.accs[0]
    cap = len(spec.inputs) if spec.acc is Acc.PROFILE else spec.cap
    return places[0][0], [int(out.kind), a, b, c, cap, out.field, plan.slot(unit, out)]


def _ratios(plan: ServicePlan) -> list[list[int]]:
    rows = []
    for _, _, unit in plan.units:
        named = {spec.name: spec for spec in unit.outs}
        for item in unit.ratios:
            below = [plan.slot(unit, named[name]) for name in item.denominators]
            rows.append([plan.slot(unit, named[item.numerator]), *(*below, -1)[:2], plan.slot(unit, item)])
    return rows
