"""`hash64` of many texts at once, from their bytes: BLAKE2b (RFC 7693) with a digest of eight bytes, compiled.

Python makes a text, a hash object and an integer for each, which is most of what reading a history costs.
"""

import numpy as np
import numpy.typing as npt

from fraud_assets.engine.jit import inlined, kernel
from fraud_assets.engine.plan import Ints

Ints32 = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]

BLOCK_BYTES = 128
ROUNDS = 12
# RFC 7693, 2.6 and 2.7. Rounds 10 and 11 take the first two permutations again.
IV = np.array(
    [
        0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
        0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
    ],
    np.uint64,
)  # fmt: skip
SIGMA = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
    ],
    np.int64,
)
# A digest of eight bytes, no key, one leaf.
PARAMETERS = np.uint64(0x01010000 ^ 8)
SCRATCH_WORDS = 8 + 16 + 16
ALL_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)


@inlined
def _turned(word, bits):
    return (word >> np.uint64(bits)) | (word << np.uint64(64 - bits))


@inlined
def _mix(v, a, b, c, d, x, y):
    v[a] = v[a] + v[b] + x
    v[d] = _turned(v[d] ^ v[a], 32)
    v[c] = v[c] + v[d]
    v[b] = _turned(v[b] ^ v[c], 24)
    v[a] = v[a] + v[b] + y
    v[d] = _turned(v[d] ^ v[a], 16)
    v[c] = v[c] + v[d]
    v[b] = _turned(v[b] ^ v[c], 63)


@kernel
def _compress(h, v, m, taken, is_last):
    """h (8,): the state. v (16,): scratch. m (16,): the block's words. taken: bytes with this block."""
    for i in range(8):
        v[i] = h[i]
        v[8 + i] = IV[i]
    v[12] ^= np.uint64(taken)
    if is_last:
        v[14] ^= ALL_ONES
    for turn in range(ROUNDS):
        s = SIGMA[turn % 10]
        _mix(v, 0, 4, 8, 12, m[s[0]], m[s[1]])
        _mix(v, 1, 5, 9, 13, m[s[2]], m[s[3]])
        _mix(v, 2, 6, 10, 14, m[s[4]], m[s[5]])
        _mix(v, 3, 7, 11, 15, m[s[6]], m[s[7]])
        _mix(v, 0, 5, 10, 15, m[s[8]], m[s[9]])
        _mix(v, 1, 6, 11, 12, m[s[10]], m[s[11]])
        _mix(v, 2, 7, 8, 13, m[s[12]], m[s[13]])
        _mix(v, 3, 4, 9, 14, m[s[14]], m[s[15]])
    for i in range(8):
        h[i] ^= v[i] ^ v[8 + i]


def hash_texts(ends: Ints32, data: Bytes) -> Ints:
    """(n,) `hash64` of each text. ends (n + 1,): text i is data[ends[i]:ends[i + 1]], in UTF-8."""
    out = np.empty(len(ends) - 1, np.int64)
    _hash_texts(ends, data, out, np.empty(SCRATCH_WORDS, np.uint64))
    return out


@kernel
def _hash_texts(ends, data, out, scratch):
    """scratch: (SCRATCH_WORDS,) uint64."""
    h, v, m = scratch[:8], scratch[8:24], scratch[24:]
    for i in range(len(out)):
        first, end = ends[i], ends[i + 1]
        for place in range(8):
            h[place] = IV[place]
        h[0] ^= PARAMETERS
        start = first
        while True:
            stop = min(start + BLOCK_BYTES, end)
            m[:] = 0
            for place in range(start, stop):
                at = place - start
                m[at >> 3] |= np.uint64(data[place]) << np.uint64(8 * (at & 7))
            _compress(h, v, m, stop - first, stop == end)
            if stop == end:
                break
            start = stop
        word, found = h[0], np.uint64(0)
        for _ in range(8):
            found = (found << np.uint64(8)) | (word & np.uint64(0xFF))
            word >>= np.uint64(8)
        out[i] = np.int64(found >> np.uint64(1))
