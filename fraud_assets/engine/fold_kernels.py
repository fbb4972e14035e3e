"""Folding, merging and reading of packed entity states, compiled.

The layout is the picture in `engine/state.py`, the bytes of a tile are in `engine/packing.py`, the
meaning of an accumulator's words in `engine/kernels.py`. Every function walks a state from front to
back once and holds one window at a time.

The bytes come from a store that others can write to, and nothing checks an index here: every count
that is read must be compared with the room there is before anything is written by it.
"""

import math

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
    finalize,
    initialise,
    merge,
    update_dated,
    update_plain,
)
from fraud_assets.engine.packing import (
    TORN,
    get_hash,
    get_number,
    get_tile,
    get_window_head,
    put_hash,
    put_number,
    put_window,
    skip_accumulator,
)
from fraud_assets.features.layout import Acc

FORMAT_VERSION = 2

# Ids of the last scored events a state keeps, so that a scorer can tell that it reads its own
# transaction. A retry comes within a few transactions of one account; more would be dead weight.
RECENT = 8

# Below every tile number: the floor of a lifetime window.
NO_FLOOR = -(2**62)

PRESENT, STALE, MISSING = 0, 1, 2

_LAST = int(Acc.LAST)
_SCRATCH = 64


@inlined
def tile_of(time, tile_ms):
    """The tile an instant lies in; every instant of a lifetime window lies in tile 0.

    A division of doubles and a correction, for one of 64-bit integers takes four times as long. Instants
    are below 2**53, so the quotient is at most one off.
    """
    if tile_ms <= 0:
        return np.int64(0)
    tile = np.int64(math.floor(float(time) / float(tile_ms)))
    rest = time - tile * tile_ms
    return tile - np.int64(rest < 0) + np.int64(rest >= tile_ms)


@inlined
def expiry_floor(newest, length, tile_ms, lateness):
    """First tile still kept: the tile of `newest - window - lateness` (DESIGN §2's second floor)."""
    return tile_of(newest - length - lateness, tile_ms) if tile_ms > 0 else np.int64(NO_FLOOR)


@inlined
def read_floor(t, newest, length, tile_ms, lateness):
    """First tile a decision at `t` reads: the later of the window's own floor and the expiry floor."""
    return tile_of(max(t, newest - lateness) - length, tile_ms) if tile_ms > 0 else np.int64(NO_FLOOR)


@inlined
def expired(time, newest, length, tile_ms, lateness):
    """Whether an event's tile has expired; an instant after the boundary's needs no division to say no."""
    kept = newest - length - lateness
    return tile_ms > 0 and time < kept and tile_of(time, tile_ms) < tile_of(kept, tile_ms)


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


@kernel
def open_tile(accs, first_acc, end_acc, tiles, count, stride, place, tile):
    """Make room at `place` and write an empty tile there."""
    for k in range((count - place) * stride - 1, -1, -1):
        tiles[(place + 1) * stride + k] = tiles[place * stride + k]
    at = place * stride
    tiles[at] = tile
    for a in range(first_acc, end_acc):
        initialise(accs[a, 0], tiles, at + accs[a, 1], accs[a, 5])


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
def update_tile(accs, first_acc, end_acc, tiles, at, row, scratch):
    for a in range(first_acc, end_acc):
        op = accs[a, 0]
        if op >= _LAST:
            update_dated(op, accs[a, 4], tiles, at + accs[a, 1], row, accs[a, 2], scratch)
        else:
            update_plain(op, accs[a, 3], tiles, at + accs[a, 1], row[accs[a, 2]])


@inlined
def get_window(accs, first_acc, end_acc, raw, at, stride, floor, spare, tiles, scratch):
    """Read a window's tiles at or after `floor`; returns (how many, next place), the place TORN if torn.

    spare: how many more tiles the caller may open beside them.
    """
    at = get_window_head(raw, at, scratch)
    if at < 0:
        return np.int64(0), TORN
    total, kept, before = scratch[0], np.int64(0), np.int64(0)
    for _ in range(total):
        if (kept + 1 + spare) * stride > len(tiles):
            return np.int64(0), TORN
        at = get_tile(accs, first_acc, end_acc, raw, at, before, tiles, kept * stride)
        if at < 0:
            return np.int64(0), TORN
        before = tiles[kept * stride]
        if before >= floor:
            kept += 1
    return kept, at


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
def first_touched(units, u, rows, first_row, end_row, applied, tile_ms, floor):
    """The lowest tile that the rows change; above all tiles if none."""
    lowest = np.int64(HIGHEST)
    for i in range(first_row, end_row):
        if listens(units, u, rows, applied, i):
            tile = tile_of(rows[i, ROW_TIME], tile_ms)
            if tile >= floor:
                lowest = min(lowest, tile)
    return lowest


@inlined
def listens(units, u, rows, applied, i):
    """Whether unit `u` folds row `i`: it is new, and of one of the unit's sources."""
    return applied[i] and (units[u, 0] >> rows[i, ROW_SOURCE]) & 1


@kernel
def fold_state(
    units,
    windows,
    accs,
    scored,
    first_unit,
    end_unit,
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
    for u in range(first_unit, end_unit):
        scratch[0], scratch[1] = NULL, 0
        if len(raw) > 0:
            at = get_number(raw, at, scratch, 0)
            at = get_number(raw, at, scratch, 1)
        newest, late = scratch[0], scratch[1]
        for i in range(first_row, end_row):
            if listens(units, u, rows, applied, i):
                newest = max(newest, rows[i, ROW_TIME])
                for k in range(units[u, 3], units[u, 4]):
                    late += expired(rows[i, ROW_TIME], newest, windows[k, 0], windows[k, 1], units[u, 1])
        to = put_number(out, to, newest)
        to = put_number(out, to, late)
        for k in range(units[u, 3], units[u, 4]):
            tile_ms, stride, first_acc, end_acc = windows[k, 1], windows[k, 2], windows[k, 3], windows[k, 4]
            floor = expiry_floor(newest, windows[k, 0], tile_ms, units[u, 1]) if newest != NULL else np.int64(NO_FLOOR)
            touched = first_touched(units, u, rows, first_row, end_row, applied, tile_ms, floor)
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
                if listens(units, u, rows, applied, i):
                    tile = touched if one else tile_of(rows[i, ROW_TIME], tile_ms)
                    if floor <= tile < HIGHEST:
                        place, count = find_tile(accs, first_acc, end_acc, tiles, count, stride, tile)
                        update_tile(accs, first_acc, end_acc, tiles, place * stride, rows[i], scratch)
            to = put_window(accs, first_acc, end_acc, raw, kept, tiles, count, stride, out, to)
    return to if at == len(raw) else TORN


@kernel
def fold_states(
    units,
    windows,
    accs,
    scored,
    first_unit,
    end_unit,
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
            units, windows, accs, scored, first_unit, end_unit, raw[starts[i] : starts[i + 1]], rows,
            row_starts[i], row_starts[i + 1], head, tiles, scratch, out[to:], applied,
        )  # fmt: skip
        if size < 0:
            return i
        to += size
    out_starts[len(starts) - 1] = to
    return -1


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


@kernel
def merge_states(
    units, windows, accs, first_unit, end_unit, left, right, left_head, right_head, head, tiles, tile, scratch, out
):
    """Merge two packed states of one entity that hold disjoint events; returns the size, or TORN."""
    a, b = get_head(left, left_head), get_head(right, right_head)
    if a < 0 or b < 0 or merge_heads(left_head, right_head, head) < 0:
        return TORN
    to = put_head(head, out)
    for u in range(first_unit, end_unit):
        a = get_number(left, get_number(left, a, scratch, 0), scratch, 1)
        b = get_number(right, get_number(right, b, scratch, 2), scratch, 3)
        newest = max(scratch[0], scratch[2])
        to = put_number(out, put_number(out, to, newest), scratch[1] + scratch[3])
        for k in range(units[u, 3], units[u, 4]):
            stride, first_acc, end_acc = windows[k, 2], windows[k, 3], windows[k, 4]
            floor = (
                expiry_floor(newest, windows[k, 0], windows[k, 1], units[u, 1])
                if newest != NULL
                else np.int64(NO_FLOOR)
            )
            count, a = get_window(accs, first_acc, end_acc, left, a, stride, floor, 0, tiles, scratch)
            b = get_window_head(right, b, scratch)
            if a < 0 or b < 0:
                return TORN
            before = np.int64(0)
            for _ in range(scratch[0]):
                b = get_tile(accs, first_acc, end_acc, right, b, before, tile, 0)
                if b < 0:
                    return TORN
                before = tile[0]
                if before < floor:
                    continue
                if (count + 1) * stride > len(tiles):
                    return TORN
                place, count = find_tile(accs, first_acc, end_acc, tiles, count, stride, before)
                for c in range(first_acc, end_acc):
                    merge(accs[c, 0], accs[c, 3], accs[c, 4], tiles, place * stride + accs[c, 1], tile, accs[c, 1])
            nothing = np.int64(0)
            kept = (nothing, nothing, nothing, nothing, nothing, nothing)
            to = put_window(accs, first_acc, end_acc, left, kept, tiles, count, stride, out, to)
    return to if a == len(left) and b == len(right) else TORN


@inlined
def read_window(accs, outs, first_acc, end_acc, first_out, end_out, raw, at, floor, t, tile, merged, scratch, values):
    """Merge the tiles from `floor` on, write the window's outputs into `values`; returns the next place."""
    for a in range(first_acc, end_acc):
        initialise(accs[a, 0], merged, accs[a, 1], accs[a, 5])
    at = get_window_head(raw, at, scratch)
    if at < 0:
        return TORN
    total, span, end = scratch[0], scratch[1], at + scratch[2] + scratch[3]
    before = np.int64(0)
    for n in range(total):
        start = at
        at = get_number(raw, at, scratch, 0)
        number = before + scratch[0]
        # A window that ended before its floor is passed over whole.
        if n == 0 and at >= 0 and number + span < floor:
            at = end
            break
        if number >= floor:
            at = get_tile(accs, first_acc, end_acc, raw, start, before, tile, 0)
            if at < 0:
                return TORN
            for a in range(first_acc, end_acc):
                merge(accs[a, 0], accs[a, 3], accs[a, 4], merged, accs[a, 1], tile, accs[a, 1])
        else:
            for a in range(first_acc, end_acc):
                at = skip_accumulator(accs[a, 0], accs[a, 3], accs[a, 4], accs[a, 5], raw, at, scratch)
        before = number
    if at != end:
        return TORN
    for o in range(first_out, end_out):
        values[outs[o, 6]] = finalize(outs[o, 0], merged, outs[o, 1], outs[o, 2], outs[o, 3], outs[o, 4], outs[o, 5], t)
    return at


@kernel
def blank_unit(units, outs, window_outs, u, values):
    """Null every output of a unit that is STALE or MISSING."""
    for k in range(units[u, 3], units[u, 4]):
        for o in range(window_outs[k, 0], window_outs[k, 1]):
            values[outs[o, 6]] = math.nan


@kernel
def read_state(
    units,
    windows,
    accs,
    outs,
    window_outs,
    first_unit,
    end_unit,
    raw,
    t,
    scored_id,
    head,
    tile,
    merged,
    scratch,
    values,
    status,
    ages,
):
    """Read one packed state at `t` into `values` (float64, by slot); returns 1 if it holds `scored_id`, 0 if not, TORN.

    status, ages: (n_units,) PRESENT, STALE or MISSING and seconds since the newest event. Values of
    a unit that is not PRESENT are NaN. An empty `raw` is an unknown entity.
    """  # fmt: skip
    at = get_head(raw, head)
    if at < 0:
        return TORN
    included = 0
    for k in range(RECENT):
        if scored_id != 0 and head[1 + 2 * head[0] + k] == scored_id:
            included = 1
    for u in range(first_unit, end_unit):
        scratch[0] = NULL
        if len(raw) > 0:
            at = get_number(raw, get_number(raw, at, scratch, 0), scratch, 1)
        newest = scratch[0]
        if newest == NULL:
            status[u], ages[u] = MISSING, math.nan
        else:
            ages[u] = max(0, t - newest) / 1000.0
            status[u] = STALE if units[u, 2] >= 0 and t - newest > units[u, 2] else PRESENT
        if len(raw) > 0:
            for k in range(units[u, 3], units[u, 4]):
                floor = read_floor(t, newest, windows[k, 0], windows[k, 1], units[u, 1])
                at = read_window(accs, outs, windows[k, 3], windows[k, 4], window_outs[k, 0], window_outs[k, 1], raw, at, floor, t, tile, merged, scratch, values)  # fmt: skip
                if at < 0:
                    return TORN
        if status[u] != PRESENT:
            blank_unit(units, outs, window_outs, u, values)
    return included if at == len(raw) else TORN


@kernel
def fill_ratios(ratios, values):
    """values[own] = numerator / (sum of denominators); NaN where that is 0 or a part is NaN."""
    for r in range(len(ratios)):
        below = values[ratios[r, 1]]
        if ratios[r, 2] >= 0:
            below += values[ratios[r, 2]]
        values[ratios[r, 3]] = ratio_of(values[ratios[r, 0]], below)


@inlined
def ratio_of(above, below):
    """A ratio over nothing is null."""
    return above / below if below != 0.0 else math.nan


@kernel
def read_request(
    units,
    windows,
    accs,
    outs,
    window_outs,
    ratios,
    groups,
    raw,
    starts,
    t,
    scored_id,
    head,
    tile,
    merged,
    scratch,
    values,
    status,
    ages,
):
    """Read the packed states of a request, group after group; returns (holds scored_id, torn group or -1).

    raw: all states end to end. starts (n_groups + 1,): where each begins; an empty one is unknown.
    """  # fmt: skip
    included = 0
    for g in range(len(groups)):
        found = read_state(
            units, windows, accs, outs, window_outs, groups[g, 0], groups[g, 1], raw[starts[g] : starts[g + 1]], t, scored_id,
            head, tile, merged, scratch, values, status, ages,
        )  # fmt: skip
        if found < 0:
            return included, g
        included |= found
    fill_ratios(ratios, values)
    return included, -1
