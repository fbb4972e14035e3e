"""Windows of keys whose events stand in order of event time, as nearly all do.

In order, the events of a tile stand together, so a floor on a tile's boundary is a place between two
events, and a window is a range `[low, applied)` of places. Sums are then differences of running
totals; extremes come off one stack of each key, which all windows share; a distinct value is one
whose previous occurrence lies before `low`. Keys with late events go through `batch_sliding`.
"""

import math

import numpy as np

from fraud_assets.engine.batch_outputs import put_value
from fraud_assets.engine.fold_kernels import PRESENT
from fraud_assets.engine.jit import inlined, kernel
from fraud_assets.engine.kernels import HIGHEST, NULL, add_wide, estimate_beyond, mix63, wide_product
from fraud_assets.features.layout import Acc

_MIN = int(Acc.MIN)
WORD_BITS = 64


@kernel
def all_in_order(events, ev_time):
    """Whether the events of every key of a block stand in order of time."""
    for k in range(len(events) - 1):
        for e in range(events[k] + 1, events[k + 1]):
            if ev_time[e] < ev_time[e - 1]:
                return False
    return True


@kernel
def any_tie(events, ev_time):
    """Whether two neighbours of a key have one time."""
    for k in range(len(events) - 1):
        for e in range(events[k] + 1, events[k + 1]):
            if ev_time[e] == ev_time[e - 1]:
                return True
    return False


@kernel
def floors_of(reads, rd_time, newest, length, tile_ms, lateness, inverse, floor):
    """floor (n_reads,): where each read's window begins, on a tile's boundary; returns whether they ascend in every key.

    inverse: 1 / tile_ms, for a division is slow.
    """
    falls = np.int64(0)
    for j in range(len(floor)):
        latest = newest[j] if newest[j] != NULL else rd_time[j]
        floor[j] = tile_start(max(rd_time[j], latest - lateness) - length, tile_ms, inverse)
    for j in range(1, len(floor)):
        falls += np.int64(floor[j] < floor[j - 1])
    for k in range(1, len(reads) - 1):
        falls -= np.int64(floor[reads[k]] < floor[reads[k] - 1])
    return falls == 0


@inlined
def tile_start(time, tile_ms, inverse):
    """Start of the tile that holds an instant. Times are below 2**53, so the quotient is at most one off."""
    tile = np.int64(math.floor(float(time) * inverse))
    rest = time - tile * tile_ms
    return (tile - np.int64(rest < 0) + np.int64(rest >= tile_ms)) * tile_ms


@kernel
def places_in_order(reads, events, ev_time, floor, applied, low):
    """low (n_reads,): the first event each read's window holds, for floors that ascend in every key.

    Places are unsigned here, or every look at an event would first ask whether it counts from the end.
    """
    for k in range(len(reads) - 1):
        at = np.uint64(events[k])
        for j in range(reads[k], reads[k + 1]):
            end, lowest = np.uint64(applied[j]), floor[j]
            while at < end and ev_time[at] < lowest:
                at += np.uint64(1)
            low[j] = np.int64(at)


@kernel
def places_of_any(reads, events, ev_time, floor, applied, low):
    """The same for floors in any order."""
    for k in range(len(reads) - 1):
        first, end = events[k], events[k + 1]
        at = first
        for j in range(reads[k], reads[k + 1]):
            while at < end and ev_time[at] < floor[j]:
                at += 1
            while at > first and ev_time[at - 1] >= floor[j]:
                at -= 1
            low[j] = min(at, applied[j])


@kernel
def first_places(reads, events, low):
    """low (n_reads,) of a window without end: the first event of the key."""
    for k in range(len(reads) - 1):
        for j in range(reads[k], reads[k + 1]):
            low[j] = events[k]


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
def totals_between(jobs, totals, low, applied, words):
    """COUNT and SUM as differences of running totals. jobs (n, 3): row of `totals`, row of `low`, row of `words`.

    A job with no totals (-1) counts every event.
    """
    for job in range(len(jobs)):
        channel, lowest, out = jobs[job, 0], low[jobs[job, 1]], words[jobs[job, 2]]
        if channel < 0:
            for j in range(len(applied)):
                out[j] = applied[j] - lowest[j]
        else:
            total = totals[channel]
            for j in range(len(applied)):
                out[j] = total[np.uint64(applied[j])] - total[np.uint64(lowest[j])]


@kernel
def squares_between(jobs, highs, lows, low, applied, words):
    """SQUARES, two rows of `words`, as differences of 128-bit running totals. jobs: as for `totals_between`."""
    for job in range(len(jobs)):
        high_total, low_total, lowest = highs[jobs[job, 0]], lows[jobs[job, 0]], low[jobs[job, 1]]
        high_out, low_out = words[jobs[job, 2]], words[jobs[job, 2] + 1]
        for j in range(len(applied)):
            end, start = np.uint64(applied[j]), np.uint64(lowest[j])
            above, below = np.uint64(low_total[end]), np.uint64(low_total[start])
            low_out[j] = np.int64(above - below)
            high_out[j] = high_total[end] - high_total[start] - np.int64(above < below)


@kernel
def extremes_of_spans(op, value, longest, spans):
    """spans[l, e]: MIN or MAX of the 2**l events from e on, for every 2**l up to `longest`; nulls are left out.

    Any range is two spans that may overlap, which costs the same however long it is and asks no question
    that the processor could guess wrong. Source: Bender and Farach-Colton, "The LCA Problem Revisited" (2000).
    """
    nothing = np.int64(HIGHEST) if op == _MIN else np.int64(NULL)
    bottom = spans[0]
    for e in range(len(value)):
        bottom[e] = value[e] if value[e] != NULL else nothing
    level, size = 1, 1
    while 2 * size <= longest:
        below, to = spans[level - 1], spans[level]
        if op == _MIN:
            for e in range(len(value) - 2 * size + 1):
                to[e] = min(below[e], below[e + size])
        else:
            for e in range(len(value) - 2 * size + 1):
                to[e] = max(below[e], below[e + size])
        level, size = level + 1, 2 * size


@kernel
def extremes_between(op, spans, log2, low, applied, windows, out):
    """MIN or MAX of several windows: windows (n,) rows of `low`, out (n, n_reads). log2: (longest + 1,) whole part of it."""
    nothing = np.int64(HIGHEST) if op == _MIN else np.int64(NULL)
    for w in range(len(windows)):
        lowest, to = low[windows[w]], out[w]
        for j in range(len(applied)):
            length = applied[j] - lowest[j]
            if length == 0:
                to[j] = nothing
                continue
            level = np.uint64(log2[np.uint64(length)])
            row = spans[level]
            a, b = row[np.uint64(lowest[j])], row[np.uint64(applied[j]) - (np.uint64(1) << level)]
            to[j] = min(a, b) if op == _MIN else max(a, b)


@kernel
def extremes_so_far(op, events, reads, value, applied, out):
    """MIN or MAX of windows without end: out (n_reads,)."""
    for k in range(len(reads) - 1):
        e, best = events[k], np.int64(HIGHEST) if op == _MIN else np.int64(NULL)
        for j in range(reads[k], reads[k + 1]):
            while e < applied[j]:
                if value[e] != NULL:
                    best = min(best, value[e]) if op == _MIN else max(best, value[e])
                e += 1
            out[j] = best


@kernel
def longest_window(low, windows, applied):
    """Most events any of some windows holds."""
    most = 0
    for w in range(len(windows)):
        lowest = low[windows[w]]
        for j in range(len(applied)):
            most = max(most, applied[j] - lowest[j])
    return most


@kernel
def link_equal(events, value, table, before, after):
    """before, after (n_events,): the previous and next event of the same key with the same value.

    None before is -1 and none after HIGHEST; a null has HIGHEST before and -1 after, so that neither
    its coming nor its going is ever counted. table: (2**k,) int64 filled with -1, twice the events or more.
    """
    mask = len(table) - 1
    for k in range(len(events) - 1):
        for e in range(events[k], events[k + 1]):
            v = value[e]
            if v == NULL:
                before[e], after[e] = HIGHEST, -1
                continue
            at = mix63(v + k * 0x9E3779B9) & mask
            while table[at] >= 0 and (table[at] < events[k] or value[table[at]] != v):
                at = (at + 1) & mask
            known = table[at]
            before[e], after[e] = known, HIGHEST
            if known >= 0:
                after[known] = e
            table[at] = e


@kernel
def distinct_in_order(events, reads, before, after, applied, low, cap, counts, crowded):
    """counts (n_reads,): distinct values of the window. crowded (n_keys,): set where one exceeds the cap.

    An event counts when it comes if its value is not in the window yet, and ceases to when it leaves
    unless a later one of its value stays.
    """
    for k in range(len(reads) - 1):
        start = end = events[k]
        held = most = 0
        for j in range(reads[k], reads[k + 1]):
            while end < applied[j]:
                held += before[end] < start
                end += 1
            while start < low[j]:
                held -= after[start] >= end
                start += 1
            while start > low[j]:
                start -= 1
                held += after[start] >= end
            counts[j] = held
            most = max(most, held)
        crowded[k] = most > cap


@kernel
def finish_distinct(counts, status, narrow, narrow_row, wide, wide_row):
    """Write the distinct values of every read; those beyond the cap are estimated by `distinct_of_crowd`."""
    for j in range(len(counts)):
        value = float(counts[j]) if status[j] == PRESENT else math.nan
        put_value(value, j, narrow, narrow_row, wide, wide_row)


@kernel
def rank_values(value, before, first, ranks, ranked):
    """Ranks of one key's values in ascending order; returns how many distinct ones `ranked` begins with.

    before: places in the block, where the key's events begin at `first`. ranks, ranked: (n_events of the key,).
    """
    size = 0
    for e in range(len(value)):
        if value[e] != NULL and before[e] < first:
            ranked[size] = value[e]
            size += 1
    sort_in_place(ranked, size)
    for e in range(len(value)):
        if value[e] == NULL:
            continue
        if before[e] >= first:
            ranks[e] = ranks[before[e] - first]
            continue
        low, high = 0, size
        while low < high:
            middle = (low + high) // 2
            if ranked[middle] < value[e]:
                low = middle + 1
            else:
                high = middle
        ranks[e] = low
    return size


@kernel
def sort_in_place(items, count):
    """Shell sort: nothing is allocated, and nearly sorted items are nearly free."""
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
def distinct_of_crowd(
    first, before, after, applied, low, cap, ranks, ranked, held, status, read,
    narrow, narrow_row, wide, wide_row):  # fmt: skip
    """The reads of one key whose window holds more than `cap` distinct values: estimated from the cap-th smallest.

    applied, low, status: of its reads, of which `read` is the first. ranks: of its events, of which `first` is
    the first. held: words of zeros with a bit for each value of `ranked`, set while it is in the window. `top` is a rank such that
    `below` held ranks, at most `cap`, are up to it, and exactly `cap` if the window has as many.
    """
    start = end = first
    size = len(ranked)
    count, below, top = 0, 0, size - 1
    for j in range(len(applied)):
        while end < applied[j]:
            if before[end] < start:
                count, below, top = come(held, ranks[end - first], cap, count, below, top)
            end += 1
        while start < low[j]:
            if after[start] >= end:
                count, below, top = leave(held, ranks[start - first], size, count, below, top)
            start += 1
        while start > low[j]:
            start -= 1
            if after[start] >= end:
                count, below, top = come(held, ranks[start - first], cap, count, below, top)
        if count > cap and status[j] == PRESENT:
            smallest = ranked[bit_at_or_before(held, top)]
            put_value(estimate_beyond(smallest, cap), read + j, narrow, narrow_row, wide, wide_row)


@inlined
def come(held, rank, cap, count, below, top):
    """A value enters the window."""
    held[rank // WORD_BITS] |= np.uint64(1) << np.uint64(rank % WORD_BITS)
    if rank <= top:
        below += 1
        if below > cap:
            top = bit_at_or_before(held, top) - 1
            below -= 1
    return count + 1, below, top


@inlined
def leave(held, rank, size, count, below, top):
    """A value leaves the window; if others wait beyond `top`, the next of them takes its place."""
    held[rank // WORD_BITS] &= ~(np.uint64(1) << np.uint64(rank % WORD_BITS))
    if rank <= top:
        below -= 1
        if count - 1 > below:
            top = bit_at_or_after(held, top + 1)
            below += 1
        else:
            top = size - 1
    return count - 1, below, top


@kernel
def bit_at_or_before(held, rank):
    """The largest held rank up to `rank`; there is one."""
    word = rank // WORD_BITS
    bits = held[word] << np.uint64(WORD_BITS - 1 - rank % WORD_BITS)
    if bits != 0:
        while bits < np.uint64(1 << 63):
            bits <<= np.uint64(1)
            rank -= 1
        return rank
    word -= 1
    while held[word] == 0:
        word -= 1
    rank = word * WORD_BITS + WORD_BITS - 1
    bits = held[word]
    while bits < np.uint64(1 << 63):
        bits <<= np.uint64(1)
        rank -= 1
    return rank


@kernel
def bit_at_or_after(held, rank):
    """The smallest held rank from `rank` on; there is one."""
    word = rank // WORD_BITS
    bits = held[word] >> np.uint64(rank % WORD_BITS)
    while bits == 0:
        word += 1
        rank = word * WORD_BITS
        bits = held[word]
    while bits & np.uint64(1) == 0:
        bits >>= np.uint64(1)
        rank += 1
    return rank


@kernel
def last_in_order(events, reads, ev_time, source, ids, payload, value, applied, chosen):
    """LAST: chosen (n_reads,), the newest event with a value that each read knows, or -1.

    Equal times are decided by source, id and payload, as everywhere; a window holds the newest or nothing.
    """
    for k in range(len(reads) - 1):
        e, best = events[k], np.int64(-1)
        for j in range(reads[k], reads[k + 1]):
            while e < applied[j]:
                if value[e] != NULL and (best < 0 or follows(e, best, ev_time, source, ids, payload, value)):
                    best = e
                e += 1
            chosen[j] = best


@inlined
def follows(e, best, ev_time, source, ids, payload, value):
    """Whether an event is after the newest so far; they stand in order, so only ties need a look."""
    if ev_time[e] != ev_time[best]:
        return True
    if source[e] != source[best]:
        return source[e] > source[best]
    if ids[e] != ids[best]:
        return ids[e] > ids[best]
    if payload[e] != payload[best]:
        return payload[e] > payload[best]
    return value[e] > value[best]


@kernel
def finish_last(chosen, low, value, status, narrow, narrow_row, wide, wide_row):
    for j in range(len(chosen)):
        found = math.nan
        if status[j] == PRESENT and chosen[j] >= low[j]:
            found = float(value[chosen[j]])
        put_value(found, j, narrow, narrow_row, wide, wide_row)
