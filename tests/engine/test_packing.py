"""Numbers of a packed state's head."""

from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from fraud_assets.engine.jit import kernel
from fraud_assets.engine.packing import LONGEST_NUMBER, TORN, get_number, put_number


@kernel
def put(value: int, raw: Any) -> Any:
    return put_number(raw, 0, value)


@kernel
def get(raw: Any, words: Any) -> Any:
    return get_number(raw, 0, words, 0)


def taken(raw: bytes) -> tuple[int, int]:
    """(number, next place or TORN)."""
    words = np.zeros(1, np.int64)
    at = int(get(np.frombuffer(raw, np.uint8), words))
    return (int(words[0]), at) if at >= 0 else (0, TORN)


@given(st.integers(-(2**63), 2**63 - 1))
@example(2**63 - 1)
@example(-(2**63))
def test_a_number_of_any_length_is_taken_as_it_was_put(value: int) -> None:
    raw = np.zeros(16, np.uint8)
    size = int(put(value, raw))

    assert size <= LONGEST_NUMBER
    assert taken(raw[:size].tobytes()) == (value, size)
    assert taken(raw[: size - 1].tobytes()) == (0, TORN)


def test_a_number_without_an_end_is_torn() -> None:
    assert taken(b"\xff" * 11) == (0, TORN)
