"""Who is looked at: where a look saves money, as far as the analysts get, and never who is denied."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.settings import Settings
from fraud_assets.training.threshold import CostTable, cost_minor, costs_of, review_threshold

# A look costs 10, a missed fraud its amount; without doubt: the least of all.
PLAIN = CostTable(chargeback_fee_minor=0, false_decline_minor=30, review_minor=10, reviews_per_day=100.0, doubt=0.0)

SCORE = np.array([0.9, 0.6, 0.5, 0.4, 0.3, 0.2])
FRAUD = np.array([True, False, True, False, False, True])
AMOUNT = np.array([100, 5, 50, 5, 5, 25])


def test_looks_go_on_while_they_save_money_by_hand() -> None:
    """.6 and .5 cost 20 and save 50. Down to .2 three more cost 30 and save 25: not worth it."""
    assert review_threshold(SCORE, FRAUD, AMOUNT, 0.8, PLAIN, days=1) == pytest.approx(0.45)
    assert review_threshold(SCORE, FRAUD, AMOUNT, 0.8, replace(PLAIN, review_minor=8), days=1) == pytest.approx(0.2)


def test_analysts_who_can_look_at_one_payment_a_day_are_sent_no_more_by_hand() -> None:
    """One look in the one day, at .6, saves nothing; in two days the second finds the fraud at .5."""
    one_a_day = replace(PLAIN, reviews_per_day=1.0)

    assert review_threshold(SCORE, FRAUD, AMOUNT, 0.8, one_a_day, days=1) == 0.8
    assert review_threshold(SCORE, FRAUD, AMOUNT, 0.8, one_a_day, days=2) == pytest.approx(0.45)


def test_payments_of_equal_score_are_looked_at_together_or_not_at_all() -> None:
    score = np.array([0.9, 0.5, 0.5, 0.5])
    fraud, amount = np.array([True, True, True, False]), np.full(4, 100)

    assert review_threshold(score, fraud, amount, 0.8, replace(PLAIN, reviews_per_day=2.0), days=1) == 0.8
    assert review_threshold(score, fraud, amount, 0.8, replace(PLAIN, reviews_per_day=3.0), days=1) == pytest.approx(
        0.5
    )


@pytest.mark.parametrize("costs", [replace(PLAIN, reviews_per_day=0.0), replace(PLAIN, review_minor=10**6)])
def test_where_nobody_can_look_or_no_look_pays_nothing_is_reviewed(costs: CostTable) -> None:
    assert review_threshold(SCORE, FRAUD, AMOUNT, 0.8, costs, days=1) == 0.8


def test_where_everything_is_denied_nothing_is_left_to_look_at() -> None:
    assert review_threshold(SCORE, FRAUD, AMOUNT, 0.1, PLAIN, days=1) == 0.1


def test_one_dear_fraud_does_not_send_a_crowd_to_the_analysts() -> None:
    """It pays for ninety looks, and is there or not by chance."""
    score = np.concatenate([np.linspace(0.7, 0.6, 20), np.linspace(0.3, 0.2, 90), [0.1]])
    fraud = np.concatenate([np.ones(20, bool), np.zeros(90, bool), [True]])
    amount = np.concatenate([np.full(20, 500), np.zeros(90), [1_000]])

    sure = review_threshold(score, fraud, amount, 0.8, replace(PLAIN, doubt=1.0, reviews_per_day=1e6), days=1)
    least = review_threshold(score, fraud, amount, 0.8, replace(PLAIN, reviews_per_day=1e6), days=1)

    assert 0.3 < sure < 0.61
    assert least == pytest.approx(0.1)


rows = st.lists(st.tuples(st.integers(0, 8), st.booleans(), st.integers(0, 100)), min_size=1, max_size=25)


@settings(max_examples=300, deadline=None)
@given(rows, st.integers(1, 9), st.integers(0, 40), st.floats(0, 12))
def test_no_other_review_threshold_within_capacity_costs_less(
    given_rows: list[tuple[int, bool, int]], deny: int, review_minor: int, capacity: float
) -> None:
    """Tried one by one, with the cost of each counted payment by payment."""
    score, fraud, amount = (np.array(part) for part in zip(*given_rows, strict=True))
    score, at = score / 10, deny / 10
    costs = replace(PLAIN, review_minor=review_minor, reviews_per_day=capacity)

    found = review_threshold(score, fraud, amount, at, costs, days=2)

    every = [at, *(value for value in np.unique(score) if value < at)]
    within = [one for one in every if ((score >= one) & (score < at)).sum() <= capacity * 2]
    cost = {one: total(score, fraud, amount, one, at, costs) for one in within}
    assert ((score >= found) & (score < at)).sum() <= capacity * 2
    assert total(score, fraud, amount, found, at, costs) == min(cost.values())
    assert cost_minor(score, fraud, amount, (found, at), costs) == min(cost.values())


def total(
    score: np.ndarray, fraud: np.ndarray, amount: np.ndarray, review: float, deny: float, costs: CostTable
) -> float:
    found = 0.0
    for one, is_fraud, worth in zip(score.tolist(), fraud.tolist(), amount.tolist(), strict=True):
        if one >= deny:
            found += 0 if is_fraud else costs.false_decline_minor
        elif one >= review:
            found += costs.review_minor
        else:
            found += worth if is_fraud else 0
    return found


def test_the_cost_table_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUD_CHARGEBACK_FEE_MINOR", "1")
    monkeypatch.setenv("FRAUD_FALSE_DECLINE_MINOR", "2")
    monkeypatch.setenv("FRAUD_REVIEW_MINOR", "3")
    monkeypatch.setenv("FRAUD_REVIEWS_PER_DAY", "4.5")

    found = costs_of(Settings())

    assert found == CostTable(chargeback_fee_minor=1, false_decline_minor=2, review_minor=3, reviews_per_day=4.5)


def test_an_environment_that_says_nothing_means_the_default_table(monkeypatch: pytest.MonkeyPatch) -> None:
    assert costs_of(Settings()) == CostTable()
