"""Have a model's scores moved from those it gave to payments that it had not learnt from?"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from fraud_assets.monitoring.drift import DRIFTED, MIN_ROWS, SEVERE
from fraud_assets.monitoring.ks import ks_distance
from fraud_assets.monitoring.psi import by_chance, column_psi

Floats = npt.NDArray[np.float64]

# The distance at which somebody looks, and at which it is an error. Two samples of MIN_ROWS from one distribution are 0.15 apart once in
# forty days; of thousands never, and then it says that for a seventh of the payments another score is given than would have been.
FAR = 0.15
TOO_FAR = 0.25


class State(StrEnum):
    """Whether a day could be judged, and why not."""

    JUDGED = "judged"
    NO_CHAMPION = "no_champion"
    NOTHING_DECIDED = "nothing_decided"
    NO_REFERENCE = "no_reference"
    TOO_FEW = "too_few"


@dataclass(frozen=True)
class Shift:
    """Effects decide, not the p-value: of a million payments every difference is significant. None where not measured.

    psi: over tenths of the reference (psi.py), by_chance: what it is where nothing has moved. ks: ks.py.
    """

    state: State
    rows: int
    reference_rows: int
    psi: float | None = None
    by_chance: float | None = None
    ks: float | None = None
    ks_p_value: float | None = None

    @property
    def within_bounds(self) -> bool:
        return not self._beyond(DRIFTED, FAR)

    @property
    def severe(self) -> bool:
        return self._beyond(SEVERE, TOO_FAR)

    def _beyond(self, psi: float, ks: float) -> bool:
        return self.state is State.JUDGED and ((self.psi or 0.0) > psi or (self.ks or 0.0) > ks)


def shift_between(reference: Floats, current: Floats, *, has_champion: bool) -> Shift:
    """A day's scores against those to expect; measured also where there are too few to judge."""
    rows, before = len(current), len(reference)
    if not rows:
        return Shift(State.NOTHING_DECIDED if has_champion else State.NO_CHAMPION, rows, before)
    if not before:
        return Shift(State.NO_REFERENCE, rows, before)
    apart = ks_distance(reference, current)
    return Shift(
        State.JUDGED if min(rows, before) >= MIN_ROWS else State.TOO_FEW,
        rows,
        before,
        column_psi(reference, current),
        by_chance(before, rows),
        apart.distance if apart else None,
        apart.p_value if apart else None,
    )
