"""Merging what a packed window holds from a floor on, compiled: column after column, straight from the bytes.

`code` is a program of `engine/read_program.py` and `pc` a place there. Every width and count is compared with what is there before
anything is read by it; eight more bytes can be read behind a state.
"""

import numpy as np

from fraud_assets.engine.jit import inlined, kernel
from fraud_assets.engine.kernels import (
    DISTINCT,
    HIGHEST,
    LAST,
    MAX,
    MIN,
    NULL,
    SQUARES,
    add_wide,
    initialise,
    insert_hash,
    merge,
)
from fraud_assets.engine.packed_columns import WORD_BYTES, entries_of, lowest_of, number_at, of_width, width_at
from fraud_assets.engine.packing import TORN
from fraud_assets.engine.read_program import ACC_WORDS
from fraud_assets.engine.unaligned import load_next_word, load_word
from fraud_assets.engine.window_kernels import ACCUMULATORS, HEAD_BYTES, get_numbers, get_window_head

# Hashes that are compared each with each: the tile set aside has room for them twice.
FEW, LANES = 64, 16
# Words of a profile's version before its fields.
PROFILE_HEAD = 3


@inlined
def word(code, pc):
    return np.int64(code[np.uint64(pc)])


@inlined
def initialise_window(code, pc, end_pc, merged):
    for acc in range(pc, end_pc, ACC_WORDS):
        initialise(word(code, acc), merged, word(code, acc + 1))


@inlined
def merge_column(op, merged, place, raw, at, width, count):
    """Merge `count` numbers into the count, sum, minimum or maximum at merged[place]."""
    held = merged[np.uint64(place)]
    if width > 0:
        # Up to an end that no count is worked out for: in vectors a dozen numbers of any width take twice as long.
        shift, lowest, end = np.int64(8 * (WORD_BYTES - width)), lowest_of(width), at + count * width
        if op < SQUARES:
            while at != end:
                held += of_width(load_word(raw, np.uint64(at)), shift)
                at += width
        elif op == MIN:
            while at != end:
                value = of_width(load_word(raw, np.uint64(at)), shift)
                held = min(held, HIGHEST if value == lowest else value)
                at += width
        else:
            # The lowest number stands for nothing, and nothing is lower.
            highest = lowest
            while at != end:
                highest = max(highest, of_width(load_word(raw, np.uint64(at)), shift))
                at += width
            held = max(held, NULL if highest == lowest else highest)
        merged[np.uint64(place)] = held


@inlined
def merge_squares(merged, place, raw, high, high_width, low, low_width, count):
    for k in range(count):
        add_wide(
            merged, place, np.uint64(number_at(raw, high + k * high_width, high_width)),
            np.uint64(number_at(raw, low + k * low_width, low_width)),
        )  # fmt: skip


@inlined
def merge_distinct(merged, place, cap, raw, counts, width, count, hashes, hash_width, n_hashes, tile):
    """Merge `count` sets, whose `n_hashes` hashes stand end to end, into the empty set at merged[place].

    Of few hashes only what an output reads is found: how many different ones there are, and beyond the cap the cap-th smallest.
    """
    more = False
    for k in range(count):
        more |= number_at(raw, counts + k * width, width) > cap
    if n_hashes <= FEW:
        copy_hashes(raw, hashes, hash_width, n_hashes, tile)
        held = find_firsts(tile, n_hashes)
        if more or held > cap:
            merged[np.uint64(place + cap)] = smallest_of(tile, n_hashes, cap)
            held = cap + 1
        merged[np.uint64(place)] = held
    else:
        for k in range(n_hashes):
            insert_hash(merged, place, cap, number_at(raw, hashes + k * hash_width, hash_width))
        if more:
            merged[np.uint64(place)] = cap + 1


@inlined
def copy_hashes(raw, hashes, width, count, tile):
    if width == WORD_BYTES:
        for k in range(count):
            tile[np.uint64(k)] = load_next_word(raw, np.uint64(hashes + k * WORD_BYTES))
    else:
        for k in range(count):
            tile[np.uint64(k)] = number_at(raw, hashes + k * width, width)


@inlined
def in_lanes(count):
    """As many or a few more, so that vector instructions leave no rest."""
    return (count + LANES - 1) & -LANES


@inlined
def find_firsts(tile, count):
    """How many of the hashes tile[:count] are different; tile[FEW:] has each where it stands first, HIGHEST where it does again.

    Each is compared with all: whether it was there before cannot be guessed, and a wrong guess costs more than that.
    """
    found = np.int64(0)
    for i in range(count):
        value, known = tile[np.uint64(i)], False
        for k in range(in_lanes(i)):
            known |= (tile[np.uint64(k)] == value) & (k < i)
        tile[np.uint64(FEW + i)] = HIGHEST if known else value
        found += np.int64(not known)
    for k in range(count, in_lanes(count)):
        tile[np.uint64(FEW + k)] = HIGHEST
    return found


@inlined
def smallest_of(tile, count, cap):
    """The cap-th smallest of the hashes that `find_firsts` found, of which there are as many."""
    found, lanes = np.int64(1), in_lanes(count)
    for i in range(count):
        value, below = tile[np.uint64(FEW + i)], np.int64(0)
        for k in range(lanes):
            below += np.int64(tile[np.uint64(FEW + k)] < value)
        found = value if below == cap - 1 else found
    return found


@kernel
def merge_entries(
    op, cap, parts, raw, counts, width, begin, total, before, mine, widths, column, at, end, merged, place, tile
):
    """Merge the modes, lasts or profiles begin…total; returns where their columns end, or TORN.

    before, mine: how many entries those before them and they have.
    """
    for k in range(begin, total):
        tile[place] = held = number_at(raw, counts + k * width, width)
        start = at
        for part in range(parts):
            part_width = width_at(raw, widths, column + part)
            behind = start + (before + mine) * part_width
            if part_width > WORD_BYTES or behind > end:
                return np.int64(TORN)
            for entry in range(min(held, cap)):
                tile[place + 1 + entry * parts + part] = number_at(
                    raw, start + (before + entry) * part_width, part_width
                )
            start = behind
        merge(op, cap, parts - PROFILE_HEAD, merged, place, tile, place)
        before, mine = before + min(held, cap), mine - min(held, cap)
    for part in range(parts):
        at += (before + mine) * width_at(raw, widths, column + part)
    return at


@inlined
def merge_sets(op, cap, parts, raw, counts, width, begin, total, widths, column, at, end, merged, place, tile):
    """Merge the sets, lists or profiles begin…total, whose counts are at `counts`; returns where their columns end, or TORN."""
    # None of the tiles holds any.
    if width == 0:
        return at
    highest = cap + np.int64(op < LAST)
    before = entries_of(raw, counts, 0, begin, width, cap, highest)
    mine = entries_of(raw, counts, begin, total, width, cap, highest)
    if before < 0 or mine < 0:
        return np.int64(TORN)
    if op != DISTINCT:
        return merge_entries(
            op, cap, parts, raw, counts, width, begin, total, before, mine, widths, column, at, end, merged, place, tile
        )
    hash_width = width_at(raw, widths, column)
    behind = at + (before + mine) * hash_width
    if hash_width > WORD_BYTES or behind > end:
        return np.int64(TORN)
    merge_distinct(
        merged,
        place,
        cap,
        raw,
        counts + begin * width,
        width,
        total - begin,
        at + before * hash_width,
        hash_width,
        mine,
        tile,
    )
    return behind


@kernel
def merge_window(code, pc, n_accs, columns, raw, start, floor, merged, tile):
    """Merge the tiles from `floor` on of the window at `start` into `merged`; returns where it ends, or TORN.

    pc: where its accumulators are. Eight more bytes can be read behind `raw`.
    """
    end_pc = pc + ACC_WORDS * n_accs
    initialise_window(code, pc, end_pc, merged)
    total, end = get_window_head(raw, start)
    if end < 0 or total == 0:
        return end
    first, steps, width, at = get_numbers(raw, start, columns, total, end)
    # A window that ended before its floor is passed over whole.
    if at < 0 or first + number_at(raw, at - width, width) < floor:
        return end if at >= 0 else at
    begin = first_at(raw, steps, width, total, floor - first)
    widths, column = start + HEAD_BYTES, np.int64(ACCUMULATORS)
    for acc in range(pc, end_pc, ACC_WORDS):
        op, place, parts = word(code, acc), word(code, acc + 1), word(code, acc + 3)
        width = width_at(raw, widths, column)
        counts, at = at, at + total * width
        if width > WORD_BYTES or at > end:
            return np.int64(TORN)
        column += 1
        if op > MAX:
            at = merge_sets(
                op, word(code, acc + 2), parts, raw, counts, width, begin, total, widths, column, at, end, merged, place, tile
            )  # fmt: skip
            if at < 0:
                return at
        elif op == SQUARES:
            low, low_width = at, width_at(raw, widths, column)
            at += total * low_width
            if low_width > WORD_BYTES or at > end:
                return np.int64(TORN)
            merge_squares(
                merged, place, raw, counts + begin * width, width, low + begin * low_width, low_width, total - begin
            )
        else:
            merge_column(op, merged, place, raw, counts + begin * width, width, total - begin)
        column += parts
    return end if at == end else np.int64(TORN)


@inlined
def first_at(raw, steps, width, total, floor):
    """The first tile whose number less the first tile's is `floor` or more."""
    begin = np.int64(0)
    if floor > 0:
        for k in range(total):
            begin += np.int64(number_at(raw, steps + k * width, width) < floor)
    return begin
