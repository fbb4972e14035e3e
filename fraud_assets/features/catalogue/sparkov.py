"""Sparkov's domain: cards pay merchants of some category, and both have coordinates."""

import math
from functools import cache

from fraud_assets.contracts.domains.sparkov import SparkovLabelFact, SparkovTransaction
from fraud_assets.features.expressions import col
from fraud_assets.features.geo import haversine_km, implied_speed_kmh
from fraud_assets.features.language import (
    FeatureService,
    FeatureView,
    RequestFeature,
    count,
    distinct,
    first_seen_age,
    last,
    mean,
    mode,
    most,
    since_last,
    std,
    total,
)
from fraud_assets.features.registry import Registry
from fraud_assets.features.sources import BatchSource, Entity, LabelFactSource
from fraud_assets.features.windows import LIFETIME, days, hours, minutes

CARD = Entity("card", ("card_token",))
MERCHANT = Entity("merchant", ("merchant_id",))
CATEGORY = Entity("category", ("category",))
CARD_CATEGORY = Entity("card_category", ("card_token", "category"))

TRANSACTIONS = BatchSource(
    name="sparkov_transactions",
    noun="txn",
    contract=SparkovTransaction,
    id_field="transaction_id",
    table="sparkov_transactions",
    plurals=(("category", "categories"),),
)
LABELS = LabelFactSource(
    name="sparkov_labels",
    noun="label",
    contract=SparkovLabelFact,
    id_field="fact_id",
    table="sparkov_labels",
)

AMOUNT = col("amount_minor")
SPENDING = (minutes(5), hours(1), hours(24), days(7), days(30))
RISK = (days(7), days(30), LIFETIME)

CARD_SPENDING = FeatureView(
    name="card_spending",
    entity=CARD,
    source=TRANSACTIONS,
    aggregates=(
        count(windows=SPENDING),
        *(op(AMOUNT, windows=SPENDING[1:]) for op in (total, mean, most, std)),
        distinct(col("merchant_id"), windows=(hours(24), days(7))),
        distinct(col("category"), windows=(hours(24), days(7))),
        mode(col("category"), windows=(days(30),)),
        since_last(),
        first_seen_age(),
    ),
    description="How often, how much and for what a card pays.",
)

CARD_PLACE = FeatureView(
    name="card_place",
    entity=CARD,
    source=TRANSACTIONS,
    aggregates=(
        last(col("merchant_lat_e6")).as_hidden(),
        last(col("merchant_lon_e6")).as_hidden(),
        last(col("event_time_ms"), label="place_time_ms").as_hidden(),
    ),
    description="Where the card was last used.",
)

CARD_IN_CATEGORY = FeatureView(
    name="card_in_category",
    entity=CARD_CATEGORY,
    source=TRANSACTIONS,
    aggregates=(
        count(windows=(hours(24), days(30), LIFETIME)),
        mean(AMOUNT, windows=(days(30), LIFETIME)),
        std(AMOUNT, windows=(LIFETIME,)),
        since_last(),
    ),
    description="What the card usually spends on things of this category.",
)

MERCHANT_TRAFFIC = FeatureView(
    name="merchant_traffic",
    entity=MERCHANT,
    source=TRANSACTIONS,
    aggregates=(
        count(windows=(hours(24), days(7))),
        mean(AMOUNT, windows=(days(7), days(30))),
        std(AMOUNT, windows=(days(30),)),
        distinct(col("card_token"), windows=(hours(24),)),
    ),
    description="How busy a merchant is and what is paid there.",
)

MERCHANT_RISK = FeatureView(
    name="merchant_risk",
    entity=MERCHANT,
    source=LABELS,
    aggregates=(count(windows=RISK), mean(col("is_fraud"), label="fraud", windows=RISK)),
    description="The share of fraud among what is known of a merchant.",
)

CATEGORY_RISK = FeatureView(
    name="category_risk",
    entity=CATEGORY,
    source=LABELS,
    aggregates=(count(windows=RISK), mean(col("is_fraud"), label="fraud", windows=RISK)),
    description="The share of fraud among what is known of a category.",
)

VIEWS = (CARD_SPENDING, CARD_PLACE, CARD_IN_CATEGORY, MERCHANT_TRAFFIC, MERCHANT_RISK, CATEGORY_RISK)

MS_PER_HOUR = 3_600_000.0
MS_PER_DAY = 24.0 * MS_PER_HOUR


def _identity(value: float) -> float:
    return value


def _hour_of_day(time_ms: float) -> float:
    return math.floor((time_ms % MS_PER_DAY) / MS_PER_HOUR)


def _weekday(time_ms: float) -> float:
    # 1970-01-01 was a Thursday; Monday is 0.
    return (math.floor(time_ms / MS_PER_DAY) + 3.0) % 7.0


def _ratio(value: float, other: float) -> float:
    return value / other


def _deviation(value: float, mean: float, spread: float) -> float:
    """Standard score; null with no spread."""
    return (value - mean) / spread


REQUEST = (
    RequestFeature(name="amount_minor", compute=_identity, inputs=("request.amount_minor",)),
    RequestFeature(name="category", compute=_identity, inputs=("request.category",)),
    RequestFeature(name="hour_of_day", compute=_hour_of_day, inputs=("request.event_time_ms",)),
    RequestFeature(name="weekday", compute=_weekday, inputs=("request.event_time_ms",)),
    RequestFeature(
        name="distance_from_home_km",
        compute=haversine_km,
        inputs=("request.home_lat_e6", "request.home_lon_e6", "request.merchant_lat_e6", "request.merchant_lon_e6"),
    ),
    RequestFeature(
        name="distance_from_last_km",
        compute=haversine_km,
        inputs=(
            "request.merchant_lat_e6", "request.merchant_lon_e6", "card_last_merchant_lat_e6", "card_last_merchant_lon_e6",
        ),
    ),
    RequestFeature(
        name="implied_speed_kmh",
        compute=implied_speed_kmh,
        inputs=("distance_from_last_km", "request.event_time_ms", "card_last_place_time_ms"),
    ),
    RequestFeature(
        name="amount_ratio_to_card_mean_30d", compute=_ratio, inputs=("request.amount_minor", "card_amount_minor_mean_30d")
    ),
    RequestFeature(
        name="amount_deviation_from_card_30d",
        compute=_deviation,
        inputs=("request.amount_minor", "card_amount_minor_mean_30d", "card_amount_minor_std_30d"),
    ),
    RequestFeature(
        name="amount_deviation_from_card_category",
        compute=_deviation,
        inputs=(
            "request.amount_minor", "card_category_amount_minor_mean_lifetime", "card_category_amount_minor_std_lifetime",
        ),
    ),
    RequestFeature(
        name="amount_deviation_from_merchant_30d",
        compute=_deviation,
        inputs=("request.amount_minor", "merchant_amount_minor_mean_30d", "merchant_amount_minor_std_30d"),
    ),
)  # fmt: skip

SPARKOV_SCORING = FeatureService(
    name="sparkov_scoring",
    scored=TRANSACTIONS,
    views=VIEWS,
    request=REQUEST,
    description="What the fraud model sees of one of Sparkov's payments.",
)


@cache
def registry() -> Registry:
    """Sparkov's registry; made once a process."""
    return Registry(VIEWS, (SPARKOV_SCORING,))
