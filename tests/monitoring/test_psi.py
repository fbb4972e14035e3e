"""The index against values computed by hand, and columns that are empty, constant or all null."""

import math

import numpy as np
import pytest

from fraud_assets.monitoring.psi import Bins, EmptyBin, by_chance, column_psi, population_stability_index, shares

NAN = float("nan")


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_the_index_of_two_shares_is_what_the_formula_gives_by_hand() -> None:
    # (0.25 - 0.5) ln(0.25 / 0.5) + (0.75 - 0.5) ln(0.75 / 0.5) = 0.25 (ln 2 + ln 1.5)
    found = population_stability_index(np.array([0.5, 0.5]), np.array([0.25, 0.75]))

    assert found == pytest.approx(0.25 * (math.log(2) + math.log(1.5)))
    assert found == pytest.approx(0.2746531)


def test_the_index_is_symmetric_and_zero_only_for_equal_shares() -> None:
    one, other = np.array([0.2, 0.3, 0.5]), np.array([0.25, 0.3, 0.45])

    assert population_stability_index(one, other) == pytest.approx(population_stability_index(other, one))
    assert population_stability_index(one, other) > 0
    assert population_stability_index(one, one) == 0.0


def test_a_share_of_zero_is_refused_and_smoothed_counts_have_none() -> None:
    with pytest.raises(EmptyBin):
        population_stability_index(np.array([1.0, 0.0]), np.array([0.5, 0.5]))
    # (0 + 0.5) / (4 + 2 * 0.5), and the rest.
    assert shares(np.array([0, 4])) == pytest.approx([0.1, 0.9])


def test_the_index_of_a_column_by_hand() -> None:
    # The median 2 parts the reference 2 : 2 and the day 3 : 1; smoothed 0.5 : 0.5 and 0.7 : 0.3.
    found = column_psi(column(1, 2, 3, 4), column(1, 1, 1, 4), count=2)

    assert found == pytest.approx(0.2 * math.log(0.7 / 0.5) - 0.2 * math.log(0.3 / 0.5))


def test_quantile_bins_hold_equal_shares_of_a_skewed_reference() -> None:
    amounts = np.random.default_rng(1).lognormal(8, 2, 10_000).astype(np.float32)

    counts = Bins.of(amounts).counts(amounts)

    assert counts[:-1].tolist() == [1_000] * 10
    assert counts[-1] == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_shift_of_a_skewed_amount_by_six_tenths_of_a_sigma_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference, current = rng.lognormal(8, 1, 20_000), rng.lognormal(8.6, 1, 2_000)

    # Between two normals of equal spread the index in the limit is the squared distance, 0.36.
    assert 0.25 < column_psi(reference, current) < 0.45


@pytest.mark.parametrize("rows", [200, 2_000])
def test_the_same_distribution_gives_what_chance_gives(rows: int) -> None:
    rng = np.random.default_rng(2)
    reference = rng.lognormal(8, 1, 20_000)

    found = [column_psi(reference, rng.lognormal(8, 1, rows)) for _ in range(50)]

    assert np.mean(found) == pytest.approx(by_chance(20_000, rows), rel=0.25)
    assert max(found) < 0.2


def test_nulls_are_a_bin_of_their_own() -> None:
    reference = column(*range(90), *[NAN] * 10)

    assert column_psi(reference, reference) == 0.0
    assert column_psi(reference, column(*range(45), *[NAN] * 55)) > 0.5
    assert column_psi(column(*range(100)), column(*[NAN] * 100)) > 5


def test_a_value_that_fills_a_bin_is_mixed_with_nothing_else() -> None:
    zeros_and_counts = column(*[0] * 90, *range(1, 11))

    # Everything just below zero, or half-way to one, would hide in the zeros' bin otherwise.
    assert column_psi(zeros_and_counts, zeros_and_counts - np.float32(0.5)) > 5
    assert column_psi(zeros_and_counts, zeros_and_counts) == 0.0


@pytest.mark.parametrize("moved", [-1.0, 1.0])
def test_a_constant_that_changes_has_moved_in_either_direction(moved: float) -> None:
    constant = column(*[7] * 100)

    assert column_psi(constant, constant) == 0.0
    assert column_psi(constant, constant + np.float32(moved)) > 5


def test_columns_of_nulls_are_equal_and_one_that_comes_alive_has_moved() -> None:
    nothing = column(*[NAN] * 100)

    assert column_psi(nothing, nothing) == 0.0
    assert column_psi(nothing, column(*range(100))) > 5


def test_without_rows_nothing_is_known() -> None:
    some = column(1, 2, 3)

    assert math.isnan(column_psi(some, column()))
    assert math.isnan(column_psi(column(), some))


def test_values_of_single_precision_are_compared_in_single_precision() -> None:
    # 0.1 as float32 is above 0.1 as float64: an edge of the wider type would part equal values.
    tenths = np.full(100, 0.1, np.float32)

    assert Bins.of(tenths).counts(tenths).tolist() == [0, 100, 0, 0]
    assert Bins.of(tenths).edges.dtype == np.float32
