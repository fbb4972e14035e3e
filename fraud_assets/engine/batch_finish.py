"""Outputs of keys in order, straight from running totals and spans to the values of a block.

A count, a sum or a sum of squares over `[low, applied)` is a difference of two running totals, and an
extreme the better of two spans; each output is one pass over the reads that leaves nothing behind but
its values. Keys with late events take the way by words: `batch_outputs.finish_outputs`.
"""

import math

import numpy as np

from fraud_assets.engine.batch_outputs import put_extreme
from fraud_assets.engine.jit import inlined, kernel
from fraud_assets.engine.kernels import (
    HIGHEST,
    NULL,
    OUT_MEAN,
    OUT_STD,
    fits_narrow,
    mean_of,
    narrow_deviation,
    standard_deviation,
)
from fraud_assets.engine.tile_kernels import PRESENT
from fraud_assets.features.layout import Acc

# Columns of a table of outputs: kind, row of `low`, channels of totals and squares (-1: every event
# counts one), row in the narrow and the wide matrix of the block or -1, row of the view's status, and whether
# it and the next two are the count, sum and deviation that `finish_moments` makes together.
KIND, PLACE, A, B, C, NARROW, WIDE, STATUS, JOINT = range(9)

_MIN = int(Acc.MIN)


@kernel
def finish_between(outs, totals, highs, lows, low, applied, statuses, narrow, wide, at):
    """COUNT, SUM, MEAN and STD of every read of a run, null unless PRESENT.

    totals, highs, lows: (channels, n_events + 1) running totals and 128-bit running sums of squares.
    low, statuses, narrow, wide: of the whole block, where the run's reads begin at `at`.
    """
    end, o = at + len(applied), 0
    while o < len(outs):
        lowest, status = low[outs[o, PLACE]][at:end], statuses[outs[o, STATUS]][at:end]
        if outs[o, JOINT] and all_narrow(highs[outs[o + 2, C]], lows[outs[o + 2, C]]):
            finish_moments(
                totals[outs[o + 1, A]], lows[outs[o + 2, C]], lowest, applied, status, narrow[outs[o, NARROW]][at:end],
                narrow[outs[o + 1, NARROW]][at:end], narrow[outs[o + 2, NARROW]][at:end],
            )  # fmt: skip
            o += 3
            continue
        if outs[o, NARROW] >= 0:
            finish_sums(outs[o], totals, highs, lows, lowest, applied, status, narrow[outs[o, NARROW]][at:end])
        if outs[o, WIDE] >= 0:
            finish_sums(outs[o], totals, highs, lows, lowest, applied, status, wide[outs[o, WIDE]][at:end])
        o += 1


@inlined
def all_narrow(high, low):
    """Whether no deviation of a run needs more than one word: its own sums of squares are the largest."""
    last = len(low) - 1
    return fits_narrow(len(low), high[last], low[last])


@inlined
def finish_moments(total, squares, lowest, applied, status, to_count, to_sum, to_std):
    """The three that nearly every view has, in one pass: what they share is looked up once."""
    for j in range(len(applied)):
        count, present = applied[j] - lowest[j], status[j] == PRESENT
        added, squared = between(total, lowest[j], applied[j]), between(squares, lowest[j], applied[j])
        deviation = narrow_deviation(count, added, squared)
        to_count[j] = float(count) if present else math.nan
        to_sum[j] = float(added) if present else math.nan
        to_std[j] = deviation if present & (count > 0) else math.nan


@inlined
def finish_sums(out, totals, highs, lows, lowest, applied, status, to):
    if out[KIND] == OUT_STD:
        finish_std(out, totals, highs[out[C]], lows[out[C]], lowest, applied, status, to)
    elif out[KIND] == OUT_MEAN:
        total = totals[out[B]]
        for j in range(len(to)):
            value = mean_of(counted(out[A], totals, lowest[j], applied[j]), between(total, lowest[j], applied[j]))
            to[j] = value if status[j] == PRESENT else math.nan
    elif out[A] < 0:
        for j in range(len(to)):
            to[j] = float(applied[j] - lowest[j]) if status[j] == PRESENT else math.nan
    else:
        total = totals[out[A]]
        for j in range(len(to)):
            to[j] = float(between(total, lowest[j], applied[j])) if status[j] == PRESENT else math.nan


@inlined
def between(total, first, end):
    """Places are unsigned here, or each would first be asked whether it counts from the end."""
    return total[np.uint64(end)] - total[np.uint64(first)]


@inlined
def counted(channel, totals, first, end):
    return end - first if channel < 0 else between(totals[channel], first, end)


@inlined
def finish_std(out, totals, high, low, lowest, applied, status, to):
    """STD, first as if every sum fitted one word, which several reads at a time can do; where one does not, in full."""
    unfit, total = 0, totals[out[B]]
    if all_narrow(high, low):
        for j in range(len(to)):
            count, squares = counted(out[A], totals, lowest[j], applied[j]), between(low, lowest[j], applied[j])
            value = narrow_deviation(count, between(total, lowest[j], applied[j]), squares)
            to[j] = value if (status[j] == PRESENT) & (count > 0) else math.nan
        return
    for j in range(len(to)):
        count, added = counted(out[A], totals, lowest[j], applied[j]), between(total, lowest[j], applied[j])
        above, below = squares_between(high, low, lowest[j], applied[j])
        unfit += not fits_narrow(count, above, below)
        value = narrow_deviation(count, added, below)
        to[j] = value if (status[j] == PRESENT) & (count > 0) else math.nan
    if unfit > 0:
        for j in range(len(to)):
            count = counted(out[A], totals, lowest[j], applied[j])
            if status[j] == PRESENT and count > 0:
                above, below = squares_between(high, low, lowest[j], applied[j])
                to[j] = standard_deviation(count, between(total, lowest[j], applied[j]), above, below)


@inlined
def squares_between(high, low, first, end):
    """(high, low) words of a 128-bit sum of squares."""
    up_to, before = np.uint64(low[np.uint64(end)]), np.uint64(low[np.uint64(first)])
    return between(high, first, end) - np.int64(up_to < before), np.int64(up_to - before)


@kernel
def best_between(op, spans, log2, low, applied, best):
    """best (n_reads,): MIN or MAX of each read's window, the better of the two spans of a power of two that cover it."""
    if op == _MIN:
        for j in range(len(best)):
            row, first, last = two_spans(spans, log2, low[j], applied[j])
            best[j] = min(spans[row, first], spans[row, last]) if applied[j] > low[j] else HIGHEST
    else:
        for j in range(len(best)):
            row, first, last = two_spans(spans, log2, low[j], applied[j])
            best[j] = max(spans[row, first], spans[row, last]) if applied[j] > low[j] else NULL


@kernel
def both_between(spans, log2, low, applied, status, least, most):
    """MIN and MAX of each read's window, as served, of the spans that `both_of_spans` made."""
    half = np.uint64(spans.shape[1] // 2)
    for j in range(len(least)):
        least[j], most[j] = math.nan, math.nan
        if applied[j] > low[j] and status[j] == PRESENT:
            row, first, last = two_spans(spans, log2, low[j], applied[j])
            below = min(spans[row, first], spans[row, last])
            if below < math.inf:
                least[j], most[j] = below, -min(spans[row, first + half], spans[row, last + half])


@inlined
def two_spans(spans, log2, first, end):
    """(row, place, place) of two spans that cover `[first, end)`; of nothing, any two there are, for asking first costs more."""
    level = log2[np.uint64(end - first)]
    last = max(end - (np.int64(1) << level), np.int64(0))
    return np.uint64(level), np.uint64(min(first, max(spans.shape[1] - 1, 0))), np.uint64(last)


@kernel
def finish_best(out, best, rd_time, statuses, narrow, wide, at):
    """One output of an extreme: its value, or the age of the first or last time; null unless PRESENT."""
    end = at + len(best)
    status = statuses[out[STATUS]][at:end]
    if out[NARROW] >= 0:
        put_extreme(out[KIND], best, rd_time, status, narrow[out[NARROW]][at:end])
    if out[WIDE] >= 0:
        put_extreme(out[KIND], best, rd_time, status, wide[out[WIDE]][at:end])
