"""Scores that moved: by effect, not by significance; and a day that cannot be judged says why."""

import numpy as np
import pytest

from fraud_assets.monitoring.drift import MIN_ROWS
from fraud_assets.monitoring.ks import ks_distance
from fraud_assets.monitoring.scores import FAR, TOO_FAR, State, shift_between


def scores(n: int, seed: int = 0, often: float = 50.0) -> np.ndarray:
    return np.random.default_rng(seed).beta(1, often, n)


def test_the_distance_is_that_of_the_distribution_functions_where_they_are_furthest_apart() -> None:
    """By hand: at 2 three quarters of the one lie at or below, and a quarter of the other."""
    found = ks_distance(np.array([1.0, 1, 2, 5]), np.array([2.0, 3, 4, 5]))

    assert found is not None
    assert found.distance == pytest.approx(0.5)


def test_nulls_are_no_values_and_a_side_without_values_has_no_distance() -> None:
    null = np.full(3, np.nan)

    mixed = ks_distance(np.array([1.0, np.nan, 2]), np.array([np.nan, 1.0, 2]))

    assert mixed is not None and mixed.distance == 0.0
    assert ks_distance(null, np.array([1.0])) is None
    assert ks_distance(np.empty(0), np.array([1.0])) is None


def test_scores_of_the_same_distribution_are_within_bounds() -> None:
    found = shift_between(scores(2_000), scores(500, seed=1), has_champion=True)

    assert (found.state, found.within_bounds, found.severe) == (State.JUDGED, True, False)
    assert found.psi is not None and found.by_chance is not None
    assert found.psi < 5 * found.by_chance


def test_scores_of_another_distribution_are_out_of_bounds_and_far_out_severe() -> None:
    near, far = (shift_between(scores(2_000), scores(500, seed=1, often=k), has_champion=True) for k in (34, 10))

    assert near.ks is not None and FAR < near.ks < TOO_FAR
    assert (near.within_bounds, near.severe) == (False, False)
    assert (far.within_bounds, far.severe) == (False, True)


def test_a_difference_that_is_only_significant_is_none() -> None:
    """Of 200,000 payments: the p-value is nothing, and so is the effect."""
    found = shift_between(scores(200_000), scores(200_000, seed=1) * 1.03, has_champion=True)

    assert found.ks_p_value is not None and found.ks_p_value < 1e-4
    assert found.within_bounds


def test_too_few_scores_are_measured_and_not_judged() -> None:
    found = shift_between(scores(2_000), np.full(MIN_ROWS - 1, 0.9), has_champion=True)

    assert found.state is State.TOO_FEW
    assert found.ks == pytest.approx(1.0)
    assert found.within_bounds and not found.severe


@pytest.mark.parametrize(
    ("reference", "current", "has_champion", "state"),
    [
        (500, 0, True, State.NOTHING_DECIDED),
        (0, 0, False, State.NO_CHAMPION),
        (0, 500, True, State.NO_REFERENCE),
    ],
)
def test_a_day_without_one_side_says_which(reference: int, current: int, has_champion: bool, state: State) -> None:
    found = shift_between(scores(reference), scores(current), has_champion=has_champion)

    assert found.state is state
    assert (found.psi, found.ks, found.within_bounds) == (None, None, True)
