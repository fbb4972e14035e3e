"""From accumulators' words to the rows of a matrix, compiled.

A block's values lie output by output; they become rows of the log's matrix in `scatter_rows`, and
columns of a file in `columns_of_rows`.
"""

import math

import numpy as np

from fraud_assets.engine.jit import inlined, kernel
from fraud_assets.engine.kernels import (
    HIGHEST,
    NULL,
    OUT_AGE_OF_MIN,
    OUT_COUNT,
    OUT_MAX,
    OUT_MEAN,
    OUT_MIN,
    OUT_STD,
    OUT_SUM,
    age_unless,
    fits_narrow,
    mean_of,
    narrow_deviation,
    standard_deviation,
    value_unless,
)
from fraud_assets.engine.prefetch import AHEAD, prefetch
from fraud_assets.engine.read_kernels import ratio_of
from fraud_assets.engine.tile_kernels import PRESENT

# Columns of a table of outputs: kind, offsets a, b, c, cap, field, row in the narrow and the wide
# matrix of the block or -1, and the row of the view's status.
KIND, A, B, C, CAP, FIELD, NARROW, WIDE, STATUS = range(9)

# float32 values of one 64-byte cache line.
LINE = 16


@inlined
def put_value(value, read, narrow, narrow_row, wide, wide_row):
    """Write one value of one read where it is wanted."""
    if narrow_row >= 0:
        narrow[narrow_row, read] = value
    if wide_row >= 0:
        wide[wide_row, read] = value


@kernel
def finish_outputs(outs, words, rd_time, statuses, matrix, target):
    """Outputs of the one- and two-word accumulators, null unless PRESENT: `finalize`, an output at a time.

    words: (n_words, n_reads); offsets in `outs` are rows of it. target: NARROW or WIDE.
    """
    for o in range(len(outs)):
        if outs[o, target] < 0:
            continue
        kind, to, status = outs[o, KIND], matrix[outs[o, target]], statuses[outs[o, STATUS]]
        a, b, c = words[outs[o, A]], words[outs[o, B]], words[outs[o, C]]
        if kind == OUT_COUNT or kind == OUT_SUM:
            for j in range(len(to)):
                to[j] = float(a[j]) if status[j] == PRESENT else math.nan
        elif kind == OUT_MEAN:
            for j in range(len(to)):
                to[j] = mean_of(a[j], b[j]) if status[j] == PRESENT else math.nan
        elif kind == OUT_STD:
            finish_std(a, b, c, words[outs[o, C] + 1], status, to)
        else:
            put_extreme(kind, a, rd_time, status, to)


@inlined
def finish_std(count, total, high, low, status, to):
    """STD, first as if every sum fitted one word, which several reads at a time can do; where one does not, in full."""
    unfit = 0
    for j in range(len(to)):
        unfit += not fits_narrow(count[j], high[j], low[j])
        value = narrow_deviation(count[j], total[j], low[j])
        to[j] = value if (status[j] == PRESENT) & (count[j] > 0) else math.nan
    if unfit > 0:
        for j in range(len(to)):
            if status[j] == PRESENT and count[j] > 0:
                to[j] = standard_deviation(count[j], total[j], high[j], low[j])


@inlined
def put_extreme(kind, best, rd_time, status, to):
    """A minimum or maximum, or the age of the first or last time; null unless PRESENT."""
    nothing = np.int64(HIGHEST) if kind == OUT_MIN or kind == OUT_AGE_OF_MIN else np.int64(NULL)
    if kind == OUT_MIN or kind == OUT_MAX:
        for j in range(len(to)):
            to[j] = value_unless(nothing, best[j]) if status[j] == PRESENT else math.nan
    else:
        for j in range(len(to)):
            to[j] = age_unless(nothing, rd_time[j], best[j]) if status[j] == PRESENT else math.nan


@kernel
def finish_ratios(ratios, wide, narrow):
    """Ratios of a block's outputs. ratios (n, 5): rows in `wide` of numerator, denominator, second denominator or -1; own rows."""
    for r in range(len(ratios)):
        above, below, more = wide[ratios[r, 0]], wide[ratios[r, 1]], ratios[r, 2]
        for j in range(wide.shape[1]):
            whole = below[j] + wide[more, j] if more >= 0 else below[j]
            put_value(ratio_of(above[j], whole), j, narrow, ratios[r, 3], wide, ratios[r, 4])


@kernel
def scatter_rows(made, columns, row_of, matrix):
    """Write the first rows of a block's values, (n_outputs, n_reads), to the rows and columns of the matrix.

    A row at a time, its cache lines fetched some rows ahead: rows stand in no order of memory, and a
    processor that waits for each takes twice as long. Places are unsigned, for one that might count from the end
    costs as much as the copy.
    """
    if len(columns) == 0:
        return
    for j in range(len(row_of)):
        if j + AHEAD < len(row_of):
            row = row_of[j + AHEAD]
            for c in range(0, len(columns), LINE):
                prefetch(matrix, row, columns[c])
            prefetch(matrix, row, columns[len(columns) - 1])
        to = matrix[np.uint64(row_of[j])]
        for c in range(len(columns)):
            to[np.uint64(columns[c])] = made[c, j]


@kernel
def columns_of_rows(rows, columns, made):
    """made[columns[c]] becomes column c of `rows`, (n, n_columns): from a row a read to a column a feature.

    Sixteen by sixteen, so that both sides stay within a few cache lines.
    """
    for first in range(0, len(rows), LINE):
        end = min(first + LINE, len(rows))
        for start in range(0, len(columns), LINE):
            for c in range(start, min(start + LINE, len(columns))):
                to = made[columns[c]]
                for i in range(first, end):
                    to[i] = rows[i, c]


@kernel
def put_unit_status(status, age_s, row_of, place, all_status, all_age_s):
    """Scatter one unit's status and age to the rows they belong to."""
    for j in range(len(row_of)):
        all_status[row_of[j], place] = status[j]
        all_age_s[row_of[j], place] = age_s[j]


@kernel
def blank_rows(keys, columns, matrix):
    """Null some columns of the rows that name no entity."""
    for i in range(len(keys)):
        if keys[i] == NULL:
            for c in range(len(columns)):
                matrix[i, columns[c]] = math.nan
