"""Integer sines: near the true ones everywhere, exact where one knows them, and the same one by one or together."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.engine.circle import QUARTER_E6, sine_e9, sines
from fraud_assets.engine.kernels import NULL

DEGREE = 1_000_000


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [(0, 0), (30, 5 * 10**8), (90, 10**9), (150, 5 * 10**8), (180, 0), (210, -5 * 10**8), (270, -(10**9)), (360, 0), (-30, -5 * 10**8), (-90, -(10**9))],
)  # fmt: skip
def test_a_sine_that_one_knows(degrees: int, expected: int) -> None:
    assert abs(sine_e9(degrees * DEGREE) - expected) <= 1


@given(st.integers(-(2**61), 2**61))
def test_a_sine_is_within_two_billionths_and_never_beyond_one(angle_e6: int) -> None:
    found = sine_e9(angle_e6)

    assert abs(found - 1e9 * math.sin(math.radians(angle_e6 % 360_000_000 / 1e6))) <= 2
    assert abs(found) <= 10**9


@given(st.lists(st.integers(-(2**61), 2**61), max_size=50))
def test_many_at_once_are_what_each_is_alone(angles: list[int]) -> None:
    column = np.array([*angles, NULL], np.int64)

    sines(column, QUARTER_E6)

    assert column.tolist() == [*(sine_e9(angle + QUARTER_E6) for angle in angles), NULL]
