"""What the pricing service takes and gives. A request names an event and nobody: a field of any person is refused, as any unknown one."""

from typing import Annotated

import msgspec
from msgspec import Meta

from api.pricing.demand import Belief
from api.pricing.rails import Rail
from fraud_assets.contracts.events import MAX_AMOUNT_MINOR, MAX_TICKETS, Category, Currency, Event, EventTimeMs, Id

MAX_BATCH = 200
MAX_BYTES = 256 * 1024

PriceMinor = Annotated[int, Meta(ge=1, le=MAX_AMOUNT_MINOR)]
Tickets = Annotated[int, Meta(ge=0, le=MAX_TICKETS)]


class PriceRequest(Event, frozen=True, kw_only=True):
    """One event to price. event_time_ms: when the price is to hold. base_price_minor: what multipliers are of; what the promoter would ask.

    current_price_minor: what is asked now. starts_at_ms: when the event begins. floor_minor, cap_minor: the promoter's own, beside ours.
    """

    event_id: Id
    promoter_id: Id
    category: Category
    currency: Currency
    base_price_minor: PriceMinor
    current_price_minor: PriceMinor
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


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One multiplier: what is believed of it, and how likely it was to be drawn. forbidden_by: the rails it would break.

    tickets_per_visitor: mean; low, high: 5 % and 95 % quantiles. best_chance: that it would earn most if no rail forbade it.
    """

    multiplier: float
    price_minor: int
    forbidden_by: list[Rail]
    propensity: float
    best_chance: float
    tickets_per_visitor: float
    low: float
    high: float


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """What the belief is made of: of this event, halved every half-life, and of its category's others.

    sensitivity: by which share demand falls where the price rises by 1 % of the base price; mean and standard deviation.
    """

    event_tickets: float
    event_visitors: float
    event_intervals: float
    category_visitors: float
    sensitivity: float
    sensitivity_sd: float


class Recommendation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The price of one event for one interval, and why.

    guard_rails: those that kept what would probably earn most from being recommended. fallback: why the price was left as it is;
    then nothing was drawn. features: of the online store, null where unknown.
    """

    event_id: str
    interval_start_ms: int
    interval_end_ms: int
    action: str
    price_minor: int
    current_price_minor: int
    base_price_minor: int
    currency: str
    explanation: str
    guard_rails: list[Rail]
    fallback: list[str]
    features: dict[str, float | None]
    seed: int
    multiplier: float | None = None
    choices: list[Choice] = []
    learned: Learned | None = None


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


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A recommendation with all that it takes to make it again; it is logged, and kept until its outcome cannot come any more.

    inventory, visitors_ahead: what the draw was made for. explore: as set then.
    """

    recommendation: Recommendation
    category: str
    explore: float = 0.0
    belief: Belief | None = None
    inventory: float = 0.0
    visitors_ahead: float = 0.0
