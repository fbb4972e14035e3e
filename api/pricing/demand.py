"""What is believed of an event's demand: a Gamma-Poisson model of tickets per visitor for each price sensitivity.

At multiplier m of the base price a visitor buys level · exp(−s · (m − 1)) tickets. The sensitivity s lies on a grid, and given
s the level is Gamma: so the posterior is exact, a weight for each s and a Gamma beside it, and what is sold at one price says
something of the others. Pure: no clock, no store, no randomness but the one handed in.
"""

from typing import NamedTuple, Self

import msgspec
import numpy as np
import numpy.typing as npt

from fraud_assets.contracts.prices import DemandBelief

Floats = npt.NDArray[np.float64]

SENSITIVITIES: Floats = np.linspace(0.2, 2.6, 25)
"""Of which the best multiplier without shortage is 1/s: 5 to 0.4."""

# Before anything is known: that the base price is about right, and that one visitor in twenty buys.
_SENSITIVITY, _SENSITIVITY_SD = 1.0, 0.5
_TICKETS_PER_VISITOR = 0.05
# Levels of events differ by two thirds of their mean: a Gamma of this shape.
_LEVEL_SHAPE = 2.0
# Of the category's conversion before it is measured: as much as so many visitors say.
_CATEGORY_VISITORS = 200.0
# Sensitivities of one category's events differ by this much.
_WITHIN_CATEGORY_SD = 0.2


def _bells(sd: float) -> Floats:
    """(n, n): for a category's sensitivity, in each row, those of its events."""
    bells = np.exp(-0.5 * ((SENSITIVITIES[:, None] - SENSITIVITIES[None, :]) / sd) ** 2)
    return np.asarray(bells / bells.sum(axis=1, keepdims=True))


_COLD: Floats = -0.5 * ((SENSITIVITIES - _SENSITIVITY) / _SENSITIVITY_SD) ** 2
_AMONG_EVENTS = _bells(_WITHIN_CATEGORY_SD)


class EventCounts(msgspec.Struct, frozen=True):
    """What was sold at each multiplier, and how many saw it: both halved every half-life before `at_ms`.

    intervals: how many were counted, halved too. said: what its outcomes have said of the category's sensitivity, as log
    likelihoods, halved as the category's are. opened_ms: when the first of them began.
    """

    at_ms: int
    tickets: list[float]
    visitors: list[float]
    intervals: float
    said: list[float]
    opened_ms: int = 0

    @classmethod
    def nothing(cls, n_multipliers: int, at_ms: int) -> Self:
        return cls(at_ms, [0.0] * n_multipliers, [0.0] * n_multipliers, 0.0, [0.0] * len(SENSITIVITIES), at_ms)

    @property
    def per_interval(self) -> float | None:
        """Visitors; None before an interval was counted."""
        return sum(self.visitors) / self.intervals if self.intervals else None

    def aged(self, now_ms: int, half_life_ms: float, category_half_life_ms: float) -> Self:
        """As of a later moment; an earlier one changes nothing."""
        kept = halved(now_ms - self.at_ms, half_life_ms)
        said = halved(now_ms - self.at_ms, category_half_life_ms)
        return msgspec.structs.replace(
            self,
            at_ms=max(self.at_ms, now_ms),
            tickets=[kept * one for one in self.tickets],
            visitors=[kept * one for one in self.visitors],
            intervals=kept * self.intervals,
            said=[said * one for one in self.said],
        )

    def with_outcome(self, place: int, tickets: float, visitors: float, said: Floats, began_ms: int = 0) -> Self:
        """And this interval at the multiplier of that place. began_ms: when it began."""
        sold, seen = list(self.tickets), list(self.visitors)
        sold[place] += tickets
        seen[place] += visitors
        told = (np.array(self.said) + said).tolist()
        return msgspec.structs.replace(
            self, tickets=sold, visitors=seen, intervals=self.intervals + 1.0, said=told, opened_ms=min(self.opened_ms, began_ms)
        )  # fmt: skip


class CategoryBelief(NamedTuple):
    """What a category's events have said together. said: log likelihoods of its sensitivity. tickets, visitors: at the base price."""

    said: Floats
    tickets: float
    visitors: float

    @classmethod
    def nothing(cls) -> Self:
        return cls(np.zeros(len(SENSITIVITIES)), 0.0, 0.0)

    @property
    def tickets_per_visitor(self) -> float:
        return (self.tickets + _CATEGORY_VISITORS * _TICKETS_PER_VISITOR) / (self.visitors + _CATEGORY_VISITORS)


def sensitivity_of(belief: DemandBelief) -> tuple[float, float]:
    """Mean and standard deviation."""
    weights = np.array(belief.weights)
    mean = float(weights @ SENSITIVITIES)
    return mean, float(np.sqrt(weights @ (SENSITIVITIES - mean) ** 2))


def sampled(belief: DemandBelief, multipliers: Floats, n: int, rng: np.random.Generator) -> Floats:
    """(n, n_multipliers) tickets per visitor, each row of one demand that may be."""
    place = rng.choice(len(SENSITIVITIES), size=n, p=np.array(belief.weights))
    level = rng.standard_gamma(belief.shape, size=n) / np.array(belief.rates)[place]
    return np.asarray(level[:, None] * falls(multipliers)[place])


def falls(multipliers: Floats) -> Floats:
    """(n_sensitivities, n_multipliers): what is left of the base price's demand."""
    return np.asarray(np.exp(-SENSITIVITIES[:, None] * (multipliers[None, :] - 1.0)))


def halved(age_ms: float, half_life_ms: float) -> float:
    """What is left of a count after so long."""
    return float(0.5 ** (max(age_ms, 0.0) / half_life_ms))


def believed(counts: EventCounts, category: CategoryBelief, multipliers: Floats, dispersion: float) -> DemandBelief:
    """The event's posterior, from a prior that the category's other events make.

    dispersion: variance of tickets over that of a Poisson: people come in company, and so many tickets say as much as one.
    """
    others = _COLD + category.said - np.array(counts.said)
    of_category = np.exp(others - others.max())
    prior = (of_category / of_category.sum()) @ _AMONG_EVENTS
    evidence, rates = _evidence(counts, category.tickets_per_visitor, multipliers, dispersion)
    log_weights = np.log(prior + 1e-300) + evidence
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    return DemandBelief(weights.tolist(), _LEVEL_SHAPE + sum(counts.tickets) / dispersion, rates.tolist())


def says(
    counts: EventCounts, place: int, tickets: float, visitors: float, category: CategoryBelief,
    multipliers: Floats, dispersion: float,
) -> Floats:  # fmt: skip
    """What one more interval says of the category's sensitivity: its log likelihood given the event's own past."""
    level = category.tickets_per_visitor
    before, _ = _evidence(counts, level, multipliers, dispersion)
    told = counts.with_outcome(place, tickets, visitors, np.zeros(len(SENSITIVITIES)))
    after, _ = _evidence(told, level, multipliers, dispersion)
    said = after - before
    return np.asarray(said - said.max())  # of likelihoods only their ratios count, and these stay small


def at_base_price(visitors: float, multiplier: float) -> float:
    """So many visitors at the base price would have bought as much."""
    return float(visitors * np.exp(-_SENSITIVITY * (multiplier - 1.0)))


def _evidence(counts: EventCounts, level: float, multipliers: Floats, dispersion: float) -> tuple[Floats, Floats]:
    """(log marginal likelihood, rate of the level's posterior) of each sensitivity; terms that all share are left out."""
    tickets, visitors = np.array(counts.tickets) / dispersion, np.array(counts.visitors) / dispersion
    rates = _LEVEL_SHAPE / level + falls(multipliers) @ visitors
    fell = -SENSITIVITIES * float(tickets @ (multipliers - 1.0))
    return fell - (_LEVEL_SHAPE + tickets.sum()) * np.log(rates), rates
