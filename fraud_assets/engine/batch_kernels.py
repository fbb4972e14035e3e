"""The batch execution's compiled loops: one pass over events and reads sorted by (key, log order).

Each key's tiles get fixed *slots* in ascending order, so a late event has its place before it
arrives. A read sees the slots from `low` on that events applied so far have filled. Sums move along
the slots by adding and removing tiles; minima, maxima and sets, which cannot be removed, use two
stacks: merged suffixes of the older slots and one accumulator of the newer.
Source of the two stacks: Tangwongsan et al., "General Incremental Sliding-Window Aggregation" (VLDB 2015).
"""

import math

import numpy as np

from fraud_assets.engine.fold_kernels import MISSING, PRESENT, STALE, expiry_floor, read_floor, tile_of
from fraud_assets.engine.jit import allocating_kernel, inlined, kernel
from fraud_assets.engine.kernels import (
    HIGHEST,
    NULL,
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
def align_reads(events, reads, first_key, end_key, ev_rank, ev_time, rd_rank, rd_time, ttl, applied, newest, status, age_s):
    """For each read: how many events it knows (an index into the sorted events), the newest time, its status."""
    for k in range(first_key, end_key):
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


@allocating_kernel
def place_tiles(events, first_key, end_key, base, ev_time, tile_ms, slot, slot_tile, slot_starts):
    """Slots of a block of keys: slot (n_events,) of each event, the tile of each slot, each key's first slot.

    base: first event of the block; slot and slot_tile are relative to the block.
    """
    to = 0
    for k in range(first_key, end_key):
        slot_starts[k - first_key] = to
        first, end = events[k], events[k + 1]
        ordered, before, start = True, np.int64(0), to
        for e in range(first, end):
            tile = tile_of(ev_time[e], tile_ms)
            if e == first or tile > before:
                slot_tile[to] = tile
                to += 1
            elif tile < before:
                ordered = False
                break
            before = tile
            slot[e - base] = to - 1
        if not ordered:
            to = start + place_disordered(ev_time[first:end], tile_ms, slot[first - base : end - base], slot_tile[start:], start)
    slot_starts[end_key - first_key] = to
    return to


@allocating_kernel
def place_disordered(times, tile_ms, slot, slot_tile, start):
    """The slots of one key whose events are not in order of time; returns how many."""
    tiles = np.empty(len(times), np.int64)
    for i in range(len(times)):
        tiles[i] = tile_of(times[i], tile_ms)
    ordered = np.sort(tiles)
    count = 0
    for i in range(len(ordered)):
        if i == 0 or ordered[i] != ordered[i - 1]:
            slot_tile[count] = ordered[i]
            count += 1
    for i in range(len(tiles)):
        slot[i] = start + np.searchsorted(slot_tile[:count], tiles[i])
    return count


@kernel
def place_reads(reads, first_key, end_key, rd_base, rd_time, newest, length, tile_ms, lateness, slot_tile, slot_starts, low):
    """For each read of a block the first slot it may see."""
    for k in range(first_key, end_key):
        first, end = slot_starts[k - first_key], slot_starts[k - first_key + 1]
        at = first
        for j in range(reads[k], reads[k + 1]):
            if newest[j] != NULL:
                floor = read_floor(rd_time[j], newest[j], length, tile_ms, lateness)
                while at < end and slot_tile[at] < floor:
                    at += 1
                while at > first and slot_tile[at - 1] >= floor:
                    at -= 1
            low[j - rd_base] = at


@kernel
def slide_sums(events, reads, first_key, end_key, base, rd_base, slot, value, applied, slot_starts, low, tiles, out):
    """COUNT and SUM: out (n_reads,) int64. tiles: scratch (n_slots,)."""
    for k in range(first_key, end_key):
        at, end = slot_starts[k - first_key], slot_starts[k - first_key + 1]
        tiles[at:end] = 0
        e, running = events[k], np.int64(0)
        for j in range(reads[k], reads[k + 1]):
            while e < applied[j]:
                v, s = value[e - base], slot[e - base]
                if v != NULL:
                    tiles[s] += v
                    if s >= at:
                        running += v
                e += 1
            while at < low[j - rd_base]:
                running -= tiles[at]
                at += 1
            while at > low[j - rd_base]:
                at -= 1
                running += tiles[at]
            out[j - rd_base] = running


@allocating_kernel
def slide_squares(events, reads, first_key, end_key, base, rd_base, slot, value, applied, slot_starts, low, tiles, high_out, low_out):
    """SQUARES: (n_reads,) high and low words. tiles: scratch (n_slots * 2,)."""
    running = np.zeros(2, np.int64)
    for k in range(first_key, end_key):
        at, end = slot_starts[k - first_key], slot_starts[k - first_key + 1]
        tiles[2 * at : 2 * end] = 0
        e = events[k]
        running[:] = 0
        for j in range(reads[k], reads[k + 1]):
            while e < applied[j]:
                v, s = value[e - base], slot[e - base]
                if v != NULL:
                    size = np.uint64(abs(v))
                    high, low_word = wide_product(size, size)
                    add_wide(tiles, 2 * s, high, low_word)
                    if s >= at:
                        add_wide(running, 0, high, low_word)
                e += 1
            while at < low[j - rd_base]:
                subtract_wide(running, 0, np.uint64(tiles[2 * at]), np.uint64(tiles[2 * at + 1]))
                at += 1
            while at > low[j - rd_base]:
                at -= 1
                add_wide(running, 0, np.uint64(tiles[2 * at]), np.uint64(tiles[2 * at + 1]))
            high_out[j - rd_base], low_out[j - rd_base] = running[0], running[1]


@kernel
def slide_extreme(op, events, reads, first_key, end_key, base, rd_base, slot, value, applied, slot_starts, low, tiles, suffix, out):
    """MIN or MAX by two stacks: out (n_reads,) int64. tiles, suffix: scratch (n_slots,).

    suffix[s] for s in [fresh, last] is the extreme of slots s..last; `back` that of slots after `last`.
    """
    nothing = np.int64(HIGHEST) if op == _MIN else np.int64(NULL)
    for k in range(first_key, end_key):
        start, end = slot_starts[k - first_key], slot_starts[k - first_key + 1]
        tiles[start:end] = nothing
        e, last, fresh, newest, back = events[k], start - 1, start, start - 1, nothing
        for j in range(reads[k], reads[k + 1]):
            while e < applied[j]:
                v, s = value[e - base], slot[e - base]
                newest = max(newest, s)
                if v != NULL:
                    tiles[s] = min(tiles[s], v) if op == _MIN else max(tiles[s], v)
                    if s > last:
                        back = min(back, v) if op == _MIN else max(back, v)
                    else:
                        for x in range(s, fresh - 1, -1):
                            suffix[x] = min(suffix[x], v) if op == _MIN else max(suffix[x], v)
                e += 1
            at = low[j - rd_base]
            if at > last + 1:
                last = max(newest, at) - 1
                fresh = last + 1
                back = tiles[newest] if newest >= at else nothing
            while fresh > at:
                fresh -= 1
                below = suffix[fresh + 1] if fresh < last else nothing
                suffix[fresh] = min(tiles[fresh], below) if op == _MIN else max(tiles[fresh], below)
            if at > last:
                out[j - rd_base] = back
            else:
                out[j - rd_base] = min(suffix[at], back) if op == _MIN else max(suffix[at], back)


@inlined
def copy_words(w, o, v, p, n):
    for k in range(n):
        w[o + k] = v[p + k]


@allocating_kernel
def slide_sets(
    op, cap, fields, width, events, reads, first_key, end_key, base, rd_base, slot, rows, column, applied, slot_starts, low,
    tiles, suffix, rd_time, status, outs, row_of, narrow, wide,
):  # fmt: skip
    """DISTINCT, MODE, LAST and PROFILE by two stacks, finalised straight into the output.

    rows: (n_events, row header + inputs) of the block; column: the accumulator's first input.
    tiles, suffix: scratch (n_slots * width,). outs (n, 8): kind, a, b, c, cap, field, narrow and wide column.
    """
    back, both, scratch = np.empty(width, np.int64), np.empty(width, np.int64), np.empty(256, np.int64)
    for k in range(first_key, end_key):
        start, end = slot_starts[k - first_key], slot_starts[k - first_key + 1]
        for s in range(start, end):
            initialise(op, tiles, s * width, width)
        initialise(op, back, 0, width)
        e, last, fresh, newest = events[k], start - 1, start, start - 1
        for j in range(reads[k], reads[k + 1]):
            while e < applied[j]:
                s = slot[e - base]
                newest = max(newest, s)
                update_any(op, cap, fields, tiles, s * width, rows[e - base], column, scratch)
                if s > last:
                    update_any(op, cap, fields, back, 0, rows[e - base], column, scratch)
                else:
                    for x in range(s, fresh - 1, -1):
                        update_any(op, cap, fields, suffix, x * width, rows[e - base], column, scratch)
                e += 1
            at = low[j - rd_base]
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
                put_outputs(outs, both, rd_time[j], status[j], row_of[j], narrow, wide)
            else:
                put_outputs(outs, back, rd_time[j], status[j], row_of[j], narrow, wide)


@kernel
def update_any(op, cap, fields, w, o, row, column, scratch):
    if op >= _LAST:
        update_dated(op, fields, w, o, row, column, scratch)
    else:
        update_plain(op, cap, w, o, row[column])


@inlined
def put_outputs(outs, w, t, status, row, narrow, wide):
    """Finalise `outs` from the words `w` into the float32 or float64 matrix, null unless PRESENT."""
    for o in range(len(outs)):
        value = finalize(outs[o, 0], w, outs[o, 1], outs[o, 2], outs[o, 3], outs[o, 4], outs[o, 5], t) if status == PRESENT else math.nan
        if outs[o, 6] >= 0:
            narrow[row, outs[o, 6]] = value
        if outs[o, 7] >= 0:
            wide[row, outs[o, 7]] = value


@allocating_kernel
def finish_window(outs, words, stride, first_read, end_read, rd_base, rd_time, status, row_of, narrow, wide):
    """Outputs of the one- and two-word accumulators: words (stride, n_reads) int64 by place in the tile."""
    w = np.empty(stride, np.int64)
    for j in range(first_read, end_read):
        for place in range(1, stride):
            w[place] = words[place, j - rd_base]
        put_outputs(outs, w, rd_time[j], status[j], row_of[j], narrow, wide)


@kernel
def covered_ranks(ev_starts, ev_tp, ev_offset, rd_starts, pos_starts, pos_tp, pos_offset, ev_rank):
    """Rank of each event: the first read of its key, in chain order, whose position holds it.

    A state's positions only grow, so the reads of a key form a chain; reads are given in that order.
    Returns the first key whose reads do not, or -1.
    """
    for k in range(len(ev_starts) - 1):
        for e in range(ev_starts[k], ev_starts[k + 1]):
            ev_rank[e] = HIGHEST
            for j in range(rd_starts[k + 1] - 1, rd_starts[k] - 1, -1):
                held = np.int64(-1)
                for p in range(pos_starts[j], pos_starts[j + 1]):
                    if pos_tp[p] == ev_tp[e]:
                        held = pos_offset[p]
                if held >= ev_offset[e]:
                    ev_rank[e] = j
                elif ev_rank[e] != HIGHEST:
                    return k
    return -1
