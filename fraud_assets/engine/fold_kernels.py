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
from fraud_assets.engine.packing import (
    TORN,
    get_number,
    get_tile,
    get_window_head,
    put_number,
    put_window,
    skip_accumulator,
)
from fraud_assets.engine.tile_kernels import (
    NO_FLOOR,
    RECENT,
    expired,
    expiry_floor,
    find_tile,
    get_head,
    put_head,
    tile_of,
)
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
def split_window(accs, first_acc, end_acc, raw, at, stride, floor, touched, spare, tiles, scratch):
    """Find what a fold leaves as it is: the tiles from `floor` up to `touched`, whose bytes can be copied.

    Tiles from `touched` on are read to `tiles`. Returns (how many those are, what is left as `put_window`
    takes it, next place or TORN). spare: how many more tiles the caller may open. An event is nearly
    always of the last tile or a later one, and then nothing between the expired and the last is looked at.
    """
    count = left = first = final = run = run_last = run_end = before = np.int64(0)
    at = get_window_head(raw, at, scratch)
    total, span, last_start, end = scratch[0], scratch[1], at + scratch[2], at + scratch[2] + scratch[3]
    if at < 0 or (1 + spare) * stride > len(tiles):
        return count, (left, first, final, run, run_last, run_end), TORN
    last = np.int64(HIGHEST)
    for n in range(total):
        start = at
        at = get_number(raw, at, scratch, 0)
        number = before + scratch[0]
        last = number + span if n == 0 else last
        # Tiles ascend; bytes that say otherwise could be copied twice and outgrow the room for them.
        if at < 0 or (n > 0 and number <= before) or (count + 1 + spare) * stride > len(tiles):
            return count, (left, first, final, run, run_last, run_end), TORN
        if left == 0 and number >= floor and touched >= last and start <= last_start:
            left, first, final, run, run_last, run_end = total - n, number, last, at, last_start, end
            if touched == last:
                at = start if start == last_start else get_number(raw, last_start, scratch, 0)
                final = before if start == last_start else last - scratch[0]
                at = get_tile(accs, first_acc, end_acc, raw, last_start, final, tiles, 0) if at >= 0 else TORN
                count, left, run_end = np.int64(1), left - 1, last_start
            else:
                at = end
            break
        if number >= touched:
            at = get_tile(accs, first_acc, end_acc, raw, start, before, tiles, count * stride)
            count += 1
        else:
            if number >= floor:
                if left == 0:
                    first, run = number, at
                left, final, run_last = left + 1, number, start
            for a in range(first_acc, end_acc):
                at = skip_accumulator(accs[a, 0], accs[a, 3], accs[a, 4], accs[a, 5], raw, at, scratch)
            run_end = at
        if at < 0:
            break
        before = number
    return count, (left, first, final, run, run_last, run_end), at if at == end else TORN


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

    Returns the size of `out`, or TORN if `raw` is no whole state. A row counts as late in a window
    when its tile has already expired; expiring by the newest time of all the rows equals expiring
    after each, since `newest` only grows.
    """
    at = get_head(raw, head)
    if at < 0:
        return TORN
    if raise_positions(rows, first_row, end_row, scored, head, applied) < 0:
        return TORN
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
        to = put_number(out, to, newest)
        to = put_number(out, to, late)
        for k in range(segments[s, 2], segments[s, 3]):
            tile_ms, stride, first_acc, end_acc = windows[k, 1], windows[k, 2], windows[k, 3], windows[k, 4]
            floor = (
                expiry_floor(newest, windows[k, 0], tile_ms, segments[s, 1]) if newest != NULL else np.int64(NO_FLOOR)
            )
            touched = first_touched(segments, s, rows, first_row, end_row, applied, tile_ms, floor)
            one = end_row == first_row + 1
            count = nothing = np.int64(0)
            kept = (nothing, nothing, nothing, nothing, nothing, nothing)
            if len(raw) > 0:
                spare = end_row - first_row
                count, kept, at = split_window(
                    accs, first_acc, end_acc, raw, at, stride, floor, touched, spare, tiles, scratch
                )
                if at < 0:
                    return TORN
            for i in range(first_row, end_row):
                if listens(segments, s, rows, applied, i):
                    tile = touched if one else tile_of(rows[i, ROW_TIME], tile_ms)
                    if floor <= tile < HIGHEST:
                        place, count = find_tile(accs, first_acc, end_acc, tiles, count, stride, tile)
                        update_tile(accs, first_acc, end_acc, tiles, place * stride, rows[i], scratch)
            to = put_window(accs, first_acc, end_acc, raw, kept, tiles, count, stride, out, to)
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

    Returns -1, or the first entity whose state is torn. `out` must have room for all new states.
    """  # fmt: skip
    to = np.int64(0)
    for i in range(len(starts) - 1):
        out_starts[i] = to
        size = fold_state(
            segments, windows, accs, scored, first_segment, end_segment, raw[starts[i] : starts[i + 1]], rows,
            row_starts[i], row_starts[i + 1], head, tiles, scratch, out[to:], applied,
        )  # fmt: skip
        if size < 0:
            return i
        to += size
    out_starts[len(starts) - 1] = to
    return -1
