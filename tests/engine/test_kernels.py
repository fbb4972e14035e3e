"""The aggregators against exact arithmetic: what they round, how much, and what they never lose."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.engine.kernels import (
    NULL,
    add_wide,
    distinct_estimate,
    initialise,
    insert_count,
    insert_hash,
    merge,
    mix63,
    most_frequent,
    standard_deviation,
    subtract_wide,
    update_plain,
    wide_product,
)
from fraud_assets.features.layout import Acc
from fraud_assets.features.sources import MAX_VALUE
from tests.parity import oracle

NUMBERS = st.one_of(st.integers(-50, 50), st.integers(-MAX_VALUE, MAX_VALUE), st.sampled_from([MAX_VALUE, -MAX_VALUE]))
WORDS = st.integers(-(2**63), 2**63 - 1)


def exact_std(values: list[int]) -> float:
    """sqrt(n·Σx² − (Σx)²)/n to sixty digits, then the nearest float."""
    with localcontext(prec=120):
        n = len(values)
        spread = Decimal(n * sum(v * v for v in values) - sum(values) ** 2)
        return float(spread.sqrt() / n)


def kernel_std(values: list[int]) -> float:
    w = np.zeros(2, np.int64)
    for value in values:
        update_plain(int(Acc.SQUARES), 0, w, 0, value)
    return float(standard_deviation(len(values), sum(values), w[0], w[1]))


@given(values=st.lists(NUMBERS, min_size=1, max_size=40))
def test_std_is_within_two_ulps_of_the_exact_value(values: list[int]) -> None:
    """The difference of squares is exact; only limbs to float, the root and one division round."""
    expected = exact_std(values)
    assert abs(kernel_std(values) - expected) <= 2 * math.ulp(expected)


@given(values=st.lists(NUMBERS, min_size=1, max_size=40))
def test_std_has_the_bits_of_the_documented_limbs(values: list[int]) -> None:
    """Both of the kernel's paths, one word or six, round as the oracle's three limbs do."""
    assert kernel_std(values) == oracle.standard_deviation(values)


@pytest.mark.parametrize("value", [0, 1, -7, MAX_VALUE, 10**12 + 1])
@pytest.mark.parametrize("n", [1, 3, 1000])
def test_std_of_equal_values_is_exactly_zero(value: int, n: int) -> None:
    """Float sums of squares leave a residue of thousands here, and its root is no zero."""
    assert kernel_std([value] * n) == 0.0


@given(a=st.integers(0, 2**64 - 1), b=st.integers(0, 2**64 - 1))
def test_a_wide_product_has_all_its_128_bits(a: int, b: int) -> None:
    high, low = wide_product(np.uint64(a), np.uint64(b))
    assert (int(high) << 64) | int(low) == a * b


@given(a=WORDS, b=WORDS, c=WORDS, d=WORDS)
def test_wide_sums_carry_and_borrow(a: int, b: int, c: int, d: int) -> None:
    """Adding then subtracting gives back both words, and the sum is right modulo 2**128."""
    w = np.array([a, b], np.int64)
    add_wide(w, 0, np.uint64(c % 2**64), np.uint64(d % 2**64))
    total = ((a % 2**64) << 64 | b % 2**64) + ((c % 2**64) << 64 | d % 2**64)
    assert (int(w[0]) % 2**64) << 64 | int(w[1]) % 2**64 == total % 2**128
    subtract_wide(w, 0, np.uint64(c % 2**64), np.uint64(d % 2**64))
    assert w.tolist() == [a, b]


@given(value=WORDS)
def test_mix63_is_the_oracles_hash(value: int) -> None:
    assert int(mix63(value)) == oracle.mix63(value)


HASHES = st.lists(st.integers(0, 60).map(oracle.mix63), max_size=40)


@given(hashes=HASHES, cap=st.integers(2, 9), data=st.data())
def test_a_capped_set_is_the_smallest_hashes_whatever_the_order_or_the_tiles(
    hashes: list[int], cap: int, data: st.DataObject
) -> None:
    """Split into tiles and merged in any order it is one set: order cannot matter at rest."""
    tiles: list[list[int]] = [[], [], []]
    for value in data.draw(st.permutations(hashes)):
        tiles[data.draw(st.integers(0, 2))].append(value)
    whole = np.zeros(1 + cap, np.int64)
    for tile in data.draw(st.permutations(tiles)):
        part = np.zeros(1 + cap, np.int64)
        for value in tile:
            insert_hash(part, 0, cap, value)
        merge(int(Acc.DISTINCT), cap, 0, whole, 0, part, 0)

    smallest = sorted(set(hashes))
    assert int(whole[0]) == min(len(smallest), cap + 1)
    assert whole[1 : 1 + min(len(smallest), cap)].tolist() == smallest[:cap]
    assert distinct_estimate(whole, 0, cap) == oracle.distinct(set(hashes), cap)


@given(codes=st.lists(st.integers(1, 12), max_size=40), cap=st.integers(2, 6), data=st.data())
def test_a_capped_mode_counts_the_codes_of_smallest_hash_exactly(
    codes: list[int], cap: int, data: st.DataObject
) -> None:
    tiles: list[list[int]] = [[], []]
    for code in codes:
        tiles[data.draw(st.integers(0, 1))].append(code)
    whole = np.zeros(1 + 2 * cap, np.int64)
    for tile in tiles:
        part = np.zeros(1 + 2 * cap, np.int64)
        for code in tile:
            insert_count(part, 0, cap, code, 1)
        merge(int(Acc.MODE), cap, 0, whole, 0, part, 0)

    expected = oracle.most_frequent(codes, cap)
    found = most_frequent(whole, 0, cap)
    assert (math.isnan(found) and expected is None) or found == expected


@pytest.mark.parametrize("true_count", [100, 1_000, 20_000])
def test_the_estimate_past_the_cap_is_near_the_truth(true_count: int) -> None:
    """k-minimum values: a relative error of about 1/sqrt(k - 2), here k = 64; four of them bound it."""
    w = np.zeros(65, np.int64)
    for value in range(true_count):
        insert_hash(w, 0, 64, oracle.mix63(value))
    assert abs(distinct_estimate(w, 0, 64) / true_count - 1) < 4 / math.sqrt(62)


def test_an_estimate_past_the_cap_is_never_below_what_was_surely_seen() -> None:
    """cap + 1 different hashes were met, however evenly or unevenly they lie."""
    w = np.zeros(3, np.int64)
    for value in (2**62, 2**62 + 1, 2**63 - 1):
        insert_hash(w, 0, 2, value)
    assert distinct_estimate(w, 0, 2) == 3.0


@pytest.mark.parametrize("acc", [Acc.COUNT, Acc.SUM, Acc.SQUARES, Acc.MIN, Acc.MAX, Acc.DISTINCT, Acc.MODE])
def test_a_null_changes_nothing_and_the_identity_merges_to_nothing(acc: Acc) -> None:
    w, nothing = np.zeros(16, np.int64), np.zeros(16, np.int64)
    for words in (w, nothing):
        initialise(int(acc), words, 0)
    update_plain(int(acc), 5, w, 0, 7)
    before = w.tolist()

    update_plain(int(acc), 5, w, 0, NULL)
    merge(int(acc), 5, 0, w, 0, nothing, 0)

    assert w.tolist() == before
