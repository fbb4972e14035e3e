"""The four published views, by the names their users know, and the account's profile and habits."""

from fraud_assets.contracts.events import ActivityKind, Outcome
from fraud_assets.features.catalogue.sources import (
    ACCOUNT,
    ACTIVITY,
    CATEGORY,
    EVENT,
    LABEL_FACTS,
    PROFILES,
    PROMOTER,
    TRANSACTIONS,
)
from fraud_assets.features.expressions import UNIT, col, cosine, sine
from fraud_assets.features.language import (
    FeatureView,
    count,
    distinct,
    last,
    mean,
    mode,
    profile,
    profile_age,
    ratio,
    total,
)
from fraud_assets.features.windows import DAY_MS, HOUR_MS, LIFETIME, MINUTE_MS, days, hours, minutes

SOLD = col("outcome") == Outcome.APPROVED.value
# Half a coordinate is no place, and the halves of two payments would be one nobody was at.
PLACED = (col("lat_e6") >= -90_000_000) & (col("lon_e6") >= -180_000_000)
# A place as a direction from the earth's centre. Directions add up to the middle of places wherever these lie; longitudes
# either side of the antimeridian would have theirs half way round the earth. Null where half a place is.
ACROSS_X = cosine(col("lat_e6")) * cosine(col("lon_e6")) // UNIT
ACROSS_Y = cosine(col("lat_e6")) * sine(col("lon_e6")) // UNIT
FIVE_MINUTES = (minutes(5),)
FOREVER = (LIFETIME,)

_inventory = last(
    col("inventory"), where=col("kind") == ActivityKind.INVENTORY.value, source=ACTIVITY, name="current_inventory"
)
_sold_5min = total(
    col("ticket_count"), where=SOLD, windows=FIVE_MINUTES, source=TRANSACTIONS, name="tickets_sold_5min"
).as_hidden()

EVENT_REALTIME_METRICS = FeatureView(
    name="event_realtime_metrics",
    entity=EVENT,
    ttl_ms=60 * MINUTE_MS,
    retention_ms=2 * HOUR_MS,
    aggregates=(
        _inventory,
        _sold_5min,
        ratio(_sold_5min, _inventory, _sold_5min, label="sell_through", windows=FIVE_MINUTES, name="sell_through_rate_5min"),
        distinct(
            col("account_id").or_else(col("device_id")), where=col("kind") == ActivityKind.VIEW.value, windows=FIVE_MINUTES, source=ACTIVITY,
            name="concurrent_viewers", cap=32,
        ),
    ),
    description="What the event looks like right now.",
)  # fmt: skip

EVENT_HISTORICAL_METRICS = FeatureView(
    name="event_historical_metrics",
    entity=EVENT,
    ttl_ms=365 * DAY_MS,
    aggregates=(
        total(col("ticket_count"), where=SOLD, windows=FOREVER, source=TRANSACTIONS, name="total_tickets_sold"),
        ratio(
            total(col("amount_minor"), where=SOLD, windows=FOREVER, source=TRANSACTIONS),
            total(col("ticket_count"), where=SOLD, windows=FOREVER, source=TRANSACTIONS, name="total_tickets_sold"),
            label="ticket_price", name="avg_ticket_price",
        ),
        # A closed event that sold at least 80 % of its capacity, in integers; of no capacity there is no share.
        mean(
            col("tickets_sold") * 5 >= col("capacity") * 4,
            where=(col("kind") == ActivityKind.EVENT_CLOSED.value) & (col("capacity") > 0), windows=FOREVER, source=ACTIVITY, label="success", name="promoter_success_rate",
        ).over(PROMOTER),
    ),
    description="How the event has sold so far, and how its promoter's events end.",
)  # fmt: skip

USER_PURCHASE_BEHAVIOR = FeatureView(
    name="user_purchase_behavior",
    entity=ACCOUNT,
    source=TRANSACTIONS,
    ttl_ms=365 * DAY_MS,
    aggregates=(
        count(where=SOLD, windows=FOREVER, name="lifetime_purchases"),
        mean(col("is_fraud"), windows=FOREVER, source=LABEL_FACTS, name="fraud_risk_score"),
        mode(col("category"), where=SOLD, windows=FOREVER, name="preferred_category"),
    ),
    description="What the account buys, and what became of it as far as was known.",
)

USER_REALTIME_FRAUD_FEATURES = FeatureView(
    name="user_realtime_fraud_features",
    entity=ACCOUNT,
    source=TRANSACTIONS,
    ttl_ms=2 * HOUR_MS,
    retention_ms=2 * DAY_MS,
    aggregates=(
        count(windows=(hours(1),), name="user_txn_count_1h"),
        total(col("amount_minor"), windows=(hours(1),), name="user_txn_amount_1h"),
        distinct(col("event_id"), windows=(hours(1),), name="user_distinct_events_1h"),
        mean(col("amount_minor"), windows=(hours(24),), name="user_avg_amount_24h"),
    ),
    description="The account's last hours.",
)

ACCOUNT_PROFILE = FeatureView(
    name="account_profile",
    entity=ACCOUNT,
    source=PROFILES,
    aggregates=(
        profile_age(col("created_at_ms"), label="account", name="account_age_s"),
        profile_age(col("address_changed_at_ms"), label="address"),
        profile_age(col("email_changed_at_ms"), label="email"),
        profile_age(col("phone_changed_at_ms"), label="phone"),
        profile(col("home_lat_e6")).as_hidden(),
        profile(col("home_lon_e6")).as_hidden(),
    ),
    description="Slowly changing attributes of the account, as of the decision.",
)

ACCOUNT_PLACE = FeatureView(
    name="account_place",
    entity=ACCOUNT,
    source=TRANSACTIONS,
    ttl_ms=365 * DAY_MS,
    aggregates=(
        last(col("lat_e6"), where=PLACED).as_hidden(),
        last(col("lon_e6"), where=PLACED).as_hidden(),
        last(col("event_time_ms"), where=PLACED, label="place_time_ms").as_hidden(),
        total(ACROSS_X, label="place_x", windows=(days(30),)).as_hidden(),
        total(ACROSS_Y, label="place_y", windows=(days(30),)).as_hidden(),
        total(sine(col("lat_e6")), where=PLACED, label="place_z", windows=(days(30),)).as_hidden(),
        distinct(col("ip_country"), windows=(hours(24), days(30))),
        distinct(col("billing_country"), windows=(hours(24), days(30))),
    ),
    description="Where the account was and usually is.",
)

ACCOUNT_PATTERN = FeatureView(
    name="account_pattern",
    entity=ACCOUNT,
    source=TRANSACTIONS,
    ttl_ms=365 * DAY_MS,
    aggregates=(
        distinct(col("category"), windows=(days(7), days(30))),
        distinct(col("promoter_id"), windows=(hours(24), days(30))),
        mode(col("tier"), windows=(days(30),)),
        mode(col("payment_method"), windows=(days(30),)),
        total(col("ticket_count"), windows=(hours(1), hours(24), days(7), days(30))),
        mean(col("ticket_count"), windows=(days(30),)),
        count(where=col("payment_method") != "card", label="cardless", windows=(hours(24), days(30))),
        count(windows=(days(90),)),
        mean(col("amount_minor"), windows=(days(90),)),
    ),
    description="What the account usually buys and how it pays.",
)

CATEGORY_RISK = FeatureView(
    name="category_risk",
    entity=CATEGORY,
    source=LABEL_FACTS,
    aggregates=(
        count(windows=(days(7), days(30))),
        mean(col("is_fraud"), windows=(days(7), days(30))),
    ),
    description="The share of fraud among what is known of a category.",
)

VIEWS = (
    EVENT_REALTIME_METRICS,
    EVENT_HISTORICAL_METRICS,
    USER_PURCHASE_BEHAVIOR,
    USER_REALTIME_FRAUD_FEATURES,
    ACCOUNT_PROFILE,
    ACCOUNT_PLACE,
    ACCOUNT_PATTERN,
    CATEGORY_RISK,
)
