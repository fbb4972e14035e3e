"""Windows of keys whose events stand in order of event time, as nearly all do.

In order, the events of a tile stand together, so a floor on a tile's boundary is a place between two
events, and a window is a range `[low, applied)` of places. Sums are then differences of running
totals, and an extreme is the better of two spans of a power of two that cover the range. Distinct values
are in `batch_distinct`; keys with late events go through `batch_sliding`.
"""

import math

import numpy as np

from fraud_assets.engine.batch_outputs import put_value
from fraud_assets.engine.jit import inlined, kernel
from fraud_assets.engine.kernels import HIGHEST, NULL, add_wide, wide_product
from fraud_assets.engine.tile_kernels import NO_FLOOR, PRESENT, settled_tile, window_start
from fraud_assets.features.layout import Acc

_MIN = int(Acc.MIN)

# Rows of a table of windows: length, tile (without end: length ENDLESS, tile 0), lateness the view allows.
LENGTH, TILE, LATENESS = range(3)
ENDLESS = 2**62


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
def floors_of(rd_time, newest, length, tile_ms, lateness, floor):
    """floor (n_reads,): where each read's window begins, on a tile's boundary; of a window without end, before everything.

    As `tile_of`, for many reads at once: a product with the inverse, which is at most one off too, for a processor
    divides one at a time where it multiplies eight.
    """
    if tile_ms <= 0:
        floor[:] = NO_FLOOR
        return
    tiles_per_ms = 1.0 / float(tile_ms)
    for j in range(len(floor)):
        since = window_start(rd_time[j], latest_of(newest[j], rd_time[j]), length, lateness)
        floor[j] = settled_tile(since, float(since) * tiles_per_ms, tile_ms) * tile_ms


@inlined
def latest_of(newest, time):
    """The newest event time a read knows; its own time where it knows none, and any window is empty."""
    return newest if newest != NULL else time


@kernel
def ascend_in_keys(reads, values):
    """Whether no read of a key has less than the one before it."""
    falls = np.int64(0)
    for j in range(1, len(values)):
        falls += np.int64(values[j] < values[j - 1])
    for k in range(1, len(reads) - 1):
        falls -= np.int64(values[reads[k]] < values[reads[k] - 1])
    return falls == 0


@kernel
def places_in_order(reads, events, ev_time, applied, reached, low, at):
    """low (n_windows, n_reads), from column `at`: in, each window's floor; out, the first event it holds. Floors ascend in every key.

    From one read to the next a window mostly leaves behind none, one or two events, which no processor can guess:
    two steps are taken without asking, in all windows side by side so that none waits for another. None goes
    past the newest event that is known: where that one is before the floor, so is all that is known, and
    the step is to the end, by a product, for a question would be guessed too. Places are unsigned,
    or every look at an event would first ask whether it counts from the end.
    """
    last = np.uint64(len(ev_time) - 1)
    for k in range(len(reads) - 1):
        first = np.uint64(events[k])
        reached[:] = events[k]
        for j in range(reads[k], reads[k + 1]):
            end = np.uint64(applied[j])
            stop, known = min(first, last), np.int64(NULL)
            if end > first:
                stop = end - np.uint64(1)
                known = ev_time[stop]
            for p in range(len(reached)):
                place, floor = np.uint64(reached[p]), low[p, at + j]
                holds_none, limit = np.uint64(floor > known), min(floor, known)
                place += holds_none * (stop - place)
                place += np.uint64(ev_time[place] < limit)
                place += np.uint64(ev_time[place] < limit)
                while ev_time[place] < limit:
                    place += np.uint64(1)
                place += holds_none * (end - stop)
                reached[p] = low[p, at + j] = np.int64(place)


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
        # A slice, for an index that is a sum might be negative to a compiler, which then takes one at a time.
        below, later, to = spans[level - 1], spans[level - 1][size:], spans[level]
        if op == _MIN:
            for e in range(len(later)):
                to[e] = min(below[e], later[e])
        else:
            for e in range(len(later)):
                to[e] = max(below[e], later[e])
        level, size = level + 1, 2 * size


@kernel
def both_of_spans(value, longest, spans):
    """MIN and MAX at once, as served: spans[l, e] the MIN and spans[l, n + e] that of the negatives, float32.

    Rounding keeps order, so the least of rounded values is the rounded least; and one comparison serves both.
    Spans that reach past the n events hold some of either half, and nobody asks for them.
    """
    lower, upper = spans[0][: len(value)], spans[0][len(value) :]
    for e in range(len(value)):
        known = value[e] != NULL
        lower[e] = float(value[e]) if known else math.inf
        upper[e] = -float(value[e]) if known else math.inf
    level, size = 1, 1
    while 2 * size <= longest:
        below, later, to = spans[level - 1], spans[level - 1][size:], spans[level]
        for e in range(len(later)):
            to[e] = min(below[e], later[e])
        level, size = level + 1, 2 * size


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
def longest_window(low, applied):
    """Most events that a read's window holds."""
    most = np.int64(0)
    for j in range(len(applied)):
        most = max(most, applied[j] - low[j])
    return most


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
