"""A fixed registry over deals with one of every operation, for the tests that need no random one."""

from fraud_assets.features.expressions import col
from fraud_assets.features.language import (
    FeatureService,
    FeatureView,
    count,
    distinct,
    first_seen_age,
    last,
    least,
    mean,
    mode,
    most,
    profile,
    profile_age,
    ratio,
    since_last,
    std,
    total,
)
from fraud_assets.features.registry import Registry
from fraud_assets.features.windows import DAY_MS, days, hours, minutes
from tests.domains.deals import ACTOR, DEALS, PAIR, PINGS, SIGNED, TRAITS

WINDOWS = (minutes(1), hours(1), days(7))
SIZE = col("size")


def make_registry() -> Registry:
    deals = FeatureView(
        name="deals_view", entity=ACTOR, source=DEALS, ttl_ms=40 * DAY_MS,
        aggregates=(
            count(windows=WINDOWS), *(op(SIZE, windows=WINDOWS) for op in (total, mean, least, most, std)),
            ratio(count(where=SIZE > 0, label="positive", windows=WINDOWS), count(windows=WINDOWS), label="positive"),
        ),
    )  # fmt: skip
    sets = FeatureView(
        name="sets_view", entity=ACTOR, source=DEALS,
        aggregates=(
            distinct(col("place_id"), windows=WINDOWS[1:], cap=4), mode(col("flavour"), windows=WINDOWS[1:], cap=3),
            last(SIZE), first_seen_age(), since_last(), count(source=PINGS, windows=(hours(1),)),
        ),
    )  # fmt: skip
    verdicts = FeatureView(
        name="verdicts_view", entity=PAIR, source=SIGNED,
        aggregates=(count(windows=(days(7),)), mean(col("is_bad"), windows=(days(7),))),
    )  # fmt: skip
    traits = FeatureView(
        name="traits_view", entity=ACTOR, source=TRAITS,
        aggregates=(profile(col("level")), profile_age(col("since_ms"), label="membership")),
    )  # fmt: skip
    views = (deals, sets, verdicts, traits)
    return Registry(views, (FeatureService(name="service", scored=DEALS, views=views),))
