"""A seeded market of events whose buyers mind the price, and the policies that price them.

How much they mind is the world's secret. Every policy meets the same visitors, who would each pay up to their own price: what
differs between two runs of a seed is what was asked. Prices hold for an hour.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fraud_assets.contracts.events import Category

Floats = npt.NDArray[np.float64]

HOUR_MS = 3_600_000
MULTIPLIERS = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)
MAX_CHANGE = 0.15
STEP_MINOR = 10
_TICKETS_AT_ONCE = (1, 2, 2, 3, 4)
_CATEGORY_SENSITIVITY = {
    Category.CONCERT: 0.75, Category.FAMILY: 1.45, Category.SPORT: 0.95, Category.CULTURE: 1.25, Category.COMEDY: 1.05,
}  # fmt: skip
_SENSITIVITY_SD = 0.12
_BELOW_ZERO_IS_FREE = 0.3


@dataclass(frozen=True)
class MarketSpec:
    """hours: of the market. Events open one after the other in its first half and sell for as long as selling_hours says."""

    seed: int
    events: int = 40
    hours: int = 240
    selling_hours: tuple[int, int] = (96, 168)


@dataclass(frozen=True)
class MarketEvent:
    """One event. tickets_per_visitor, sensitivity: of its demand, which nobody but the world knows.

    opens, starts: hours of the market. visitors: of each hour from opens to starts.
    """

    number: int
    event_id: str
    category: Category
    base_price_minor: int
    capacity: int
    opens: int
    starts: int
    tickets_per_visitor: float
    sensitivity: float
    visitors: npt.NDArray[np.int64] = field(repr=False)

    def demand(self, multiplier: float) -> float:
        """Expected tickets per visitor."""
        return float(self.tickets_per_visitor * np.exp(-self.sensitivity * (multiplier - 1.0)))

    def wanted(self, seed: int, hour: int, multiplier: float) -> int:
        """Tickets that the hour's visitors would take at this price, were there enough: fewer at a higher one, never more."""
        rng = np.random.default_rng([seed, self.number, hour])
        n = int(self.visitors[hour - self.opens])
        parties = rng.choice(_TICKETS_AT_ONCE, size=n)
        buys = rng.random(n) < self.demand(multiplier) / float(np.mean(_TICKETS_AT_ONCE))
        return int(parties[buys].sum())


@dataclass(frozen=True)
class Selling:
    """An event as its shop sees it at the beginning of an hour. sold_last, visitors_last: of the hour before."""

    event: MarketEvent
    hour: int
    price_minor: int
    inventory: int
    sold: int
    sold_last: int
    visitors_last: int


@dataclass(frozen=True)
class Sold:
    """What an hour came to."""

    event: MarketEvent
    hour: int
    price_minor: int
    tickets: int
    visitors: int


class Policy(Protocol):
    """Sets prices; hears what came of them."""

    async def prices(self, selling: Sequence[Selling]) -> list[int]: ...

    async def hear(self, sold: Sequence[Sold]) -> None: ...


@dataclass
class Run:
    """What a policy earned. revenue_minor: (events, hours). broken: rails that a price broke, as sentences."""

    revenue_minor: Floats
    tickets: npt.NDArray[np.int64]
    broken: list[str]
    sold: list[Sold] = field(default_factory=list, repr=False)


def events_of(spec: MarketSpec) -> list[MarketEvent]:
    """The same of the same spec."""
    rng = np.random.default_rng([spec.seed, 1])
    found = []
    for number in range(spec.events):
        category = list(_CATEGORY_SENSITIVITY)[number % len(_CATEGORY_SENSITIVITY)]
        length = int(rng.integers(*spec.selling_hours))
        opens = int(rng.integers(0, max(spec.hours - length, 1)))
        per_hour = float(rng.lognormal(np.log(90.0), 0.6))
        level = float(rng.gamma(6.0, 0.06 / 6.0))
        visitors = rng.poisson(per_hour * _shape(length, opens))
        # From a third of what the base price would sell to twice that: some events sell out, most do not.
        capacity = max(int(visitors.sum() * level * rng.uniform(0.35, 2.0)), 10)
        found.append(
            MarketEvent(
                number=number, event_id=f"market-{spec.seed}-{number}", category=category,
                base_price_minor=int(rng.integers(20, 120)) * 100, capacity=capacity, opens=opens, starts=opens + length,
                tickets_per_visitor=level, sensitivity=max(float(rng.normal(_CATEGORY_SENSITIVITY[category], _SENSITIVITY_SD)), _BELOW_ZERO_IS_FREE),
                visitors=visitors,
            )
        )  # fmt: skip
    return found


def _shape(length: int, opens: int) -> Floats:
    """Visitors by hour: more by day, when sales begin, and before the doors open."""
    hour = np.arange(length)
    day = 1.0 + 0.7 * np.sin(2 * np.pi * ((hour + opens) % 24 - 9) / 24)
    return np.asarray(day * (1.0 + 1.0 * np.exp(-hour / 12.0) + 0.8 * np.exp((hour - length) / 18.0)))


async def play(
    spec: MarketSpec, events: Sequence[MarketEvent], policy: Policy, after: Callable[[int], Awaitable[None] | None]
) -> Run:  # fmt: skip
    """The whole market once under a policy. after: told each hour that has passed."""
    run = Run(np.zeros((len(events), spec.hours)), np.zeros(len(events), np.int64), [])
    prices = {event.number: event.base_price_minor for event in events}
    last: dict[int, Sold] = {}
    for hour in range(spec.hours):
        selling = [
            _selling(event, hour, prices[event.number], int(run.tickets[event.number]), last.get(event.number))
            for event in events
            if event.opens <= hour < event.starts
        ]
        asked = await policy.prices(selling) if selling else []
        sold = []
        for one, price in zip(selling, asked, strict=True):
            run.broken += broken_rails(one.event, one.price_minor if one.hour > one.event.opens else None, price)
            prices[one.event.number] = price
            sold.append(_hour(spec.seed, one, price))
            last[one.event.number] = sold[-1]
            run.revenue_minor[one.event.number, hour] = sold[-1].tickets * price
            run.tickets[one.event.number] += sold[-1].tickets
        run.sold += sold
        if sold:
            await policy.hear(sold)
        told = after(hour)
        if told is not None:
            await told
    return run


def broken_rails(event: MarketEvent, before_minor: int | None, price_minor: int) -> list[str]:
    """As the market sees it, whatever the service says of itself. before_minor: None in an event's first hour."""
    found = []
    base = event.base_price_minor
    if not MULTIPLIERS[0] * base - STEP_MINOR <= price_minor <= MULTIPLIERS[-1] * base + STEP_MINOR:
        found.append(f"{event.event_id}: {price_minor} is beyond floor or cap")
    if before_minor is not None and abs(price_minor - before_minor) > MAX_CHANGE * before_minor + 1e-9:
        found.append(f"{event.event_id}: from {before_minor} to {price_minor} within an hour")
    return found


def best_fixed(spec: MarketSpec, event: MarketEvent) -> tuple[float, Floats]:
    """(multiplier, revenue by hour) of the one price that would have earned most: known afterwards only."""
    found = [(multiplier, _at_fixed(spec, event, multiplier)) for multiplier in MULTIPLIERS]
    return max(found, key=lambda one: float(one[1].sum()))


def price_at(event: MarketEvent, multiplier: float) -> int:
    """To the nearest step."""
    return max(round(event.base_price_minor * multiplier / STEP_MINOR), 1) * STEP_MINOR


def _at_fixed(spec: MarketSpec, event: MarketEvent, multiplier: float) -> Floats:
    revenue, left, price = np.zeros(spec.hours), event.capacity, price_at(event, multiplier)
    for hour in range(event.opens, min(event.starts, spec.hours)):
        tickets = min(event.wanted(spec.seed, hour, price / event.base_price_minor), left)
        left -= tickets
        revenue[hour] = tickets * price
    return revenue


def _selling(event: MarketEvent, hour: int, price_minor: int, sold: int, last: Sold | None) -> Selling:
    return Selling(
        event, hour, price_minor, event.capacity - sold, sold, last.tickets if last else 0, last.visitors if last else 0
    )


def _hour(seed: int, selling: Selling, price_minor: int) -> Sold:
    event = selling.event
    wanted = event.wanted(seed, selling.hour, price_minor / event.base_price_minor)
    visitors = int(event.visitors[selling.hour - event.opens])
    return Sold(event, selling.hour, price_minor, min(wanted, selling.inventory), visitors)
