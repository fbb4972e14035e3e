"""The batch execution's compiled loops: one pass over events and reads sorted by (key, log order).

Each key's tiles get fixed *slots* in ascending order, so a late event has its place before it
arrives. A read sees the slots from `low` on that events applied so far have filled. Sums move along
the slots by adding and removing tiles; minima, maxima and sets, which cannot be removed, use two
stacks: merged suffixes of the older slots and one accumulator of the newer.
Source of the two stacks: Tangwongsan et al., "General Incremental Sliding-Window Aggregation" (VLDB 2015).
"""

import math

import numpy as np

from fraud_assets.engine.fold_kernels import MISSING, PRESENT, STALE
from fraud_assets.engine.jit import allocating_kernel, inlined, kernel
from fraud_assets.engine.kernels import (
    HIGHEST,
    NULL,
    OUT_COUNT,
    OUT_MAX,
    OUT_MEAN,
    OUT_MIN,
    OUT_STD,
    OUT_SUM,
    add_wide,
    finalize,
    initialise,
    merge,
    mix63,
    subtract_wide,
    update_dated,
    update_plain,
    wide_product,
)
from fraud_assets.features.layout import Acc

_MIN = int(Acc.MIN)
_LAST = int(Acc.LAST)

# float32 values of one 64-byte cache line.
LINE = 16


@kernel
def number_keys(keys, table, codes, used):
    """Give every distinct key a number from `used` on, in order of first sight; returns the next number.

    table: (2, 2**k) int64, row 1 filled with -1; codes: (n,) int32 out, -1 for NULL.
    """
    mask = table.shape[1] - 1
    for i in range(len(keys)):
        key = keys[i]
        if key == NULL:
            codes[i] = -1
            continue
        at = mix63(key) & mask
        while table[1, at] >= 0 and table[0, at] != key:
            at = (at + 1) & mask
        if table[1, at] < 0:
            table[0, at], table[1, at] = key, used
            used += 1
        codes[i] = table[1, at]
    return used


@kernel
def find_keys(keys, table, codes):
    """Numbers of keys already in the table; -1 for others and for NULL."""
    mask = table.shape[1] - 1
    for i in range(len(keys)):
        key = keys[i]
        at = mix63(key) & mask
        while table[1, at] >= 0 and table[0, at] != key:
            at = (at + 1) & mask
        codes[i] = -1 if key == NULL else table[1, at]


@allocating_kernel
def sort_by_key(codes, starts, order):
    """Stable counting sort: fills starts (n_keys + 1,) and order with the indices of each key's items."""
    starts[:] = 0
    for i in range(len(codes)):
        if codes[i] >= 0:
            starts[codes[i] + 1] += 1
    for k in range(1, len(starts)):
        starts[k] += starts[k - 1]
    cursor = starts[:-1].copy()
    for i in range(len(codes)):
        if codes[i] >= 0:
            order[cursor[codes[i]]] = i
            cursor[codes[i]] += 1


@kernel
def keep_sources(order, starts, source, mask, kept_order, kept_starts):
    """The events of some sources only, still sorted; returns how many."""
    to = 0
    for k in range(len(starts) - 1):
        kept_starts[k] = to
        for i in range(starts[k], starts[k + 1]):
            if (mask >> source[order[i]]) & 1:
                kept_order[to] = order[i]
                to += 1
    kept_starts[len(starts) - 1] = to
    return to


@kernel
def align_reads(events, reads, ev_rank, ev_time, rd_rank, rd_time, ttl, applied, newest, status, age_s):
    """For each read: how many events it knows (an index into the sorted events), the newest time, its status."""
    for k in range(len(reads) - 1):
        e, latest = events[k], np.int64(NULL)
        for j in range(reads[k], reads[k + 1]):
            while e < events[k + 1] and ev_rank[e] < rd_rank[j]:
                latest = max(latest, ev_time[e])
                e += 1
            applied[j], newest[j] = e, latest
            if latest == NULL:
                status[j], age_s[j] = MISSING, math.nan
            else:
                status[j] = STALE if ttl >= 0 and rd_time[j] - latest > ttl else PRESENT
                age_s[j] = max(0, rd_time[j] - latest) / 1000.0


@kernel
def all_in_order(events, ev_time):
    """Whether the events of every key of a block stand in order of time, as nearly all do."""
    for k in range(len(events) - 1):
        for e in range(events[k] + 1, events[k + 1]):
            if ev_time[e] < ev_time[e - 1]:
                return False
    return True


@kernel
def place_in_order(reads, events, ev_time, rd_time, newest, applied, length, tile_ms, lateness, low):
    """`place_reads` for a block in order: every event is its own slot, and `low` is the first event seen.

    Events of a tile stand together then, so a floor on a tile's boundary is a place between events.
    The boundary is divided anew only when the floor has left its tile.
    """
    for k in range(len(reads) - 1):
        first, end = events[k], events[k + 1]
        at, boundary = first, np.int64(NULL)
        for j in range(reads[k], reads[k + 1]):
            if tile_ms > 0 and newest[j] != NULL:
                floor = max(rd_time[j] - length, newest[j] - length - lateness) - tile_ms
                if boundary == NULL or floor >= boundary or floor < boundary - tile_ms:
                    boundary = (floor // tile_ms + 1) * tile_ms
                while at < end and ev_time[at] < boundary:
                    at += 1
                while at > first and ev_time[at - 1] >= boundary:
                    at -= 1
            low[j] = min(at, applied[j])


@kernel
def running_totals(value, totals):
    """totals (n + 1,): sum of the values before each event; nulls add nothing."""
    running = np.int64(0)
    totals[0] = 0
    for e in range(len(value)):
        running += value[e] if value[e] != NULL else 0
        totals[e + 1] = running


@kernel
def running_squares(value, high, low, running):
    """high, low (n + 1,): the 128-bit sum of squares before each event. running: scratch (2,)."""
    running[0], running[1], high[0], low[0] = 0, 0, 0, 0
    for e in range(len(value)):
        if value[e] != NULL:
            size = np.uint64(abs(value[e]))
            square_high, square_low = wide_product(size, size)
            add_wide(running, 0, square_high, square_low)
        high[e + 1], low[e + 1] = running[0], running[1]


@kernel
def total_between(totals, low, applied, out):
    """COUNT and SUM of a block in order: the difference of two running totals."""
    for j in range(len(low)):
        out[j] = totals[applied[j]] - totals[low[j]]


@kernel
def squares_between(highs, lows, low, applied, high_out, low_out):
    for j in range(len(low)):
        above, below = np.uint64(lows[applied[j]]), np.uint64(lows[low[j]])
        low_out[j] = np.int64(above - below)
        high_out[j] = highs[applied[j]] - highs[low[j]] - np.int64(above < below)


@kernel
def place_tiles(events, ev_time, tile_ms, slot, slot_start, slot_starts, scratch):
    """Slots of a block of keys: slot (n_events,) of each event, when each slot's tile starts, each key's first slot.

    scratch: (n_events,). A lifetime window has one slot a key.
    """
    to = np.int64(0)
    for k in range(len(events) - 1):
        slot_starts[k] = to
        first, end = events[k], events[k + 1]
        if tile_ms == 0:
            for e in range(first, end):
                slot[e] = to
            if end > first:
                slot_start[to] = 0
                to += 1
            continue
        ordered, tile_end = True, np.int64(NULL)
        for e in range(first, end):
            if ev_time[e] >= tile_end:
                slot_start[to] = ev_time[e] // tile_ms * tile_ms
                tile_end = slot_start[to] + tile_ms
                to += 1
            elif ev_time[e] < tile_end - tile_ms:
                ordered = False
                break
            slot[e] = to - 1
        if not ordered:
            to = place_disordered(first, end, ev_time, tile_ms, slot, slot_start, slot_starts[k], scratch)
    slot_starts[len(events) - 1] = to
    return to


@kernel
def place_disordered(first, end, ev_time, tile_ms, slot, slot_start, to, scratch):
    """The slots of one key whose events are not in order of time; returns the next free slot."""
    count = end - first
    for i in range(count):
        scratch[i] = ev_time[first + i] // tile_ms * tile_ms
    sort_nearly_sorted(scratch, count)
    base = to
    for i in range(count):
        if i == 0 or scratch[i] != scratch[i - 1]:
            slot_start[to] = scratch[i]
            to += 1
    at = base
    for e in range(first, end):
        while at < to - 1 and slot_start[at + 1] <= ev_time[e]:
            at += 1
        while slot_start[at] > ev_time[e]:
            at -= 1
        slot[e] = at
    return to


@kernel
def sort_nearly_sorted(items, count):
    """Bottom-up shell sort in place: late events are few and near their place, and nothing is allocated."""
    gap = 1
    while gap < count // 9:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, count):
            item, at = items[i], i
            while at >= gap and items[at - gap] > item:
                items[at] = items[at - gap]
                at -= gap
            items[at] = item
        gap //= 3


@kernel
def place_reads(reads, rd_time, newest, length, tile_ms, lateness, slot_start, slot_starts, low):
    """For each read of a block the first slot it may see.

    A tile starts at or after `floor_h(x)` exactly when it starts after `x - h`: no division is needed.
    """
    for k in range(len(reads) - 1):
        first, end = slot_starts[k], slot_starts[k + 1]
        at = first
        for j in range(reads[k], reads[k + 1]):
            if tile_ms > 0 and newest[j] != NULL:
                floor = max(rd_time[j] - length, newest[j] - length - lateness) - tile_ms
                while at < end and slot_start[at] <= floor:
                    at += 1
                while at > first and slot_start[at - 1] > floor:
                    at -= 1
            low[j] = at


@kernel
def slide_sums(events, reads, slot, value, applied, slot_starts, low, tiles, out):
    """COUNT and SUM: out (n_reads,) int64. tiles: scratch (n_slots,)."""
    for k in range(len(reads) - 1):
        at, end = slot_starts[k], slot_starts[k + 1]
        tiles[at:end] = 0
        e, running = events[k], np.int64(0)
        for j in range(reads[k], reads[k + 1]):
            while e < applied[j]:
                v, s = value[e], slot[e]
                if v != NULL:
                    tiles[s] += v
                    if s >= at:
                        running += v
                e += 1
            while at < low[j]:
                running -= tiles[at]
                at += 1
            while at > low[j]:
                at -= 1
                running += tiles[at]
            out[j] = running


@kernel
def slide_squares(events, reads, slot, value, applied, slot_starts, low, tiles, running, high_out, low_out):
    """SQUARES, two words. tiles, running: scratch (n_slots * 2,) and (2,)."""
    for k in range(len(reads) - 1):
        at, end = slot_starts[k], slot_starts[k + 1]
        tiles[2 * at : 2 * end] = 0
        e = events[k]
        running[:] = 0
        for j in range(reads[k], reads[k + 1]):
            while e < applied[j]:
                v, s = value[e], slot[e]
                if v != NULL:
                    size = np.uint64(abs(v))
                    high, low_word = wide_product(size, size)
                    add_wide(tiles, 2 * s, high, low_word)
                    if s >= at:
                        add_wide(running, 0, high, low_word)
                e += 1
            while at < low[j]:
                subtract_wide(running, 0, np.uint64(tiles[2 * at]), np.uint64(tiles[2 * at + 1]))
                at += 1
            while at > low[j]:
                at -= 1
                add_wide(running, 0, np.uint64(tiles[2 * at]), np.uint64(tiles[2 * at + 1]))
            high_out[j], low_out[j] = running[0], running[1]


@kernel
def slide_extreme(op, events, reads, slot, value, applied, slot_starts, low, tiles, suffix, out):
    """MIN or MAX by two stacks. tiles, suffix: scratch (n_slots,).

    suffix[s] for s in [fresh, last] is the extreme of slots s..last; `back` that of slots after `last`.
    """
    nothing = np.int64(HIGHEST) if op == _MIN else np.int64(NULL)
    for k in range(len(reads) - 1):
        start, end = slot_starts[k], slot_starts[k + 1]
        tiles[start:end] = nothing
        e, last, fresh, newest, back = events[k], start - 1, start, start - 1, nothing
        for j in range(reads[k], reads[k + 1]):
            while e < applied[j]:
                v, s = value[e], slot[e]
                newest = max(newest, s)
                if v != NULL:
                    tiles[s] = min(tiles[s], v) if op == _MIN else max(tiles[s], v)
                    if s > last:
                        back = min(back, v) if op == _MIN else max(back, v)
                    else:
                        for x in range(s, fresh - 1, -1):
                            suffix[x] = min(suffix[x], v) if op == _MIN else max(suffix[x], v)
                e += 1
            at = low[j]
            if at > last + 1:
                last = max(newest, at) - 1
                fresh = last + 1
                back = tiles[newest] if newest >= at else nothing
            while fresh > at:
                fresh -= 1
                below = suffix[fresh + 1] if fresh < last else nothing
                suffix[fresh] = min(tiles[fresh], below) if op == _MIN else max(tiles[fresh], below)
            if at <= last:
                out[j] = min(suffix[at], back) if op == _MIN else max(suffix[at], back)
            else:
                out[j] = back


@inlined
def copy_words(w, o, v, p, n):
    for k in range(n):
        w[o + k] = v[p + k]


@kernel
def slide_sets(
    op, cap, fields, width, events, reads, slot, rows, column, applied, slot_starts, low,
    tiles, suffix, back, both, scratch, rd_time, status, outs, narrow, wide):  # fmt: skip
    """DISTINCT, MODE, LAST and PROFILE by two stacks, finalised straight into the output.

    rows: (n_events, row header + inputs) of the block; column: the accumulator's first input.
    tiles, suffix: scratch (n_slots * width,); back, both: (width,). outs (n, 8): kind, a, b, c, cap, field, narrow and wide column.
    """
    for k in range(len(reads) - 1):
        start, end = slot_starts[k], slot_starts[k + 1]
        for s in range(start, end):
            initialise(op, tiles, s * width, width)
        initialise(op, back, 0, width)
        e, last, fresh, newest = events[k], start - 1, start, start - 1
        for j in range(reads[k], reads[k + 1]):
            while e < applied[j]:
                s = slot[e]
                newest = max(newest, s)
                update_any(op, cap, fields, tiles, s * width, rows[e], column, scratch)
                if s > last:
                    update_any(op, cap, fields, back, 0, rows[e], column, scratch)
                else:
                    for x in range(s, fresh - 1, -1):
                        update_any(op, cap, fields, suffix, x * width, rows[e], column, scratch)
                e += 1
            at = low[j]
            if at > last + 1:
                last = max(newest, at) - 1
                fresh = last + 1
                if newest >= at:
                    copy_words(back, 0, tiles, newest * width, width)
                else:
                    initialise(op, back, 0, width)
            while fresh > at:
                fresh -= 1
                copy_words(suffix, fresh * width, tiles, fresh * width, width)
                if fresh < last:
                    merge(op, cap, fields, suffix, fresh * width, suffix, (fresh + 1) * width)
            if at <= last:
                copy_words(both, 0, suffix, at * width, width)
                merge(op, cap, fields, both, 0, back, 0)
                put_outputs(outs, both, rd_time[j], status[j], j, narrow, wide)
            else:
                put_outputs(outs, back, rd_time[j], status[j], j, narrow, wide)


@kernel
def update_any(op, cap, fields, w, o, row, column, scratch):
    if op >= _LAST:
        update_dated(op, fields, w, o, row, column, scratch)
    else:
        update_plain(op, cap, w, o, row[column])


@inlined
def put_outputs(outs, w, t, status, read, narrow, wide):
    """Finalise `outs` of one read from the words `w` of one tile, null unless PRESENT."""
    for o in range(len(outs)):
        value = math.nan
        if status == PRESENT:
            value = finalize(outs[o, 0], w, outs[o, 1], outs[o, 2], outs[o, 3], 1, outs[o, 4], outs[o, 5], t)
        if outs[o, 6] >= 0:
            narrow[outs[o, 6], read] = value
        if outs[o, 7] >= 0:
            wide[outs[o, 7], read] = value


@inlined
def finish_output(kind, out, words, step, rd_time, status, to):
    """One output of every read of a block; with a constant `kind` the choice is made at compile time."""
    a, b, c = out[1] * step, out[2] * step, out[3] * step
    for j in range(len(rd_time)):
        value = finalize(kind, words, a + j, b + j, c + j, step, out[4], out[5], rd_time[j])
        to[j] = value if status[j] == PRESENT else math.nan


@kernel
def finish_window(outs, words, rd_time, status, matrix, target):
    """Outputs of the one- and two-word accumulators. words: place after place, n_reads each.

    target: the column of `outs` that holds the output's row of `matrix`, -1 if it goes elsewhere.
    """
    step = len(rd_time)
    for o in range(len(outs)):
        kind, to = outs[o, 0], outs[o, target]
        if to < 0:
            continue
        if kind == OUT_COUNT or kind == OUT_SUM:
            finish_output(OUT_COUNT, outs[o], words, step, rd_time, status, matrix[to])
        elif kind == OUT_MEAN:
            finish_output(OUT_MEAN, outs[o], words, step, rd_time, status, matrix[to])
        elif kind == OUT_STD:
            finish_output(OUT_STD, outs[o], words, step, rd_time, status, matrix[to])
        elif kind == OUT_MIN:
            finish_output(OUT_MIN, outs[o], words, step, rd_time, status, matrix[to])
        elif kind == OUT_MAX:
            finish_output(OUT_MAX, outs[o], words, step, rd_time, status, matrix[to])
        else:
            finish_output(kind, outs[o], words, step, rd_time, status, matrix[to])


@kernel
def scatter_rows(made, columns, row_of, matrix):
    """Write a block's values, (n_outputs, n_reads), to the rows and columns of the matrix they belong to.

    Sixteen reads at a time: a cache line of each output is read once, and sixteen rows stay at hand.
    """
    for first in range(0, len(row_of), LINE):
        end = min(first + LINE, len(row_of))
        for c in range(len(columns)):
            column = columns[c]
            for j in range(first, end):
                matrix[row_of[j], column] = made[c, j]


@kernel
def covered_ranks(ev_starts, ev_tp, ev_offset, rd_starts, pos_starts, pos_tp, pos_offset, ev_rank):
    """Rank of each event: the first read of its key, in chain order, whose position holds it.

    A state's positions only grow, so the reads of a key form a chain; reads are given in that order.
    Returns the first key with an event that a later read has lost, or -1.
    """
    for k in range(len(ev_starts) - 1):
        for e in range(ev_starts[k], ev_starts[k + 1]):
            ev_rank[e] = HIGHEST
            lost = False
            for j in range(rd_starts[k + 1] - 1, rd_starts[k] - 1, -1):
                held = np.int64(-1)
                for p in range(pos_starts[j], pos_starts[j + 1]):
                    if pos_tp[p] == ev_tp[e]:
                        held = pos_offset[p]
                if held < ev_offset[e]:
                    lost = True
                elif lost:
                    return k
                else:
                    ev_rank[e] = j
    return -1


@kernel
def put_unit_status(status, age_s, row_of, place, all_status, all_age_s):
    """Scatter one unit's status and age to the rows they belong to."""
    for j in range(len(row_of)):
        all_status[row_of[j], place] = status[j]
        all_age_s[row_of[j], place] = age_s[j]


@kernel
def blank_rows(codes, columns, narrow):
    """Null some columns of the rows whose entity is not named (code -1)."""
    for i in range(len(codes)):
        if codes[i] < 0:
            for c in range(len(columns)):
                narrow[i, columns[c]] = math.nan
