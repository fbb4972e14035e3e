"""What an account spends on what, when, where and from which device. Spent is what was approved.

Sums by category and by season are kept in the account's own state and a request feature picks the scored
payment's, for a state for each pair of account and category would be one more read of the online store. The last
category and the last season are what the others leave of the whole: two sums less in every tile and every batch.
"""

import math

from fraud_assets.contracts.events import Category
from fraud_assets.features.catalogue.named import SOLD
from fraud_assets.features.catalogue.sources import ACCOUNT, ACCOUNT_DEVICE, TRANSACTIONS
from fraud_assets.features.catalogue.velocity import AMOUNT, TTL_MS
from fraud_assets.features.expressions import Expr, col
from fraud_assets.features.language import FeatureView, RequestFeature, total
from fraud_assets.features.windows import DAY_MS, LIFETIME, days

CATEGORIES = tuple(sorted(category.value for category in Category))
# A quarter of 365.25 days from New Year of 1970: within two days of the calendar's quarters, in integers.
SEASON_MS = 1461 * DAY_MS // 16
SEASONS = 4
ABROAD = col("ip_country") != col("billing_country")
MONTH = (days(30),)


def _is_season(season: int) -> Expr:
    return col("event_time_ms") // SEASON_MS % SEASONS == season


ACCOUNT_SPENDING = FeatureView(
    name="account_spending",
    entity=ACCOUNT,
    source=TRANSACTIONS,
    ttl_ms=365 * DAY_MS,
    aggregates=(
        total(AMOUNT, where=SOLD, label="spend_minor", windows=(days(30), days(90), LIFETIME)),
        total(AMOUNT, where=SOLD & ABROAD, label="abroad_spend_minor", windows=MONTH),
        *(
            total(AMOUNT, where=SOLD & (col("category") == category), label=f"{category}_spend_minor", windows=MONTH).as_hidden()
            for category in CATEGORIES[:-1]
        ),
        *(
            total(AMOUNT, where=SOLD & _is_season(season), label=f"season_{season}_spend_minor", windows=(LIFETIME,)).as_hidden()
            for season in range(SEASONS - 1)
        ),
    ),
    description="What the account spends, by category, season and place.",
)  # fmt: skip

ACCOUNT_DEVICE_SPENDING = FeatureView(
    name="account_device_spending",
    entity=ACCOUNT_DEVICE,
    source=TRANSACTIONS,
    ttl_ms=TTL_MS,
    aggregates=(total(AMOUNT, where=SOLD, label="spend_minor", windows=MONTH),),
    description="What the account spends from the device.",
)

VIEWS = (ACCOUNT_SPENDING, ACCOUNT_DEVICE_SPENDING)


def _in_category(category: float, whole: float, one: float, two: float, three: float, four: float, five: float,
                 six: float, seven: float) -> float:  # fmt: skip
    """The scored payment's category's own, by its code from 1; a new category changes the arguments' number."""
    rest = whole - (one + two + three + four + five + six + seven)
    return (one, two, three, four, five, six, seven, rest)[int(category) - 1]


def _in_season(time_ms: float, whole: float, one: float, two: float, three: float) -> float:
    return (one, two, three, whole - (one + two + three))[math.floor(time_ms / SEASON_MS) % SEASONS]


def _share(part: float, whole: float) -> float:
    return part / whole


def _pace(recent: float, lifetime: float, age_s: float) -> float:
    """Spent a day in 90 days against a day of the account's whole life: 1 for an account that is younger."""
    age_d = max(age_s / 86_400.0, 1.0)
    return (recent / min(age_d, 90.0)) / (lifetime / age_d)


_SPENT_30D, _SPENT_EVER = "account_spend_minor_sum_30d", "account_spend_minor_sum_lifetime"
_PICKED = (
    ("account_category_spend_minor_30d", _in_category,
     ("request.category", _SPENT_30D, *(f"account_{category}_spend_minor_sum_30d" for category in CATEGORIES[:-1]))),
    ("account_season_spend_minor_lifetime", _in_season,
     ("request.event_time_ms", _SPENT_EVER, *(f"account_season_{n}_spend_minor_sum_lifetime" for n in range(SEASONS - 1)))),
    ("account_spend_pace_90d_to_lifetime", _pace, ("account_spend_minor_sum_90d", _SPENT_EVER, "account_first_seen_age_s")),
)  # fmt: skip
_SHARES = (
    ("account_category_spend_share_30d", "account_category_spend_minor_30d", _SPENT_30D),
    ("account_season_spend_share_lifetime", "account_season_spend_minor_lifetime", _SPENT_EVER),
    ("account_abroad_spend_share_30d", "account_abroad_spend_minor_sum_30d", _SPENT_30D),
    ("account_device_spend_share_30d", "account_device_spend_minor_sum_30d", _SPENT_30D),
)

FEATURES = (
    *(RequestFeature(name=name, compute=compute, inputs=inputs) for name, compute, inputs in _PICKED),
    *(RequestFeature(name=name, compute=_share, inputs=(part, whole)) for name, part, whole in _SHARES),
)
