"""Tests by betting: values worked out by hand, the bound on false alarms, and how soon a real excess is found."""

import itertools
import math
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.rollout.evidence import BETS, BLOCK, MeanTest, OutOfRange, Wealth, fold

COIN = MeanTest("coin", 0.0, 1.0, 0.02, 0.05)
PAIRED = MeanTest("paired", -1.0, 1.0, 0.01, 0.05)

Draw = Callable[[np.random.Generator, int], np.ndarray]


def coin(p: float) -> Draw:
    return lambda rng, n: (rng.random(n) < p).astype(np.float64)


def difference(more: float, fewer: float) -> Draw:
    """1 with probability `more`, −1 with `fewer`."""

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        u = rng.random(n)
        return (u < more).astype(np.float64) - (u > 1 - fewer)

    return draw


# ------------------------------------------------------------------------------------------ by hand


def test_one_bet_multiplies_the_wealth_by_what_the_observation_exceeds_the_mean() -> None:
    """Bet b of a fair coin at 0.5: heads gives 1 + b(1 − 0.5)/0.5 = 1 + b, tails 1 − b. Three heads and a tail, by hand."""
    fair = MeanTest("fair", 0.0, 1.0, 0.5, 0.05)

    wealth = fold(fair, Wealth(), [1, 1, 0, 1])

    assert np.allclose(np.exp(wealth.whole), (1 + BETS) ** 3 * (1 - BETS))
    assert wealth.whole == wealth.block
    assert (wealth.n, wealth.estimate, wealth.crossed_at) == (4, 0.75, None)


def test_the_wealth_is_the_mean_over_bets_and_each_purse_has_half_of_alpha() -> None:
    """Of 2 % tolerated, one hit: bet b gives 1 + b·0.98/0.02 = 1 + 49b; the first block may use half of half of alpha."""
    wealth = fold(COIN, Wealth(), [1])

    by_hand = (1 + 49 * 0.9 + sum(1 + 49 * 2.0**-power for power in range(1, 11))) / 11
    assert math.exp(wealth.now) == pytest.approx(by_hand / 2)
    assert wealth.peak == wealth.now


def test_a_difference_that_is_tolerated_exactly_changes_nothing() -> None:
    wealth = fold(PAIRED, Wealth(), [0.01, 0.01])

    assert wealth.whole == (0.0,) * len(BETS)


def test_paired_observations_by_hand() -> None:
    """Bet b of tolerance 0.01 on [−1, 1]: the stake is b/1.01, so 1, −1 and 0 give 1 + 0.99b/1.01, 1 − b, 1 − 0.01b/1.01."""
    wealth = fold(PAIRED, Wealth(), [1, -1, 0])

    by_hand = (1 + 0.99 * BETS / 1.01) * (1 - BETS) * (1 - 0.01 * BETS / 1.01)
    assert np.allclose(np.exp(wealth.whole), by_hand)
    assert wealth.estimate == 0


def test_a_weight_scales_the_stake_and_the_estimate_is_the_weighted_mean() -> None:
    """Half a payment's money: the factor is 1 + b·0.5·(1 − 0.02)/0.02."""
    wealth = fold(COIN, Wealth(), [1, 0], [0.5, 1.0])

    by_hand = (1 + BETS * 0.5 * 0.98 / 0.02) * (1 - BETS)
    assert np.allclose(np.exp(wealth.whole), by_hand)
    assert wealth.estimate == pytest.approx(0.5 / 1.5)


def test_it_alarms_at_the_first_observation_whose_wealth_is_enough() -> None:
    """1/α is 20, and a purse has half of it. A hit: the mean of 1 + 49b is 9.5, so 4.7. Two: that of its square is 266, so 133."""
    assert fold(COIN, Wealth(), [1]).crossed_at is None
    assert fold(COIN, Wealth(), [1, 1]).crossed_at == 2


def test_an_alarm_stays_and_keeps_its_place() -> None:
    wealth = fold(COIN, fold(COIN, Wealth(), [1, 1]), np.zeros(5_000))

    assert wealth.crossed_at == 2
    assert wealth.now < 0 < wealth.peak


def test_a_new_block_begins_with_a_full_purse_and_a_smaller_part_of_alpha() -> None:
    """Block 2 may use α/2/(2·3): what it must reach is twelve times 1/α."""
    zeros = fold(COIN, Wealth(), np.zeros(BLOCK))

    wealth = fold(COIN, zeros, [1])

    by_hand = (1 + 49 * BETS).mean() / 12
    assert np.allclose(np.exp(wealth.block), 1 + 49 * BETS)
    assert math.exp(wealth.now) == pytest.approx(by_hand)


# ---------------------------------------------------------------------------------------- batching


@settings(max_examples=60)
@given(
    values=st.lists(st.floats(-1, 1), max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=8),
    already=st.sampled_from([0, BLOCK - 30, BLOCK - 1]),
)
def test_batching_changes_no_bit(values: list[float], cuts: list[int], already: int) -> None:
    """Also across the end of a block."""
    start = fold(PAIRED, Wealth(), np.zeros(already))
    weights = [abs(value) for value in values]
    at_once = fold(PAIRED, start, values, weights)

    in_parts = start
    edges = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    for begin, end in itertools.pairwise(edges):
        in_parts = fold(PAIRED, in_parts, values[begin:end], weights[begin:end])

    assert in_parts == at_once


def test_ten_thousand_observations_one_by_one_are_ten_thousand_at_once() -> None:
    """So long as to have alarmed in the middle, past several blocks."""
    values = coin(0.05)(np.random.default_rng(3), 10_000)

    wealth = Wealth()
    for value in values:
        wealth = fold(COIN, wealth, [value])

    assert wealth == fold(COIN, Wealth(), values)
    assert wealth.crossed_at is not None


def test_a_wealth_survives_json() -> None:
    """A sensor keeps it in its cursor."""
    wealth = fold(COIN, Wealth(), coin(0.03)(np.random.default_rng(4), 1_234))

    assert msgspec.json.decode(msgspec.json.encode(wealth), type=Wealth) == wealth


# -------------------------------------------------------------------------------------- guarantees


def alarms(
    test: MeanTest, draw: Draw, n: int, runs: int, before: Draw | None = None, warm: int = 0
) -> list[int | None]:
    """Where each run alarms; None: never."""
    rng = np.random.default_rng(20261128)
    found = []
    for _ in range(runs):
        start = fold(test, Wealth(), before(rng, warm)) if before else Wealth()
        found.append(fold(test, start, draw(rng, n)).crossed_at)
    return found


NULLS: dict[str, tuple[MeanTest, Draw]] = {
    "as many denials as tolerated": (COIN, coin(0.02)),
    "few errors": (MeanTest("errors", 0.0, 1.0, 0.001, 0.05), coin(0.001)),
    "half of the scores": (MeanTest("half", 0.0, 1.0, 0.5, 0.05), coin(0.5)),
    "a difference as tolerated": (PAIRED, difference(0.03, 0.02)),
    "a difference with hardly any change": (PAIRED, difference(0.01, 0.0)),
}


@pytest.mark.parametrize("null", NULLS)
def test_looking_after_every_observation_seldom_alarms_without_cause(null: str) -> None:
    """At the edge of what is tolerated, 3,000 looks each: at most α = 5 % of 200 runs alarm, and three deviations of luck."""
    test, draw = NULLS[null]

    alarmed = sum(at is not None for at in alarms(test, draw, 3_000, 200))

    assert alarmed / 200 <= test.alpha + 3 * math.sqrt(test.alpha * (1 - test.alpha) / 200)


def test_looking_daily_at_a_fixed_test_would_alarm_far_more_often() -> None:
    """Why there is any of this: the usual one-sided z-test at 5 %, looked at after every hundredth observation."""
    rng, alarmed = np.random.default_rng(7), 0
    n = np.arange(1, 4_001)
    for _ in range(300):
        mean = np.cumsum(coin(0.5)(rng, 4_000)) / n
        alarmed += bool(np.any(((mean - 0.5) / np.sqrt(0.25 / n))[99::100] > 1.645))

    assert alarmed / 300 > 0.2


REGRESSIONS: dict[str, tuple[MeanTest, Draw]] = {
    "denies a tenth where 2 % are tolerated": (MeanTest("fpr", 0.0, 1.0, 0.02, 0.01 / 8), coin(0.1)),
    "denies a tenth more than the champion": (MeanTest("more", -1.0, 1.0, 0.01, 0.01 / 8), difference(0.11, 0.01)),
    "has no score for 2 % of payments": (MeanTest("errors", 0.0, 1.0, 0.001, 0.01 / 8), coin(0.02)),
    "is late for a tenth": (MeanTest("latency", 0.0, 1.0, 0.01, 0.01 / 8), coin(0.1)),
}


@pytest.mark.parametrize("regression", REGRESSIONS)
def test_a_clear_regression_alarms_within_a_thousand_observations(regression: str) -> None:
    """Each of 50 times, at the level that a guard gives each of its questions."""
    test, draw = REGRESSIONS[regression]

    found = alarms(test, draw, 1_000, 50)

    assert None not in found


def test_a_regression_after_a_long_good_time_alarms_as_soon() -> None:
    """The first purse has lost e^-100 by then and would need ages; the second began anew."""
    test, draw = REGRESSIONS["denies a tenth where 2 % are tolerated"]

    found = alarms(test, draw, 2 * BLOCK, 20, before=coin(0.005), warm=100_500)

    delays = [at - 100_500 for at in found if at is not None]
    assert len(delays) == 20
    assert max(delays) <= BLOCK


def test_a_slight_excess_is_found_in_time() -> None:
    """3 % where 2 % are tolerated: too little for one block, so this is the first purse's."""
    found = alarms(MeanTest("fpr", 0.0, 1.0, 0.02, 0.01 / 8), coin(0.03), 20_000, 20)

    assert None not in found


# ------------------------------------------------------------------------------------------ refused


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf])
def test_an_observation_out_of_bounds_is_refused(value: float) -> None:
    """The guarantee rests on the bounds."""
    with pytest.raises(OutOfRange, match="coin"):
        fold(COIN, Wealth(), [0, value])


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan])
def test_a_weight_out_of_bounds_is_refused(weight: float) -> None:
    with pytest.raises(OutOfRange, match="coin"):
        fold(COIN, Wealth(), [1], [weight])


@pytest.mark.parametrize("at_most", [0.0, 1.0, 2.0])
def test_a_question_that_no_observation_can_answer_is_refused(at_most: float) -> None:
    with pytest.raises(ValueError, match="is no question"):
        MeanTest("x", 0.0, 1.0, at_most, 0.05)


def test_nothing_observed_says_nothing() -> None:
    wealth = fold(COIN, Wealth(), [])

    assert wealth == Wealth()
    assert wealth.estimate is None
