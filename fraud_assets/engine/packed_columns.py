"""Columns of a packed window: integers of one width, little endian two's complement, one after another.

A width is 0 to 8 bytes, as narrow as what the column holds: 0 if all are 0. Of minima and maxima the lowest number of the width
stands for the extreme of nothing, and a column of nothing else has width 0. Numbers are loaded and stored eight bytes at a time,
so as many must be there behind the last: columns are written in order, each over what the one before it wrote too much.
"""

import numpy as np

from fraud_assets.engine.jit import inlined
from fraud_assets.engine.kernels import HIGHEST, MAX, MIN, NULL
from fraud_assets.engine.unaligned import leading_zeros, load_next_word, load_word, store_word

# Bytes that a load or a store of a number may touch beyond it.
WORD_BYTES = 8
LOWEST = np.int64(NULL)


@inlined
def width_at(raw, widths, column):
    """The width of a column, of those that stand at `widths`, two in a byte."""
    return np.int64((raw[np.uint64(widths + (column >> 1))] >> (4 * (column & 1))) & 15)


@inlined
def put_width(out, widths, column, width):
    """Columns in ascending order: the first of two writes the byte of both."""
    place = np.uint64(widths + (column >> 1))
    out[place] = np.uint8(out[place] | (width << 4)) if column & 1 else np.uint8(width)


@inlined
def number_at(raw, at, width):
    """A number of any width; shifted by halves, since no shift by 64 bits is defined."""
    half = np.int64(4 * (WORD_BYTES - width))
    return (((load_word(raw, np.uint64(at)) << half) << half) >> half) >> half


@inlined
def of_width(word, shift):
    """The number of some width, not 0, from the eight bytes it begins. shift: the bits of them that are not its own."""
    return (word << shift) >> shift


@inlined
def is_extreme(op):
    return (op == MIN) | (op == MAX)


@inlined
def nothing_of(op):
    """The extreme of nothing."""
    return np.int64(HIGHEST) if op == MIN else np.int64(NULL)


@inlined
def lowest_of(width):
    half = np.int64(4 * (WORD_BYTES - width))
    return ((LOWEST >> half) >> half) * np.int64(width > 0)


@inlined
def unpacked(op, value, width):
    """The word of a number as it stands in its column."""
    return nothing_of(op) if is_extreme(op) & (value == lowest_of(width)) else value


@inlined
def packed(op, word, width):
    return lowest_of(width) if is_extreme(op) & (word == nothing_of(op)) else word


@inlined
def bits_of(op, word):
    """Bits that a column must have for a word. The highest of several is that of all of them together, by `|`."""
    if is_extreme(op):
        # Twice the size and one: a 0 is not nothing, and the lowest number of a width is.
        return np.uint64(0) if word == nothing_of(op) else (np.uint64(abs(word)) << np.uint64(1)) | np.uint64(1)
    return (np.uint64(word) << np.uint64(1)) ^ np.uint64(word >> np.int64(63))


@inlined
def width_for(bits):
    return (np.int64(71) - leading_zeros(bits)) >> 3


@inlined
def copy_bytes(raw, begin, size, out, at):
    """Up to seven bytes more are copied."""
    for b in range(0, size, WORD_BYTES):
        store_word(out, np.uint64(at + b), load_next_word(raw, np.uint64(begin + b)))


@inlined
def keep_column(op, raw, begin, count, old, bits, out, at):
    """Write the `count` numbers of `raw` that begin there, `old` bytes each, as narrow as they and words of `bits` can be.

    Returns (width, next place in `out`).
    """
    width = width_for(bits)
    if count == 0:
        return width, at
    if width < old:
        for k in range(count):
            bits |= bits_of(op, unpacked(op, number_at(raw, begin + k * old, old), old))
        width = width_for(bits)
    if width == old:
        copy_bytes(raw, begin, count * old, out, at)
    else:
        for k in range(count):
            word = unpacked(op, number_at(raw, begin + k * old, old), old)
            store_word(out, np.uint64(at + k * width), packed(op, word, width))
    return width, at + count * width


@inlined
def entries_of(raw, at, begin, end, width, cap, highest):
    """How many entries the sets begin…end have together; TORN if one says it holds what there is no room for."""
    found, most, least = np.int64(0), np.int64(0), np.int64(0)
    if width > 0:
        shift = np.int64(8 * (WORD_BYTES - width))
        at, end = at + begin * width, at + end * width
        while at != end:
            held = of_width(load_word(raw, np.uint64(at)), shift)
            most, least = max(most, held), min(least, held)
            found += min(held, cap)
            at += width
    return np.int64(-1) if (least < 0) | (most > highest) else found
