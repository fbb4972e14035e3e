"""What folding, merging and reading a packed state share: its head, its floors, its tiles.

The layout is the picture in `engine/state.py`, the bytes of a window are in `engine/window_kernels.py`, the
meaning of an accumulator's words in `engine/kernels.py`. Every function walks a state from front to
back once and holds one window at a time.

The bytes come from a store that others can write to, and nothing checks an index here: every count
that is read must be compared with the room there is before anything is written by it.
"""

import math

import numpy as np

from fraud_assets.engine.jit import inlined, kernel
from fraud_assets.engine.kernels import HIGHEST, MS_PER_SECOND, NULL, initialise
from fraud_assets.engine.packed_columns import WORD_BYTES
from fraud_assets.engine.packing import LONGEST_NUMBER, TORN, get_hash, get_number, put_hash, put_number
from fraud_assets.engine.window_kernels import get_tiles, split_window
from fraud_assets.features.layout import STATE_FORMAT

FORMAT_VERSION = STATE_FORMAT

# Ids of the last scored events a state keeps, so that a scorer can tell that it reads its own
# transaction. A retry comes within a few transactions of one account; more would be dead weight.
RECENT = 8

# Below every tile number: the floor of a lifetime window.
NO_FLOOR = -(2**62)

PRESENT, STALE, MISSING = 0, 1, 2


@inlined
def tile_of(time, tile_ms):
    """The tile an instant lies in; every instant of a lifetime window lies in tile 0.

    A division of doubles and a correction, for one of 64-bit integers takes four times as long. Instants
    are below 2**53, so the quotient is at most one off.
    """
    if tile_ms <= 0:
        return np.int64(0)
    return settled_tile(time, float(time) / float(tile_ms), tile_ms)


@inlined
def settled_tile(time, quotient, tile_ms):
    """The tile an instant lies in, from its quotient in doubles, whose whole part may be one off."""
    tile = np.int64(math.floor(quotient))
    rest = time - tile * tile_ms
    return tile - np.int64(rest < 0) + np.int64(rest >= tile_ms)


@inlined
def expiry_floor(newest, length, tile_ms, lateness):
    """First tile still kept: the tile of `newest - window - lateness` (DESIGN §2's second floor)."""
    return tile_of(newest - length - lateness, tile_ms) if tile_ms > 0 else np.int64(NO_FLOOR)


@inlined
def read_floor(t, newest, length, tile_ms, lateness):
    """First tile a decision at `t` reads: the later of the window's own floor and the expiry floor."""
    return tile_of(window_start(t, newest, length, lateness), tile_ms) if tile_ms > 0 else np.int64(NO_FLOOR)


@inlined
def window_start(t, newest, length, lateness):
    """The instant whose tile is the first that a decision at `t` reads."""
    return max(t, newest - lateness) - length


@inlined
def expired(time, newest, length, tile_ms, lateness):
    """Whether an event's tile has expired; an instant after the boundary's needs no division to say no."""
    kept = newest - length - lateness
    return tile_ms > 0 and time < kept and tile_of(time, tile_ms) < tile_of(kept, tile_ms)


@inlined
def freshness(newest, t, ttl):
    """(status, age in seconds) at `t` of a view whose newest event is of `newest`; ttl -1: it never goes stale."""
    if newest == NULL:
        return MISSING, math.nan
    return STALE if ttl >= 0 and t - newest > ttl else PRESENT, max(0, t - newest) / MS_PER_SECOND


@kernel
def get_head(raw, head):
    """Read positions and recent ids to `head`: [n, (tp, offset)…, ids…]; returns the next place, or TORN."""
    if len(raw) == 0:
        head[: 1 + RECENT] = 0
        return 0
    if raw[0] != FORMAT_VERSION:
        return TORN
    at = get_number(raw, 1, head, 0)
    # Divided, since doubling a hostile count would overflow into a small one.
    if at < 0 or head[0] < 0 or head[0] > (len(head) - 1 - RECENT) // 2:
        return TORN
    for k in range(2 * head[0]):
        at = get_number(raw, at, head, 1 + k)
    for k in range(RECENT):
        at = get_hash(raw, at, head, 1 + 2 * head[0] + k)
    return at


@inlined
def head_room(head):
    """Most bytes that `put_head` takes, and what a store may touch behind them."""
    return 1 + LONGEST_NUMBER * (1 + 2 * head[0]) + WORD_BYTES * (RECENT + 1)


@kernel
def put_head(head, raw):
    raw[0] = FORMAT_VERSION
    at = put_number(raw, 1, head[0])
    for k in range(2 * head[0]):
        at = put_number(raw, at, head[1 + k])
    for k in range(RECENT):
        at = put_hash(raw, at, head[1 + 2 * head[0] + k])
    return at


@kernel
def open_tile(accs, first_acc, end_acc, tiles, count, stride, place, tile):
    """Make room at `place` and write an empty tile there."""
    for k in range((count - place) * stride - 1, -1, -1):
        tiles[(place + 1) * stride + k] = tiles[place * stride + k]
    at = place * stride
    tiles[at] = tile
    for a in range(first_acc, end_acc):
        initialise(accs[a, 0], tiles, at + accs[a, 1])


@inlined
def find_tile(accs, first_acc, end_acc, tiles, count, stride, tile):
    """(place of the tile, opened if it was not there; the new count); searched from the newest."""
    place = count
    while place > 0 and tiles[(place - 1) * stride] >= tile:
        place -= 1
    if place < count and tiles[place * stride] == tile:
        return place, count
    open_tile(accs, first_acc, end_acc, tiles, count, stride, place, tile)
    return place, count + 1


@inlined
def get_window(accs, first_acc, end_acc, raw, at, columns, floor, tiles, stride):
    """Decode a window's tiles at or after `floor`; returns (how many, next place), the place TORN if it is, or has more than there is room for."""
    total, begin, _, end = split_window(raw, at, columns, floor, HIGHEST)
    if end < 0 or total * stride > len(tiles):
        return np.int64(0), np.int64(TORN)
    if begin == total:
        return np.int64(0), end
    return total - begin, get_tiles(accs, first_acc, end_acc, raw, at, columns, begin, tiles, stride)
