"""What policies earned in one market, beside the best price that each event could have had all along."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from simulator.pricing_market import MULTIPLIERS, Floats, MarketEvent, MarketSpec, Run, Sold, best_fixed, price_at

THIRDS = 3


@dataclass(frozen=True)
class Earned:
    """One policy in one market. revenue_minor; sell_through: share of all tickets. share: of the best fixed prices' revenue.

    regret: (hours,) what these had earned more by then, as a share of all they earn; below 0 where the policy was ahead.
    """

    policy: str
    revenue_minor: float
    sell_through: float
    share: float
    regret: Floats
    by_category: Mapping[str, float]
    broken: Sequence[str]


def earned(events: Sequence[MarketEvent], best: Floats, runs: Mapping[str, Run]) -> list[Earned]:
    """best: (events, hours) revenue of each event's best fixed price."""
    return [
        Earned(
            policy=name,
            revenue_minor=float(run.revenue_minor.sum()),
            sell_through=float(run.tickets.sum() / sum(event.capacity for event in events)),
            share=float(run.revenue_minor.sum() / best.sum()),
            regret=np.asarray((best - run.revenue_minor).sum(axis=0).cumsum() / best.sum()),
            by_category=_by_category(events, run.revenue_minor, best),
            broken=run.broken,
        )
        for name, run in runs.items()
    ]


class Best(NamedTuple):
    """Each event's best fixed price. revenue_minor: (events, hours). plenty: numbers of events that it does not sell out."""

    revenue_minor: Floats
    plenty: frozenset[int]


def best_of(spec: MarketSpec, events: Sequence[MarketEvent]) -> Best:
    """Known afterwards only."""
    found = [best_fixed(spec, event) for event in events]
    plenty = [
        event.number
        for event, (multiplier, revenue) in zip(events, found, strict=True)
        if revenue.sum() / price_at(event, multiplier) < event.capacity
    ]
    return Best(np.array([revenue for _, revenue in found]), frozenset(plenty))


@dataclass(frozen=True)
class Learning:
    """Regret by third of an event's own selling time, by the true demand: no luck is in it, and no shortage.

    lost, there: (events, THIRDS) what prices lost against the best one, and what that would have earned; of events whose best
    fixed price does not sell out. It is what learning has to bring down.
    """

    lost: Floats
    there: Floats

    @classmethod
    def of(cls, plenty: frozenset[int], sold: Sequence[Sold]) -> Self:
        places = {number: place for place, number in enumerate(sorted(plenty))}
        lost, there = np.zeros((len(places), THIRDS)), np.zeros((len(places), THIRDS))
        for one in sold:
            event = one.event
            if event.number in places:
                at = places[event.number], THIRDS * (one.hour - event.opens) // (event.starts - event.opens)
                most = max(multiplier * event.demand(multiplier) for multiplier in MULTIPLIERS)
                asked = one.price_minor / event.base_price_minor
                there[at] += one.visitors * event.base_price_minor * most
                lost[at] += one.visitors * event.base_price_minor * (most - asked * event.demand(asked))
        return cls(lost, there)

    @classmethod
    def pooled(cls, every: Sequence[Self]) -> Self:
        """Of several markets' events."""
        return cls(np.vstack([one.lost for one in every]), np.vstack([one.there for one in every]))

    @property
    def shares(self) -> list[float]:
        """By third: lost, as a share of what was there."""
        return [float(share) for share in self.lost.sum(axis=0) / self.there.sum(axis=0)]

    def fall(self, earlier: int, later: int) -> tuple[float, float]:
        """By how much less of what is there is lost in a later third, and its standard error: events are independent of each other."""
        moved = self._around(earlier) - self._around(later)
        shares = self.shares
        return shares[earlier] - shares[later], float(np.sqrt((moved**2).sum()))

    def _around(self, third: int) -> Floats:
        """(events,) by how much each moves the third's share."""
        there = self.there[:, third]
        return np.asarray((self.lost[:, third] - self.shares[third] * there) / there.sum())


def _by_category(events: Sequence[MarketEvent], revenue_minor: Floats, best: Floats) -> dict[str, float]:
    found = {}
    for category in sorted({event.category.value for event in events}):
        places = [event.number for event in events if event.category.value == category]
        found[category] = float(revenue_minor[places].sum() / best[places].sum())
    return found
