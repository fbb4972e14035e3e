"""The packed format of a state's head: small numbers are zigzag varints, hashes are eight raw bytes.

Windows are columns (`engine/packed_columns.py`). Places are made unsigned where they index: numba would otherwise ask at every
byte whether it counts from the end.
"""

import numpy as np

from fraud_assets.engine.jit import inlined
from fraud_assets.engine.packed_columns import WORD_BYTES
from fraud_assets.engine.unaligned import load_word, store_word

# Instead of a place: the bytes are no state of these views, or `out` has no room for the next one.
TORN, FULL = -1, -2

# Most bytes of a 64-bit number at seven bits each.
LONGEST_NUMBER = 10


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
def put_hash(raw, at, value):
    store_word(raw, np.uint64(at), value)
    return at + WORD_BYTES


@inlined
def get_hash(raw, at, words, to):
    if at < 0 or at + WORD_BYTES > len(raw):
        return TORN
    words[to] = load_word(raw, np.uint64(at))
    return at + WORD_BYTES
