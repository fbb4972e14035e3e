"""The request execution: states of a few entities, the scored event, and a time → one vector.

`RequestReader.read_many` is the scorer's hot path: one compiled call for all requests of a moment unpacks every state,
merges the tiles in force, divides the ratios and evaluates the request features.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from operator import attrgetter
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np
import numpy.typing as npt

from fraud_assets.engine.plan import WIN_STRIDE, ServicePlan
from fraud_assets.engine.prepare import hash64, hash_once
from fraud_assets.engine.read_program import ReadProgram
from fraud_assets.engine.request_features import compiled_answers
from fraud_assets.engine.state import BEHIND, MAX_POSITIONS, SCRATCH_WORDS, BadState
from fraud_assets.engine.tile_kernels import RECENT
from fraud_assets.features.sources import Field, Kind

NAN = float("nan")
_WORD_BYTES = 8
STATUS_NAMES = ("PRESENT", "STALE", "MISSING")


class Served(NamedTuple):
    """features: (n_features,) float32, NaN for null. status, age_s: per `RequestReader.unit_names`.

    self_included: the scored event is already in a state (DESIGN §3).
    """

    features: npt.NDArray[np.float32]
    status: npt.NDArray[np.int8]
    age_s: npt.NDArray[np.float64]
    self_included: bool


class Read(NamedTuple):
    """Vectors of some events: of each a row of features (n, n_features) float32, NaN for null, and of status and age_s (n, n_units).

    torn: event → the group whose state is torn, or of other views or another format; it has no vector. positions: of each state,
    the log position P as int64 pairs (topic-partition code, offset); nothing of one that is empty or torn.
    """

    features: npt.NDArray[np.float32]
    status: npt.NDArray[np.int8]
    age_s: npt.NDArray[np.float64]
    self_included: list[bool]
    torn: dict[int, str]
    positions: list[bytes]


class States(NamedTuple):
    """Distinct packed states: where each begins and ends in raw, and nothing of an unknown entity. Eight bytes or more are behind the last."""

    raw: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    @classmethod
    def of(cls, packed: Sequence[bytes]) -> Self:
        """Copied, and of the types that a store's are, for which the kernels have been compiled."""
        bounds = np.array([0, *accumulate(map(len, packed))], np.int64)
        return cls(np.frombuffer(bytearray().join([*packed, BEHIND]), np.uint8), bounds[:-1], bounds[1:])


class RequestReader:
    """Reads vectors of one service; holds scratch memory, so one per thread.

    groups: the order in which `read` takes states. entity keys come from `prepare.entity_key`.
    """

    def __init__(self, plan: ServicePlan) -> None:
        self.plan = plan
        self.groups = plan.groups
        self.names = plan.names
        self.unit_names = plan.unit_names
        self._program = ReadProgram.of(plan)
        widest = max(SCRATCH_WORDS, int(plan.engine.windows[:, WIN_STRIDE].max()) + 1)
        self._scratch = (
            np.empty(1 + 2 * MAX_POSITIONS + RECENT, np.int64), *(np.empty(widest, np.int64) for _ in range(3)),
            np.empty(len(plan.engine.segments), np.int64),
        )  # fmt: skip
        self._values = np.empty(len(plan.slots), np.float64)
        self._positions = np.empty(0, np.int64)
        self._scored = [(attrgetter(name), _coding(plan.service.scored.fields[name])) for name in plan.scored_fields]
        self._answer = compiled_answers(plan)
        self._by_group = np.arange(len(plan.groups))[None, :]

    def encode(self, events: Sequence[msgspec.Struct]) -> npt.NDArray[np.float64]:
        """(n, n_scored) the scored events' fields as codes, in value-vector order; NaN where absent."""
        codes = [
            NAN if (value := field(event)) is None else code(value) for event in events for field, code in self._scored
        ]
        return np.array(codes, np.float64).reshape(len(events), len(self._scored))

    def read(self, states: Sequence[bytes | None], event: msgspec.Struct, t: int, scored_id: str = "") -> Served:
        """The vector of `event` at decision time `t` (ms) from packed states in order of `groups`.

        None is an unknown entity: its values are null and its views MISSING. Raises BadState.
        """
        found = self.read_many(States.of([state or b"" for state in states]), self._by_group, [event], [t], [scored_id])
        if found.torn:
            raise BadState(f"BadState: the state of {found.torn[0]} is torn, or of other views or another format.")
        return Served(found.features[0], found.status[0], found.age_s[0], found.self_included[0])

    def read_many(
        self,
        states: States,
        places: Sequence[Sequence[int]] | npt.NDArray[np.int64],
        events: Sequence[msgspec.Struct],
        times: Sequence[int],
        scored_ids: Sequence[str],
    ) -> Read:
        """The vector of each event, as `read` makes it, or which of its states is torn; and the position of each state.

        places (n, n_groups): which of them each event's are, in order of
        `groups`; -1 where the event names no such entity.
        """
        n = len(events)
        features = np.empty((n, len(self.names)), np.float32)
        status, ages = np.empty((n, len(self.unit_names)), np.int8), np.empty((n, len(self.unit_names)), np.float64)
        found, ends = np.empty((2, n), np.int64), np.empty(len(states.starts), np.int64)
        if len(self._positions) < len(states.raw):
            self._positions = np.empty(2 * len(states.raw), np.int64)
        self._answer(
            *self._program, *states, np.asarray(places, np.int64).reshape(n, len(self.groups)), np.array(times, np.int64),
            np.array([hash_once(one) if one else 0 for one in scored_ids], np.int64), *self._scratch, self._values,
            self.encode(events), features, status, ages, found, self._positions, ends,
        )  # fmt: skip
        included, groups = found.tolist()
        torn = {place: self.groups[group].name for place, group in enumerate(groups) if group >= 0}
        return Read(features, status, ages, [one == 1 for one in included], torn, self._cut(ends))

    def _cut(self, ends: npt.NDArray[np.int64]) -> list[bytes]:
        """The positions of states, one after the other up to each end."""
        bounds = [0, *(_WORD_BYTES * ends).tolist()]
        flat = self._positions[: bounds[-1] // _WORD_BYTES].tobytes()
        return [flat[begin:end] for begin, end in pairwise(bounds)]


def _coding(field: Field) -> Callable[[Any], float]:
    """What makes a code of a field's value."""
    if field.kind is Kind.CATEGORY:
        return {value: float(code) for code, value in enumerate(field.vocabulary, start=1)}.__getitem__
    return _hashed if field.kind is Kind.ID else float


def _hashed(text: str) -> float:
    return float(hash64(text))
