"""The batch execution's compiled sorting: rows to shards of keys, shards to keys, keys in log order.

A shard is some thousand reads whose keys share the top bits of their hash. Everything about a shard
fits the second-level cache, so numbering its keys, sorting and gathering cost a few nanoseconds an
event however long the log is.
"""

import numpy as np

from fraud_assets.engine.jit import allocating_kernel, kernel
from fraud_assets.engine.kernels import NULL, mix63
from fraud_assets.engine.prefetch import AHEAD, prefetch_to_read
from fraud_assets.engine.tile_kernels import freshness

# Bits of `mix63`.
HASH_BITS = 63

# Rows of the log's table that are read or written side by side: 50 columns of 64 rows are 25 KiB.
NEAR_ROWS = 64

# Columns of a shard's rows.
ITEM, KEY, HEAD = range(3)


@kernel
def count_shards(keys, order, bits, counts):
    """counts (2**bits,): items of each shard, of the keys that `order` names. NULL keys are in no shard."""
    shift = HASH_BITS - bits
    counts[:] = 0
    for i in range(len(order)):
        key = keys[order[i]]
        if key != NULL:
            counts[mix63(key) >> shift] += 1


@kernel
def scatter_to_shards(keys, order, bits, cursor, to):
    """to (n, 2): row by row of the shards, in the order given, each item and its key. cursor: where each shard goes on, used up.

    Reads run along the log and writes along the shards, so neither waits for memory.
    """
    shift = HASH_BITS - bits
    for i in range(len(order)):
        at = order[i]
        key = keys[at]
        if key != NULL:
            shard = np.uint64(mix63(key) >> shift)
            row = to[np.uint64(cursor[shard])]
            row[ITEM], row[KEY] = at, key
            cursor[shard] += 1


@kernel
def number_keys(items, table, codes):
    """Give every distinct key a number in order of first sight; returns how many.

    items: (n, width) rows of a shard. table: (2**k,) int32 of -1, where each key's first place will stand;
    codes: (n,) out.
    """
    mask, used = len(table) - 1, 0
    for i in range(len(items)):
        key = items[i, KEY]
        at = mix63(key) & mask
        while table[at] >= 0 and items[table[at], KEY] != key:
            at = (at + 1) & mask
        if table[at] < 0:
            table[at], codes[i] = i, used
            used += 1
        else:
            codes[i] = codes[table[at]]
    return used


@kernel
def find_keys(sought, items, table, numbers, codes):
    """Numbers of keys that `number_keys` has put into the table; -1 for others. numbers: what it gave `items`."""
    mask = len(table) - 1
    for i in range(len(sought)):
        key = sought[i, KEY]
        at = mix63(key) & mask
        while table[at] >= 0 and items[table[at], KEY] != key:
            at = (at + 1) & mask
        codes[i] = numbers[table[at]] if table[at] >= 0 else -1


@allocating_kernel
def sort_by_key(codes, starts, order):
    """Stable counting sort: starts (n_keys + 1,), and order gets the places of code 0, of code 1, ...; -1 is left out."""
    starts[:] = 0
    for i in range(len(codes)):
        if codes[i] >= 0:
            starts[codes[i] + 1] += 1
    for k in range(1, len(starts)):
        starts[k] += starts[k - 1]
    cursor = starts[:-1].copy()
    for i in range(len(codes)):
        if codes[i] >= 0:
            code = np.uint64(codes[i])
            order[np.uint64(cursor[code])] = i
            cursor[code] += 1


@kernel
def late_keys_last(starts, time, number):
    """Number keys so that those with an event behind its predecessor come last; returns how many are in order."""
    ordered = 0
    for k in range(len(starts) - 1):
        number[k] = 0
        for e in range(starts[k] + 1, starts[k + 1]):
            if time[e] < time[e - 1]:
                number[k] = 1
                break
        ordered += 1 - number[k]
    first, last = 0, ordered
    for k in range(len(starts) - 1):
        if number[k]:
            number[k] = last
            last += 1
        else:
            number[k] = first
            first += 1
    return ordered


@kernel
def arrange_keys(starts, number, moved, places):
    """Starts of the renumbered keys, and where each of their items was."""
    moved[0] = 0
    for k in range(len(number)):
        moved[number[k] + 1] = starts[k + 1] - starts[k]
    for k in range(len(number)):
        moved[k + 1] += moved[k]
    for k in range(len(number)):
        to = moved[number[k]]
        for i in range(starts[k], starts[k + 1]):
            places[to] = i
            to += 1


@kernel
def keep_sources(order, starts, firsts, wanted, kept, kept_starts):
    """Places of the events of some sources only, still sorted; returns how many.

    order: (n,) items; those of source s are [firsts[s], firsts[s + 1]), and wanted[s] says whether it is one of them.
    """
    to = 0
    for k in range(len(starts) - 1):
        kept_starts[k] = to
        for i in range(starts[k], starts[k + 1]):
            s = 0
            while order[i] >= firsts[s + 1]:
                s += 1
            kept[to] = i
            to += wanted[s]
    kept_starts[len(starts) - 1] = to
    return to


@kernel
def take_rows(values, rows, places, to):
    """to[r] = values[r][places] for the rows named; others are left as they are."""
    for r in rows:
        for e in range(len(places)):
            to[np.uint64(r), e] = values[np.uint64(r), np.uint64(places[e])]


@kernel
def items_at(rows, places, items):
    """items (n,): the items of a shard's rows at these places."""
    for e in range(len(places)):
        items[e] = rows[np.uint64(places[e]), ITEM]


@kernel
def rows_of_columns(columns, rows):
    """rows[i, c] = columns[c, i], as many rows at a time as the first-level cache holds."""
    for first in range(0, len(rows), NEAR_ROWS):
        end = min(first + NEAR_ROWS, len(rows))
        for c in range(len(columns)):
            column = columns[c]
            for i in range(first, end):
                rows[np.uint64(i), np.uint64(c)] = column[np.uint64(i)]


@kernel
def gather_columns(items, first, rows, columns, to):
    """Columns of a source's rows for those items that are its events: [first, first + len(rows)).

    For each (c, t) of columns, to[t, e] is column c of the row of items[e]. Rows stand in no order of memory, so
    their cache lines are fetched some items ahead, or each would be waited for.
    """
    size = np.uint64(len(rows))
    for e in range(len(items)):
        ahead = np.uint64(items[min(e + AHEAD, len(items) - 1)] - first)
        if ahead < size:
            for c in range(len(columns)):
                prefetch_to_read(rows, ahead, columns[c, 0])
        at = np.uint64(items[e] - first)
        if at < size:
            row = rows[at]
            for c in range(len(columns)):
                to[np.uint64(columns[c, 1]), np.uint64(e)] = row[np.uint64(columns[c, 0])]


@kernel
def in_log_order(arrival, tp, offset):
    """Whether events already stand in log order, as a lake scan of one source leaves them."""
    for i in range(1, len(arrival)):
        if arrival[i] < arrival[i - 1]:
            return False
        if arrival[i] == arrival[i - 1] and (tp[i] < tp[i - 1] or (tp[i] == tp[i - 1] and offset[i] <= offset[i - 1])):
            return False
    return True


@kernel
def ascending(values):
    """Whether no value is below the one before it."""
    for i in range(1, len(values)):
        if values[i] < values[i - 1]:
            return False
    return True


@kernel
def counts_up(values):
    """Whether every value is its own place."""
    apart = np.int64(0)
    for i in range(len(values)):
        apart |= values[i] ^ i
    return apart == 0


@kernel
def align_reads(events, reads, ev_rank, ev_time, rd_rank, applied, newest):
    """For each read: how many events it knows (an index into the sorted events), and their newest time."""
    for k in range(len(reads) - 1):
        e, latest = events[k], NULL
        for j in range(reads[k], reads[k + 1]):
            while e < events[k + 1] and ev_rank[e] < rd_rank[j]:
                latest = max(latest, ev_time[e])
                e += 1
            applied[j], newest[j] = e, latest


@kernel
def align_with_events(events, ev_time, applied, newest):
    """The same where every event is a read too: each knows those before it."""
    for k in range(len(events) - 1):
        latest = NULL
        for e in range(events[k], events[k + 1]):
            applied[e], newest[e] = e, latest
            latest = max(latest, ev_time[e])


@kernel
def judge_freshness(newest, rd_time, ttl, status, age_s):
    """PRESENT, STALE or MISSING, and the age in seconds, of a view with this TTL (-1: none)."""
    for j in range(len(newest)):
        status[j], age_s[j] = freshness(newest[j], rd_time[j], ttl)


@kernel
def chain_reads(reads, pos_starts, pos_tp, pos_offset, chain, newest):
    """Split the reads of each key into chains of nested positions; returns the number of chains.

    Reads come in order of their positions' sums. Those of one epoch are nested, for a state only
    grows; a state rebuilt under a new epoch may have taken its partitions in another order.
    chain: (n_reads,) out; newest: (n_reads,) scratch, the last read of each chain of the key at hand.
    """
    most = 0
    for k in range(len(reads) - 1):
        used = 0
        for j in range(reads[k], reads[k + 1]):
            place = 0
            while place < used:
                last = newest[place]
                if holds(pos_starts[j], pos_starts[j + 1], pos_starts[last], pos_starts[last + 1], pos_tp, pos_offset):
                    break
                place += 1
            chain[j], newest[place] = place, j
            used = max(used, place + 1)
        most = max(most, used)
    return most


@kernel
def holds(first, end, other_first, other_end, pos_tp, pos_offset):
    """Whether one position holds everything another does."""
    for q in range(other_first, other_end):
        if offset_in(first, end, pos_tp[q], pos_tp, pos_offset) < pos_offset[q]:
            return False
    return True


@kernel
def offset_in(first, end, tp, pos_tp, pos_offset):
    """The offset a position has of one topic and partition, -1 if none."""
    for p in range(first, end):
        if pos_tp[p] == tp:
            return pos_offset[p]
    return -1


@kernel
def covered_ranks(events, ev_tp, ev_offset, reads, pos_starts, pos_tp, pos_offset, ranks):
    """Rank of each event: the first read of its key whose position holds it, found by halving; n_reads if none does.

    The reads of a key are one chain, so an event that a read holds is held by every later one.
    """
    for k in range(len(events) - 1):
        for e in range(events[k], events[k + 1]):
            low, high = reads[k], reads[k + 1]
            while low < high:
                middle = (low + high) // 2
                held = offset_in(pos_starts[middle], pos_starts[middle + 1], ev_tp[e], pos_tp, pos_offset)
                if held >= ev_offset[e]:
                    high = middle
                else:
                    low = middle + 1
            ranks[e] = low if low < reads[k + 1] else reads[len(reads) - 1]


@kernel
def sort_in_place(items, count):
    """Shell sort: nothing is allocated, and nearly sorted items are nearly free."""
    gap = 1
    while gap < count // 9:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, count):
            item, at = items[i], i
            while at >= gap and items[at - gap] > item:
                items[at] = items[at - gap]
                at -= gap
            items[at] = item
        gap //= 3
