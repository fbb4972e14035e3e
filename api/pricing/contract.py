"""What the pricing service takes and gives. A request names an event and nobody: a field of any person is refused, as any unknown one."""

from typing import Annotated, Self

import msgspec
from msgspec import Meta

from fraud_assets.contracts.events import MAX_TICKETS, Category, Currency, Event, EventTimeMs, Id
from fraud_assets.contracts.prices import Choice, Learned, PriceDecision, PriceMinor, Rail

MAX_BATCH = 200
MAX_BYTES = 256 * 1024

Tickets = Annotated[int, Meta(ge=0, le=MAX_TICKETS)]


class PriceRequest(Event, frozen=True, kw_only=True):
    """One event to price. event_time_ms: when the price is to hold. base_price_minor: what multipliers are of; what the promoter would ask.

    current_price_minor: what is asked now; null for an event that is not on sale yet. starts_at_ms: when the event begins.
    floor_minor, cap_minor: the promoter's own, beside ours.
    """

    event_id: Id
    promoter_id: Id
    category: Category
    currency: Currency
    base_price_minor: PriceMinor
    current_price_minor: PriceMinor | None
    starts_at_ms: EventTimeMs
    floor_minor: PriceMinor | None = None
    cap_minor: PriceMinor | None = None


class PriceBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Several events; one bad one refuses the batch, naming it."""

    events: Annotated[list[PriceRequest], Meta(min_length=1, max_length=MAX_BATCH)]


class PriceOutcome(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of one interval. price_minor: what was really asked. visitors: who saw it, each once; how many, never who."""

    event_id: Id
    interval_start_ms: EventTimeMs
    price_minor: PriceMinor
    tickets_sold: Tickets
    visitors: Annotated[int, Meta(ge=0, le=10**9)]


class OutcomeBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Several outcomes."""

    outcomes: Annotated[list[PriceOutcome], Meta(min_length=1, max_length=MAX_BATCH)]


class Recommendation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The price of one event for one interval, and why.

    guard_rails: those that kept what would probably earn most from being recommended. fallback: why the price was left as it is;
    then nothing was drawn. features: of the online store, null where unknown. visitors_ahead: how many are expected until the doors open.
    """

    event_id: str
    interval_start_ms: int
    interval_end_ms: int
    action: str
    price_minor: int
    current_price_minor: int | None
    base_price_minor: int
    currency: str
    explanation: str
    guard_rails: list[Rail]
    fallback: list[str]
    features: dict[str, float | None]
    visitors_ahead: float
    seed: int
    multiplier: float | None = None
    choices: list[Choice] = []
    learned: Learned | None = None

    @classmethod
    def of(cls, made: PriceDecision) -> Self:
        """What of a decision is answered: its model's posterior is for whoever makes it again."""
        return cls(
            event_id=made.event_id, interval_start_ms=made.event_time_ms, interval_end_ms=made.interval_end_ms, action=made.action,
            price_minor=made.price_minor, current_price_minor=made.current_price_minor, base_price_minor=made.base_price_minor,
            currency=made.currency, explanation=made.explanation, guard_rails=made.guard_rails, fallback=made.fallback,
            features=made.features, visitors_ahead=round(made.visitors_ahead, 1), seed=made.seed, multiplier=made.multiplier, choices=made.choices, learned=made.learned,
        )  # fmt: skip


class Recommendations(msgspec.Struct, frozen=True):
    """In the order of the request."""

    recommendations: list[Recommendation]


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an outcome was learned from; why not, where it was not."""

    event_id: str
    interval_start_ms: int
    counted: bool
    why: str = ""


class CountedAll(msgspec.Struct, frozen=True):
    """In the order of the request."""

    outcomes: list[Counted]
