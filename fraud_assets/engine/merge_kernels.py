"""Merging two packed states of one entity, compiled; see `engine/tile_kernels.py`."""

import numpy as np

from fraud_assets.engine.jit import inlined, kernel
from fraud_assets.engine.kernels import NULL, merge
from fraud_assets.engine.packing import FULL, LONGEST_NUMBER, TORN, get_number, put_number
from fraud_assets.engine.tile_kernels import (
    NO_FLOOR,
    RECENT,
    expiry_floor,
    find_tile,
    get_head,
    get_window,
    head_room,
    put_head,
)
from fraud_assets.engine.window_kernels import put_window


@kernel
def merge_heads(left, right, out):
    """Union of two positions, the higher offset of each; the recent ids of the left. Returns 0, or TORN if it has no room."""
    if 1 + 2 * (left[0] + right[0]) + RECENT > len(out):
        return TORN
    count, i, j = np.int64(0), np.int64(0), np.int64(0)
    while i < left[0] or j < right[0]:
        from_left = j >= right[0] or (i < left[0] and left[1 + 2 * i] <= right[1 + 2 * j])
        from_right = i >= left[0] or (j < right[0] and right[1 + 2 * j] <= left[1 + 2 * i])
        out[1 + 2 * count] = left[1 + 2 * i] if from_left else right[1 + 2 * j]
        out[2 + 2 * count] = left[2 + 2 * i] if from_left else right[2 + 2 * j]
        if from_left and from_right:
            out[2 + 2 * count] = max(left[2 + 2 * i], right[2 + 2 * j])
        i += np.int64(from_left)
        j += np.int64(from_right)
        count += 1
    out[0] = count
    for k in range(RECENT):
        out[1 + 2 * count + k] = left[1 + 2 * left[0] + k]
    return 0


@inlined
def merge_tiles(accs, first_acc, end_acc, tiles, count, others, more, stride):
    """Merge `more` tiles into `count` others of the same window; returns how many there are then."""
    for n in range(more):
        other = n * stride
        place, count = find_tile(accs, first_acc, end_acc, tiles, count, stride, others[other])
        for c in range(first_acc, end_acc):
            merge(accs[c, 0], accs[c, 3], accs[c, 4], tiles, place * stride + accs[c, 1], others, other + accs[c, 1])
    return count


@kernel
def merge_states(
    segments,
    windows,
    accs,
    first_segment,
    end_segment,
    left,
    right,
    left_head,
    right_head,
    head,
    tiles,
    others,
    scratch,
    out,
):
    """Merge two packed states of one entity that hold disjoint events; returns the size, TORN, or FULL if `out` has no room."""
    a, b = get_head(left, left_head), get_head(right, right_head)
    if a < 0 or b < 0 or merge_heads(left_head, right_head, head) < 0:
        return TORN
    if head_room(head) > len(out):
        return FULL
    to = put_head(head, out)
    for s in range(first_segment, end_segment):
        a = get_number(left, get_number(left, a, scratch, 0), scratch, 1)
        b = get_number(right, get_number(right, b, scratch, 2), scratch, 3)
        newest = max(scratch[0], scratch[2])
        if to + 2 * LONGEST_NUMBER > len(out):
            return FULL
        to = put_number(out, put_number(out, to, newest), scratch[1] + scratch[3])
        for k in range(segments[s, 2], segments[s, 3]):
            stride, first_acc, end_acc, columns = windows[k, 2], windows[k, 3], windows[k, 4], windows[k, 5]
            floor = (
                expiry_floor(newest, windows[k, 0], windows[k, 1], segments[s, 1])
                if newest != NULL
                else np.int64(NO_FLOOR)
            )
            count, a = get_window(accs, first_acc, end_acc, left, a, columns, floor, tiles, stride)
            more, b = get_window(accs, first_acc, end_acc, right, b, columns, floor, others, stride)
            if a < 0 or b < 0 or (count + more) * stride > len(tiles):
                return TORN
            count = merge_tiles(accs, first_acc, end_acc, tiles, count, others, more, stride)
            to = put_window(accs, first_acc, end_acc, columns, left, 0, 0, 0, tiles, count, stride, out, to)
            if to < 0:
                return to
    return to if a == len(left) and b == len(right) else TORN
