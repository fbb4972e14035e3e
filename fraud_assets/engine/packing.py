"""The packed format of tiles: what a state's bytes are.

Small numbers are zigzag varints, hashes are eight raw bytes, tile numbers are differences, and sets
write only what they hold. A decoded tile has the fixed layout `[number, accumulators…]` of the
plan; words of a set beyond its count are not defined.
"""

import numpy as np

from fraud_assets.engine.jit import inlined, kernel
from fraud_assets.features.layout import Acc

COUNT, SUM, SQUARES, MIN, MAX = int(Acc.COUNT), int(Acc.SUM), int(Acc.SQUARES), int(Acc.MIN), int(Acc.MAX)
DISTINCT, MODE, LAST, PROFILE = int(Acc.DISTINCT), int(Acc.MODE), int(Acc.LAST), int(Acc.PROFILE)

TORN = -1


@inlined
def put_number(raw, at, value):
    """Zigzag LEB128: small numbers of either sign take one byte."""
    z = (np.uint64(value) << np.uint64(1)) ^ np.uint64(value >> np.int64(63))
    while z >= np.uint64(128):
        raw[at] = np.uint8((z & np.uint64(127)) | np.uint64(128))
        z >>= np.uint64(7)
        at += 1
    raw[at] = np.uint8(z)
    return at + 1


@inlined
def get_number(raw, at, words, to):
    """Decode one number to words[to]; returns the next place, or TORN where the bytes end too soon."""
    if at < 0 or at >= len(raw):
        return TORN
    byte = np.uint64(raw[at])
    at += 1
    z = byte & np.uint64(127)
    shift = np.uint64(7)
    while byte >= np.uint64(128):
        if at >= len(raw) or shift > np.uint64(63):
            return TORN
        byte = np.uint64(raw[at])
        at += 1
        z |= (byte & np.uint64(127)) << shift
        shift += np.uint64(7)
    words[to] = np.int64(z >> np.uint64(1)) ^ -np.int64(z & np.uint64(1))
    return at


@inlined
def put_hash(raw, at, value):
    z = np.uint64(value)
    for k in range(8):
        raw[at + k] = np.uint8(z >> np.uint64(8 * k))
    return at + 8


@inlined
def get_hash(raw, at, words, to):
    if at < 0 or at + 8 > len(raw):
        return TORN
    z = np.uint64(0)
    for k in range(8):
        z |= np.uint64(raw[at + k]) << np.uint64(8 * k)
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


@kernel
def put_tiles(accs, first_acc, end_acc, tiles, count, stride, raw, at):
    """Write `count` tiles; returns the next place in `raw`."""
    at = put_number(raw, at, count)
    before = np.int64(0)
    for k in range(count):
        tile = k * stride
        at = put_number(raw, at, tiles[tile] - before)
        before = tiles[tile]
        for a in range(first_acc, end_acc):
            at = put_accumulator(accs[a, 0], accs[a, 3], accs[a, 4], tiles, tile + accs[a, 1], raw, at)
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
