"""What another way to price would have earned, from the log of this one: no price is asked anew. Pure but for reading lines.

An interval's reward is revenue per visitor in base prices: multiplier × tickets ÷ visitors. It says nothing of what selling out
earlier or later would have changed. Sources: Horvitz and Thompson (1952); Swaminathan and Joachims (2015); Dudík et al. (2011).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec
import numpy as np

from api.pricing.contract import Record
from api.pricing.demand import Floats

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


class Estimate(NamedTuple):
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


class _Outcome(NamedTuple):
    price_minor: int
    tickets: float
    visitors: float


class _Line(msgspec.Struct):
    """A log line of ours, as far as it is about this."""

    event: str = ""
    record: Record | None = None
    event_id: str = ""
    interval_start_ms: int = 0
    price_minor: int = 0
    tickets_sold: float = 0.0
    visitors: float = 0.0


_line = msgspec.json.Decoder(_Line).decode


def logged(lines: Iterable[bytes]) -> list[Decided]:
    """The draws of a service's log that were followed and have an outcome, in order."""
    records, outcomes = dict[tuple[str, int], Record](), dict[tuple[str, int], _Outcome]()
    for raw in lines:
        if b'"price_' not in raw:
            continue
        line = _line(raw)
        if line.event == "price_recommended" and line.record is not None and line.record.belief is not None:
            said = line.record.recommendation
            records.setdefault((said.event_id, said.interval_start_ms), line.record)
        elif line.event == "price_outcome":
            outcomes[line.event_id, line.interval_start_ms] = _Outcome(line.price_minor, line.tickets_sold, line.visitors)  # fmt: skip
    found = [_decided(record, outcomes[key]) for key, record in records.items() if key in outcomes]
    return [one for one in found if one is not None]


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


def _decided(record: Record, outcome: _Outcome) -> Decided | None:
    said = record.recommendation
    if outcome.price_minor != said.price_minor or said.multiplier is None or not outcome.visitors:
        return None
    multipliers = np.array([one.multiplier for one in said.choices])
    return Decided(
        said.event_id, said.interval_start_ms, outcome.visitors, said.multiplier * outcome.tickets / outcome.visitors,
        int(np.isclose(multipliers, said.multiplier).argmax()), multipliers,
        np.array([one.propensity for one in said.choices]),
        np.array([one.multiplier * one.tickets_per_visitor for one in said.choices]),
    )  # fmt: skip


def _clustered_se(event_ids: list[str], visitors: Floats, residuals: Floats) -> float:
    _, places = np.unique(event_ids, return_inverse=True)
    sums = np.bincount(places, weights=visitors * residuals)
    return float(np.sqrt((sums**2).sum()) / visitors.sum())
