"""Score, rules and missing history → an action, and the reasons that go with it."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.policy.policy import DEFAULT_POLICY, Action, AtLeast, BadPolicy, Decider, Policy, Rule, Verdict
from fraud_assets.policy.reasons import (
    LEAST_SHARE,
    MAX_REASONS,
    TEXTS,
    Attribution,
    NoReason,
    ReasonCode,
    family_of,
)

NAMES = registry().feature_names(FRAUD_SCORING)
PLACE = {name: number for number, name in enumerate(NAMES)}
RULED = sorted({item.feature for rule in DEFAULT_POLICY.rules for item in rule.conditions})
DECIDER = Decider(DEFAULT_POLICY, NAMES, review=0.4, deny=0.8)


def vector(**values: float) -> np.ndarray:
    """All null but for these."""
    x = np.full(len(NAMES), np.nan, np.float32)
    for name, value in values.items():
        x[PLACE[name]] = value
    return x


def unmoved(rows: np.ndarray) -> np.ndarray:
    """No feature moved any score."""
    return np.zeros(rows.shape)


def action(score: float, *, amount_minor: int = 100, degraded: bool = False, **values: float) -> Action:
    (verdict,) = DECIDER.verdicts([score], vector(**values)[None, :], [amount_minor], [degraded], unmoved)
    return verdict.action


@pytest.mark.parametrize(
    ("score", "expected"),
    [(0.0, "approve"), (0.39, "approve"), (0.4, "review"), (0.79, "review"), (0.8, "deny"), (1.0, "deny")],
)
def test_a_score_at_a_threshold_reaches_it(score: float, expected: str) -> None:
    """Training counts a score equal to its threshold as fraud; so do we."""
    assert action(score) == expected


def test_a_burst_of_declines_on_a_card_is_denied_whatever_the_model_says() -> None:
    """Card testing: small amounts, each of which looks harmless."""
    assert action(0.01, card_declined_count_1h=5) == "deny"
    assert action(0.01, card_declined_count_1h=4) == "approve"


def test_a_verdict_says_what_rules_alone_ask_for_whatever_the_score() -> None:
    """Else nobody who compares two models can tell a rule's denial that the score agrees with from the score's."""

    def ruled(score: float, *, degraded: bool = False, **values: float) -> str:
        (verdict,) = DECIDER.verdicts([score], vector(**values)[None, :], [100], [degraded], unmoved)
        return verdict.ruled

    assert {ruled(score, card_declined_count_1h=5) for score in (0.01, 0.5, 0.99)} == {"deny"}
    assert {ruled(score, card_txn_count_1h=10) for score in (0.01, 0.99)} == {"review"}
    assert {ruled(score) for score in (0.01, 0.5, 0.99)} == {""}
    assert ruled(0.01, card_declined_count_1h=5, degraded=True) == "deny"  # though the action is then a review


def test_a_shared_address_alone_denies_nobody() -> None:
    """A hall full of fans on one address, some of them mistyping."""
    assert action(0.01, ip_declined_count_1h=50, ip_declined_ratio_1h=0.1, ip_distinct_cards_1h=400) == "approve"
    assert action(0.01, ip_declined_count_1h=50, ip_declined_ratio_1h=0.9, ip_distinct_cards_1h=40) == "deny"


@given(st.floats(0, 1), st.sampled_from([rule.name for rule in DEFAULT_POLICY.rules]))
def test_a_rule_only_makes_an_action_stricter(score: float, name: str) -> None:
    """A rule that approved would be an attacker's favourite."""
    rule = next(rule for rule in DEFAULT_POLICY.rules if rule.name == name)
    order = list(Action)

    x = vector(**{item.feature: item.value for item in rule.conditions})
    (fired,) = DECIDER.verdicts([score], x[None, :], [100], [False], unmoved)

    assert order.index(fired.action) >= max(order.index(action(score)), order.index(rule.action))


UNCONDITIONAL = msgspec.structs.replace(
    DEFAULT_POLICY, rules=(Rule("all", (), Action.REVIEW, ReasonCode.HIGH_FREQUENCY), *DEFAULT_POLICY.rules)
)
payments = st.tuples(
    st.sampled_from([0.0, 0.39, 0.4, 0.8, 1.0]),
    st.dictionaries(st.sampled_from(RULED), st.sampled_from([0.0, 0.49, 0.5, 3, 5, 10, 1_200, np.inf])),
    st.sampled_from([100, DEFAULT_POLICY.degraded_review_minor]),
    st.booleans(),
)


@given(st.lists(payments, min_size=2, max_size=8), st.sampled_from([DEFAULT_POLICY, UNCONDITIONAL]))
def test_many_payments_are_judged_as_each_of_them_alone(
    given: list[tuple[float, dict[str, float], int, bool]], policy: Policy
) -> None:
    """Rows of which no rule's condition holds are passed over, and only those."""
    decider = Decider(policy, NAMES, 0.4, 0.8)
    scores, values, amounts, degraded = zip(*given, strict=True)
    rows = np.array([vector(**one) for one in values])

    alone = [
        decider.verdicts([score], row[None, :], [amount], [without], unmoved)[0]
        for score, row, amount, without in zip(scores, rows, amounts, degraded, strict=True)
    ]

    assert decider.verdicts(scores, rows, amounts, degraded, unmoved) == alone


def test_nulls_fire_no_rule() -> None:
    """Unknown is not many."""
    assert DECIDER.verdicts([0.0], vector()[None, :], [100], [False], unmoved) == [Verdict(Action.APPROVE, [])]


def test_without_history_nobody_is_denied_and_large_amounts_are_looked_at() -> None:
    """All-null features score everybody alike; a denial would hit whole crowds."""
    assert action(0.99, degraded=True) == "review"
    assert action(0.01, degraded=True, amount_minor=DEFAULT_POLICY.degraded_review_minor) == "review"
    assert action(0.01, degraded=True, amount_minor=DEFAULT_POLICY.degraded_review_minor - 1) == "approve"


def test_an_approval_needs_no_reason() -> None:
    """Nobody is told why they were let through, and no tree is walked for it."""
    explained: list[np.ndarray] = []

    def explain(rows: np.ndarray) -> np.ndarray:
        explained.append(rows)
        return np.ones(rows.shape)

    approved, reviewed = DECIDER.verdicts(
        [0.1, 0.5], np.array([vector(), vector(weekday=3)]), [100, 100], [True, True], explain
    )

    assert approved == Verdict(Action.APPROVE, [])
    assert len(reviewed.reasons) == MAX_REASONS
    np.testing.assert_array_equal(explained, [[vector(weekday=3)]])


def test_reasons_of_rules_come_before_the_models_and_none_is_said_twice() -> None:
    """At most four, as notices to customers ask for."""
    rules = tuple(
        Rule(reason, (AtLeast("card_declined_count_1h", 5),), Action.DENY, reason)
        for reason in (ReasonCode.CARD_TESTING, ReasonCode.DECLINED_PAYMENTS)
    )
    decider = Decider(msgspec.structs.replace(DEFAULT_POLICY, rules=rules), NAMES, 0.4, 0.8)
    shares = np.zeros((1, len(NAMES)))
    shares[0, [PLACE["card_declined_count_1h"], PLACE["hour_of_day"]]] = 2.0, 1.0

    (verdict,) = decider.verdicts([0.1], vector(card_declined_count_1h=5)[None, :], [100], [False], lambda rows: shares)

    assert verdict.reasons == ["CARD_TESTING", "DECLINED_PAYMENTS", "UNUSUAL_TIME"]
    assert verdict.is_fraud


@given(st.data())
def test_payments_decided_together_get_what_each_gets_alone(data: st.DataObject) -> None:
    """The same actions and the same reasons, whichever of them are explained."""
    values = st.dictionaries(st.sampled_from(RULED), st.sampled_from([0.0, 0.5, 4.0, 5.0, 10.0, 2e3]), max_size=8)
    one = st.tuples(st.sampled_from([0.1, 0.4, 0.9]), values, st.sampled_from([100, 10**5]), st.booleans())
    scores, known, amounts, degraded = zip(*data.draw(st.lists(one, min_size=1, max_size=6)), strict=True)
    rows = np.array([vector(**some) for some in known])

    def explain(rows: np.ndarray) -> np.ndarray:
        """Something else for each row."""
        shares: np.ndarray = np.nan_to_num(rows, nan=0.07).astype(float) * np.cos(np.arange(len(NAMES)))
        return shares

    together = DECIDER.verdicts(scores, rows, amounts, degraded, explain)

    assert together == [
        DECIDER.verdicts([score], row[None, :], [amount], [lost], explain)[0]
        for score, row, amount, lost in zip(scores, rows, amounts, degraded, strict=True)
    ]


def test_every_feature_of_the_service_has_exactly_one_family_and_every_family_a_text() -> None:
    """A feature without a family would make a denial that nobody can explain."""
    assert {family_of(name) for name in NAMES} <= set(TEXTS)
    assert set(TEXTS) == set(ReasonCode)
    with pytest.raises(NoReason, match="FAMILIES"):
        family_of("something_new")


@pytest.mark.parametrize(
    ("feature", "code"),
    [
        ("card_declined_ratio_24h", "DECLINED_PAYMENTS"),
        ("fraud_risk_score", "PAST_FRAUD"),
        ("category_is_fraud_mean_30d", "PAST_FRAUD"),
        ("implied_speed_kmh", "UNUSUAL_PLACE"),
        ("account_distinct_ip_countries_24h", "UNUSUAL_PLACE"),
        ("ip_distinct_cards_24h", "MANY_CARDS"),
        ("device_distinct_accounts_24h", "SHARED_DEVICE"),
        ("ip_distinct_accounts_1h", "SHARED_NETWORK"),
        ("card_distinct_accounts_30d", "SHARED_CARD"),
        ("account_distinct_devices_30d", "MANY_DEVICES"),
        ("account_email_age_s", "RECENT_PROFILE_CHANGE"),
        ("account_age_s", "NEW_ACCOUNT"),
        ("is_new_device", "NEW_DEVICE_OR_CARD"),
        ("account_device_first_seen_age_s", "NEW_DEVICE_OR_CARD"),
        ("account_txn_count_1h", "HIGH_FREQUENCY"),
        ("card_txn_velocity_5m_to_1h", "HIGH_FREQUENCY"),
        ("amount_deviation_from_account_30d", "UNUSUAL_AMOUNT"),
        ("event_txn_count_1h", "UNUSUAL_EVENT"),
        ("preferred_category", "UNUSUAL_HABIT"),
        ("hour_of_day", "UNUSUAL_TIME"),
    ],
)
def test_a_code_keeps_its_meaning(feature: str, code: str) -> None:
    """Clients store codes; a retrain or a new pattern must not move a feature to another one."""
    assert family_of(feature) == code


def test_a_family_is_judged_by_its_sum() -> None:
    """Two features of one family that pull apart say little together."""
    shares = np.zeros(len(NAMES))
    shares[PLACE["account_txn_count_1h"]], shares[PLACE["account_txn_count_24h"]] = 1.0, -1.0
    shares[PLACE["weekday"]] = LEAST_SHARE

    assert Attribution(NAMES).top(shares) == ["UNUSUAL_TIME"]
    assert len(Attribution(NAMES).top(np.ones(len(NAMES)))) == MAX_REASONS


def test_families_are_told_strongest_first_and_equal_ones_in_the_codes_order() -> None:
    """So that the same shares give the same reasons."""
    shares = np.zeros(len(NAMES))
    shares[[PLACE["weekday"], PLACE["amount_minor"], PLACE["account_txn_count_1h"]]] = 0.5, 0.5, 0.75

    assert Attribution(NAMES).top(shares) == ["HIGH_FREQUENCY", "UNUSUAL_AMOUNT", "UNUSUAL_TIME"]


def test_the_digest_follows_every_number_of_the_policy() -> None:
    """Decisions name it; two policies under one digest could not be told apart."""
    other = msgspec.structs.replace(DEFAULT_POLICY, degraded_review_minor=1)

    assert other.digest != DEFAULT_POLICY.digest == msgspec.structs.replace(DEFAULT_POLICY).digest


def test_a_rule_about_an_unserved_feature_fails_when_compiled() -> None:
    """Not silently, for years, as a rule that never fires."""
    rule = Rule("typo", (AtLeast("card_declined_count_2h", 1),), Action.DENY, ReasonCode.CARD_TESTING)

    with pytest.raises(BadPolicy, match="card_declined_count_2h"):
        Decider(msgspec.structs.replace(DEFAULT_POLICY, rules=(rule,)), NAMES, 0.4, 0.8)
