"""The packed format of tiles: what a state's bytes are.

Small numbers are zigzag varints, hashes are eight raw bytes, tile numbers are differences, and sets
write only what they hold. A decoded tile has the fixed layout `[number, accumulators…]` of the
plan; words of a set beyond its count are not defined. Places are made unsigned where they index:
numba would otherwise ask at every byte whether it counts from the end.
"""

import numpy as np

from fraud_assets.engine.jit import inlined, kernel
from fraud_assets.features.layout import Acc

COUNT, SUM, SQUARES, MIN, MAX = int(Acc.COUNT), int(Acc.SUM), int(Acc.SQUARES), int(Acc.MIN), int(Acc.MAX)
DISTINCT, MODE, LAST, PROFILE = int(Acc.DISTINCT), int(Acc.MODE), int(Acc.LAST), int(Acc.PROFILE)

TORN = -1

HASH_BYTES = 8
# Bytes of a length within a window; the registry refuses views whose window could outgrow them.
LENGTH_BYTES = 3
# Bytes of a 64-bit number at seven bits each.
LONGEST_NUMBER = 10
# Of eight bytes: the bit that says that more follow, and the lowest of each.
CONTINUES, LOWEST_BITS = np.uint64(0x8080808080808080), np.uint64(0x0101010101010101)


@inlined
def put_number(raw, at, value):
    """Zigzag LEB128: small numbers of either sign take one byte."""
    z = (np.uint64(value) << np.uint64(1)) ^ np.uint64(value >> np.int64(63))
    while z >= np.uint64(128):
        raw[np.uint64(at)] = np.uint8((z & np.uint64(127)) | np.uint64(128))
        z >>= np.uint64(7)
        at += 1
    raw[np.uint64(at)] = np.uint8(z)
    return at + 1


@inlined
def get_number(raw, at, words, to):
    """Decode one number to words[to]; returns the next place, or TORN where the bytes end too soon."""
    if at < 0 or at >= len(raw):
        return TORN
    byte = np.uint64(raw[np.uint64(at)])
    at += 1
    z = byte & np.uint64(127)
    shift = np.uint64(7)
    while byte >= np.uint64(128):
        if at >= len(raw) or shift > np.uint64(63):
            return TORN
        byte = np.uint64(raw[np.uint64(at)])
        at += 1
        z |= (byte & np.uint64(127)) << shift
        shift += np.uint64(7)
    words[to] = np.int64(z >> np.uint64(1)) ^ -np.int64(z & np.uint64(1))
    return at


@inlined
def take_number(raw, at, end):
    """(number, next place) of the same, eight bytes at a time; the place is TORN where the bytes end before it begins.

    Up to seven bytes beyond the number are loaded, so there must be as many behind `end`. One that ends beyond it is for the
    caller to see: the next place does. Lengths hardly repeat from number to number, so a branch a byte would be guessed wrong.
    """
    if at < 0 or at >= end:
        return np.int64(0), np.int64(TORN)
    byte = np.uint64(raw[np.uint64(at)])
    if byte < np.uint64(128):
        return np.int64(byte >> np.uint64(1)) ^ -np.int64(byte & np.uint64(1)), at + 1
    word = np.uint64(0)
    for k in range(8):
        word |= np.uint64(raw[np.uint64(at) + np.uint64(k)]) << np.uint64(8 * k)
    stops = ~word & CONTINUES
    if stops == 0:
        return take_long_number(raw, at, end)
    # All ones up to the first byte that says it is the last.
    mine = stops ^ (stops - np.uint64(1))
    size = ((mine & LOWEST_BITS) * LOWEST_BITS) >> np.uint64(56)
    z = word & mine & ~CONTINUES
    z = (z & np.uint64(0x007F007F007F007F)) | ((z & np.uint64(0x7F007F007F007F00)) >> np.uint64(1))
    z = (z & np.uint64(0x00003FFF00003FFF)) | ((z & np.uint64(0x3FFF00003FFF0000)) >> np.uint64(2))
    z = (z & np.uint64(0x000000000FFFFFFF)) | ((z & np.uint64(0x0FFFFFFF00000000)) >> np.uint64(4))
    return np.int64(z >> np.uint64(1)) ^ -np.int64(z & np.uint64(1)), at + np.int64(size)


@inlined
def take_long_number(raw, at, end):
    """The same of nine or ten bytes: the extremes of nothing."""
    z, shift = np.uint64(0), np.uint64(0)
    while at < end and shift <= np.uint64(63):
        byte = np.uint64(raw[np.uint64(at)])
        at += 1
        z |= (byte & np.uint64(127)) << shift
        if byte < np.uint64(128):
            return np.int64(z >> np.uint64(1)) ^ -np.int64(z & np.uint64(1)), at
        shift += np.uint64(7)
    return np.int64(0), np.int64(TORN)


@inlined
def put_hash(raw, at, value):
    z = np.uint64(value)
    for k in range(8):
        raw[np.uint64(at) + np.uint64(k)] = np.uint8(z >> np.uint64(8 * k))
    return at + 8


@inlined
def get_hash(raw, at, words, to):
    if at < 0 or at + 8 > len(raw):
        return TORN
    z = np.uint64(0)
    for k in range(8):
        z |= np.uint64(raw[np.uint64(at) + np.uint64(k)]) << np.uint64(8 * k)
    words[to] = np.int64(z)
    return at + 8


@inlined
def put_accumulator(op, cap, fields, w, o, raw, at):
    """Write the accumulator at w[o]; returns the next place in `raw`."""
    at = put_number(raw, at, w[o])
    if op == SQUARES:
        return put_number(raw, at, w[o + 1])
    if op == DISTINCT:
        for k in range(min(w[o], cap)):
            at = put_hash(raw, at, w[o + 1 + k])
    elif op == MODE:
        for k in range(2 * min(w[o], cap)):
            at = put_number(raw, at, w[o + 1 + k])
    elif op == LAST and w[o] != 0:
        at = put_number(raw, at, w[o + 1])
        at = put_number(raw, at, w[o + 2])
        at = put_hash(raw, at, w[o + 3])
        at = put_hash(raw, at, w[o + 4])
        at = put_number(raw, at, w[o + 5])
    elif op == PROFILE:
        for k in range(w[o]):
            version = o + 1 + k * (3 + fields)
            at = put_number(raw, at, w[version])
            at = put_hash(raw, at, w[version + 1])
            at = put_hash(raw, at, w[version + 2])
            for j in range(fields):
                at = put_number(raw, at, w[version + 3 + j])
    return at


@inlined
def get_accumulator(op, cap, fields, width, raw, at, w, o):
    """Read one accumulator to w[o]; returns the next place in `raw`, or TORN."""
    at = get_number(raw, at, w, o)
    if at < 0 or op == COUNT or op == SUM or op == MIN or op == MAX:
        return at
    if op == SQUARES:
        return get_number(raw, at, w, o + 1)
    held = w[o]
    if held < 0 or held > width:
        return TORN
    if (op == DISTINCT or op == MODE) and held > cap + 1:
        return TORN
    if op == DISTINCT:
        for k in range(min(held, cap)):
            at = get_hash(raw, at, w, o + 1 + k)
    elif op == MODE:
        for k in range(2 * min(held, cap)):
            at = get_number(raw, at, w, o + 1 + k)
    elif op == LAST and held != 0:
        at = get_number(raw, at, w, o + 1)
        at = get_number(raw, at, w, o + 2)
        at = get_hash(raw, at, w, o + 3)
        at = get_hash(raw, at, w, o + 4)
        at = get_number(raw, at, w, o + 5)
    elif op == PROFILE:
        if 1 + held * (3 + fields) > width:
            return TORN
        for k in range(held):
            version = o + 1 + k * (3 + fields)
            at = get_number(raw, at, w, version)
            at = get_hash(raw, at, w, version + 1)
            at = get_hash(raw, at, w, version + 2)
            for j in range(fields):
                at = get_number(raw, at, w, version + 3 + j)
    return at


@inlined
def skip_number(raw, at):
    """The place after one number, or TORN where the bytes end too soon."""
    if at < 0:
        return TORN
    end = min(at + LONGEST_NUMBER, len(raw))
    while at < end and raw[np.uint64(at)] >= 128:
        at += 1
    return at + 1 if at < end else TORN


@inlined
def skip_bytes(raw, at, count):
    return at + count if 0 <= at <= len(raw) - count else TORN


@inlined
def skip_accumulator(op, cap, fields, width, raw, at, scratch):
    """The place after one accumulator, or TORN; what it holds is not looked at beyond its length."""
    if op == COUNT or op == SUM or op == MIN or op == MAX:
        return skip_number(raw, at)
    if op == SQUARES:
        return skip_number(raw, skip_number(raw, at))
    at = get_number(raw, at, scratch, 0)
    if at < 0:
        return at
    held = scratch[0]
    if held < 0 or held > width or ((op == DISTINCT or op == MODE) and held > cap + 1):
        return TORN
    if op == DISTINCT:
        at = skip_bytes(raw, at, HASH_BYTES * min(held, cap))
    elif op == MODE:
        for _ in range(2 * min(held, cap)):
            at = skip_number(raw, at)
    elif op == LAST and held != 0:
        at = skip_number(raw, skip_bytes(raw, skip_number(raw, skip_number(raw, at)), 2 * HASH_BYTES))
    elif op == PROFILE:
        if 1 + held * (3 + fields) > width:
            return TORN
        for _ in range(held):
            at = skip_bytes(raw, skip_number(raw, at), 2 * HASH_BYTES)
            for _ in range(fields):
                at = skip_number(raw, at)
    return at


@inlined
def get_window_head(raw, at, words):
    """Read a window's head to words[0:4]: number of tiles, last tile number less the first, bytes before the last tile, bytes of it.

    Returns where the tiles begin, or TORN if they would end beyond `raw`. An empty window is its count alone.
    """
    at = get_number(raw, at, words, 0)
    if at < 0 or words[0] < 0:
        return TORN
    words[1], words[2], words[3] = 0, 0, 0
    if words[0] == 0:
        return at
    at = skip_bytes(raw, get_number(raw, at, words, 1), 2 * LENGTH_BYTES)
    if at < 0 or words[1] < 0:
        return TORN
    for k in range(LENGTH_BYTES):
        words[2] |= np.int64(raw[at - 2 * LENGTH_BYTES + k]) << (8 * k)
        words[3] |= np.int64(raw[at - LENGTH_BYTES + k]) << (8 * k)
    return at if at + words[2] + words[3] <= len(raw) else TORN


@kernel
def put_window(accs, first_acc, end_acc, raw, kept, tiles, count, stride, out, at):
    """Write a window: tiles left as they were, whose bytes are copied from `raw`, then `count` new or changed ones.

    kept: how many are left, the first and the last number of them, and where in `raw` the first goes on
    behind its number, where the last begins and where it ends. Returns the next place in `out`.
    """
    left, first, last, run, run_last, run_end = kept
    at = put_number(out, at, left + count)
    if left + count == 0:
        return at
    span = (tiles[(count - 1) * stride] if count > 0 else last) - (first if left > 0 else tiles[0])
    lengths = put_number(out, at, span)
    at = start = tail = lengths + 2 * LENGTH_BYTES
    if left > 0:
        at = put_number(out, at, first)
        if left > 1:
            tail = at + run_last - run
        # Counted like this it compiles to one block copy, with a running place to a byte at a time.
        for b in range(run_end - run):
            out[at + b] = raw[run + b]
        at += run_end - run
    before = last if left > 0 else np.int64(0)
    for k in range(count):
        tile, tail = k * stride, at
        at = put_number(out, at, tiles[tile] - before)
        before = tiles[tile]
        for a in range(first_acc, end_acc):
            at = put_accumulator(accs[a, 0], accs[a, 3], accs[a, 4], tiles, tile + accs[a, 1], out, at)
    for k in range(LENGTH_BYTES):
        out[lengths + k] = np.uint8((tail - start) >> (8 * k))
        out[lengths + LENGTH_BYTES + k] = np.uint8((at - tail) >> (8 * k))
    return at


@inlined
def get_tile(accs, first_acc, end_acc, raw, at, before, tiles, tile):
    """Read one tile to tiles[tile:]; `before` is the number of the tile before it. Returns the next place, or TORN."""
    at = get_number(raw, at, tiles, tile)
    if at < 0:
        return at
    tiles[tile] += before
    for a in range(first_acc, end_acc):
        at = get_accumulator(accs[a, 0], accs[a, 3], accs[a, 4], accs[a, 5], raw, at, tiles, tile + accs[a, 1])
    return at
