"""Version 1 of every event that crosses a process boundary.

Times are int64 milliseconds UTC, money is int64 minor units, coordinates are int64 microdegrees
(`_e6`). Structs refuse unknown fields, so a typo in a producer is a dead letter and never a
silently missing feature. Personal data (card number, e-mail, IP address) exists only as keyed
tokens; `contracts/tokens.py` makes them at the edge.
"""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

CONTRACT_VERSION = 1

# Bounds are part of the contract: sums of 2**22 values of this size still fit int64, and second
# moments fit 128 bits, so no aggregate can overflow silently.
MAX_AMOUNT_MINOR = 10**12
MAX_TICKETS = 10**6
EARLIEST_EVENT_TIME_MS = 0
LATEST_EVENT_TIME_MS = 4_102_444_800_000  # 2100-01-01; later is a unit error (microseconds), not a payment

Id = Annotated[str, Meta(min_length=1, max_length=128)]
Token = Annotated[str, Meta(min_length=1, max_length=128, description="keyed token, `<key id>:<hex>`")]
EventTimeMs = Annotated[int, Meta(ge=EARLIEST_EVENT_TIME_MS, le=LATEST_EVENT_TIME_MS)]
AmountMinor = Annotated[int, Meta(ge=0, le=MAX_AMOUNT_MINOR)]
Country = Annotated[str, Meta(pattern="^[A-Z]{2}$", description="ISO 3166-1 alpha-2")]
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$", description="ISO 4217")]
LatE6 = Annotated[int, Meta(ge=-90_000_000, le=90_000_000)]
LonE6 = Annotated[int, Meta(ge=-180_000_000, le=180_000_000)]
Version = Annotated[int, Meta(ge=CONTRACT_VERSION, le=CONTRACT_VERSION)]


class Outcome(StrEnum):
    """What became of a payment. A scorer never sees it: the source publishes after its decision."""

    APPROVED = "approved"
    DECLINED_BY_US = "declined_by_us"
    DECLINED_BY_ISSUER = "declined_by_issuer"
    ABANDONED = "abandoned"


class PaymentMethod(StrEnum):
    CARD = "card"
    WALLET = "wallet"
    BANK = "bank"
    VOUCHER = "voucher"


class Category(StrEnum):
    """What kind of event the tickets are for; lexical order gives the integer code of features."""

    COMEDY = "comedy"
    CONCERT = "concert"
    CONFERENCE = "conference"
    CULTURE = "culture"
    FAMILY = "family"
    FESTIVAL = "festival"
    OTHER = "other"
    SPORT = "sport"


class Tier(StrEnum):
    PREMIUM = "premium"
    STANDARD = "standard"
    VIP = "vip"


class ActivityKind(StrEnum):
    VIEW = "view"
    INVENTORY = "inventory"
    EVENT_CLOSED = "event_closed"


class ProfileField(StrEnum):
    ADDRESS = "address"
    EMAIL = "email"
    PHONE = "phone"


class LabelSource(StrEnum):
    CHARGEBACK = "chargeback"
    MANUAL_REVIEW = "manual_review"
    OPERATOR = "operator"


class Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every event carries: the version of its contract and when it happened."""

    schema_version: Version = CONTRACT_VERSION
    event_time_ms: EventTimeMs


class Transaction(Event, frozen=True, kw_only=True):
    """A payment for tickets, published by its source once the outcome is known."""

    transaction_id: Id
    account_id: Id
    event_id: Id
    promoter_id: Id
    device_id: Id
    ip_token: Token
    ip_country: Country
    card_token: Token | None = None
    email_token: Token | None = None
    payment_method: PaymentMethod
    amount_minor: AmountMinor
    currency: Currency
    ticket_count: Annotated[int, Meta(ge=1, le=MAX_TICKETS)]
    tier: Tier
    category: Category
    billing_country: Country
    lat_e6: LatE6 | None = None
    lon_e6: LonE6 | None = None
    user_agent: Annotated[str, Meta(max_length=512)] = ""
    outcome: Outcome


class Activity(Event, frozen=True, kw_only=True):
    """Something that happened around an event: a page view, an inventory count, its closing.

    `view` names the viewer (`account_id` or, for a guest, `device_id`). `inventory` carries
    `inventory` (tickets left). `event_closed` carries `tickets_sold` and `capacity`.
    """

    activity_id: Id
    kind: ActivityKind
    event_id: Id
    promoter_id: Id
    account_id: Id | None = None
    device_id: Id | None = None
    inventory: Annotated[int, Meta(ge=0, le=MAX_TICKETS)] | None = None
    tickets_sold: Annotated[int, Meta(ge=0, le=MAX_TICKETS)] | None = None
    capacity: Annotated[int, Meta(ge=0, le=MAX_TICKETS)] | None = None


class Profile(Event, frozen=True, kw_only=True):
    """One version of an account's slowly changing attributes; `event_time_ms` is its valid-from.

    A change-data-capture row: it carries the whole version, not the difference. It is the one
    event that may be dated ahead of its arrival.
    """

    profile_id: Id
    account_id: Id
    created_at_ms: EventTimeMs
    address_changed_at_ms: EventTimeMs
    email_changed_at_ms: EventTimeMs
    phone_changed_at_ms: EventTimeMs
    home_country: Country
    home_lat_e6: LatE6 | None = None
    home_lon_e6: LonE6 | None = None


class Label(Event, frozen=True, kw_only=True):
    """What somebody said about a transaction; `event_time_ms` is `label_known_at`.

    revision: raised by one each time the same (source, transaction) speaks again.
    """

    label_id: Id
    transaction_id: Id
    account_id: Id
    source: LabelSource
    is_fraud: bool
    revision: Annotated[int, Meta(ge=0, le=10**6)] = 0


class LabelFact(Event, frozen=True, kw_only=True):
    """A settled, keyed and signed verdict on one transaction; what risk features are made of.

    `event_time_ms` is when the verdict became known, and for a retraction (`sign` -1) the time of
    the fact it takes back. The keys are copied from the transaction it speaks of.
    """

    fact_id: Id
    transaction_id: Id
    account_id: Id
    event_id: Id
    promoter_id: Id
    device_id: Id
    ip_token: Token
    card_token: Token | None = None
    category: Category
    amount_minor: AmountMinor
    is_fraud: bool
    sign: Annotated[int, Meta(ge=-1, le=1)] = 1


class ViewStatus(StrEnum):
    PRESENT = "PRESENT"
    STALE = "STALE"
    MISSING = "MISSING"


class StateRead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which state of one (view group, entity) a decision read.

    position: "<topic>/<partition>" to the last applied offset, absent for an unknown entity.
    """

    group: str
    entity_key: str
    version: int
    position: dict[str, int]


class StatesRead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which states a decision read: of each view group of its service, in order.

    keys: null where the payment names no such entity, of which nothing was read. versions: 0 for an unknown entity.
    positions: P of each state as int64 pairs, little-endian: (code, last applied offset), and a code is
    (place in `topics` << partition_bits) | partition.
    """

    groups: list[str]
    keys: list[str | None]
    versions: list[int]
    positions: list[bytes]
    topics: list[str]
    partition_bits: int


class Decision(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Everything needed to recompute one decision: features served, states read, digests, action.

    vector: the service's features in order, float32, little-endian, NaN for null: any NaN, as it was served. features: the
    same as numbers, null where unknown, of decisions made before there was `vector`; of both exactly one is given.
    view_codes: a byte for the status of each of the service's units, in order: its place in ViewStatus. view_status: the same
    by name, and states: what `states_read` says, of decisions made before there were these two.
    `stores/served.py` reads either of each pair.
    scored_ms: by version, how long it took to score the payments that were decided in one go with this one, of every version that was
    asked, also in vain; only while a rollout is watched. ruled: the action that rules alone ask for, empty where that is none.

    Defaults are not written, so that a field which is added later changes no digest of `contracts/chain.py`. `states` must
    have none: a decision that read nothing has always said so.
    """

    decision_id: Id
    transaction_id: Id
    account_id: Id
    request: dict[str, object]
    decided_at_ms: int
    broker_clock_offset_ms: int = 0
    service: str
    service_digest: str
    policy_digest: str
    model_version: str
    model_sha256: str
    epoch: str
    features: list[float | None] = []
    vector: bytes | None = None
    view_status: dict[str, ViewStatus] = {}
    view_codes: bytes | None = None
    states: list[StateRead]
    states_read: StatesRead | None = None
    fraud_score: float
    shadow_scores: dict[str, float] = {}
    scored_ms: dict[str, float] = {}
    action: str
    ruled: str = ""
    reason_codes: list[str]
    degraded_reasons: list[str]
    self_included: bool = False
    latency_ms: float
    chain_id: str = ""
    chain_position: Annotated[int, Meta(ge=0)] = 0
    previous_sha256: str = ""
    sha256: str = ""


class OfDecision(Event, frozen=True, kw_only=True):
    """What is said of one decision names it, and the model and the definitions that made it.

    `event_time_ms` is the decision's, so that both lie on one day of the lake.
    """

    decision_id: Id
    transaction_id: Id
    account_id: Id
    service: str
    service_digest: str
    model_version: str
    model_sha256: str


class Explanation(OfDecision, frozen=True, kw_only=True):
    """What moved one decision's score: exact TreeSHAP values of the model that made it, in log odds.

    contributions: one for each of the decision's features, in its order; base_value and all of them add up to
    margin, the log odds of the logged score. top_features: the largest of them by name, largest first.
    """

    base_value: float
    contributions: list[float]
    margin: float
    top_features: dict[str, float]


class FeatureVector(OfDecision, frozen=True, kw_only=True):
    """The vector that a decision was made from, for consumers that need neither its states nor its request.

    features: float32 values in the service's order, null where unknown.
    """

    features: list[float | None]
