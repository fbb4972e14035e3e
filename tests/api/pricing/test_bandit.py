"""Chances that are those of the draw, and draws that can be made again."""

import numpy as np
import pytest

from api.pricing.bandit import Ahead, chances, drawn, rng_of
from api.pricing.demand import CategoryBelief, EventCounts, believed

GRID = np.array([0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5])
PLENTY = Ahead(inventory=1e9, visitors=1_000.0)
EVERY = [True] * len(GRID)


def sold(sensitivity: float, visitors: float = 20_000.0) -> EventCounts:
    """So much at every price that there is no doubt."""
    tickets = [0.05 * visitors * float(np.exp(-sensitivity * (m - 1.0))) for m in GRID]
    return EventCounts(0, tickets, [visitors] * len(GRID), 9.0, [0.0] * 25)


@pytest.mark.parametrize(("sensitivity", "best"), [(0.7, 1.4), (1.0, 1.0), (1.4, 0.7)])
def test_with_plenty_to_sell_the_best_price_is_one_over_the_sensitivity(sensitivity: float, best: float) -> None:
    belief = believed(sold(sensitivity), CategoryBelief.nothing(), GRID, 1.0)

    found = chances(belief, GRID, EVERY, PLENTY, 0.0, 1, np.random.default_rng(3))

    assert abs(GRID[int(found.propensities.argmax())] - best) <= 0.101


def test_with_little_left_it_is_the_price_at_which_that_is_just_sold() -> None:
    """50 tickets, 1,000 visitors: at 1.2 times the base price 0.05 · exp(−1.4 · 0.2) · 1,000 = 38 would go, at 0.9 already 58."""
    belief = believed(sold(1.4), CategoryBelief.nothing(), GRID, 1.0)

    scarce = chances(belief, GRID, EVERY, Ahead(50.0, 1_000.0), 0.0, 1, np.random.default_rng(3))

    assert GRID[int(scarce.propensities.argmax())] == 1.0


def test_propensities_are_the_chances_of_the_draw() -> None:
    belief = believed(sold(1.0, 300.0), CategoryBelief.nothing(), GRID, 1.0)
    found = chances(belief, GRID, EVERY, PLENTY, 0.05, 1, np.random.default_rng(3))

    draws = [drawn(found.propensities, np.random.default_rng(n)) for n in range(6_000)]

    shares = np.bincount(draws, minlength=len(GRID)) / len(draws)
    assert shares == pytest.approx(found.propensities, abs=0.02)
    assert found.propensities.sum() == pytest.approx(1.0)
    assert found.propensities.min() >= 0.05 / len(GRID)


def test_what_is_forbidden_is_never_drawn_and_still_judged() -> None:
    belief = believed(sold(0.7), CategoryBelief.nothing(), GRID, 1.0)
    permitted = [place in (2, 3, 4) for place in range(len(GRID))]

    found = chances(belief, GRID, permitted, PLENTY, 0.3, 1, np.random.default_rng(3))

    assert found.propensities[[0, 1, 5, 6, 7, 8]].tolist() == [0.0] * 6
    assert found.propensities.argmax() == 4
    assert found.best[7] > 0.3


def test_chance_is_of_the_event_the_interval_and_the_seed() -> None:
    first = rng_of(1, "e1", 3_600_000).random(4).tolist()

    assert rng_of(1, "e1", 3_600_000).random(4).tolist() == first
    others = [rng_of(2, "e1", 3_600_000), rng_of(1, "e2", 3_600_000), rng_of(1, "e1", 7_200_000)]
    assert first not in [one.random(4).tolist() for one in others]
