"""How near a world comes to payments that others made: distances of marginals, differences of figures, and what is tolerated.

Ticket buyers pay more and more seldom than the cardholders of the Handbook and of Sparkov, so amounts and gaps are compared in shape:
each over its own data's median or mean, in powers of ten. Tolerances are declared here, before the figures are seen; how far the two
references lie from each other stands beside them, for they are simulated too, and agree on little.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import ks_2samp, wasserstein_distance

from simulator.reference import Payments
from simulator.spec import DAY_MS, HOUR_MS
from simulator.world import Flags, Floats, Ints

_NIGHT_HOURS = 6
_SAMPLE = 200_000  # of a distribution: more changes no third digit


@dataclass(frozen=True)
class Marginal:
    """A distribution to compare. ks, wasserstein: the distances tolerated, the second in `unit`."""

    name: str
    unit: str
    of: Callable[[Payments], Floats]
    ks: float
    wasserstein: float


@dataclass(frozen=True)
class Figure:
    """One number to compare. tolerance: how far from a reference it may lie, as a factor if `is_factor`, else as a difference."""

    name: str
    of: Callable[[Payments], float]
    tolerance: float
    is_factor: bool = False


@dataclass(frozen=True)
class Compared:
    """A line of the report. value: a distance, or our figure; reference: None for a distance, else theirs. between: the same of the two
    references, None with one alone. off: how far, in the unit of `tolerance`.
    """

    measure: str
    against: str
    value: float
    reference: float | None
    off: float
    tolerance: float
    between: float | None

    @property
    def is_within(self) -> bool:
        return bool(self.off <= self.tolerance)


def amount_shape(payments: Payments) -> Floats:
    """(n,) log10 of the amount over the median amount."""
    return np.asarray(np.log10(payments.amount / np.median(payments.amount)), dtype=np.float64)


def gaps(payments: Payments) -> Floats:
    """Log10 of the time between an account's payments over its mean; a millisecond at least."""
    gap_ms = np.maximum(_gaps_ms(payments)[0], 1)
    return np.asarray(np.log10(gap_ms / gap_ms.mean()), dtype=np.float64)


def hours(payments: Payments) -> Floats:
    """(n,) hour of the day, as the data's own clock has it."""
    return np.asarray((payments.time_ms % DAY_MS) / HOUR_MS, dtype=np.float64)


def _gaps_ms(payments: Payments) -> tuple[Ints, Ints]:
    """Time since the account's payment before, and the place of each payment that has one."""
    order = np.lexsort((payments.time_ms, payments.account))
    same = np.diff(payments.account[order]) == 0
    return np.diff(payments.time_ms[order])[same], order[1:][same]


def gini(codes: Ints) -> float:
    """Of the payments of those who have any: 0 all alike, 1 all are one's."""
    count = np.sort(np.unique(codes, return_counts=True)[1])
    n = len(count)
    return float((2 * np.arange(1, n + 1) - n - 1) @ count / (n * count.sum()))


def top_share(codes: Ints) -> float:
    """Share of payments of the busiest hundredth, one at least."""
    count = np.sort(np.unique(codes, return_counts=True)[1])[::-1]
    return float(count[: max(1, len(count) // 100)].sum() / count.sum())


def fraud_share(payments: Payments) -> float:
    return float(payments.is_fraud.mean())


def fraud_amount_ratio(payments: Payments) -> float:
    """Median amount of frauds over that of honest payments."""
    return float(np.median(payments.amount[payments.is_fraud]) / np.median(payments.amount[~payments.is_fraud]))


def burst_ratio(payments: Payments) -> float:
    """How much likelier a fraud than an honest payment is to follow another of its account within the hour."""
    gap_ms, row = _gaps_ms(payments)
    soon = np.zeros(len(payments), dtype=bool)
    soon[row[gap_ms < HOUR_MS]] = True
    return _ratio(soon, payments.is_fraud)


def night_ratio(payments: Payments) -> float:
    """How much likelier a fraud than an honest payment is to be made before six."""
    return _ratio(hours(payments) < _NIGHT_HOURS, payments.is_fraud)


def frauds_per_victim(payments: Payments) -> float:
    """Mean frauds of the accounts that have any."""
    return float(payments.is_fraud.sum() / max(1, len(np.unique(payments.account[payments.is_fraud]))))


def _ratio(has: Flags, is_fraud: Flags) -> float:
    return float(has[is_fraud].mean() / max(has[~is_fraud].mean(), 1e-9))


MARGINALS = (
    Marginal("amount over its median", "powers of ten", amount_shape, ks=0.15, wasserstein=0.15),
    Marginal("gap of an account over its mean", "powers of ten", gaps, ks=0.15, wasserstein=0.25),
    Marginal("hour of day", "hours", hours, ks=0.20, wasserstein=2.5),
)
FIGURES = (
    Figure("accounts: share of the busiest 1 %", lambda p: top_share(p.account), 0.05),
    Figure("accounts: Gini", lambda p: gini(p.account), 0.15),
    Figure("receivers: share of the busiest 1 %", lambda p: top_share(p.receiver), 0.15),
    Figure("receivers: Gini", lambda p: gini(p.receiver), 0.25),
    Figure("fraud share", fraud_share, 3.0, is_factor=True),
    Figure("amount, fraud over honest", fraud_amount_ratio, 3.0, is_factor=True),
    Figure("within an hour of another, fraud over honest", burst_ratio, 3.0, is_factor=True),
    Figure("before six, fraud over honest", night_ratio, 3.0, is_factor=True),
    Figure("frauds per account that has any", frauds_per_victim, 3.0, is_factor=True),
)


def compared(ours: Payments, others: Sequence[Payments]) -> list[Compared]:
    """Every measure against every reference."""
    return [
        *(line for marginal in MARGINALS for line in _distances(marginal, ours, others)),
        *(line for figure in FIGURES for line in _differences(figure, ours, others)),
    ]


def _distances(marginal: Marginal, ours: Payments, others: Sequence[Payments]) -> list[Compared]:
    lines = []
    values = {each.name: _thinned(marginal.of(each)) for each in (ours, *others)}
    for name, distance, tolerance in (
        ("KS", _ks, marginal.ks),
        (f"Wasserstein, {marginal.unit}", _wasserstein, marginal.wasserstein),
    ):
        between = distance(*(values[each.name] for each in others)) if len(others) == 2 else None
        for other in others:
            reached = distance(values[ours.name], values[other.name])
            measure = f"{marginal.name} ({name})"
            lines.append(Compared(measure, other.name, reached, None, reached, tolerance, between))
    return lines


def _ks(one: Floats, other: Floats) -> float:
    return float(ks_2samp(one, other, method="asymp").statistic)


def _wasserstein(one: Floats, other: Floats) -> float:
    return float(wasserstein_distance(one, other))


def _thinned(values: Floats) -> Floats:
    """Evenly, in order of size: the same distribution in fewer values."""
    if len(values) <= _SAMPLE:
        return values
    return np.sort(values)[np.linspace(0, len(values) - 1, _SAMPLE).round().astype(np.int64)]


def _differences(figure: Figure, ours: Payments, others: Sequence[Payments]) -> list[Compared]:
    mine, theirs = figure.of(ours), [figure.of(other) for other in others]
    between = _off(figure, *theirs) if len(theirs) == 2 else None
    return [
        Compared(figure.name, other.name, mine, value, _off(figure, mine, value), figure.tolerance, between)
        for other, value in zip(others, theirs, strict=True)
    ]


def _off(figure: Figure, one: float, other: float) -> float:
    """As a difference, or as the factor by which the larger is larger: infinite beside 0."""
    if not figure.is_factor:
        return abs(one - other)
    low, high = sorted((one, other))
    return high / low if low > 0 else float("inf")


def as_json(ours: Payments, others: Sequence[Payments], lines: Sequence[Compared]) -> Mapping[str, object]:
    """The line that the command prints."""
    return {
        "name": "simulator.realism",
        "ours": {"name": ours.name, "payments": len(ours), "fraud_share": round(fraud_share(ours), 5)},
        "references": {other.name: len(other) for other in others},
        "within": sum(line.is_within for line in lines),
        "of": len(lines),
        "measures": [
            {
                "measure": line.measure,
                "against": line.against,
                **{
                    name: value if value is None or not np.isfinite(value) else round(value, 4)
                    for name, value in vars(line).items()
                    if name not in ("measure", "against")
                },
                "within": line.is_within,
            }
            for line in lines
        ],
    }
