"""Decimals: an amount in minor units is exactly the amount that was written."""

from decimal import ROUND_HALF_UP, Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.ingest.decimals import scaled, scaled_text


@pytest.mark.parametrize(
    ("text", "minor"),
    [
        ("0.29", 29),  # 0.29 * 100 is 28.999… in floating point
        ("1.005", 101),  # half a unit rounds away from zero; the double nearest 1.005 lies below it
        ("-1.005", -101),
        ("2.675", 268),
        ("1.0049999999999999999999999999", 100),  # one rounding, not two
        ("4.35", 435),
        ("1e2", 10_000),
        (".5", 50),
        ("5.", 500),
        ("+7", 700),
        ("0", 0),
        ("92233720368547758.07", 2**63 - 1),
    ],
)
def test_text_is_scaled_exactly(text: str, minor: int) -> None:
    """What a person reads is what is stored."""
    assert scaled_text(text, 2) == minor
    assert scaled(pl.Series([f" {text} "]), 2).to_list() == [minor]


@pytest.mark.parametrize(
    "text",
    ["", "abc", "1,000", "1_000", "NaN", "inf", "\u0663", "1.2.3", "--1", "1e999", "92233720368547758.08", "0x10"],
)
def test_text_that_is_no_plain_decimal_is_null(text: str) -> None:
    """Thousands separators, other scripts and overflow are refused, never guessed."""
    assert scaled_text(text, 2) is None


@given(st.integers(-(10**12), 10**12))
def test_float_of_two_decimals_gives_back_its_minor_units(minor: int) -> None:
    """Every amount up to ten billion survives being a double in a stranger's file."""
    assert scaled(pl.Series([minor / 100]), 2).to_list() == [minor]


@given(st.floats(-1e9, 1e9))
def test_float_means_its_shortest_decimal(value: float) -> None:
    """Column path and text path agree, whatever the number of decimals."""
    expected = int((Decimal(repr(value)) * 100).to_integral_value(ROUND_HALF_UP))

    assert scaled(pl.Series([value]), 2).to_list() == [expected]
    assert scaled(pl.Series([repr(value)]), 2).to_list() == [expected]


def test_numbers_without_a_value_are_null() -> None:
    """NaN, infinities, nulls and integers that would overflow are no amounts."""
    assert scaled(pl.Series([float("nan"), float("inf"), None, 1e300]), 2).to_list() == [None] * 4
    assert scaled(pl.Series([10**17, None, 3]), 2).to_list() == [None, None, 300]
