"""Columns of a packed window: as narrow as what they hold, and the same bytes however they came about."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fraud_assets.engine.jit import kernel
from fraud_assets.engine.kernels import HIGHEST, MAX, MIN, NULL, SUM
from fraud_assets.engine.packed_columns import (
    WORD_BYTES,
    bits_of,
    keep_column,
    number_at,
    packed,
    put_width,
    unpacked,
    width_at,
    width_for,
)
from fraud_assets.engine.unaligned import store_word

BEHIND = b"\xa5" * WORD_BYTES
NOTHING = {SUM: 0, MIN: HIGHEST, MAX: NULL}
words = st.integers(-(2**63) + 1, 2**63 - 1) | st.integers(-300, 300)


@kernel
def put(op: int, held: Any, out: Any) -> Any:
    bits = np.uint64(0)
    for k in range(len(held)):
        bits |= bits_of(op, held[k])
    width = width_for(bits)
    for k in range(len(held)):
        store_word(out, np.uint64(k * width), packed(op, held[k], width))
    return width


@kernel
def get(op: int, raw: Any, width: int, held: Any) -> None:
    for k in range(len(held)):
        held[k] = unpacked(op, number_at(raw, k * width, width), width)


@kernel
def keep(op: int, raw: Any, count: int, old: int, word: int, out: Any) -> Any:
    return keep_column(op, raw, np.int64(0), count, old, bits_of(op, word), out, np.int64(0))


@kernel
def put_widths(widths: Any, out: Any, found: Any) -> None:
    for column in range(len(widths)):
        put_width(out, 0, column, widths[column])
    for column in range(len(widths)):
        found[column] = width_at(out, 0, column)


def column(op: int, held: list[int]) -> tuple[int, bytes]:
    """(width, bytes)."""
    out = np.zeros(WORD_BYTES * (len(held) + 1), np.uint8)
    width = int(put(op, np.array(held, np.int64), out))
    return width, out[: width * len(held)].tobytes()


def words_of(op: int, width: int, raw: bytes, count: int) -> list[int]:
    held = np.empty(count, np.int64)
    get(op, np.frombuffer(raw + BEHIND, np.uint8), width, held)
    return [int(word) for word in held]


def fits(op: int, word: int, width: int) -> bool:
    """Whether a word can stand in a column of that width, worked out from what the width is said to hold."""
    if op == SUM:
        return word == 0 if width == 0 else -(2 ** (8 * width - 1)) <= word < 2 ** (8 * width - 1)
    return word == NOTHING[op] or (width > 0 and -(2 ** (8 * width - 1)) < word < 2 ** (8 * width - 1))


@pytest.mark.parametrize("op", [SUM, MIN, MAX])
@given(held=st.lists(words, max_size=20), nothing=st.booleans())
@example(held=[-128, 127], nothing=True)
@example(held=[0], nothing=False)
@example(held=[-(2**63) + 1, 2**63 - 2], nothing=True)
def test_a_column_holds_what_was_put_and_no_byte_more(op: int, held: list[int], nothing: bool) -> None:
    """One byte less would not do for one of them; the extreme of nothing needs none, and is not the lowest of a width."""
    held = [word for word in held if word != HIGHEST] + [NOTHING[op]] * nothing
    width, raw = column(op, held)

    assert words_of(op, width, raw, len(held)) == held
    assert all(fits(op, word, width) for word in held)
    assert width == 0 or not all(fits(op, word, width - 1) for word in held)


@pytest.mark.parametrize("op", [SUM, MIN, MAX])
@given(kept=st.lists(words, min_size=1, max_size=12), gone=words, more=words)
@example(kept=[-128, 5], gone=2**40, more=1)
@example(kept=[-127, 5], gone=3, more=-128)
def test_what_is_kept_is_packed_as_if_nothing_else_had_ever_been_there(
    op: int, kept: list[int], gone: int, more: int
) -> None:
    """An outlier that left leaves no wide column, and one that comes widens those before it."""
    old, raw = column(op, [*kept, gone])
    out = np.zeros(WORD_BYTES * (len(kept) + 2), np.uint8)

    width, at = keep(op, np.frombuffer(raw + BEHIND, np.uint8), len(kept), old, more, out)

    expected, wanted = column(op, [*kept, more])
    assert (width, at) == (expected, expected * len(kept))
    assert out[:at].tobytes() == wanted[:at]


@given(st.lists(st.integers(0, 8), max_size=40))
def test_widths_stand_two_in_a_byte(widths: list[int]) -> None:
    out, found = np.full(len(widths) // 2 + 1, 0xA5, np.uint8), np.zeros(len(widths), np.int64)
    put_widths(np.array(widths, np.int64), out, found)
    assert found.tolist() == widths
