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
from fraud_assets.engine.tile_kernels import PRESENT, read_floor
from fraud_assets.features.layout import Acc

_MIN = int(Acc.MIN)


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
    """floor (n_reads,): where each read's window begins, on a tile's boundary."""
    for j in range(len(floor)):
        latest = newest[j] if newest[j] != NULL else rd_time[j]
        floor[j] = read_floor(rd_time[j], latest, length, tile_ms, lateness) * tile_ms


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
