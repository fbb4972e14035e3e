"""The Kolmogorov–Smirnov distance: how far apart two columns' distributions are at the place where they are furthest apart.

It sees where a column moved within a bin of the PSI, and misses a tail that grew; the PSI is the other way round.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Distance:
    """distance: 0 where equal, 1 where nothing overlaps. p_value: of no difference at all, which with many rows is always false."""

    distance: float
    p_value: float


def ks_distance(reference: Column, current: Column) -> Distance | None:
    """Of values that are known; None where either side has none. reference, current: (n,), (m,), NaN for null."""
    from scipy.stats import ks_2samp  # half a second, for which nobody who only loads the asset graph should wait

    before, now = (column[~np.isnan(column)] for column in (reference, current))
    if not len(before) or not len(now):
        return None
    # The exact distribution of the p-value takes long, and decides nothing.
    found = ks_2samp(before, now, method="asymp")
    return Distance(float(found.statistic), float(found.pvalue))
