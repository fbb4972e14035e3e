"""How often and how much: transactions of each entity over six windows.

Several small views an entity, since the state of one may not exceed 64 KiB: amounts (count, sum,
mean, min, max, std), declines, and one for each kind of other entity it meets.
"""

from fraud_assets.contracts.events import Outcome
from fraud_assets.features.catalogue.sources import (
    ACCOUNT,
    ACCOUNT_CARD,
    ACCOUNT_DEVICE,
    ACCOUNT_EVENT,
    CARD,
    DEVICE,
    EVENT,
    IP,
    PROMOTER,
    TRANSACTIONS,
)
from fraud_assets.features.expressions import col
from fraud_assets.features.language import (
    Aggregate,
    FeatureView,
    count,
    distinct,
    first_seen_age,
    least,
    mean,
    most,
    ratio,
    since_last,
    std,
    total,
)
from fraud_assets.features.sources import Entity
from fraud_assets.features.windows import DAY_MS, HABIT, HOUR_MS, VELOCITY, Window, days, hours, minutes

AMOUNT = col("amount_minor")

# A card tester's declines come from us or from the issuer; whoever gives up at a challenge was not declined.
DECLINED = (col("outcome") == Outcome.DECLINED_BY_US.value) | (col("outcome") == Outcome.DECLINED_BY_ISSUER.value)

TTL_MS = 90 * DAY_MS


def _amounts(entity: Entity, windows: tuple[Window, ...] = VELOCITY) -> FeatureView:
    return FeatureView(
        name=f"{entity.name}_amounts",
        entity=entity,
        source=TRANSACTIONS,
        ttl_ms=TTL_MS,
        retention_ms=TTL_MS,
        aggregates=(
            count(windows=windows),
            total(AMOUNT, windows=windows),
            *(op(AMOUNT, windows=_from_an_hour(windows)) for op in (mean, least, most, std)),
        ),
        description=f"How many transactions and how much, per {entity.name}.",
    )


def _from_an_hour(windows: tuple[Window, ...]) -> tuple[Window, ...]:
    """Minutes hold one payment or a burst: how many and how much say it all, and the rest would be heavy."""
    return tuple(window for window in windows if window.length_ms >= HOUR_MS)


def _declines(windows: tuple[Window, ...]) -> tuple[Aggregate, ...]:
    """Count and share of declines; an empty window has no share."""
    declined = count(where=DECLINED, label="declined", windows=windows)
    return declined, ratio(declined, count(windows=windows), label="declined")


def _decline_view(entity: Entity, windows: tuple[Window, ...]) -> FeatureView:
    return FeatureView(
        name=f"{entity.name}_declines",
        entity=entity,
        source=TRANSACTIONS,
        ttl_ms=TTL_MS,
        retention_ms=TTL_MS,
        aggregates=_declines(windows),
        description=f"How many payments were declined, and which share, per {entity.name}: the signature of card testing.",
    )


def _spread(entity: Entity, other: str, windows: tuple[Window, ...] = HABIT) -> FeatureView:
    return FeatureView(
        name=f"{entity.name}_{TRANSACTIONS.plural(other)}",
        entity=entity,
        source=TRANSACTIONS,
        ttl_ms=TTL_MS,
        retention_ms=TTL_MS,
        aggregates=(distinct(col(other), windows=windows),),
        description=f"How many different {TRANSACTIONS.plural(other)} per {entity.name}.",
    )


def _recency(entity: Entity) -> FeatureView:
    return FeatureView(
        name=f"{entity.name}_recency",
        entity=entity,
        source=TRANSACTIONS,
        aggregates=(first_seen_age(), since_last(), since_last(where=DECLINED, label="declined")),
        description=f"When the {entity.name} was first and last seen.",
    )


def _pair(entity: Entity) -> FeatureView:
    """Pairs are many and mostly idle, so they keep only what tells habit from novelty."""
    return FeatureView(
        name=f"{entity.name}_habit",
        entity=entity,
        source=TRANSACTIONS,
        aggregates=(
            count(windows=PAIR_WINDOWS),
            total(AMOUNT, windows=PAIR_WINDOWS),
            *_declines((hours(24), days(30))),
            first_seen_age(),
            since_last(),
        ),
        description=f"How used the {' and '.join(key.split('_')[0] for key in entity.keys)} are to each other.",
    )


BURST = (minutes(5), hours(1), hours(24), days(30))
# Events and promoters are busy, so minutes of them say little and would cost the most state.
CROWD = (hours(1), hours(24), days(7))
PAIR_WINDOWS = (hours(1), hours(24), days(7), days(30))

VIEWS = (
    _amounts(ACCOUNT),
    _amounts(DEVICE),
    _amounts(IP),
    _amounts(CARD),
    _amounts(EVENT, CROWD),
    _amounts(PROMOTER, CROWD),
    *(_decline_view(entity, BURST) for entity in (ACCOUNT, DEVICE, IP, CARD)),
    *(_decline_view(entity, CROWD) for entity in (EVENT, PROMOTER)),
    *(_spread(ACCOUNT, other) for other in ("device_id", "ip_token", "card_token", "event_id")),
    *(_spread(DEVICE, other) for other in ("account_id", "card_token", "ip_token")),
    *(_spread(IP, other) for other in ("account_id", "card_token", "device_id")),
    *(_spread(CARD, other) for other in ("account_id", "device_id", "ip_token")),
    _spread(EVENT, "account_id", (hours(1), hours(24))),
    _spread(PROMOTER, "account_id", (hours(1), hours(24))),
    _recency(ACCOUNT),
    _recency(DEVICE),
    _recency(IP),
    _recency(CARD),
    _pair(ACCOUNT_DEVICE),
    _pair(ACCOUNT_EVENT),
    _pair(ACCOUNT_CARD),
)
