"""The demand model: exact counts, a posterior that is checked against brute force, and time that wears it off."""

import math

import numpy as np
import pytest

from api.pricing.demand import (
    SENSITIVITIES,
    CategoryBelief,
    EventCounts,
    believed,
    halved,
    sampled,
    says,
    sensitivity_of,
)

GRID = np.array([0.8, 1.0, 1.2])
COLD = CategoryBelief.nothing()
NOTHING = EventCounts.nothing(3, 0)


def after(*outcomes: tuple[int, float, float]) -> EventCounts:
    """(place, tickets, visitors) of each interval, one after the other."""
    counts = NOTHING
    for place, tickets, visitors in outcomes:
        counts = counts.with_outcome(place, tickets, visitors, says(counts, place, tickets, visitors, COLD, GRID, 1.0))
    return counts


def test_the_posterior_is_that_of_brute_force() -> None:
    """Prior times Poisson likelihood on a grid of levels, in an independent computation."""
    counts = EventCounts(0, [12.0, 8.0, 2.0], [100.0, 90.0, 80.0], 3.0, [0.0] * len(SENSITIVITIES))
    found = believed(counts, COLD, GRID, 1.0)

    levels = np.linspace(1e-4, 0.6, 20_000)
    shape, rate = 2.0, 2.0 / COLD.tickets_per_visitor
    cold = believed(NOTHING, COLD, GRID, 1.0).weights
    mass = []
    for place, s in enumerate(SENSITIVITIES):
        likelihood = (shape - 1) * np.log(levels) - rate * levels + math.log(cold[place])
        for m, sold, seen in zip(GRID, counts.tickets, counts.visitors, strict=True):
            expected = seen * levels * math.exp(-s * (m - 1.0))
            likelihood += sold * np.log(expected) - expected
        mass.append(likelihood)
    dense = np.exp(np.array(mass) - np.max(mass))
    weights = dense.sum(axis=1) / dense.sum()
    mean_level = float((dense.sum(axis=0) / dense.sum()) @ levels)

    assert found.weights == pytest.approx(weights, abs=1e-6)
    ours = sum(w * found.shape / r for w, r in zip(found.weights, found.rates, strict=True))
    assert ours == pytest.approx(mean_level, rel=1e-4)


def test_what_is_sold_at_one_price_says_something_of_another() -> None:
    nothing_said = [0.0] * len(SENSITIVITIES)
    steep = EventCounts(0, [200.0, 80.0, 0.0], [1_000.0, 1_000.0, 0.0], 2.0, nothing_said)
    flat = EventCounts(0, [105.0, 100.0, 0.0], [1_000.0, 1_000.0, 0.0], 2.0, nothing_said)

    tickets = [sampled(believed(one, COLD, GRID, 1.0), GRID, 4_000, np.random.default_rng(1)).mean(axis=0) for one in (steep, flat)]  # fmt: skip

    assert tickets[0][2] / tickets[0][1] < 0.75 < 0.85 < tickets[1][2] / tickets[1][1]


def test_a_new_event_begins_with_what_its_category_has_said() -> None:
    """And not with what it has said itself: that would count twice."""
    taught = after((0, 500, 2_000), (2, 60, 2_000))
    category = CategoryBelief(np.array(taught.said), 300.0, 4_000.0)

    stranger, itself = believed(NOTHING, category, GRID, 1.0), believed(taught, category, GRID, 1.0)
    alone = believed(taught, CategoryBelief(np.zeros(25), 300.0, 4_000.0), GRID, 1.0)

    assert sensitivity_of(stranger)[0] > sensitivity_of(believed(NOTHING, COLD, GRID, 1.0))[0] + 0.5
    assert sensitivity_of(itself)[0] == pytest.approx(
        sensitivity_of(believed(EventCounts(0, taught.tickets, taught.visitors, 2.0, [0.0] * 25), CategoryBelief(np.zeros(25), 300.0, 4_000.0), GRID, 1.0))[0]
    )  # fmt: skip
    assert (
        sensitivity_of(alone)[0] < sensitivity_of(itself)[0]
    )  # its own word taken from a category that never heard it


def test_a_half_life_halves_and_an_earlier_moment_changes_nothing() -> None:
    counts = after((1, 40, 400))

    aged = counts.aged(1_000, 1_000.0, 2_000.0)

    assert (aged.tickets[1], aged.visitors[1], aged.intervals) == (20.0, 200.0, 0.5)
    assert aged.said == pytest.approx([one * 0.5**0.5 for one in counts.said])
    assert aged.aged(500, 1_000.0, 2_000.0) == aged
    assert halved(-5, 10) == 1.0


def test_dispersion_widens_the_belief() -> None:
    counts = EventCounts(0, [200.0, 0.0, 120.0], [1_000.0, 0.0, 1_000.0], 2.0, [0.0] * len(SENSITIVITIES))

    assert sensitivity_of(believed(counts, COLD, GRID, 4.0))[1] > sensitivity_of(believed(counts, COLD, GRID, 1.0))[1]
