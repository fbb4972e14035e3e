"""Folding events into packed states, compiled; see `engine/tile_kernels.py`."""

import numpy as np

from fraud_assets.engine.jit import inlined, kernel
from fraud_assets.engine.kernels import (
    HIGHEST,
    NULL,
    ROW_ID,
    ROW_OFFSET,
    ROW_SOURCE,
    ROW_TIME,
    ROW_TP,
    update_dated,
    update_plain,
)
from fraud_assets.engine.packing import FULL, LONGEST_NUMBER, TORN, get_number, put_number
from fraud_assets.engine.tile_kernels import (
    NO_FLOOR,
    RECENT,
    expired,
    expiry_floor,
    find_tile,
    get_head,
    head_room,
    put_head,
    tile_of,
)
from fraud_assets.engine.window_kernels import get_tiles, put_window, split_window
from fraud_assets.features.layout import Acc

_LAST = int(Acc.LAST)


@kernel
def raise_positions(rows, first_row, end_row, scored, head, applied):
    """Apply the rows' positions and ids to `head`, and mark the rows above the position held.

    Returns 0, or TORN if there is no room for another partition: no log of ours has so many.
    """
    for i in range(first_row, end_row):
        tp, offset, count = rows[i, ROW_TP], rows[i, ROW_OFFSET], head[0]
        place = 0
        while place < count and head[1 + 2 * place] < tp:
            place += 1
        if place < count and head[1 + 2 * place] == tp:
            applied[i] = offset > head[2 + 2 * place]
        else:
            if 3 + 2 * count + RECENT > len(head):
                return TORN
            for k in range(2 * count + RECENT, 2 * place, -1):
                head[2 + k] = head[k]
            head[0] += 1
            head[1 + 2 * place] = tp
            applied[i] = True
        if applied[i]:
            head[2 + 2 * place] = offset
            if (scored >> rows[i, ROW_SOURCE]) & 1:
                recent = 1 + 2 * head[0]
                for k in range(RECENT - 1, 0, -1):
                    head[recent + k] = head[recent + k - 1]
                head[recent] = rows[i, ROW_ID]
    return 0


@inlined
def update_tile(accs, first_acc, end_acc, tiles, at, row, scratch):
    for a in range(first_acc, end_acc):
        op = accs[a, 0]
        if op >= _LAST:
            update_dated(op, accs[a, 4], tiles, at + accs[a, 1], row, accs[a, 2], scratch)
        else:
            update_plain(op, accs[a, 3], tiles, at + accs[a, 1], row[accs[a, 2]])


@inlined
def first_touched(segments, s, rows, first_row, end_row, applied, tile_ms, floor):
    """The lowest tile that the rows change; above all tiles if none."""
    lowest = np.int64(HIGHEST)
    for i in range(first_row, end_row):
        if listens(segments, s, rows, applied, i):
            tile = tile_of(rows[i, ROW_TIME], tile_ms)
            if tile >= floor:
                lowest = min(lowest, tile)
    return lowest


@inlined
def listens(segments, s, rows, applied, i):
    """Whether segment `s` folds row `i`: it is new, and of one of the segment's sources."""
    return applied[i] and (segments[s, 0] >> rows[i, ROW_SOURCE]) & 1


@inlined
def fold_window(
    segments, s, windows, k, accs, newest, raw, at, rows, first_row, end_row, applied, tiles, scratch, out, to
):
    """Fold rows into window `k` of segment `s`, which stands at raw[at:], if there is any; returns (next place in `raw`, in `out`).

    Tiles before the first that a row touches stay as they are. An event is nearly always of the last tile or a later one. The
    place is TORN if the window is, or FULL.
    """
    tile_ms, stride, first_acc, end_acc, columns = (
        windows[k, 1],
        windows[k, 2],
        windows[k, 3],
        windows[k, 4],
        windows[k, 5],
    )
    floor = expiry_floor(newest, windows[k, 0], tile_ms, segments[s, 1]) if newest != NULL else np.int64(NO_FLOOR)
    touched = first_touched(segments, s, rows, first_row, end_row, applied, tile_ms, floor)
    total = begin = until = count = np.int64(0)
    source, end = at, np.int64(0)
    if len(raw) > 0:
        total, begin, until, end = split_window(raw, at, columns, floor, touched)
        if end < 0 or (total + end_row - first_row) * stride > len(tiles):
            return np.int64(TORN), to
        if begin == 0 and until == total and touched == HIGHEST:
            if to + end - at > len(out):
                return np.int64(FULL), to
            for b in range(end - at):
                out[to + b] = raw[at + b]
            return end, to + end - at
        if until < total:
            if get_tiles(accs, first_acc, end_acc, raw, at, columns, until, tiles, stride) < 0:
                return np.int64(TORN), to
            count = total - until
    one = end_row == first_row + 1
    for i in range(first_row, end_row):
        if listens(segments, s, rows, applied, i):
            tile = touched if one else tile_of(rows[i, ROW_TIME], tile_ms)
            if floor <= tile < HIGHEST:
                place, count = find_tile(accs, first_acc, end_acc, tiles, count, stride, tile)
                update_tile(accs, first_acc, end_acc, tiles, place * stride, rows[i], scratch)
    to = put_window(accs, first_acc, end_acc, columns, raw, source, begin, until, tiles, count, stride, out, to)
    return (to, to) if to < 0 else (end, to)


@kernel
def fold_state(
    segments,
    windows,
    accs,
    scored,
    first_segment,
    end_segment,
    raw,
    rows,
    first_row,
    end_row,
    head,
    tiles,
    scratch,
    out,
    applied,
):
    """Fold rows[first_row:end_row] into the packed state `raw` (empty: new entity), writing `out`.

    Returns the size of `out`, TORN if `raw` is no whole state, or FULL if `out` has no room. A row counts as late in a window
    when its tile has already expired; expiring by the newest time of all the rows equals expiring
    after each, since `newest` only grows.
    """
    at = get_head(raw, head)
    if at < 0:
        return TORN
    if raise_positions(rows, first_row, end_row, scored, head, applied) < 0:
        return TORN
    if head_room(head) > len(out):
        return FULL
    to = put_head(head, out)
    for s in range(first_segment, end_segment):
        scratch[0], scratch[1] = NULL, 0
        if len(raw) > 0:
            at = get_number(raw, at, scratch, 0)
            at = get_number(raw, at, scratch, 1)
        newest, late = scratch[0], scratch[1]
        for i in range(first_row, end_row):
            if listens(segments, s, rows, applied, i):
                newest = max(newest, rows[i, ROW_TIME])
                for k in range(segments[s, 2], segments[s, 3]):
                    late += expired(rows[i, ROW_TIME], newest, windows[k, 0], windows[k, 1], segments[s, 1])
        if to + 2 * LONGEST_NUMBER > len(out):
            return FULL
        to = put_number(out, to, newest)
        to = put_number(out, to, late)
        for k in range(segments[s, 2], segments[s, 3]):
            at, to = fold_window(
                segments, s, windows, k, accs, newest, raw, at, rows, first_row, end_row, applied, tiles, scratch, out, to
            )  # fmt: skip
            if at < 0:
                return at
    return to if at == len(raw) else TORN


@kernel
def fold_states(
    segments,
    windows,
    accs,
    scored,
    first_segment,
    end_segment,
    raw,
    starts,
    first,
    rows,
    row_starts,
    head,
    tiles,
    scratch,
    out,
    out_starts,
    applied,
):
    """Fold many entities' rows at once: entity i has state raw[starts[i]:starts[i+1]] and rows row_starts[i]…

    Returns (how many are folded, counted from the first of all; 0, TORN or FULL: why not the next). first: how many are folded
    already, out_starts[first] is where the next begins in `out`. Eight bytes more can be read behind the last state.
    """  # fmt: skip
    to = out_starts[first]
    for i in range(first, len(starts) - 1):
        size = fold_state(
            segments, windows, accs, scored, first_segment, end_segment, raw[starts[i] : starts[i + 1]], rows,
            row_starts[i], row_starts[i + 1], head, tiles, scratch, out[to:], applied,
        )  # fmt: skip
        if size < 0:
            return i, np.int64(size)
        to += size
        out_starts[i + 1] = to
    return len(starts) - 1, np.int64(0)
