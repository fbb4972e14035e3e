"""Blocks: the events and the reads of some thousand keys, sorted by key and log order.

`GroupRows` cuts a group's rows into shards of keys; `GroupRows.blocks` sorts one shard, and everything
after that happens inside the second-level cache.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fraud_assets.engine import batch_distinct as distinct
from fraud_assets.engine import batch_ordered as ordered
from fraud_assets.engine import batch_sorting as sorting
from fraud_assets.engine.batch_shards import EventTable, Shards, joined
from fraud_assets.engine.kernels import NULL
from fraud_assets.engine.plan import EnginePlan, GroupPlan, Ints
from fraud_assets.engine.prepare import Columns
from fraud_assets.features.layout import Input, InputKey

if TYPE_CHECKING:
    from fraud_assets.engine.batch import Log, Spine

# Reads of a shard: what is computed for them then stays in the second-level cache.
SHARD_READS = 16_384
# More shards than this, and writing to all of them in turn misses the cache at every row.
MOST_SHARD_BITS = 11


# First item of a source, its rows, and which columns of them go where: (from, to) pairs.
_Table = tuple[int, Ints, Ints]


class GroupRows:
    """One group's events, in log order, and reads, cut into shards of keys."""

    def __init__(
        self, plan: EnginePlan, log: "Log", spine: "Spine", group: GroupPlan, table: EventTable,
        input_rows: Mapping[InputKey, int], pool: ThreadPoolExecutor,
    ) -> None:  # fmt: skip
        self.plan, self.log, self.spine, self.group, self.table = plan, log, spine, group, table
        # Row of a block's values of each input; row 0 is the time.
        self.places = input_rows
        self.sources = [log.columns[source.name] for source in group.sources if source.name in log.columns]
        # Items of source s are [firsts[s], firsts[s + 1]), and bit numbers[s] of a mask says whether it is wanted.
        self.firsts = np.cumsum([0, *(len(columns) for columns in self.sources)])
        self.numbers = [plan.source_number(columns.source) for columns in self.sources]
        self.read_keys = spine.scored.keys(group.group.entity)
        # A spine of the group's only source reads at each event, so reads are sorted as events are.
        self.mirrored = (
            len(self.sources) == 1
            and self.sources[0] is spine.scored
            and spine.rank is log.ranks[spine.scored.source.name]
            and bool(sorting.ascending(spine.rank))
        )
        self.bits = min(MOST_SHARD_BITS, max(0, (len(spine) // SHARD_READS).bit_length()))
        in_log_order = _order(self._read_ranks())
        self.tables = self._tables(table)
        if self.mirrored:
            self.reads = self.events = Shards(self.read_keys, in_log_order, self.bits, pool)
        else:
            self.reads = Shards(self.read_keys, in_log_order, self.bits, pool)
            keys = joined([columns.keys(group.group.entity) for columns in self.sources])
            self.events = Shards(keys, _order(self.rank), self.bits, pool)

    @property
    def names_all(self) -> bool:
        """Whether every row names an entity of the group."""
        return len(self.reads.rows) == len(self.read_keys)

    def _tables(self, table: EventTable) -> list[_Table]:
        """Which columns of each source's rows a group's events need, and which of a block's values they become."""
        found = []
        for first, columns in zip(self.firsts, self.sources, strict=False):
            name = columns.source.name
            inputs = ((table.column[key], row) for key, row in self.places.items() if key[0] == name)
            wanted = [(column, row) for column, row in ((0, 0), *inputs)]
            found.append((int(first), table.rows[name], np.array(wanted, np.int64)))
        return found

    def _read_ranks(self) -> Ints:
        """What to order reads by; positions that are nested have ascending sums."""
        if self.spine.rank is not None:
            return self.spine.rank
        assert self.spine.positions is not None
        return np.array(
            [sum(offset + 1 for offset in row.get(self.group.name, {}).values()) for row in self.spine.positions],
            np.int64,
        )

    def __len__(self) -> int:
        """Number of shards."""
        return 1 << self.bits

    @cached_property
    def rank(self) -> Ints:
        return self._joined(lambda columns: self.log.ranks[columns.source.name])

    @cached_property
    def source(self) -> Ints:
        """Registry number of each event's source."""
        return self._joined(lambda columns: np.full(len(columns), self.plan.source_number(columns.source), np.int64))

    @cached_property
    def ids(self) -> Ints:
        return self._joined(lambda columns: columns.ids)

    @cached_property
    def payload(self) -> Ints:
        return self._joined(lambda columns: self.table.payload(columns))

    @cached_property
    def tp_offset(self) -> tuple[Ints, Ints]:
        return self._joined(lambda columns: columns.tp), self._joined(lambda columns: columns.offset)

    def _joined(self, column: Callable[[Columns], Ints]) -> Ints:
        return joined([column(columns) for columns in self.sources])

    def blocks(self, shard: int) -> Iterator["Block"]:
        """The shard's keys that have reads, in blocks: those in order of event time, then those with late events."""
        reads = self.reads.rows[self.reads.of(shard)]
        if not len(reads):
            return
        if self.spine.positions is None:
            yield from self._split(self._sorted(shard, reads, None))
            return
        held = _Held.of(self, reads[:, sorting.ITEM], reads[:, sorting.KEY])
        for chain in range(held.chains):
            mine = np.flatnonzero(held.chain == chain)
            yield from self._split(self._sorted(shard, reads[mine], held.take(mine)))

    def _sorted(self, shard: int, reads: Ints, held: "_Held | None") -> "Block":
        """The reads and the events of their keys, by key. By position, events are ranked by the first read that holds them."""
        table = np.full(1 << max(4, (2 * len(reads)).bit_length()), -1, np.int32)
        numbers = np.empty(len(reads), np.int64)
        n_keys = sorting.number_keys(reads, table, numbers)
        starts, by_key = _by_key(numbers, n_keys)
        if self.mirrored:
            # Rows stand in log order, so they rank themselves.
            row_of = _items_at(reads, by_key)
            values = self._values(row_of)
            return Block(self, starts, row_of, row_of, values[0], starts, row_of, row_of, values)
        mine = self.events.rows[self.events.of(shard)]
        codes = np.empty(len(mine), np.int64)
        sorting.find_keys(mine, reads, table, numbers, codes)
        events, places = _by_key(codes, n_keys)
        row_of = _items_at(reads, by_key)
        order = _items_at(mine, places)
        rd_time = self.spine.time[row_of]
        if held is None:
            assert self.spine.rank is not None
            return Block(
                self, starts, row_of, self.spine.rank[row_of], rd_time, events, order, self.rank[order], self._values(order)
            )  # fmt: skip
        ranks = np.empty(len(order), np.int64)
        tp, offset = self.tp_offset
        sorting.covered_ranks(events, tp[order], offset[order], starts, *held.take(by_key).positions, ranks)
        # Events that the same read first holds keep log order; the order of folding does not matter.
        by_rank = np.lexsort((ranks, np.repeat(np.arange(n_keys), np.diff(events))))
        read_ranks = np.arange(1, len(row_of) + 1, dtype=np.int64)
        order = order[by_rank]
        return Block(self, starts, row_of, read_ranks, rd_time, events, order, ranks[by_rank], self._values(order))

    def _values(self, items: Ints) -> Ints:
        """(1 + inputs, n) times and inputs of these events; null where an event's source has none."""
        shape = (1 + len(self.places), len(items))
        # By what the group reads, not by what the log has: inputs of a source without an event are nobody's to fill.
        found = np.empty(shape, np.int64) if len(self.group.sources) == 1 else np.full(shape, NULL, np.int64)
        for first, rows, columns in self.tables:
            sorting.gather_columns(items, first, rows, columns, found)
        return found

    def _split(self, block: "Block") -> Iterator["Block"]:
        """Keys in order of event time apart from those with late events, which need the slower kernels."""
        n_keys = len(block.reads) - 1
        number = np.empty(n_keys, np.int64)
        in_order = int(sorting.late_keys_last(block.events, block.values[0], number))
        if 0 < in_order < n_keys:
            block = block.arranged(number)
            yield block.keys(0, in_order)
            yield block.keys(in_order, n_keys)
        else:
            yield block


def _order(rank: Ints) -> Ints:
    """Indices by ascending rank; a log's only source is ranked by them already."""
    if not sorting.ascending(rank):
        return np.argsort(rank, kind="stable")
    counts_up = len(rank) > 0 and rank[0] == 0 and bool(sorting.counts_up(rank))
    return rank if counts_up else np.arange(len(rank), dtype=np.int64)


def _by_key(codes: Ints, n_keys: int) -> tuple[Ints, Ints]:
    starts, places = np.empty(n_keys + 1, np.int64), np.empty(len(codes), np.int64)
    sorting.sort_by_key(codes, starts, places)
    return starts, places[: starts[-1]]


def _items_at(rows: Ints, places: Ints) -> Ints:
    """numpy's own indexing of a matrix takes ten times as long."""
    items = np.empty(len(places), np.int64)
    sorting.items_at(rows, places, items)
    return items


@dataclass(frozen=True)
class _Held:
    """Logged positions of some reads: starts (n + 1,), then topic and partition, and offset, of each part. chain: (n,)."""

    positions: tuple[Ints, Ints, Ints]
    chain: Ints
    chains: int

    @classmethod
    def of(cls, rows: GroupRows, reads: Ints, keys: Ints) -> "_Held":
        """The positions of reads, in order of their sums, and how they fall into chains of nested ones."""
        assert rows.spine.positions is not None
        held = [rows.spine.positions[row].get(rows.group.name, {}) for row in reads]
        starts = np.cumsum([0, *(len(position) for position in held)]).astype(np.int64)
        tps = np.array([rows.plan.topic_code(*tp) for position in held for tp in position], np.int64)
        offsets = np.array([offset for position in held for offset in position.values()], np.int64)
        by_key = np.argsort(keys, kind="stable")
        bounds = np.flatnonzero(np.diff(keys[by_key])) + 1
        unchained = cls((starts, tps, offsets), np.zeros(len(reads), np.int64), 1).take(by_key)
        chain = np.empty(len(reads), np.int64)
        key_starts = np.array([0, *bounds, len(reads)], np.int64)
        chains = sorting.chain_reads(key_starts, *unchained.positions, chain, np.empty(len(reads), np.int64))
        back = np.empty(len(reads), np.int64)
        back[by_key] = chain
        return cls((starts, tps, offsets), back, int(chains))

    def take(self, rows: Ints) -> "_Held":
        starts, tps, offsets = self.positions
        sizes = starts[rows + 1] - starts[rows]
        taken = np.cumsum([0, *sizes]).astype(np.int64)
        parts = np.repeat(starts[rows] - taken[:-1], sizes) + np.arange(taken[-1], dtype=np.int64)
        return _Held((taken, tps[parts], offsets[parts]), self.chain[rows], self.chains)


@dataclass(frozen=True)
class Block:
    """Some keys' reads and events, sorted by key.

    reads, events: (n_keys + 1,) starts. row_of, rd_time: (n_reads,) row of the spine, its time. order: (n_events,) index
    into the group's events. rd_rank, rank: a read knows the events of its key of lower rank.
    values: (1 + inputs, n_events) time and inputs of the events.
    """

    rows: GroupRows
    reads: Ints
    row_of: Ints
    rd_rank: Ints
    rd_time: Ints
    events: Ints
    order: Ints
    rank: Ints
    values: Ints

    def __len__(self) -> int:
        return len(self.row_of)

    def keys(self, first: int, end: int) -> "Block":
        """Keys [first, end) alone."""
        reads, events = self.reads[first : end + 1], self.events[first : end + 1]
        read, event = slice(reads[0], reads[-1]), slice(events[0], events[-1])
        return Block(
            self.rows, reads - reads[0], self.row_of[read], self.rd_rank[read], self.rd_time[read],
            events - events[0], self.order[event], self.rank[event], self.values[:, event],
        )  # fmt: skip

    def arranged(self, number: Ints) -> "Block":
        """The same keys, renumbered."""
        reads, read = np.empty_like(self.reads), np.empty_like(self.row_of)
        sorting.arrange_keys(self.reads, number, reads, read)
        events, event = np.empty_like(self.events), np.empty_like(self.order)
        sorting.arrange_keys(self.events, number, events, event)
        return Block(
            self.rows, reads, self.row_of[read], self.rd_rank[read], self.rd_time[read],
            events, self.order[event], self.rank[event], self.values[:, event],
        )  # fmt: skip

    def of_sources(self, mask: int, inputs: Ints) -> "BlockEvents":
        """The events of some sources; bit n is the source of registry number n. inputs: the rows of values wanted."""
        rows = self.rows
        wanted = np.array([mask >> number & 1 for number in rows.numbers], np.int64)
        if wanted.all():
            return BlockEvents(self, self.events, self.order, self.rank, self.values, rows.mirrored)
        events, places = np.empty_like(self.events), np.empty(len(self.order) + 1, np.int64)
        kept = sorting.keep_sources(self.order, self.events, rows.firsts, wanted, places, events)
        chosen = places[:kept]
        # Rows that are not wanted are never touched: they cost an address and no memory.
        values = np.empty((len(self.values), kept), np.int64)
        sorting.take_rows(self.values, inputs, chosen, values)
        return BlockEvents(self, events, self.order[chosen], self.rank[chosen], values)


class BlockEvents:
    """The events of some sources in a block, and what the windows of several views share of them."""

    def __init__(
        self, block: Block, events: Ints, order: Ints, rank: Ints, values: Ints, mirrored: bool = False
    ) -> None:
        self.block, self.events, self.order, self.values = block, events, order, values
        self.time = values[0]
        self.applied, self.newest = np.empty(len(block), np.int64), np.empty(len(block), np.int64)
        if mirrored:
            sorting.align_with_events(events, self.time, self.applied, self.newest)
        else:
            sorting.align_reads(events, block.reads, rank, self.time, block.rd_rank, self.applied, self.newest)
        self.in_order = bool(ordered.all_in_order(events, self.time))
        self._links: dict[tuple[object, ...], tuple[Ints, Ints]] = {}
        self._ranked: dict[tuple[object, ...], tuple[Ints, Ints]] = {}

    def __len__(self) -> int:
        return len(self.order)

    def input(self, item: Input) -> Ints:
        """(n_events,) NULL for events of other sources."""
        return self.values[self.block.rows.places[item.key()]]

    def identity(self) -> tuple[Ints, Ints, Ints]:
        """Source, id and payload hash of each event: what decides ties of `last` and of profile versions.

        Nearly no log has ties, and hashing every field of every event is dear: without one, all are 0.
        """
        if self.in_order and not ordered.any_tie(self.events, self.time):
            nothing = np.zeros(len(self), np.int64)
            return nothing, nothing, nothing
        rows = self.block.rows
        return rows.source[self.order], rows.ids[self.order], rows.payload[self.order]

    def links(self, item: Input) -> tuple[Ints, Ints]:
        """The previous and next event of the same key with the same value of an input; events in order only."""
        key = item.key()
        if key not in self._links:
            before, after = np.empty(len(self), np.int64), np.empty(len(self), np.int64)
            table = np.full(1 << max(4, (2 * len(self)).bit_length()), -1, np.int64)
            distinct.link_equal(self.events, self.input(item), table, before, after)
            self._links[key] = before, after
        return self._links[key]

    def ranked(self, item: Input, key: int) -> tuple[Ints, Ints]:
        """(ranks of the events, the values ascending) of one key with many distinct values."""
        name = (key, *item.key())
        if name not in self._ranked:
            mine = slice(self.events[key], self.events[key + 1])
            ranks, ranked = np.empty(mine.stop - mine.start, np.int64), np.empty(mine.stop - mine.start, np.int64)
            size = distinct.rank_values(self.input(item)[mine], self.links(item)[0][mine], mine.start, ranks, ranked)
            self._ranked[name] = ranks, ranked[:size]
        return self._ranked[name]
