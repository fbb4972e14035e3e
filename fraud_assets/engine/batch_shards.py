"""The log's events as rows, and rows by shard of their keys."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from fraud_assets.engine import batch_sorting as sorting
from fraud_assets.engine.plan import Ints
from fraud_assets.engine.prepare import Columns, input_values
from fraud_assets.features.layout import Input

if TYPE_CHECKING:
    from fraud_assets.engine.batch import Log

# Parts of the log that are sharded side by side.
PARTS = 4
# Events whose inputs are computed at a time: their columns then stay near until they are rows.
TABLE_ROWS = 32_768


class EventTable:
    """The log's events as rows: time, and every input some accumulator takes, computed once for all groups.

    Sorting by key visits events in no order of memory; a row is then one visit, where columns would be many.
    """

    def __init__(self, log: "Log", inputs: Iterable[Input], pool: ThreadPoolExecutor) -> None:
        self.column: dict[tuple[object, ...], int] = {}
        self._payloads: dict[str, Ints] = {}
        wanted: dict[str, list[Input]] = {}
        for item in inputs:
            mine = wanted.setdefault(item.source.name, [])
            if item.key() not in self.column:
                mine.append(item)
                self.column[item.key()] = len(mine)
        self.rows = {
            name: np.empty((len(columns), 1 + len(wanted.get(name, ()))), np.int64)
            for name, columns in log.columns.items()
        }
        parts = [
            (name, slice(first, first + TABLE_ROWS))
            for name, columns in log.columns.items()
            for first in range(0, len(columns), TABLE_ROWS)
        ]
        list(
            pool.map(
                lambda part: self._fill(log.columns[part[0]].take(part[1]), wanted.get(part[0], []), part[1]), parts
            )
        )

    def payload(self, columns: Columns) -> Ints:
        """(n,) hash of every field of a source's events."""
        name = columns.source.name
        if name not in self._payloads:
            self._payloads[name] = columns.payload()
        return self._payloads[name]

    def _fill(self, columns: Columns, inputs: Sequence[Input], at: slice) -> None:
        values = np.empty((1 + len(inputs), len(columns)), np.int64)
        values[0] = columns.time
        for place, item in enumerate(inputs, start=1):
            values[place] = input_values(item, columns)
        sorting.rows_of_columns(values, self.rows[columns.source.name][at])


class Shards:
    """Items of a group by shard of their keys, in log order within each.

    starts: (n_shards + 1,). rows: (n, 2) index of each item among the keys given, and its key. Built by PARTS parts
    of the log side by side.
    """

    def __init__(self, keys: Ints, order: Ints, bits: int, pool: ThreadPoolExecutor) -> None:
        size = -(-len(order) // PARTS) or 1
        parts = [order[first : first + size] for first in range(0, len(order), size)] or [order]
        counts = np.empty((len(parts), 1 << bits), np.int64)
        list(pool.map(lambda i: sorting.count_shards(keys, parts[i], bits, counts[i]), range(len(parts))))
        # Shard by shard, and within a shard part by part.
        ends = np.cumsum(counts.T.ravel()).reshape(counts.T.shape).T
        cursors = np.ascontiguousarray(ends - counts)
        self.starts = np.concatenate([[0], ends[-1]])
        self.rows = np.empty((self.starts[-1], sorting.HEAD), np.int64)
        list(
            pool.map(
                lambda i: sorting.scatter_to_shards(keys, parts[i], bits, cursors[i], self.rows), range(len(parts))
            )
        )

    def of(self, shard: int) -> slice:
        return slice(self.starts[shard], self.starts[shard + 1])


def joined(parts: Sequence[Ints]) -> Ints:
    """One array of several; of a single one no copy."""
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.int64), *parts])
