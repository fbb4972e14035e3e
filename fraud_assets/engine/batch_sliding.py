"""Windows of keys with late events, over tiles in fixed slots.

Each key's tiles get *slots* in ascending order, so a late event has its place before it arrives. A
read sees the slots from `low` on that events applied so far have filled. Sums move along the slots
by adding and removing tiles; minima, maxima and sets, which cannot be removed, use two stacks:
merged suffixes of the older slots and one accumulator of the newer.
Source of the two stacks: Tangwongsan et al., "General Incremental Sliding-Window Aggregation" (VLDB 2015).
"""

import math

import numpy as np

from fraud_assets.engine.batch_outputs import CAP, FIELD, KIND, NARROW, STATUS, WIDE, A, B, C, put_value
from fraud_assets.engine.batch_sorting import sort_in_place
from fraud_assets.engine.jit import inlined, kernel
from fraud_assets.engine.kernels import (
    HIGHEST,
    NULL,
    add_wide,
    finalize,
    initialise,
    merge,
    subtract_wide,
    update_dated,
    update_plain,
    wide_product,
)
from fraud_assets.engine.tile_kernels import PRESENT
from fraud_assets.features.layout import Acc

_MIN = int(Acc.MIN)
_LAST = int(Acc.LAST)


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
    sort_in_place(scratch, count)
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
    tiles, suffix, back, both, scratch, rd_time, statuses, outs, narrow, wide):  # fmt: skip
    """DISTINCT, MODE, LAST and PROFILE by two stacks, finalised straight into the output.

    rows: (n_events, row header + inputs) of the block; column: the accumulator's first input.
    tiles, suffix: scratch (n_slots * width,); back, both: (width,). outs: as `batch_outputs` has them.
    """
    for k in range(len(reads) - 1):
        start, end = slot_starts[k], slot_starts[k + 1]
        for s in range(start, end):
            initialise(op, tiles, s * width)
        initialise(op, back, 0)
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
                    initialise(op, back, 0)
            while fresh > at:
                fresh -= 1
                copy_words(suffix, fresh * width, tiles, fresh * width, width)
                if fresh < last:
                    merge(op, cap, fields, suffix, fresh * width, suffix, (fresh + 1) * width)
            if at <= last:
                copy_words(both, 0, suffix, at * width, width)
                merge(op, cap, fields, both, 0, back, 0)
                put_outputs(outs, both, rd_time[j], statuses, j, narrow, wide)
            else:
                put_outputs(outs, back, rd_time[j], statuses, j, narrow, wide)


@kernel
def sets_so_far(
    op, cap, fields, events, reads, rows, column, applied, words, scratch, rd_time, statuses, outs, narrow, wide):  # fmt: skip
    """The same over windows without end, which nothing leaves: one accumulator for each key. words: scratch (width,)."""
    for k in range(len(reads) - 1):
        initialise(op, words, 0)
        e = events[k]
        for j in range(reads[k], reads[k + 1]):
            while e < applied[j]:
                update_any(op, cap, fields, words, 0, rows[e], column, scratch)
                e += 1
            put_outputs(outs, words, rd_time[j], statuses, j, narrow, wide)


@kernel
def update_any(op, cap, fields, w, o, row, column, scratch):
    if op >= _LAST:
        update_dated(op, fields, w, o, row, column, scratch)
    else:
        update_plain(op, cap, w, o, row[column])


@inlined
def put_outputs(outs, w, t, statuses, read, narrow, wide):
    """Finalise `outs` of one read from the words `w` of one tile, null unless PRESENT."""
    for o in range(len(outs)):
        value = math.nan
        if statuses[outs[o, STATUS], read] == PRESENT:
            value = finalize(outs[o, KIND], w, outs[o, A], outs[o, B], outs[o, C], outs[o, CAP], outs[o, FIELD], t)
        put_value(value, read, narrow, outs[o, NARROW], wide, outs[o, WIDE])
