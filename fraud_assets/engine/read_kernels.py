"""Reading packed states for a request, compiled: an interpreter of `engine/read_program.py`; see `engine/tile_kernels.py`.

`code` is its program and `pc` a place there. Places are made unsigned where they index, as in `engine/packing.py`.
"""

import math

import numpy as np

from fraud_assets.engine.jit import inlined, kernel
from fraud_assets.engine.kernels import NULL, finalize
from fraud_assets.engine.packing import TORN, get_number
from fraud_assets.engine.read_program import ACC_WORDS, OUT_WORDS, RATIO_WORDS
from fraud_assets.engine.read_windows import merge_window, word
from fraud_assets.engine.tile_kernels import PRESENT, RECENT, freshness, get_head, read_floor


@inlined
def write_outputs(code, pc, n_outs, merged, t, values):
    for out in range(pc, pc + OUT_WORDS * n_outs, OUT_WORDS):
        values[np.uint64(word(code, out + 6))] = finalize(
            word(code, out), merged, word(code, out + 1), word(code, out + 2), word(code, out + 3), word(code, out + 4),
            word(code, out + 5), t,
        )  # fmt: skip


@kernel
def read_state(code, pc, n_segments, spans, span, raw, t, scored_id, head, tile, merged, scratch, newest, values):
    """Read one packed state at `t` into `values` (float64, by slot); returns 1 if it holds `scored_id`, 0 if not, TORN.

    pc, span: where its segments begin in `code` and `spans`. newest: written (n_segments,).
    """
    at = get_head(raw, head)
    if at < 0:
        return TORN
    included = 0
    for k in range(RECENT):
        if scored_id != 0 and head[1 + 2 * head[0] + k] == scored_id:
            included = 1
    for s in range(n_segments):
        at = get_number(raw, get_number(raw, at, newest, s), scratch, 1)
        lateness, n_windows = spans[span], word(code, pc)
        span, pc = span + 1, pc + 1
        for _ in range(n_windows):
            n_accs, columns, n_outs, accs = word(code, pc), word(code, pc + 1), word(code, pc + 2), pc + 3
            pc = accs + ACC_WORDS * n_accs
            floor = read_floor(t, newest[s], spans[span], spans[span + 1], lateness)
            at = merge_window(code, accs, n_accs, columns, raw, at, floor, merged, tile)
            if at < 0:
                return TORN
            write_outputs(code, pc, n_outs, merged, t, values)
            pc, span = pc + OUT_WORDS * n_outs, span + 2
    return included if at == len(raw) else TORN


@inlined
def judge_unit(code, pc, ttl, newest, t, values):
    """(status, age, next pc) of a unit; every output of one that is STALE or MISSING becomes null."""
    status, age = freshness(newest[np.uint64(word(code, pc))], t, ttl)
    slots, end = pc + 2, pc + 2 + word(code, pc + 1)
    if status != PRESENT:
        for k in range(slots, end):
            values[np.uint64(word(code, k))] = math.nan
    return status, age, end


@inlined
def fill_ratios(code, pc, n_ratios, values):
    """values[own] = numerator / (sum of denominators); NaN where that is 0 or a part is NaN."""
    for ratio in range(pc, pc + RATIO_WORDS * n_ratios, RATIO_WORDS):
        below = values[word(code, ratio + 1)]
        if word(code, ratio + 2) >= 0:
            below += values[word(code, ratio + 2)]
        values[word(code, ratio + 3)] = ratio_of(values[word(code, ratio)], below)


@inlined
def ratio_of(above, below):
    """A ratio over nothing is null."""
    return above / below if below != 0.0 else math.nan


@kernel
def read_request(
    code, spans, raw, starts, stops, places, t, scored_id, head, tile, merged, scratch, newest, values, status, ages
):
    """Read the packed states of a request, group after group; returns (holds scored_id, torn group or -1, pc of what is served).

    raw: distinct states, and eight bytes more. starts, stops (n_states,): where each begins and ends. places (n_groups,): which of
    them is the group's, -1 for an unknown entity. status, ages (n_units,): PRESENT, STALE or MISSING and seconds since the
    newest event; values of a unit that is not PRESENT are NaN. An empty state is an unknown entity.
    """
    pc, span, unit, included = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for g in range(len(places)):
        units, units_span, n_segments = word(code, pc), word(code, pc + 1), word(code, pc + 2)
        begin, end = np.int64(0), np.int64(0)
        if places[g] >= 0:
            begin, end = starts[places[g]], stops[places[g]]
        if begin == end:
            newest[:n_segments] = NULL
        else:
            found = read_state(
                code, pc + 3, n_segments, spans, span, raw[begin:end], t, scored_id, head, tile, merged, scratch, newest, values
            )  # fmt: skip
            if found < 0:
                return included, np.int64(g), pc
            included |= found
        pc, span = units + 1, units_span
        for _ in range(word(code, units)):
            status[unit], ages[unit], pc = judge_unit(code, pc, spans[span], newest, t, values)
            unit, span = unit + 1, span + 1
    n_ratios = word(code, pc)
    fill_ratios(code, pc + 1, n_ratios, values)
    return included, np.int64(-1), pc + 1 + RATIO_WORDS * n_ratios


@kernel
def read_positions(raw, starts, stops, head, found, ends):
    """The log positions of states end to end, none of one that is torn.

    found: (topic-partition code, offset) pairs of all, two words each; as many words as `raw` has bytes are enough, for
    each takes a byte. ends (n_states,): how many words there are up to the end of each.
    """
    n = 0
    for s in range(len(ends)):
        if get_head(raw[starts[s] : stops[s]], head) >= 0:
            for k in range(2 * head[0]):
                found[n] = head[1 + k]
                n += 1
        ends[s] = n
