"""What `POST /predict` takes and gives.

A request is the transaction's contract before its outcome, with the raw card number, e-mail and IP
address that become tokens here at the edge (`contracts/tokens.py` refuses what is none; the schema only tells). Strict: a field we do not know is refused, since a typo
would otherwise be a feature silently missing.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from fraud_assets.contracts.events import (
    MAX_TICKETS,
    AmountMinor,
    Category,
    Country,
    Currency,
    Event,
    Id,
    LatE6,
    LonE6,
    PaymentMethod,
    Tier,
    Transaction,
)
from fraud_assets.policy.policy import Action
from fraud_assets.policy.reasons import ReasonCode

MAX_BATCH = 1_000


class ScoringRequest(Event, frozen=True, kw_only=True):
    """One payment to decide on, before its outcome is known."""

    transaction_id: Id
    account_id: Id
    event_id: Id
    promoter_id: Id
    device_id: Id
    ip: Annotated[
        str,
        Meta(
            min_length=2,
            max_length=64,
            description="IPv4 or IPv6 address of the buyer",
            extra_json_schema={"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
        ),
    ]
    card_number: (
        Annotated[
            str,
            Meta(
                min_length=12,
                max_length=40,
                description="12 to 19 digits, grouped by spaces or '-' if at all",
                extra_json_schema={"pattern": "^[0-9]([ -]*[0-9]){11,18}$"},
            ),
        ]
        | None
    ) = None
    email: (
        Annotated[str, Meta(min_length=3, max_length=320, extra_json_schema={"pattern": r"^[^@\s]+@[^@\s]+$"})] | None
    ) = None
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


class ScoringBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Several payments; one bad payment refuses the batch, naming it."""

    transactions: Annotated[list[ScoringRequest], Meta(min_length=1, max_length=MAX_BATCH)]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The decision on one payment.

    is_fraud: we act on it as fraud (`decision` is deny). degraded_reasons: what was missing when it
    was made; empty in normal operation. missing_views: then, which view groups' features were null for it, as `view@group`.
    """

    transaction_id: str
    decision_id: str
    fraud_score: float
    is_fraud: bool
    decision: Action
    reason_codes: list[ReasonCode]
    model_version: str
    policy_version: str
    degraded_reasons: list[str]
    missing_views: list[str]
    latency_ms: float


class Answers(msgspec.Struct, frozen=True):
    """In the order of the request."""

    decisions: list[Answer]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What a scorer serves; empty while it serves nothing. refused: why the newest champion is not served.

    rollout_phase: see docs/rollout.md. challenger_version: who scores beside the champion, and decides for challenger_share of accounts.
    """

    model_version: str = ""
    model_sha256: str = ""
    created_at_ms: int | None = None
    service: str = ""
    service_digest: str = ""
    policy_version: str = ""
    policy_digest: str = ""
    review_from: float | None = None
    deny_from: float | None = None
    refused: str = ""
    rollout_sequence: int = 0
    rollout_phase: str = ""
    challenger_version: str = ""
    challenger_share: float = 0.0
    challenger_refused: str = ""


# What is only known after the decision; the same fields the service declares unseen.
_AFTERWARDS = frozenset({"outcome"})

# The scored event as features read it: the transaction's contract without what comes afterwards. Its fields are sorted by name, as
# a decision's record has them, so that its JSON is the record's; and it is made of values in that order, for by name takes
# a payment three times as long.
Scored = msgspec.defstruct(
    "Scored",
    [
        (field.name, field.type)
        for field in sorted(msgspec.structs.fields(Transaction), key=lambda field: field.name)
        if field.name not in _AFTERWARDS
    ],
    frozen=True,
    module=__name__,
)
