"""Intervals of sums and shares by days drawn again: what they hold to, worked out by hand or by drawing worlds."""

import numpy as np
import pytest

from fraud_assets.audit.days import Days
from fraud_assets.contracts.topics import DAY_MS

TWENTY_DAYS = np.repeat(np.arange(20) * DAY_MS, 3)  # three payments each


def _sum_interval(days: Days, money: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float]:
    found = days.sum_of(lambda rows: float(money[rows].sum()))
    assert found is not None
    return found["low"], found["high"]


def test_days_that_are_all_alike_leave_no_doubt() -> None:
    """Whichever days are drawn, twenty of them hold 20 × 300, and half of it is stopped."""
    days, money = Days(TWENTY_DAYS), np.full(60, 100.0)

    assert _sum_interval(days, money) == (6_000, 6_000)
    assert days.share(money / 2, money) == {"low": 0.5, "high": 0.5}


def test_an_attack_of_one_day_may_not_have_come_or_twice() -> None:
    """The day is drawn Poisson-like: not at all in 36 of 100 draws, more than three times in two of a hundred."""
    money = np.zeros(60)
    money[:3] = 1_000.0

    assert _sum_interval(Days(TWENTY_DAYS), money) == (0, 9_000)


def test_a_day_without_payments_is_drawn_too() -> None:
    """Of eleven days the first and the last have payments: both may stay away."""
    days = Days(np.array([0, 10 * DAY_MS]))

    low, high = _sum_interval(days, np.array([100.0, 100.0]))

    assert low == 0 and high >= 400


def test_the_same_payments_have_the_same_interval() -> None:
    money = np.random.default_rng(1).gamma(0.5, 1_000, 60)

    assert _sum_interval(Days(TWENTY_DAYS), money) == _sum_interval(Days(TWENTY_DAYS), money)


def test_one_instant_has_no_interval() -> None:
    assert Days(np.zeros(5, np.int64)).sum_of(lambda rows: float(len(rows))) is None
    assert Days(np.zeros(5, np.int64)).share(np.ones(5), np.ones(5)) is None


def test_a_share_of_nothing_has_no_interval() -> None:
    assert Days(TWENTY_DAYS).share(np.zeros(60), np.zeros(60)) is None


@pytest.mark.parametrize(("n_days", "at_least", "at_most"), [(23, 0.72, 0.84), (90, 0.84, 0.95)])
def test_the_interval_is_too_narrow_by_as_much_as_the_docs_say(n_days: int, at_least: float, at_most: float) -> None:
    """In 400 worlds with an attack every tenth day it holds the true sum in 78 of 100 where it has seen 23 days, in 89 of 90 days."""
    rng, held = np.random.default_rng(2), 0
    days = Days(np.arange(n_days) * DAY_MS)
    expected = n_days * (500 + 0.1 * 5_000)
    for _ in range(400):
        money = rng.gamma(2, 250, n_days) + rng.binomial(1, 0.1, n_days) * rng.gamma(2, 2_500, n_days)
        low, high = _sum_interval(days, money)
        held += low <= expected <= high

    assert at_least <= held / 400 <= at_most
