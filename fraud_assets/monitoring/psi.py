"""The population stability index over quantiles of a reference: has a column's distribution moved?

Equal-width bins, which most tools use, put nearly all of a skewed amount into one bin and then see
nothing move inside it. Quantiles of the reference hold equal shares of it, wherever its values are.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Column = npt.NDArray[np.floating]

BINS = 10  # tenths, as in the source; more see finer shifts and need as many more rows
# Added to every bin's count: a bin that nobody fell into is rare, not impossible, and a logarithm of 0 is neither.
PSEUDO_COUNT = 0.5


class EmptyBin(ValueError):
    """A share of 0, whose logarithm would say infinity; see `shares`."""


def population_stability_index(expected: Floats, actual: Floats) -> float:
    """Population stability index, in nats: sum of (actual - expected) * ln(actual / expected).

    expected, actual: (n_bins,) shares, each summing to 1. Symmetric, and 0 only where they are equal.
    Below 0.1 nothing has changed, from 0.25 on much has; between them, look.
    Raises EmptyBin if a share of either is 0.
    Source: Siddiqi, Credit Risk Scorecards (2006), ch. 6.
    """
    if not (expected > 0).all() or not (actual > 0).all():
        raise EmptyBin("EmptyBin: a bin holds nothing; give smoothed shares (`shares`).")
    return float(np.sum((actual - expected) * np.log(actual / expected)))


@dataclass(frozen=True)
class Bins:
    """Right-closed bins between `edges`, one below, one above, and one for nulls.

    edges: (k,) ascending values of the reference, none if it was all null.
    """

    edges: Column

    @classmethod
    def of(cls, reference: Column, count: int = BINS) -> "Bins":
        """Quantiles of the reference's values. A value that fills a whole bin becomes one of its own:
        nothing else is mixed with the zeros of a count, and a constant has a bin on either side.
        """
        known = reference[~np.isnan(reference)]
        if not len(known):
            return cls(known)
        quantiles = np.quantile(known, np.arange(1, count) / count, method="inverted_cdf")
        edges, times = np.unique(quantiles, return_counts=True)
        below = np.nextafter(edges[times > 1], known.dtype.type(-np.inf))
        return cls(np.union1d(edges, below))

    def counts(self, values: Column) -> npt.NDArray[np.int64]:
        """(k + 2,) rows in each bin, nulls last."""
        null = np.isnan(values)
        place = np.searchsorted(self.edges, values[~null], side="left")
        found = np.bincount(place, minlength=len(self.edges) + 1)
        return np.append(found, null.sum()).astype(np.int64)


def shares(counts: npt.NDArray[np.int64]) -> Floats:
    """(n_bins,) shares of smoothed counts, none of them 0."""
    smoothed = counts + PSEUDO_COUNT
    found: Floats = smoothed / smoothed.sum()
    return found


def column_psi(reference: Column, current: Column, count: int = BINS) -> float:
    """How far a column has moved from its reference; NaN, not known, where either has no rows.

    reference, current: (n,), (m,); NaN is null and a bin like others, so a column that goes missing has
    moved. Bins that neither fills are left out: two equal constants, or two columns of nulls, give 0.
    """
    if not len(reference) or not len(current):
        return float("nan")
    bins = Bins.of(reference, count)
    expected, actual = bins.counts(reference), bins.counts(current)
    filled = (expected > 0) | (actual > 0)
    return population_stability_index(shares(expected[filled]), shares(actual[filled]))


def by_chance(reference_rows: int, rows: int, count: int = BINS) -> float:
    """What the index is on average where nothing has moved: (bins - 1) * (1 / n + 1 / m).

    It is then nearly (1 / n + 1 / m) times a chi-squared variable of (bins - 1) degrees of freedom.
    Source: Yurdakul, Statistical Properties of Population Stability Index (2018).
    """
    return (count - 1) * (1.0 / reference_rows + 1.0 / rows)
