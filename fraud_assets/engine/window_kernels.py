"""A packed window, compiled: its head, its tiles decoded, and tiles written behind those that stay as they are.

    number of tiles (2 bytes); unless 0: bytes that follow (3 bytes); widths, half a byte each; the first tile's number;
    the columns: tile numbers less the first; then of each accumulator one (of squares two), or of a set, list or profile how many
    entries each tile has, and a column for each part of an entry, of all tiles' entries end to end

A decoded tile has the fixed layout `[number, accumulators…]` of the plan; words of a set beyond its count are not defined.
"""

import numpy as np

from fraud_assets.engine.jit import inlined, kernel
from fraud_assets.engine.kernels import COUNT, DISTINCT, LAST, SQUARES
from fraud_assets.engine.packed_columns import (
    WORD_BYTES,
    bits_of,
    entries_of,
    keep_column,
    number_at,
    packed,
    put_width,
    unpacked,
    width_at,
    width_for,
)
from fraud_assets.engine.packing import FULL, TORN
from fraud_assets.engine.unaligned import load_word, store_word

COUNT_BYTES, LENGTH_BYTES = 2, 3
HEAD_BYTES = COUNT_BYTES + LENGTH_BYTES
MOST_TILES, MOST_BYTES = 2 ** (8 * COUNT_BYTES) - 1, 2 ** (8 * LENGTH_BYTES) - 1
# Before those of the accumulators there are the widths of the first tile's number and of the others less it.
FIRST, STEPS, ACCUMULATORS = 0, 1, 2


@inlined
def get_window_head(raw, at):
    """(number of tiles, where the window ends) of the one at `at`; the end is TORN if that is behind `raw`."""
    if at < 0 or at + COUNT_BYTES > len(raw):
        return np.int64(0), np.int64(TORN)
    word = load_word(raw, np.uint64(at))
    total = word & MOST_TILES
    if total == 0:
        return total, at + COUNT_BYTES
    end = at + HEAD_BYTES + ((word >> (8 * COUNT_BYTES)) & MOST_BYTES)
    return total, end if end <= len(raw) else np.int64(TORN)


@inlined
def get_numbers(raw, at, columns, total, end):
    """(first tile's number, where the others' column begins, its width, where the next begins) of a window with tiles at `at`.

    The last is TORN if that is behind `end`.
    """
    widths = at + HEAD_BYTES
    at = widths + widths_bytes(columns)
    if at > end:
        return np.int64(0), at, np.int64(0), np.int64(TORN)
    first_width, width = width_at(raw, widths, FIRST), width_at(raw, widths, STEPS)
    steps = at + first_width
    behind = steps + total * width
    if first_width > WORD_BYTES or width > WORD_BYTES or behind > end:
        return np.int64(0), at, np.int64(0), np.int64(TORN)
    return number_at(raw, at, first_width), steps, width, behind


@inlined
def widths_bytes(columns):
    return (ACCUMULATORS + columns + 1) >> 1


@inlined
def split_window(raw, at, columns, floor, touched):
    """(tiles, first tile at `floor` or after, first at `touched` or after, end) of the window at `at`; the end is TORN if it is.

    Tiles must ascend.
    """
    nothing = np.int64(0)
    total, end = get_window_head(raw, at)
    if end < 0 or total == 0:
        return total, nothing, nothing, end
    first, steps, width, behind = get_numbers(raw, at, columns, total, end)
    if behind < 0:
        return total, nothing, nothing, np.int64(TORN)
    begin, until, before, ascend = nothing, nothing, np.int64(-1), True
    for k in range(total):
        step = number_at(raw, steps + k * width, width)
        ascend &= step > before
        before = step
        begin += np.int64(first + step < floor)
        until += np.int64(first + step < touched)
    return total, begin, max(begin, until), end if ascend else np.int64(TORN)


@kernel
def get_tiles(accs, first_acc, end_acc, raw, at, columns, begin, tiles, stride):
    """Decode the tiles from `begin` on of the window at `at`, which has more; returns where it ends, or TORN."""
    total, end = get_window_head(raw, at)
    widths, column = at + HEAD_BYTES, np.int64(ACCUMULATORS)
    first, steps, width, at = get_numbers(raw, at, columns, total, end)
    if at < 0:
        return at
    for k in range(begin, total):
        tiles[np.uint64((k - begin) * stride)] = first + number_at(raw, steps + k * width, width)
    for a in range(first_acc, end_acc):
        op, to, cap, parts = accs[a, 0], accs[a, 1], accs[a, 3], accs[a, 5]
        counts, width = at, width_at(raw, widths, column)
        at = get_column(op, raw, counts, width, end, begin, total, tiles, to, stride)
        if at < 0:
            return at
        if op < DISTINCT:
            if op == SQUARES:
                at = get_column(
                    op, raw, at, width_at(raw, widths, column + 1), end, begin, total, tiles, to + 1, stride
                )
        else:
            highest = cap + np.int64(op < LAST)
            before = entries_of(raw, counts, 0, begin, width, cap, highest)
            mine = entries_of(raw, counts, begin, total, width, cap, highest)
            if before < 0 or mine < 0:
                return np.int64(TORN)
            for part in range(parts):
                at = get_entries(
                    raw, at, width_at(raw, widths, column + 1 + part), end, before, mine, cap, tiles, to, part, parts,
                    total - begin, stride,
                )  # fmt: skip
                if at < 0:
                    return at
        if at < 0:
            return at
        column += 1 + parts
    return at if at == end else np.int64(TORN)


@inlined
def get_column(op, raw, at, width, end, begin, total, tiles, to, stride):
    behind = at + total * width
    if width > WORD_BYTES or behind > end:
        return np.int64(TORN)
    for k in range(begin, total):
        tiles[np.uint64((k - begin) * stride + to)] = unpacked(op, number_at(raw, at + k * width, width), width)
    return behind


@inlined
def get_entries(raw, at, width, end, before, mine, cap, tiles, to, part, parts, count, stride):
    """One part of the entries of `count` sets whose counts are decoded; `before` entries of other sets come first."""
    behind = at + (before + mine) * width
    if width > WORD_BYTES or behind > end:
        return np.int64(TORN)
    at += before * width
    for k in range(count):
        place = k * stride + to
        for entry in range(min(tiles[np.uint64(place)], cap)):
            tiles[np.uint64(place + 1 + entry * parts + part)] = number_at(raw, at, width)
            at += width
    return behind


@inlined
def room_for(columns, count, stride):
    """Most bytes of a window, and what a store may touch behind it."""
    return HEAD_BYTES + widths_bytes(columns) + WORD_BYTES * (2 + count * stride)


@kernel
def put_window(accs, first_acc, end_acc, columns, raw, source, begin, until, tiles, count, stride, out, at):
    """Write a window: the tiles begin…until of the one at `source` as they are, then `count` new or changed ones.

    Returns the next place in `out`, FULL if that has no room, or TORN if the source is.
    """
    kept = until - begin
    total = kept + count
    if at + room_for(columns, total, stride) > len(out):
        return np.int64(FULL)
    if total == 0:
        out[np.uint64(at)] = out[np.uint64(at + 1)] = 0
        return at + COUNT_BYTES
    head, widths = at, at + HEAD_BYTES
    held, end, taken, at = put_numbers(columns, raw, source, begin, kept, tiles, count, stride, out, at)
    if end < 0:
        return end
    old_widths, column = source + HEAD_BYTES, np.int64(ACCUMULATORS)
    for a in range(first_acc, end_acc):
        op, to, cap, parts = accs[a, 0], accs[a, 1], accs[a, 3], accs[a, 5]
        counts, old = taken, np.int64(0)
        if kept > 0:
            old = width_at(raw, old_widths, column)
            taken += held * old
            if old > WORD_BYTES or taken > end:
                return np.int64(TORN)
        at = put_column(op, raw, counts + begin * old, kept, old, tiles, to, count, stride, out, widths, column, at)
        before = mine = behind = np.int64(0)
        if op >= DISTINCT and kept > 0:
            highest = cap + np.int64(op < LAST)
            before = entries_of(raw, counts, 0, begin, old, cap, highest)
            mine = entries_of(raw, counts, begin, until, old, cap, highest)
            behind = entries_of(raw, counts, until, held, old, cap, highest)
            if before < 0 or mine < 0 or behind < 0:
                return np.int64(TORN)
        for part in range(parts):
            column += 1
            begins, all_of_them = taken, held if op == SQUARES else before + mine + behind
            if kept > 0:
                old = width_at(raw, old_widths, column)
                taken += all_of_them * old
                if old > WORD_BYTES or taken > end:
                    return np.int64(TORN)
            if op == SQUARES:
                at = put_column(
                    op, raw, begins + begin * old, kept, old, tiles, to + 1, count, stride, out, widths, column, at
                )
            else:
                at = put_entries(
                    raw, begins + before * old, mine, old, cap, tiles, to, part, parts, count, stride, out, widths, column, at
                )  # fmt: skip
        column += 1
    size = at - head - HEAD_BYTES
    if taken != end or size > MOST_BYTES or total > MOST_TILES:
        return np.int64(TORN)
    for b in range(COUNT_BYTES):
        out[np.uint64(head + b)] = np.uint8(total >> (8 * b))
    for b in range(LENGTH_BYTES):
        out[np.uint64(head + COUNT_BYTES + b)] = np.uint8(size >> (8 * b))
    return at


@inlined
def put_numbers(columns, raw, source, begin, kept, tiles, count, stride, out, at):
    """Write the tile numbers. Returns (tiles of the source, its end or TORN, where its next column begins, the next place in `out`)."""
    widths, at = at + HEAD_BYTES, at + HEAD_BYTES + widths_bytes(columns)
    held = end = taken = steps = old = first = nothing = np.int64(0)
    if kept > 0:
        held, end = get_window_head(raw, source)
        first, steps, old, taken = get_numbers(raw, source, columns, held, end)
        first += number_at(raw, steps + begin * old, old)
    else:
        first = tiles[0]
    put_width(out, widths, FIRST, width_for(bits_of(COUNT, first)))
    store_word(out, np.uint64(at), first)
    at += width_for(bits_of(COUNT, first))
    skipped = number_at(raw, steps + begin * old, old) if kept > 0 else nothing
    if count > 0:
        span = tiles[np.uint64((count - 1) * stride)] - first
    else:
        span = number_at(raw, steps + (begin + kept - 1) * old, old) - skipped
    width = width_for(bits_of(COUNT, span))
    put_width(out, widths, STEPS, width)
    for k in range(kept):
        store_word(out, np.uint64(at + k * width), number_at(raw, steps + (begin + k) * old, old) - skipped)
    at += kept * width
    for k in range(count):
        store_word(out, np.uint64(at + k * width), tiles[np.uint64(k * stride)] - first)
    return held, end, taken, at + count * width


@inlined
def put_column(op, raw, begins, kept, old, tiles, to, count, stride, out, widths, column, at):
    """Write a column of a number of each tile."""
    bits = np.uint64(0)
    for k in range(count):
        bits |= bits_of(op, tiles[np.uint64(k * stride + to)])
    width, at = keep_column(op, raw, begins, kept, old, bits, out, at)
    put_width(out, widths, column, width)
    for k in range(count):
        store_word(out, np.uint64(at + k * width), packed(op, tiles[np.uint64(k * stride + to)], width))
    return at + count * width


@inlined
def put_entries(raw, begins, kept, old, cap, tiles, to, part, parts, count, stride, out, widths, column, at):
    """Write one part of the entries of each tile."""
    bits = np.uint64(0)
    for k in range(count):
        place = k * stride + to
        for entry in range(min(tiles[np.uint64(place)], cap)):
            bits |= bits_of(COUNT, tiles[np.uint64(place + 1 + entry * parts + part)])
    width, at = keep_column(COUNT, raw, begins, kept, old, bits, out, at)
    put_width(out, widths, column, width)
    for k in range(count):
        place = k * stride + to
        for entry in range(min(tiles[np.uint64(place)], cap)):
            store_word(out, np.uint64(at), tiles[np.uint64(place + 1 + entry * parts + part)])
            at += width
    return at
