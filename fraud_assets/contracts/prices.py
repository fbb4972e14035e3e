"""What the pricing service writes down: each price with the chances it was drawn with, and what became of it. Nothing of any person."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from fraud_assets.contracts.events import MAX_AMOUNT_MINOR, Category, Currency, Event, EventTimeMs, Id

PriceMinor = Annotated[int, Meta(ge=1, le=MAX_AMOUNT_MINOR)]
Chance = Annotated[float, Meta(ge=0, le=1)]
NotNegative = Annotated[float, Meta(ge=0)]

UNCLAIMED = "posteriors_unreachable"
"""The fallback of a price that was given without Redis: nobody else knows of it."""


class Rail(StrEnum):
    """Why a price may not be."""

    FLOOR = "floor"
    CAP = "cap"
    MAX_CHANGE = "max_change"


class OutcomeSource(StrEnum):
    """Who said what became of an interval: its shop, or the event's own counters."""

    POSTED = "posted"
    STREAM = "stream"


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One multiplier: what is believed of it, and how likely it was to be drawn. forbidden_by: the rails it would break.

    tickets_per_visitor: mean; low, high: 5 % and 95 % quantiles. best_chance: that it would earn most if no rail forbade it.
    """

    multiplier: float
    price_minor: int
    forbidden_by: list[Rail]
    propensity: Chance
    best_chance: Chance
    tickets_per_visitor: NotNegative
    low: NotNegative
    high: NotNegative


class Learned(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the belief is made of: of this event, halved every half-life, and of its category's others.

    sensitivity: by which share demand falls where the price rises by 1 % of the base price; mean and standard deviation.
    """

    event_tickets: float
    event_visitors: float
    event_intervals: float
    category_visitors: float
    sensitivity: float
    sensitivity_sd: float


class DemandBelief(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event's posterior: a weight of each sensitivity of the grid, and the level given it: Gamma(shape, rate)."""

    weights: list[float]
    shape: float
    rates: list[float]


class PriceDecision(Event, frozen=True, kw_only=True):
    """The price of one event for one interval, with all that it takes to make it again; `event_time_ms` is the interval's beginning.

    starts_at_ms: when its doors open. current_price_minor: what was asked before; null for an event that was not on sale yet. fallback: why nothing was drawn; then
    `choices` is empty and `multiplier`, `belief` and `learned` are null. inventory, visitors_ahead: what the draw was made for;
    draws: how many demands a choice is the best of; explore: share of draws that go to any permitted price. features: of the
    online store, null where unknown.
    """

    decision_id: Id
    event_id: Id
    promoter_id: Id
    category: Category
    currency: Currency
    interval_end_ms: EventTimeMs
    starts_at_ms: EventTimeMs
    base_price_minor: PriceMinor
    current_price_minor: PriceMinor | None
    price_minor: PriceMinor
    action: str
    explanation: str
    guard_rails: list[Rail]
    fallback: list[str]
    features: dict[str, float | None]
    seed: int
    multiplier: float | None = None
    choices: list[Choice] = msgspec.field(default_factory=list)
    learned: Learned | None = None
    belief: DemandBelief | None = None
    inventory: NotNegative = 0.0
    visitors_ahead: NotNegative = 0.0
    draws: int = 1
    explore: Chance = 0.0


class PricedInterval(Event, frozen=True, kw_only=True):
    """What an interval came to, as pricing learned it, once; `event_time_ms` is the interval's beginning.

    price_minor: what was really asked. visitors: who saw it, counted and never named; from the stream an estimate.
    """

    decision_id: Id
    event_id: Id
    price_minor: PriceMinor
    tickets_sold: NotNegative
    visitors: NotNegative
    source: OutcomeSource
