"""Reading packed states for a request, compiled: an interpreter of `engine/read_program.py`; see `engine/tile_kernels.py`.

`code` is its program and `pc` a place there. Places are made unsigned where they index, as in `engine/packing.py`.
"""

import math

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
    finalize,
    initialise,
    insert_hash,
    merge,
)
from fraud_assets.engine.packed_columns import WORD_BYTES, entries_of, lowest_of, number_at, of_width, width_at
from fraud_assets.engine.packing import TORN, get_number
from fraud_assets.engine.read_program import ACC_WORDS, OUT_WORDS, RATIO_WORDS
from fraud_assets.engine.tile_kernels import PRESENT, RECENT, freshness, get_head, read_floor
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


@inlined
def write_outputs(code, pc, n_outs, merged, t, values):
    for out in range(pc, pc + OUT_WORDS * n_outs, OUT_WORDS):
        values[np.uint64(word(code, out + 6))] = finalize(
            word(code, out), merged, word(code, out + 1), word(code, out + 2), word(code, out + 3), word(code, out + 4),
            word(code, out + 5), t,
        )  # fmt: skip


@kernel
def read_state(code, pc, n_segments, spans, span, raw, t, scored_id, head, tile, merged, scratch, newest, values):
    """Read one packed state at `t` into `values` (float64, by slot); returns 1 if it holds `scored_id`, 0 if not, TORN.

    pc, span: where its segments begin in `code` and `spans`. newest: written (n_segments,).
    """
    at = get_head(raw, head)
    if at < 0:
        return TORN
    included = 0
    for k in range(RECENT):
        if scored_id != 0 and head[1 + 2 * head[0] + k] == scored_id:
            included = 1
    for s in range(n_segments):
        at = get_number(raw, get_number(raw, at, newest, s), scratch, 1)
        lateness, n_windows = spans[span], word(code, pc)
        span, pc = span + 1, pc + 1
        for _ in range(n_windows):
            n_accs, columns, n_outs, accs = word(code, pc), word(code, pc + 1), word(code, pc + 2), pc + 3
            pc = accs + ACC_WORDS * n_accs
            floor = read_floor(t, newest[s], spans[span], spans[span + 1], lateness)
            at = merge_window(code, accs, n_accs, columns, raw, at, floor, merged, tile)
            if at < 0:
                return TORN
            write_outputs(code, pc, n_outs, merged, t, values)
            pc, span = pc + OUT_WORDS * n_outs, span + 2
    return included if at == len(raw) else TORN


@inlined
def judge_unit(code, pc, ttl, newest, t, values):
    """(status, age, next pc) of a unit; every output of one that is STALE or MISSING becomes null."""
    status, age = freshness(newest[np.uint64(word(code, pc))], t, ttl)
    slots, end = pc + 2, pc + 2 + word(code, pc + 1)
    if status != PRESENT:
        for k in range(slots, end):
            values[np.uint64(word(code, k))] = math.nan
    return status, age, end


@inlined
def fill_ratios(code, pc, n_ratios, values):
    """values[own] = numerator / (sum of denominators); NaN where that is 0 or a part is NaN."""
    for ratio in range(pc, pc + RATIO_WORDS * n_ratios, RATIO_WORDS):
        below = values[word(code, ratio + 1)]
        if word(code, ratio + 2) >= 0:
            below += values[word(code, ratio + 2)]
        values[word(code, ratio + 3)] = ratio_of(values[word(code, ratio)], below)


@inlined
def ratio_of(above, below):
    """A ratio over nothing is null."""
    return above / below if below != 0.0 else math.nan


@kernel
def read_request(
    code, spans, raw, starts, places, t, scored_id, head, tile, merged, scratch, newest, values, status, ages
):
    """Read the packed states of a request, group after group; returns (holds scored_id, torn group or -1, pc of what is served).

    raw: distinct states end to end, and eight bytes more. starts (n_states + 1,): where each begins. places (n_groups,): which of
    them is the group's, -1 for an unknown entity. status, ages (n_units,): PRESENT, STALE or MISSING and seconds since the
    newest event; values of a unit that is not PRESENT are NaN. An empty state is an unknown entity.
    """
    pc, span, unit, included = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for g in range(len(places)):
        units, units_span, n_segments = word(code, pc), word(code, pc + 1), word(code, pc + 2)
        begin, end = np.int64(0), np.int64(0)
        if places[g] >= 0:
            begin, end = starts[places[g]], starts[places[g] + 1]
        if begin == end:
            newest[:n_segments] = NULL
        else:
            found = read_state(
                code, pc + 3, n_segments, spans, span, raw[begin:end], t, scored_id, head, tile, merged, scratch, newest, values
            )  # fmt: skip
            if found < 0:
                return included, np.int64(g), pc
            included |= found
        pc, span = units + 1, units_span
        for _ in range(word(code, units)):
            status[unit], ages[unit], pc = judge_unit(code, pc, spans[span], newest, t, values)
            unit, span = unit + 1, span + 1
    n_ratios = word(code, pc)
    fill_ratios(code, pc + 1, n_ratios, values)
    return included, np.int64(-1), pc + 1 + RATIO_WORDS * n_ratios


@kernel
def read_positions(raw, starts, head, found, ends):
    """The log positions of states end to end, none of one that is torn.

    found: (topic-partition code, offset) pairs of all, two words each; as many words as `raw` has bytes are enough, for
    each takes a byte. ends (n_states,): how many words there are up to the end of each.
    """
    n = 0
    for s in range(len(ends)):
        if get_head(raw[starts[s] : starts[s + 1]], head) >= 0:
            for k in range(2 * head[0]):
                found[n] = head[1 + k]
                n += 1
        ends[s] = n
