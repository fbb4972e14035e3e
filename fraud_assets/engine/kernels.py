"""The aggregators: identity, update, merge, remove and finalize of every accumulator, in numba.

An accumulator is a few int64 words at offset `o` of an array `w`; these functions are the only
place that knows what the words mean, and batch, state and request all call them. Everything but
`finalize` is exact integer arithmetic and order does not matter: update is commutative, merge is
associative, so equal events give equal words however they arrived.
"""

import math

import numpy as np

from fraud_assets.engine.jit import inlined, kernel
from fraud_assets.features.layout import PROFILE_VERSIONS, Acc, Out

# The one null of int64 columns. Bounds of the contract keep every real value far from it.
NULL = -(2**63)
HIGHEST = 2**63 - 1
HASH_SPACE = 2.0**63

COUNT, SUM, SQUARES, MIN, MAX = int(Acc.COUNT), int(Acc.SUM), int(Acc.SQUARES), int(Acc.MIN), int(Acc.MAX)
DISTINCT, MODE, LAST, PROFILE = int(Acc.DISTINCT), int(Acc.MODE), int(Acc.LAST), int(Acc.PROFILE)

OUT_COUNT, OUT_SUM, OUT_MEAN, OUT_STD = int(Out.COUNT), int(Out.SUM), int(Out.MEAN), int(Out.STD)
OUT_MIN, OUT_MAX, OUT_DISTINCT, OUT_MODE = int(Out.MIN), int(Out.MAX), int(Out.DISTINCT), int(Out.MODE)
OUT_LAST, OUT_AGE_OF_MIN, OUT_AGE_OF_MAX = int(Out.LAST), int(Out.AGE_OF_MIN), int(Out.AGE_OF_MAX)
OUT_PROFILE, OUT_PROFILE_AGE = int(Out.PROFILE), int(Out.PROFILE_AGE)

# Columns every event row starts with; inputs follow.
ROW_TIME, ROW_TP, ROW_OFFSET, ROW_SOURCE, ROW_ID, ROW_PAYLOAD, ROW_INPUTS = 0, 1, 2, 3, 4, 5, 6

MS_PER_SECOND = 1000.0

# Products below these stay under 2**63.
NARROW_COUNT = 2**16
NARROW_SQUARES = 2**47

TWO_64 = 2.0**64


@inlined
def mix63(value):
    """A 63-bit hash of an int64 (splitmix64's finaliser): orders the values a capped mode keeps."""
    z = np.uint64(value) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.int64(z >> np.uint64(1))


@inlined
def wide_product(a, b):
    """The 128-bit product of two uint64 as (high, low)."""
    mask, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    a_low, a_high, b_low, b_high = a & mask, a >> half, b & mask, b >> half
    low = a_low * b_low
    middle = a_high * b_low + (low >> half)
    cross = a_low * b_high + (middle & mask)
    return a_high * b_high + (middle >> half) + (cross >> half), (cross << half) | (low & mask)


@inlined
def add_wide(w, o, high, low):
    """w[o:o+2] += (high, low) as one 128-bit unsigned number."""
    before = np.uint64(w[o + 1])
    after = before + low
    w[o + 1] = np.int64(after)
    w[o] = np.int64(np.uint64(w[o]) + high + np.uint64(after < before))


@inlined
def subtract_wide(w, o, high, low):
    before = np.uint64(w[o + 1])
    w[o + 1] = np.int64(before - low)
    w[o] = np.int64(np.uint64(w[o]) - high - np.uint64(before < low))


@inlined
def initialise(op, w, o):
    """Write the identity: merging it changes nothing. Of a set its count is enough; the rest is not defined."""
    if op == MIN:
        w[o] = HIGHEST
    elif op == MAX:
        w[o] = NULL
    else:
        w[o] = 0
        if op == SQUARES:
            w[o + 1] = 0


@inlined
def insert_hash(w, o, cap, value):
    """Add a hash to a sorted set of the `cap` smallest; w[o] counts them, cap + 1 meaning overflow."""
    held = min(w[o], cap)
    place = held
    # Unsigned, for numba asks of every signed index whether it counts from the end.
    while place > 0 and w[np.uint64(o + place)] > value:
        place -= 1
    if place > 0 and w[np.uint64(o + place)] == value:
        return
    if held == cap:
        w[o] = cap + 1
        if place == cap:
            return
        held -= 1
    else:
        w[o] += 1
    for k in range(held, place, -1):
        w[np.uint64(o + 1 + k)] = w[np.uint64(o + k)]
    w[np.uint64(o + 1 + place)] = value


@kernel
def insert_count(w, o, cap, code, times):
    """Add `times` to a code's count; only the codes of the `cap` smallest hashes are kept."""
    held = min(w[o], cap)
    rank = mix63(code)
    place = 0
    while place < held and mix63(w[o + 1 + 2 * place]) < rank:
        place += 1
    if place < held and w[o + 1 + 2 * place] == code:
        w[o + 2 + 2 * place] += times
        return
    if held == cap:
        w[o] = cap + 1
        if place == cap:
            return
        held -= 1
    else:
        w[o] += 1
    for k in range(held, place, -1):
        w[o + 1 + 2 * k] = w[o - 1 + 2 * k]
        w[o + 2 + 2 * k] = w[o + 2 * k]
    w[o + 1 + 2 * place] = code
    w[o + 2 + 2 * place] = times


@inlined
def after(a, x, b, y, n):
    """Whether words a[x:x+n] are greater than b[y:y+n], first word first."""
    for k in range(n):
        if a[x + k] != b[y + k]:
            return a[x + k] > b[y + k]
    return False


@kernel
def insert_version(w, o, n_fields, version, v):
    """Keep the newest PROFILE_VERSIONS of (valid_from, id, payload hash, fields…), newest first."""
    size = 3 + n_fields
    held = w[o]
    place = 0
    while place < held and after(w, o + 1 + place * size, version, v, 3):
        place += 1
    if place < held and not after(version, v, w, o + 1 + place * size, 3):
        return
    if place == PROFILE_VERSIONS:
        return
    if held < PROFILE_VERSIONS:
        held += 1
        w[o] = held
    for k in range(held - 1, place, -1):
        for j in range(size):
            w[o + 1 + k * size + j] = w[o + 1 + (k - 1) * size + j]
    for j in range(size):
        w[o + 1 + place * size + j] = version[v + j]


@inlined
def update_plain(op, cap, w, o, value):
    """Fold one value into COUNT, SUM, SQUARES, MIN, MAX, DISTINCT or MODE; a null changes nothing."""
    if value == NULL:
        return
    if op == COUNT or op == SUM:
        w[o] += value
    elif op == MIN:
        w[o] = min(w[o], value)
    elif op == MAX:
        w[o] = max(w[o], value)
    elif op == SQUARES:
        size = np.uint64(abs(value))
        high, low = wide_product(size, size)
        add_wide(w, o, high, low)
    elif op == DISTINCT:
        insert_hash(w, o, cap, value)
    elif op == MODE:
        insert_count(w, o, cap, value, 1)


@kernel
def update_dated(op, n_fields, w, o, row, column, scratch):
    """Fold one event row into LAST or PROFILE, which need its time, source, id and payload hash."""
    if op == LAST:
        if row[column] == NULL:
            return
        scratch[0], scratch[1] = row[ROW_TIME], row[ROW_SOURCE]
        scratch[2], scratch[3], scratch[4] = row[ROW_ID], row[ROW_PAYLOAD], row[column]
        if w[o] == 0 or after(scratch, 0, w, o + 1, 5):
            w[o] = 1
            for k in range(5):
                w[o + 1 + k] = scratch[k]
    else:
        scratch[0], scratch[1], scratch[2] = row[ROW_TIME], row[ROW_ID], row[ROW_PAYLOAD]
        for k in range(n_fields):
            scratch[3 + k] = row[column + k]
        insert_version(w, o, n_fields, scratch, 0)


@inlined
def merge(op, cap, n_fields, w, o, v, p):
    """Fold the accumulator at v[p] into the one at w[o]; they may be tiles of one window or two states."""
    if op == COUNT or op == SUM:
        w[o] += v[p]
    elif op == MIN:
        w[o] = min(w[o], v[p])
    elif op == MAX:
        w[o] = max(w[o], v[p])
    elif op == SQUARES:
        add_wide(w, o, np.uint64(v[p]), np.uint64(v[p + 1]))
    elif op == DISTINCT:
        for k in range(min(v[p], cap)):
            insert_hash(w, o, cap, v[p + 1 + k])
        if v[p] > cap:
            w[o] = cap + 1
    elif op == MODE:
        for k in range(min(v[p], cap)):
            insert_count(w, o, cap, v[p + 1 + 2 * k], v[p + 2 + 2 * k])
        if v[p] > cap:
            w[o] = cap + 1
    elif op == LAST:
        if v[p] and (w[o] == 0 or after(v, p + 1, w, o + 1, 5)):
            for k in range(6):
                w[o + k] = v[p + k]
    elif op == PROFILE:
        for k in range(v[p]):
            insert_version(w, o, n_fields, v, p + 1 + k * (3 + n_fields))


@inlined
def distinct_estimate(w, o, cap):
    """Exact up to the cap; past it estimated from the cap-th smallest hash."""
    return float(w[o]) if w[o] <= cap else estimate_beyond(w[o + cap], cap)


@inlined
def estimate_beyond(smallest, cap):
    """The k-minimum-values estimate (k-1)/x_k of Bar-Yossef et al. (2002); `smallest` is the k-th smallest hash."""
    return max(float(cap + 1), (cap - 1) * (HASH_SPACE / float(smallest)))


@kernel
def most_frequent(w, o, cap):
    """The code with the highest count, the smallest of equals (codes are lexical ranks); NaN if none."""
    best, times = np.int64(0), np.int64(0)
    for k in range(min(w[o], cap)):
        code, count = w[o + 1 + 2 * k], w[o + 2 + 2 * k]
        if count > times or (count == times and code < best):
            best, times = code, count
    return float(best) if times > 0 else math.nan


@inlined
def fits_narrow(count, high, low):
    """Whether n·Σx², and so (Σx)² too, fits 63 bits; asked without a branch, so that several reads at a time can be."""
    return (high == 0) & (count < NARROW_COUNT) & (low >= 0) & (low < NARROW_SQUARES)


@inlined
def narrow_deviation(count, total, squares):
    """`standard_deviation` where `fits_narrow`."""
    return math.sqrt(float(count * squares - total * total)) / float(count)


@inlined
def standard_deviation(count, total, high, low):
    """Population standard deviation from exact integers: sqrt(n·Σx² − (Σx)²)/n, the difference in 192 bits.

    The subtraction is exact, so equal values give exactly 0 where float arithmetic would not. Where
    n·Σx² fits 63 bits, and so (Σx)² too, one word gives the same bits as six.
    """
    if fits_narrow(count, high, low):
        return narrow_deviation(count, total, low)
    n = np.uint64(count)
    size = np.uint64(abs(total))
    carry_0, limb_0 = wide_product(n, np.uint64(low))
    square_high, square_low = wide_product(size, size)
    borrow = np.uint64(limb_0 < square_low)
    limb_0 = limb_0 - square_low
    if high == 0:
        spread = float(carry_0 - square_high - borrow) * TWO_64 + float(limb_0)
        return math.sqrt(spread) / float(count)
    carry_1, limb_1 = wide_product(n, np.uint64(high))
    limb_1 = limb_1 + carry_0
    limb_2 = carry_1 + np.uint64(limb_1 < carry_0)
    lower = np.uint64(limb_1 < square_high) | np.uint64((limb_1 == square_high) & (borrow == np.uint64(1)))
    limb_1 = limb_1 - square_high - borrow
    limb_2 = limb_2 - lower
    spread = float(limb_2) * TWO_64 * TWO_64 + float(limb_1) * TWO_64 + float(limb_0)
    return math.sqrt(spread) / float(count)


@kernel
def version_in_force(w, o, n_fields, t):
    """Offset of the newest profile version with valid_from <= t, or -1."""
    for k in range(w[o]):
        at = o + 1 + k * (3 + n_fields)
        if w[at] <= t:
            return at
    return -1


@inlined
def mean_of(count, total):
    return float(total) / float(count) if count > 0 else math.nan


@inlined
def value_unless(nothing, value):
    """A minimum or maximum; null where it is that of nothing."""
    return float(value) if value != nothing else math.nan


@inlined
def age_unless(nothing, t, value):
    """Seconds since a first or last time, never below 0; null where there was none."""
    return max(0, t - value) / MS_PER_SECOND if value != nothing else math.nan


@inlined
def finalize(kind, w, a, b, c, cap, field, t):
    """One feature, float64, from the accumulators at offsets a, b, c of a tile `w`; NaN is null.

    kind: an `Out`. cap: of distinct and mode, or the number of fields of a profile. t: decision time, ms.
    """
    if kind == OUT_COUNT or kind == OUT_SUM:
        return float(w[a])
    if kind == OUT_MEAN:
        return mean_of(w[a], w[b])
    if kind == OUT_STD:
        return standard_deviation(w[a], w[b], w[c], w[c + 1]) if w[a] > 0 else math.nan
    if kind == OUT_MIN:
        return value_unless(HIGHEST, w[a])
    if kind == OUT_MAX:
        return value_unless(NULL, w[a])
    if kind == OUT_DISTINCT:
        return distinct_estimate(w, a, cap)
    if kind == OUT_MODE:
        return most_frequent(w, a, cap)
    if kind == OUT_LAST:
        return float(w[a + 5]) if w[a] else math.nan
    if kind == OUT_AGE_OF_MIN:
        return age_unless(HIGHEST, t, w[a])
    if kind == OUT_AGE_OF_MAX:
        return age_unless(NULL, t, w[a])
    at = version_in_force(w, a, cap, t)
    if at < 0 or w[at + 3 + field] == NULL:
        return math.nan
    if kind == OUT_PROFILE_AGE:
        return max(0, t - w[at + 3 + field]) / MS_PER_SECOND
    return float(w[at + 3 + field])
