"""Numbers of a packed state, read by the byte and eight bytes at a time."""

from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from fraud_assets.engine.jit import kernel
from fraud_assets.engine.packing import TORN, get_number, put_number, take_number

BEHIND = b"\xff" * 8
numbers = st.integers(-(2**63), 2**63 - 1)


@kernel
def packed(value: int, raw: Any) -> Any:
    return put_number(raw, 0, value)


@kernel
def by_the_byte(raw: Any, words: Any) -> Any:
    return get_number(raw, 0, words, 0)


@kernel
def by_the_word(raw: Any, end: int) -> Any:
    return take_number(raw, np.int64(0), end)


def taken(raw: bytes) -> tuple[int, int]:
    """(number, next place), TORN also for a number that ends behind `raw`; there are other bytes."""
    value, at = by_the_word(np.frombuffer(raw + BEHIND, np.uint8), len(raw))
    return (int(value), int(at)) if 0 <= at <= len(raw) else (0, TORN)


@given(numbers)
@example(2**63 - 1)
@example(-(2**63))
def test_a_number_of_any_length_is_taken_as_it_was_put(value: int) -> None:
    raw = np.zeros(16, np.uint8)
    size = int(packed(value, raw))
    assert taken(raw[:size].tobytes()) == (value, size)
    assert taken(raw[: size - 1].tobytes()) == (0, TORN)


@given(st.binary(max_size=12) | st.binary(max_size=12).map(lambda raw: bytes(byte | 0x80 for byte in raw)))
def test_any_bytes_are_the_same_number_or_torn_either_way(raw: bytes) -> None:
    words = np.zeros(1, np.int64)
    at = int(by_the_byte(np.frombuffer(raw, np.uint8), words))
    assert taken(raw) == ((int(words[0]), at) if at >= 0 else (0, TORN))
