"""What another way to price would have earned, from what the lake has of this one: no price is asked anew.

An interval's reward is revenue per visitor in base prices: multiplier × tickets ÷ visitors. It says nothing of what selling out
earlier or later would have changed. Sources: Horvitz and Thompson (1952); Swaminathan and Joachims (2015); Dudík et al. (2011).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fraud_assets.contracts.prices import UNCLAIMED, PriceDecision, PricedInterval
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import to_events

Floats = npt.NDArray[np.float64]

_EXACT = 1e-6
Target = Callable[["Decided"], Floats | None]
"""Chances that a policy gives each multiplier; None where the log cannot speak of it, as it forbids what the policy would do."""


class Decided(NamedTuple):
    """One logged draw with what became of it. modelled: expected reward of each multiplier, as believed then."""

    event_id: str
    interval_start_ms: int
    visitors: float
    reward: float
    place: int
    multipliers: Floats
    propensities: Floats
    modelled: Floats


@dataclass(frozen=True)
class Estimate:
    """Revenue per visitor in base prices. covered: share of visitors that the log can speak of; effective: decisions it amounts to.

    doubly_robust_se: standard error, events being independent of each other and hours of one event not.
    """

    inverse_propensity: float
    self_normalised: float
    doubly_robust: float
    doubly_robust_se: float
    covered: float
    effective: float
    decisions: int


def logged(lake: Lake, from_ms: int | None = None, to_ms: int | None = None) -> list[Decided]:
    """The lake's draws of intervals that begin in [from_ms, to_ms), were followed and have an outcome, in the order of their log."""
    outcomes = {one.decision_id: one for one in to_events(PricedInterval, lake.scan("price_outcomes", from_ms, to_ms))}
    made = to_events(PriceDecision, lake.scan("price_decisions", from_ms, to_ms))
    found = [_decided(one, outcomes[one.decision_id]) for one in made if one.decision_id in outcomes]
    return [one for one in found if one is not None]


class Faults(NamedTuple):
    """What a log should have none of: draws that no such chances allow, and intervals of an event with several prices."""

    not_drawn_so: int
    several_prices: int


def faults_of(lake: Lake, from_ms: int | None = None, to_ms: int | None = None) -> Faults:
    """Of all decisions whose intervals begin in [from_ms, to_ms). Prices given while Redis was away were nobody's claim."""
    made = to_events(PriceDecision, lake.scan("price_decisions", from_ms, to_ms))
    prices = dict[tuple[str, int], set[int]]()
    for one in made:
        if UNCLAIMED not in one.fallback:
            prices.setdefault((one.event_id, one.event_time_ms), set()).add(one.price_minor)
    return Faults(
        sum(one.multiplier is not None and not _is_drawn_so(one) for one in made),
        sum(len(several) > 1 for several in prices.values()),
    )


def _is_drawn_so(made: PriceDecision) -> bool:
    chosen = [one for one in made.choices if one.multiplier == made.multiplier]
    return (
        len(chosen) == 1
        and chosen[0].price_minor == made.price_minor
        and chosen[0].propensity > 0
        and not any(one.forbidden_by and one.propensity > 0 for one in made.choices)
        and abs(sum(one.propensity for one in made.choices) - 1.0) < _EXACT
    )


def always(multiplier: float) -> Target:
    """One multiplier wherever the rails permit it."""

    def chances(one: Decided) -> Floats | None:
        wanted = np.isclose(one.multipliers, multiplier)
        return wanted.astype(np.float64) if one.propensities[wanted].sum() > 0 else None

    return chances


def as_logged(one: Decided) -> Floats | None:
    """The policy that wrote the log: its estimate must be what was really earned."""
    return one.propensities


def greedy(one: Decided) -> Floats | None:
    """The permitted multiplier that was believed to earn most, without trying any other."""
    best = np.where(one.propensities > 0, one.modelled, -1.0).argmax()
    return np.asarray(np.eye(len(one.multipliers))[best])


TARGETS: Mapping[str, Target] = {"as logged": as_logged, "greedy": greedy, "base price": always(1.0)}


def estimate(decided: Iterable[Decided], target: Target) -> Estimate:
    """Of the covered decisions, weighted by visitors. Raises ValueError if none is."""
    every = list(decided)
    pairs = [(one, chances) for one in every if (chances := target(one)) is not None]
    if not pairs:
        raise ValueError("no decision of this log permits what the policy would do")
    visitors = np.array([one.visitors for one, _ in pairs])
    weights = np.array([chances[one.place] / one.propensities[one.place] for one, chances in pairs])
    rewards = np.array([one.reward for one, _ in pairs])
    modelled = np.array([one.modelled[one.place] for one, _ in pairs])
    expected = np.array([float(chances @ one.modelled) for one, chances in pairs])
    robust = expected + weights * (rewards - modelled)
    mean = float(visitors @ robust / visitors.sum())
    return Estimate(
        inverse_propensity=float(visitors @ (weights * rewards) / visitors.sum()),
        self_normalised=float(visitors @ (weights * rewards) / (visitors @ weights)) if weights.any() else float("nan"),
        doubly_robust=mean,
        doubly_robust_se=_clustered_se([one.event_id for one, _ in pairs], visitors, robust - mean),
        covered=float(visitors.sum() / sum(one.visitors for one in every)),
        effective=float(weights.sum() ** 2 / (weights @ weights)) if weights.any() else 0.0,
        decisions=len(pairs),
    )


def _decided(made: PriceDecision, outcome: PricedInterval) -> Decided | None:
    if outcome.price_minor != made.price_minor or made.multiplier is None or not outcome.visitors:
        return None
    multipliers = np.array([one.multiplier for one in made.choices])
    return Decided(
        made.event_id, made.event_time_ms, outcome.visitors, made.multiplier * outcome.tickets_sold / outcome.visitors,
        int(np.isclose(multipliers, made.multiplier).argmax()), multipliers,
        np.array([one.propensity for one in made.choices]),
        np.array([one.multiplier * one.tickets_per_visitor for one in made.choices]),
    )  # fmt: skip


def _clustered_se(event_ids: list[str], visitors: Floats, residuals: Floats) -> float:
    _, places = np.unique(event_ids, return_inverse=True)
    sums = np.bincount(places, weights=visitors * residuals)
    return float(np.sqrt((sums**2).sum()) / visitors.sum())
