"""Metrics: hand-computed values, and the book's own where only real data can tell."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.training.metrics import OneClass, average_precision, card_precision_at_k, recall_at_fpr, roc_auc


def _ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_roc_auc_is_the_share_of_pairs_ranked_right() -> None:
    """Frauds .8 and .4 against .6, .4 and .1: of six pairs four are right, one is a tie, one wrong."""
    fraud = np.array([True, True, False, False, False])

    assert roc_auc(fraud, np.array([0.8, 0.4, 0.6, 0.4, 0.1])) == pytest.approx(4.5 / 6)


def test_average_precision_weighs_precision_by_recall_steps() -> None:
    """Frauds at ranks 1 and 3 of 4: (1/2) x (1/1) + (1/2) x (2/3)."""
    fraud = np.array([True, False, True, False])

    assert average_precision(fraud, np.array([0.9, 0.8, 0.7, 0.1])) == pytest.approx(5 / 6)


def test_recall_at_a_false_positive_rate_lies_between_two_thresholds() -> None:
    """Down to .8 one of two frauds and no good customer; down to .5 both, and two of four: half-way there, at one of four, 3/4."""
    fraud = np.array([True, False, False, True, False, False])
    score = np.array([0.8, 0.5, 0.5, 0.5, 0.2, 0.1])

    assert recall_at_fpr(fraud, score, 0.0) == pytest.approx(0.5)
    assert recall_at_fpr(fraud, score, 0.25) == pytest.approx(0.75)
    assert recall_at_fpr(fraud, score, 0.5) == pytest.approx(1.0)


def test_card_precision_counts_cards_not_payments() -> None:
    """Card 1 fills the two highest payments but one place of the top two cards; card 2 takes the other."""
    card, fraud = _ints(1, 1, 2, 3), np.array([False, True, False, True])

    assert card_precision_at_k(_ints(0, 0, 0, 0), card, fraud, np.array([0.9, 0.8, 0.7, 0.1]), k=2) == 0.5


def test_card_precision_is_the_mean_over_days() -> None:
    """One of two on the first day, both on the second: 0.75."""
    day, card = _ints(0, 0, 1, 1), _ints(1, 2, 3, 4)
    fraud = np.array([True, False, True, True])

    assert card_precision_at_k(day, card, fraud, np.array([0.9, 0.8, 0.7, 0.6]), k=2) == 0.75


def test_card_found_compromised_is_blocked_on_later_days() -> None:
    """Card 1 is found on the first day, so on the second its place goes to card 2."""
    day, card = _ints(0, 1, 1), _ints(1, 1, 2)
    fraud = np.array([True, True, True])

    found = card_precision_at_k(
        np.append(day, 0), np.append(card, 3), np.append(fraud, False), np.array([0.9, 0.9, 0.5, 0.1]), k=1
    )

    assert found == 1.0


def test_card_missed_on_one_day_can_be_found_on_the_next() -> None:
    """Only what was among the k is blocked."""
    day, card = _ints(0, 0, 1), _ints(1, 2, 2)
    fraud = np.array([False, True, True])

    assert card_precision_at_k(day, card, fraud, np.array([0.9, 0.1, 0.8]), k=1) == 0.5


def test_fewer_cards_than_k_still_divide_by_k() -> None:
    """A quiet day cannot look better than the investigators' capacity."""
    assert card_precision_at_k(_ints(0, 0), _ints(1, 2), np.array([True, False]), np.array([0.9, 0.1]), k=4) == 0.25


@given(st.permutations(range(12)))
def test_row_order_does_not_change_card_precision(order: list[int]) -> None:
    """Equal scores rank by card, so shuffled rows give the same number."""
    day = np.repeat(_ints(0, 1), 6)
    card = np.tile(_ints(1, 2, 3), 4)
    fraud = np.array([True, False, False, False, True, False] * 2)
    score = np.tile(np.array([0.5, 0.5, 0.2]), 4)
    expected = card_precision_at_k(day, card, fraud, score, k=2)

    chosen = np.array(order)

    assert card_precision_at_k(day[chosen], card[chosen], fraud[chosen], score[chosen], k=2) == expected


@pytest.mark.parametrize("metric", [roc_auc, average_precision])
@pytest.mark.parametrize("fraud", [[True, True], [False, False], []])
def test_one_class_has_no_ranking(metric: Callable[[np.ndarray, np.ndarray], float], fraud: list[bool]) -> None:
    """No neutral 0.5 or 0.0 stands in for a number that does not exist."""
    with pytest.raises(OneClass, match="both classes"):
        metric(np.array(fraud, bool), np.linspace(0, 1, len(fraud)))
