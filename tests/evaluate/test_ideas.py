"""Ideas: each feature falls to one by its declaration, and nothing that reads what was left out stays."""

import itertools

import pytest

from fraud_assets.evaluate.ideas import ARITHMETIC, COMPARISONS, FIELDS, arms_of, needs_of
from fraud_assets.evaluate.measure import Measure, ablation, measures_of
from fraud_assets.features.catalogue import handbook, ticketing
from fraud_assets.features.language import FeatureService
from fraud_assets.features.registry import Registry

SERVICES = [
    pytest.param(ticketing.registry(), ticketing.FRAUD_SCORING, id="ticketing"),
    pytest.param(handbook.registry(), handbook.HANDBOOK_SCORING_WITH_PLACES, id="handbook"),
]


def _ideas(service: FeatureService, name: str) -> set[str]:
    return {idea.name for idea in needs_of(service)[name]}


@pytest.mark.parametrize(
    ("feature", "ideas"),
    [
        ("amount_minor", {FIELDS.name}),
        ("hour_of_day", {ARITHMETIC.name}),
        ("account_txn_count_1h", {"history of the account"}),
        ("account_device_first_seen_age_s", {"history of pairs"}),
        ("account_age_s", {"profile of the account"}),
        ("fraud_risk_score", {"labels of the account"}),
        ("promoter_success_rate", {"history of the promoter"}),  # declared in a view of the event
        ("is_new_device", {"history of pairs", COMPARISONS.name}),
        # Reads the price a ticket, which is arithmetic, and the event's own price.
        ("price_ratio_to_event", {ARITHMETIC.name, "history of the event", COMPARISONS.name}),
        ("implied_speed_kmh", {"history of the account", COMPARISONS.name}),  # through the distance
    ],
)  # fmt: skip
def test_a_feature_needs_its_own_idea_and_those_of_what_it_reads(feature: str, ideas: set[str]) -> None:
    assert _ideas(ticketing.FRAUD_SCORING, feature) == ideas


@pytest.mark.parametrize(("registry", "service"), SERVICES)
def test_each_arm_has_more_than_the_one_before_until_it_is_the_whole(
    registry: Registry, service: FeatureService
) -> None:
    """Or as many, where an idea's features are all hidden; and each is lost by the arm that leaves its idea out."""
    names = registry.feature_names(service)
    needs = {name: {idea.name for idea in of} for name, of in needs_of(service).items()}

    arms = arms_of(service, names)

    growing = [set(arm.columns) for arm in arms if not arm.without]
    assert growing[0] and growing[-1] == set(range(len(names)))
    assert all(before <= after for before, after in itertools.pairwise(growing))
    for arm in (arm for arm in arms if arm.without):
        kept = {names[at] for at in arm.columns}
        assert kept == {name for name in names if arm.idea not in needs[name]}
    assert len({arm.name for arm in arms}) == len(arms)


def test_what_is_left_out_takes_with_it_what_is_computed_from_it() -> None:
    """A ratio to the customer's mean would tell the mean."""
    names = handbook.registry().feature_names(handbook.HANDBOOK_SCORING)
    (without,) = (
        arm
        for arm in arms_of(handbook.HANDBOOK_SCORING, names)
        if arm.without and arm.idea == "history of the customer"
    )

    kept = {names[at] for at in without.columns}

    assert "amount_ratio_to_customer_mean_30d" not in kept and "customer_txn_count_24h" not in kept
    assert {"terminal_txn_velocity_24h_to_30d", "customer_fraud_episode_age_s", "amount_minor"} <= kept


def test_differences_are_taken_fold_by_fold() -> None:
    """Of .5 and .7 against .6 and .8 each fold lost .1: no deviation, though the folds themselves differ."""
    lost = Measure((0.5, 0.7)).less(Measure((0.6, 0.8)))

    assert lost.text("+") == "-0.100 ± 0.000"
    assert Measure((0.5, 0.7)).text() == "0.600 ± 0.141"
    assert Measure((0.25,)).text(digits=2) == "0.25"


def test_the_table_has_what_was_reached_and_what_is_lost_without() -> None:
    arms = arms_of(FeatureService(name="tiny", scored=handbook.TRANSACTIONS, views=(), request=handbook.REQUEST[:2]), ["amount_minor", "hour_of_day"])  # fmt: skip
    reached = {"with fields of the payment": 0.5, "with arithmetic on them": 0.75, "without fields of the payment": 0.25, "without arithmetic on them": 0.5}  # fmt: skip

    said = ablation([(arm, measures_of([{"ap": reached[arm.name]}])) for arm in arms], ["ap"])

    assert said.splitlines() == [
        "| Ideas so far | features | ap | ap without it |",
        "| --- | --- | --- | --- |",
        "| fields of the payment | 1 | 0.500 | -0.500 |",
        "| arithmetic on them | 2 | 0.750 | -0.250 |",
    ]
