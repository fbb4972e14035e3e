"""The request execution: states of a few entities, the scored event, and a time → one vector.

`RequestReader.read` is the scorer's hot path: one compiled call unpacks every state, merges the
tiles in force, divides the ratios and evaluates the request features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from fraud_assets.engine import read_kernels as kernels
from fraud_assets.engine.plan import ServicePlan
from fraud_assets.engine.prepare import hash64
from fraud_assets.engine.request_features import compiled
from fraud_assets.engine.state import MAX_POSITIONS, NOTHING, SCRATCH_WORDS, BadState
from fraud_assets.engine.tile_kernels import RECENT
from fraud_assets.features.sources import Field, Kind

NAN = float("nan")
STATUS_NAMES = ("PRESENT", "STALE", "MISSING")


@dataclass(frozen=True)
class Served:
    """features: (n_features,) float32, NaN for null. status, age_s: per `RequestReader.unit_names`.

    self_included: the scored event is already in a state (DESIGN §3).
    """

    features: npt.NDArray[np.float32]
    status: npt.NDArray[np.int8]
    age_s: npt.NDArray[np.float64]
    self_included: bool


class RequestReader:
    """Reads vectors of one service; holds scratch memory, so one per thread.

    groups: the order in which `read` takes states. entity keys come from `prepare.entity_key`.
    """

    def __init__(self, plan: ServicePlan) -> None:
        self.plan = plan
        self.groups = plan.groups
        self.names = plan.names
        self.unit_names = tuple(f"{unit.view.name}@{group.name}" for group, _, unit in plan.units)
        self._unit_numbers = np.array([number for _, number, _ in plan.units], np.int64)
        ranges = [[g.first_unit, g.end_unit, g.first_segment, g.end_segment] for g in plan.groups]
        self._ranges = np.array(ranges, np.int64).reshape(-1, 4)
        engine = plan.engine
        widest = max(SCRATCH_WORDS, int(engine.windows[:, 2].max()) + 1)
        self._tables = (
            engine.units,
            engine.segments,
            engine.windows,
            engine.accs,
            plan.outs,
            plan.window_outs,
            *plan.unit_slots,
            plan.ratios,
            self._ranges,
        )
        self._scratch = (
            np.empty(1 + 2 * MAX_POSITIONS + RECENT, np.int64), *(np.empty(widest, np.int64) for _ in range(3)),
            np.empty(len(engine.segments), np.int64),
        )  # fmt: skip
        self._values = np.empty(len(plan.slots), np.float64)
        self._status = np.empty(len(plan.engine.units), np.int8)
        self._ages = np.empty(len(plan.engine.units), np.float64)
        self._starts = np.zeros(len(plan.groups) + 1, np.int64)
        self._scored = [(name, *_coding(plan.service.scored.fields[name])) for name in plan.scored_fields]
        self._request = compiled(plan)

    def encode(self, event: msgspec.Struct) -> list[float]:
        """The scored event's fields as float64 codes, in value-vector order; NaN where absent."""
        found = []
        for name, codes, hashed in self._scored:
            value = getattr(event, name)
            if value is None:
                found.append(NAN)
            elif codes is not None:
                found.append(codes[value])
            else:
                found.append(float(hash64(value) if hashed else value))
        return found

    def read(self, states: Sequence[bytes | None], event: msgspec.Struct, t: int, scored_id: str = "") -> Served:
        """The vector of `event` at decision time `t` (ms) from packed states in order of `groups`.

        None is an unknown entity: its values are null and its views MISSING. Raises BadState.
        """
        raw = b"".join(state for state in states if state)
        at = 0
        for place, state in enumerate(states):
            at += len(state) if state else 0
            self._starts[place + 1] = at
        values = self._values
        encoded = self.encode(event)
        values[: len(encoded)] = encoded
        included, torn = kernels.read_request(  # type: ignore[call-arg]  # mypy cannot count two starred tuples
            *self._tables, np.frombuffer(raw, np.uint8) if raw else NOTHING, self._starts, t, hash64(scored_id) if scored_id else 0,
            *self._scratch, values, self._status, self._ages,
        )  # fmt: skip
        if torn >= 0:
            raise BadState(
                f"BadState: the state of {self.groups[torn].name} is torn, or of other views or another format."
            )
        self._request(values)
        return Served(
            values[self.plan.served].astype(np.float32),
            self._status[self._unit_numbers],
            self._ages[self._unit_numbers],
            bool(included),
        )


def _coding(field: Field) -> tuple[dict[str, float] | None, bool]:
    """(codes of a category's values or None, whether the field is an identifier)."""
    codes = {value: float(code) for code, value in enumerate(field.vocabulary, start=1)}
    return (codes if field.kind is Kind.CATEGORY else None), field.kind is Kind.ID
