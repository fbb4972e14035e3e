"""Keys in order, some at a time: from events and reads to every count, sum, deviation and extreme.

A run is some whole keys with about a thousand reads. Windows are placed, totals summed and outputs
finished run by run, so that all a run needs stays in the first- and second-level caches from one step
to the next; a key with more reads is a run of its own.
"""

import numpy as np

from fraud_assets.engine.batch_finish import (
    NARROW,
    PLACE,
    STATUS,
    best_between,
    both_between,
    finish_best,
    finish_between,
)
from fraud_assets.engine.batch_ordered import (
    LATENESS,
    LENGTH,
    TILE,
    ascend_in_keys,
    both_of_spans,
    extremes_of_spans,
    extremes_so_far,
    first_places,
    floors_of,
    longest_window,
    places_in_order,
    places_of_any,
    running_squares,
    running_totals,
)
from fraud_assets.engine.jit import kernel

RUN_ROWS = 1_024

# Columns of a table of extremes: MIN or MAX, row of the value, first and last + 1 of its outputs, and whether it is
# a minimum and the next one the maximum of the same value over the same windows, both only served.
OP, VALUE, FIRST_OUT, END_OUT, PAIRED = range(5)


@kernel
def run_end(reads, events, first):
    """End of the run of keys that begins at `first`: at most RUN_ROWS reads and events, or one key."""
    end = first + 1
    while (
        end < len(reads) - 1
        and reads[end + 1] - reads[first] <= RUN_ROWS
        and events[end + 1] - events[first] <= RUN_ROWS
    ):
        end += 1
    return end


@kernel
def most_of_a_run(reads, events):
    """Most reads, and most events, of any run."""
    most_reads, most_events, first = np.int64(0), np.int64(0), np.int64(0)
    while first < len(reads) - 1:
        end = run_end(reads, events, first)
        most_reads = max(most_reads, reads[end] - reads[first])
        most_events = max(most_events, events[end] - events[first])
        first = end
    return most_reads, most_events


@kernel
def from_start(starts, first, end, to):
    """Starts of some keys, counted from the first of them."""
    for k in range(first, end + 1):
        to[k - first] = starts[k] - starts[first]


@kernel
def finish_runs(
    windows, keep_low, outs, total_rows, square_rows, extremes, lifetimes, best_outs, log2,
    reads, events, values, applied, newest, rd_time, statuses, low, narrow, wide,
    run_reads, run_events, run_applied, reached, floor, totals, squares, spans, pairs, best, carry,
):  # fmt: skip
    """Place every window and finish every output of `batch_finish` for a block's keys.

    windows: (3, n); outs: as `finish_between` has them; total_rows, square_rows: row of `values` of each channel.
    extremes, lifetimes: (n, 5), ranges of `best_outs`. low: (n_windows, n_reads) out, only if keep_low. The last two
    lines are scratch: starts, reads, reads, flat ones for (channels + 1) rows of a run's events, reads, reads, and (2,).
    """
    first = np.int64(0)
    while first < len(reads) - 1:
        end = run_end(reads, events, first)
        keys = end - first
        from_start(reads, first, end, run_reads)
        from_start(events, first, end, run_events)
        starts, event_starts = run_reads[: keys + 1], run_events[: keys + 1]
        r0, r1, e0, e1 = reads[first], reads[end], events[first], events[end]
        count, size = r1 - r0, e1 - e0 + 1
        known, times = run_applied[:count], rd_time[r0:r1]
        for j in range(count):
            known[j] = applied[r0 + j] - e0
        place_windows(
            windows,
            starts,
            event_starts,
            values[0][e0:e1],
            times,
            newest[r0:r1],
            known,
            reached,
            floor[:count],
            low,
            r0,
        )
        sums = totals[: len(total_rows) * size].reshape((len(total_rows), size))
        for c in range(len(total_rows)):
            running_totals(values[total_rows[c]][e0:e1], sums[c])
        wide_sums = squares[: 2 * len(square_rows) * size].reshape((2 * len(square_rows), size))
        highs, lows = wide_sums[: len(square_rows)], wide_sums[len(square_rows) :]
        for c in range(len(square_rows)):
            running_squares(values[square_rows[c]][e0:e1], highs[c], lows[c], carry)
        finish_between(outs, sums, highs, lows, low, known, statuses, narrow, wide, r0)
        for x in range(len(lifetimes)):
            value = values[lifetimes[x, VALUE]][e0:e1]
            extremes_so_far(lifetimes[x, OP], event_starts, starts, value, known, best[:count])
            for o in range(lifetimes[x, FIRST_OUT], lifetimes[x, END_OUT]):
                finish_best(best_outs[o], best[:count], times, statuses, narrow, wide, r0)
        x = 0
        while x < len(extremes):
            value = values[extremes[x, VALUE]][e0:e1]
            if extremes[x, PAIRED]:
                finish_both(
                    extremes[x], extremes[x + 1], best_outs, log2, value, known, low, statuses, narrow, pairs, r0
                )
                x += 2
                continue
            finish_extremes(
                extremes[x], best_outs, log2, value, known, times, low, statuses, narrow, wide, spans, best[:count], r0,
            )  # fmt: skip
            x += 1
        first = end
        if keep_low and e0 > 0:
            for p in range(windows.shape[1]):
                lowest = low[p][r0:r1]
                for j in range(count):
                    lowest[j] += e0


@kernel
def place_windows(windows, reads, events, ev_time, rd_time, newest, applied, reached, floor, low, at):
    """low (n_windows, n_reads): the first event that each read's window holds; this run's reads begin at `at`."""
    if len(ev_time) == 0:
        for p in range(windows.shape[1]):
            first_places(reads, events, low[p][at : at + len(applied)])
        return
    # A window's beginning rises with the read's time and with what it knows.
    ascending = ascend_in_keys(reads, rd_time) and ascend_in_keys(reads, newest)
    for p in range(windows.shape[1]):
        lowest = low[p][at : at + len(applied)]
        floors = lowest if ascending else floor
        floors_of(rd_time, newest, windows[LENGTH, p], windows[TILE, p], windows[LATENESS, p], floors)
        if not ascending:
            places_of_any(reads, events, ev_time, floors, applied, lowest)
    if ascending:
        places_in_order(reads, events, ev_time, applied, reached, low, at)


@kernel
def finish_both(lesser, greater, outs, log2, value, applied, low, statuses, narrow, pairs, at):
    """MIN and MAX of one value over several windows, only served. pairs: scratch, float32."""
    longest, end = longest_of(lesser, outs, low, applied, at), at + len(applied)
    levels, count = log2[longest] + 1, len(value)
    spans = pairs[: 2 * levels * count].reshape((levels, 2 * count))
    both_of_spans(value, longest, spans)
    for o in range(lesser[FIRST_OUT], lesser[END_OUT]):
        out, other = outs[o], outs[greater[FIRST_OUT] - lesser[FIRST_OUT] + o]
        both_between(
            spans, log2, low[out[PLACE]][at:end], applied, statuses[out[STATUS]][at:end],
            narrow[out[NARROW]][at:end], narrow[other[NARROW]][at:end],
        )  # fmt: skip


@kernel
def longest_of(extreme, outs, low, applied, at):
    """Most events that any window of an extreme's outputs holds."""
    longest = np.int64(0)
    for o in range(extreme[FIRST_OUT], extreme[END_OUT]):
        longest = max(longest, longest_window(low[outs[o, PLACE]][at : at + len(applied)], applied))
    return longest


@kernel
def finish_extremes(extreme, outs, log2, value, applied, rd_time, low, statuses, narrow, wide, spans, best, at):
    """MIN or MAX of one value, or the age of the first or last, over several windows."""
    longest = longest_of(extreme, outs, low, applied, at)
    levels = log2[longest] + 1
    made = spans[: levels * len(value)].reshape((levels, len(value)))
    extremes_of_spans(extreme[OP], value, longest, made)
    for o in range(extreme[FIRST_OUT], extreme[END_OUT]):
        best_between(extreme[OP], made, log2, low[outs[o, PLACE]][at : at + len(best)], applied, best)
        finish_best(outs[o], best, rd_time, statuses, narrow, wide, at)
