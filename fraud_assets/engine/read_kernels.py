"""Reading packed states for a request, compiled; see `engine/tile_kernels.py`."""

import math

import numpy as np

from fraud_assets.engine.jit import inlined, kernel
from fraud_assets.engine.kernels import NULL, finalize, initialise, merge
from fraud_assets.engine.packing import TORN, get_number, get_tile, get_window_head, skip_accumulator
from fraud_assets.engine.tile_kernels import PRESENT, RECENT, freshness, get_head, read_floor


@inlined
def read_window(accs, outs, first_acc, end_acc, first_out, end_out, raw, at, floor, t, tile, merged, scratch, values):
    """Merge the tiles from `floor` on, write the window's outputs into `values`; returns the next place."""
    for a in range(first_acc, end_acc):
        initialise(accs[a, 0], merged, accs[a, 1])
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
def judge_unit(unit, u, newest, t, slots, slot_starts, status, ages, values):
    """Status and age of a unit; every output of one that is STALE or MISSING becomes null."""
    status[u], ages[u] = freshness(newest, t, unit[2])
    if status[u] != PRESENT:
        for k in range(slot_starts[u], slot_starts[u + 1]):
            values[slots[k]] = math.nan


@kernel
def read_state(
    units,
    segments,
    windows,
    accs,
    outs,
    window_outs,
    slots,
    slot_starts,
    group,
    raw,
    t,
    scored_id,
    head,
    tile,
    merged,
    scratch,
    newest,
    values,
    status,
    ages,
):
    """Read one packed state at `t` into `values` (float64, by slot); returns 1 if it holds `scored_id`, 0 if not, TORN.

    group: its first and last + 1 unit and segment. newest: scratch (n_segments,). slots, slot_starts: outputs of each unit.
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
    for s in range(group[2], group[3]):
        newest[s] = NULL
        if len(raw) > 0:
            at = get_number(raw, get_number(raw, at, newest, s), scratch, 1)
            for k in range(segments[s, 2], segments[s, 3]):
                floor = read_floor(t, newest[s], windows[k, 0], windows[k, 1], segments[s, 1])
                at = read_window(accs, outs, windows[k, 3], windows[k, 4], window_outs[k, 0], window_outs[k, 1], raw, at, floor, t, tile, merged, scratch, values)  # fmt: skip
                if at < 0:
                    return TORN
    for u in range(group[0], group[1]):
        judge_unit(units[u], u, newest[units[u, 3]], t, slots, slot_starts, status, ages, values)
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
    segments,
    windows,
    accs,
    outs,
    window_outs,
    slots,
    slot_starts,
    ratios,
    groups,
    raw,
    starts,
    places,
    t,
    scored_id,
    head,
    tile,
    merged,
    scratch,
    newest,
    values,
    status,
    ages,
):
    """Read the packed states of a request, group after group; returns (holds scored_id, torn group or -1).

    raw: distinct states end to end. starts (n_states + 1,): where each begins. places (n_groups,): which of them is the
    group's, -1 for an unknown entity.
    """  # fmt: skip
    included = 0
    for g in range(len(groups)):
        begin, end = np.int64(0), np.int64(0)
        if places[g] >= 0:
            begin, end = starts[places[g]], starts[places[g] + 1]
        found = read_state(
            units, segments, windows, accs, outs, window_outs, slots, slot_starts, groups[g], raw[begin:end],
            t, scored_id, head, tile, merged, scratch, newest, values, status, ages,
        )  # fmt: skip
        if found < 0:
            return included, g
        included |= found
    fill_ratios(ratios, values)
    return included, -1


@kernel
def read_positions(raw, starts, head, found, ends):
    """The log positions of states end to end, none of one that is torn.

    found: (topic-partition code, offset) pairs of all, two words each; as many words as `raw` has bytes are enough, for
    each takes a byte. ends (n_states,): how many words there are up to the end of each.
    """
    n = 0
    for s in range(len(ends)):
        if get_head(raw[starts[s] : starts[s + 1]], head) >= 0:
            for k in range(2 * head[0]):
                found[n] = head[1 + k]
                n += 1
        ends[s] = n
