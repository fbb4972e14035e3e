"""The Fraud Detection Handbook's domain: customers pay at terminals, and labels are known a week later.

A label is a fact of its own, timed by when it became known, so a terminal's risk at a payment
counts the frauds that were known by then and no others.
"""

import math
from functools import cache

from fraud_assets.contracts.domains.handbook import (
    HandbookCustomer,
    HandbookLabelFact,
    HandbookTerminal,
    HandbookTransaction,
)
from fraud_assets.features.expressions import col
from fraud_assets.features.language import (
    Aggregate,
    FeatureService,
    FeatureView,
    RequestFeature,
    count,
    first_seen_age,
    last,
    least,
    mean,
    most,
    profile,
    since_last,
    std,
    total,
)
from fraud_assets.features.registry import Registry
from fraud_assets.features.sources import BatchSource, Entity, LabelFactSource, ProfileSource
from fraud_assets.features.windows import LIFETIME, Window, days, hours

CUSTOMER = Entity("customer", ("customer_id",))
TERMINAL = Entity("terminal", ("terminal_id",))

TRANSACTIONS = BatchSource(
    name="handbook_transactions",
    noun="txn",
    contract=HandbookTransaction,
    id_field="transaction_id",
    table="handbook_transactions",
)
# Imported labels are final: nobody takes one back, so minima and times of them may be asked for.
LABELS = LabelFactSource(
    name="handbook_labels",
    noun="label",
    contract=HandbookLabelFact,
    id_field="fact_id",
    table="handbook_labels",
    sign_field=None,
)
# Places come in files of their own, which not everybody has: only the service with places reads them.
CUSTOMERS = ProfileSource(
    name="handbook_customers",
    noun="profile",
    contract=HandbookCustomer,
    id_field="profile_id",
    table="handbook_customers",
)
TERMINALS = ProfileSource(
    name="handbook_terminals",
    noun="profile",
    contract=HandbookTerminal,
    id_field="profile_id",
    table="handbook_terminals",
)

AMOUNT = col("amount_minor")
FRAUD = col("is_fraud") == True  # noqa: E712  # a tree, not a truth value
GENUINE = col("is_fraud") == False  # noqa: E712  # see above
SPENDING = (hours(24), days(7), days(14), days(30), LIFETIME)
TRAFFIC = (hours(24), days(7), days(30))
RISK = (hours(24), days(7), days(14), days(30), LIFETIME)
EPISODE = (days(30),)

CUSTOMER_SPENDING = FeatureView(
    name="customer_spending",
    entity=CUSTOMER,
    source=TRANSACTIONS,
    aggregates=(
        count(windows=(hours(1), *SPENDING)),
        *(op(AMOUNT, windows=SPENDING) for op in (total, mean, most, std)),
        since_last(),
        first_seen_age(),
    ),
    description="How often and how much a customer pays.",
)

TERMINAL_TRAFFIC = FeatureView(
    name="terminal_traffic",
    entity=TERMINAL,
    source=TRANSACTIONS,
    aggregates=(count(windows=(hours(1), *TRAFFIC)), mean(AMOUNT, windows=TRAFFIC), most(AMOUNT, windows=TRAFFIC), since_last()),
    description="How busy a terminal is and what is paid there.",
)  # fmt: skip


def _risk(windows: tuple[Window, ...]) -> tuple[Aggregate, ...]:
    """Frauds and their share among what is known, and when the present run of frauds began and last showed."""
    return (
        count(where=FRAUD, label="fraud", windows=windows),
        mean(col("is_fraud"), label="fraud", windows=windows),
        least(col("event_time_ms"), where=FRAUD, label="fraud_time_ms", windows=EPISODE).as_hidden(),
        since_last(where=FRAUD, label="fraud"),
        since_last(where=GENUINE, label="genuine_label"),
        last(col("is_fraud"), label="label_is_fraud"),
        mean(AMOUNT, where=FRAUD, label="fraud_amount", windows=EPISODE),
    )


TERMINAL_RISK = FeatureView(
    name="terminal_risk",
    entity=TERMINAL,
    source=LABELS,
    aggregates=(*_risk(RISK), count(windows=TRAFFIC)),
    description="What is known of frauds at the terminal: a compromised one stays so for weeks.",
)

CUSTOMER_RISK = FeatureView(
    name="customer_risk",
    entity=CUSTOMER,
    source=LABELS,
    aggregates=_risk((days(7), days(30), LIFETIME)),
    description="What is known of frauds with the customer's card.",
)

VIEWS = (CUSTOMER_SPENDING, TERMINAL_TRAFFIC, TERMINAL_RISK, CUSTOMER_RISK)

CUSTOMER_PLACE = FeatureView(
    name="customer_place",
    entity=CUSTOMER,
    source=CUSTOMERS,
    aggregates=(profile(col("x_e6")).as_hidden(), profile(col("y_e6")).as_hidden()),
    description="Where the customer lives on the book's map.",
)

TERMINAL_PLACE = FeatureView(
    name="terminal_place",
    entity=TERMINAL,
    source=TERMINALS,
    aggregates=(profile(col("x_e6")).as_hidden(), profile(col("y_e6")).as_hidden()),
    description="Where the terminal stands on the book's map.",
)

PLACES = (CUSTOMER_PLACE, TERMINAL_PLACE)

MS_PER_HOUR = 3_600_000.0
MS_PER_DAY = 24.0 * MS_PER_HOUR
NIGHT_ENDS_H = 6.0


def _identity(value: float) -> float:
    return value


def _hour_of_day(time_ms: float) -> float:
    return (time_ms % MS_PER_DAY) / MS_PER_HOUR


def _is_night(time_ms: float) -> float:
    return 1.0 if math.floor((time_ms % MS_PER_DAY) / MS_PER_HOUR) <= NIGHT_ENDS_H else 0.0


def _is_weekend(time_ms: float) -> float:
    # 1970-01-01 was a Thursday; Monday is 0.
    return 1.0 if (math.floor(time_ms / MS_PER_DAY) + 3.0) % 7.0 >= 5.0 else 0.0


def _ratio(value: float, other: float) -> float:
    return value / other


def _deviation(value: float, mean: float, spread: float) -> float:
    """Standard score; null with no spread."""
    return (value - mean) / spread


def _age_s(time_ms: float, then_ms: float) -> float:
    return (time_ms - then_ms) / 1000.0


REQUEST = (
    RequestFeature(name="amount_minor", compute=_identity, inputs=("request.amount_minor",)),
    RequestFeature(name="hour_of_day", compute=_hour_of_day, inputs=("request.event_time_ms",)),
    RequestFeature(name="is_night", compute=_is_night, inputs=("request.event_time_ms",)),
    RequestFeature(name="is_weekend", compute=_is_weekend, inputs=("request.event_time_ms",)),
    *(
        RequestFeature(name=f"amount_{noun}_customer_{op}_{label}", compute=compute,
                       inputs=("request.amount_minor", *(f"customer_amount_minor_{part}_{label}" for part in parts)))
        for label in ("7d", "14d", "30d", "lifetime")
        for noun, op, compute, parts in (
            ("ratio_to", "mean", _ratio, ("mean",)),
            ("ratio_to", "max", _ratio, ("max",)),
            ("deviation_from", "mean", _deviation, ("mean", "std")),
        )
    ),
    *(
        RequestFeature(name=f"customer_peak_{label}_to_lifetime_mean", compute=_ratio,
                       inputs=(f"customer_amount_minor_max_{label}", "customer_amount_minor_mean_lifetime"))
        for label in ("24h", "7d", "14d")
    ),
    *(
        RequestFeature(name=f"customer_amount_{op}_{label}_to_lifetime", compute=_ratio,
                       inputs=(f"customer_amount_minor_{op}_{label}", f"customer_amount_minor_{op}_lifetime"))
        for label in ("7d", "14d", "30d") for op in ("mean", "std")
    ),
    *(
        RequestFeature(name=f"{entity}_fraud_episode_age_s", compute=_age_s,
                       inputs=("request.event_time_ms", f"{entity}_fraud_time_ms_min_30d"))
        for entity in ("terminal", "customer")
    ),
    *(
        RequestFeature(name=f"{entity}_txn_velocity_24h_to_30d", compute=_ratio,
                       inputs=(f"{entity}_txn_count_24h", f"{entity}_txn_count_30d"))
        for entity in ("terminal", "customer")
    ),
)  # fmt: skip


def _distance(x_e6: float, y_e6: float, other_x_e6: float, other_y_e6: float) -> float:
    """In the unit of the book's map, which is a plane: its customers pay within a radius of 5."""
    return math.hypot(x_e6 - other_x_e6, y_e6 - other_y_e6) / 1e6


DISTANCE = RequestFeature(
    name="distance_customer_to_terminal",
    compute=_distance,
    inputs=("customer_x_e6", "customer_y_e6", "terminal_x_e6", "terminal_y_e6"),
)

HANDBOOK_SCORING = FeatureService(
    name="handbook_scoring",
    scored=TRANSACTIONS,
    views=VIEWS,
    request=REQUEST,
    description="What the fraud model sees of one of the Handbook's payments.",
)

# A service of its own, so that nobody's figures without the profile files change.
HANDBOOK_SCORING_WITH_PLACES = FeatureService(
    name="handbook_scoring_with_places",
    scored=TRANSACTIONS,
    views=(*VIEWS, *PLACES),
    request=(*REQUEST, DISTANCE),
    description="The same, for whoever has the files of customers and terminals too.",
)


@cache
def registry() -> Registry:
    """The Handbook's registry; made once a process."""
    return Registry((*VIEWS, *PLACES), (HANDBOOK_SCORING, HANDBOOK_SCORING_WITH_PLACES))
