"""How far money could have come out otherwise: the days of some payments drawn again, with replacement."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from fraud_assets.training.run import clusters

RESAMPLES = 2_000  # the ends of an interval then move by some hundredth of its width from seed to seed
SEED = 20_261_129
ENDS = (2.5, 97.5)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Row = dict[str, Any]


class Days:
    """Resamples of the days of some payments, the same for every figure, so that figures differ by what they say and not by the draw.

    Days, for frauds come in attacks: payments drawn one by one would make sums look surer than they are.
    Source: Davison, Hinkley, Bootstrap Methods and their Application (1997), ch. 3.8 (clusters), 5.3 (percentiles).
    """

    def __init__(self, time_ms: Ints) -> None:
        day = clusters(time_ms)
        self._day = day - day.min()  # a day without payments is one too: a sum over days could have had it twice
        self._n = int(self._day.max()) + 1

    @cached_property
    def _weights(self) -> Ints:
        """(RESAMPLES, n_days) how often each day was drawn."""
        drawn: Ints = np.random.default_rng(SEED).multinomial(self._n, np.full(self._n, 1 / self._n), RESAMPLES)
        return drawn

    def sum_of(self, function: Callable[[Ints], float]) -> Row | None:
        """95 % interval of a sum over payments. function: the sum over the payments at the given places; null of one day alone."""
        daily = np.array([function(np.flatnonzero(self._day == day)) for day in range(self._n)])
        return self._interval(self._weights @ daily)

    def share(self, part: Floats, whole: Floats) -> Row | None:
        """95 % interval of a share of sums. part, whole: (n,) of payments. Draws without any of the whole say nothing."""
        above, below = (self._weights @ np.bincount(self._day, values, self._n) for values in (part, whole))
        return self._interval(above[below > 0] / below[below > 0])

    def _interval(self, drawn: Floats) -> Row | None:
        if self._n < 2 or not len(drawn):
            return None
        low, high = np.percentile(drawn, ENDS)
        return {"low": float(low), "high": float(high)}
