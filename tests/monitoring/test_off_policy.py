"""Estimates from a log, against logs whose truth is known."""

import numpy as np
import pytest

from fraud_assets.monitoring.off_policy import Decided, always, as_logged, estimate, greedy

GRID = np.array([0.9, 1.0, 1.1])
TRUE = np.array([0.05, 0.08, 0.06])


def log(n: int, modelled: "np.ndarray[tuple[int], np.dtype[np.float64]]", forbidden: int | None = None) -> list[Decided]:  # fmt: skip
    """Draws of a policy that likes 1.1, and rewards whose means are TRUE."""
    rng = np.random.default_rng(5)
    propensities = np.array([0.1, 0.2, 0.7])
    if forbidden is not None:
        propensities[forbidden] = 0.0
        propensities /= propensities.sum()
    found = []
    for number in range(n):
        place = int(rng.choice(3, p=propensities))
        reward = float(rng.poisson(200 * TRUE[place]) / 200)
        found.append(Decided(f"e{number % 40}", number, 200.0, reward, place, GRID, propensities, modelled))
    return found


@pytest.mark.parametrize("modelled", [TRUE, np.array([0.2, 0.01, 0.1])], ids=["right model", "wrong model"])
def test_each_estimator_finds_a_policy_that_was_rarely_followed(modelled: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> None:  # fmt: skip
    """Doubly robust: right with right propensities, whatever the model says."""
    found = estimate(log(6_000, modelled), always(1.0))

    assert found.inverse_propensity == pytest.approx(0.08, rel=0.1)
    assert found.self_normalised == pytest.approx(0.08, rel=0.03)
    assert abs(found.doubly_robust - 0.08) < 4 * found.doubly_robust_se
    assert found.doubly_robust_se < 0.004
    assert found.effective == pytest.approx(6_000 * 0.2, rel=0.1)


def test_the_logging_policy_is_what_was_earned() -> None:
    decided = log(500, TRUE)

    found = estimate(decided, as_logged)

    earned = np.mean([one.reward for one in decided])
    assert found.inverse_propensity == pytest.approx(earned) == pytest.approx(found.self_normalised)
    assert found.effective == 500


def test_what_the_rails_forbade_is_not_spoken_of() -> None:
    mixed = [*log(300, TRUE), *log(100, TRUE, forbidden=1)]

    assert estimate(mixed, always(1.0)).covered == pytest.approx(0.75)
    with pytest.raises(ValueError, match="permits"):
        estimate(log(10, TRUE, forbidden=1), always(1.0))


def test_the_greedy_policy_takes_the_best_that_is_permitted() -> None:
    (one,) = log(1, TRUE)
    (without,) = log(1, TRUE, forbidden=1)

    assert [chances.tolist() for chances in (greedy(one), greedy(without)) if chances is not None] == [[0, 1, 0], [0, 0, 1]]  # fmt: skip
