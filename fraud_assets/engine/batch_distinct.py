"""Distinct values of windows of keys in order, compiled.

A value is new to a window if its previous occurrence lies before the window's first place, so a count
moves by one as an event comes or goes. Past the cap the cap-th smallest hash is followed as values come
and go, for the estimate needs no other.
"""

import math

import numpy as np

from fraud_assets.engine.batch_outputs import put_value
from fraud_assets.engine.batch_sorting import sort_in_place
from fraud_assets.engine.jit import inlined, kernel
from fraud_assets.engine.kernels import HIGHEST, NULL, estimate_beyond, mix63
from fraud_assets.engine.tile_kernels import PRESENT

WORD_BITS = 64


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
