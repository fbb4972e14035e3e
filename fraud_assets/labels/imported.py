"""The label facts of imported history, written to the lake by the day they arrive."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.labels.history import LABEL_COLUMNS, TRANSACTION_COLUMNS, facts_between
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.parquet import Among

IMPORT_PREFIX = "import."
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FactCounts:
    """facts: rows written, retractions among them. fraud: of those that assert, not retract."""

    facts: int
    fraud: int
    retractions: int


def write_imported_facts(lake: Lake, from_ms: int, to_ms: int, label_delay_days: float) -> FactCounts:
    """Append the facts that arrived in [from_ms, to_ms), whole days, replacing those of an earlier run.

    They end where the import ends. From then on the worker's label stage settles imported transactions
    too, and a fact made twice would count twice. A day at a time: what a day's facts need of the history is a few of its days, and
    those whom somebody speaks of.
    """
    history = _History.of(lake, round(label_delay_days * DAY_MS))
    facts = fraud = asserted = 0
    for day in range(from_ms // DAY_MS, -(-to_ms // DAY_MS)):
        until_ms = min((day + 1) * DAY_MS, to_ms)
        labels = history.labels_before(until_ms)
        new = labels.filter(pc.greater_equal(labels["ingested_at_ms"], day * DAY_MS))
        transactions = history.moved(day, until_ms, new["transaction_id"].unique())
        heard = labels.filter(pc.is_in(labels["transaction_id"], transactions["transaction_id"].combine_chunks()))
        rows = facts_between(transactions, heard, day * DAY_MS, min(until_ms, history.end_ms), label_delay_days)
        lake.append("label_facts", rows, f"import-{np.datetime64(day, 'D')}", rewrite=True)
        kept = rows.filter(pc.greater(rows["sign"], 0))
        facts, asserted = facts + rows.num_rows, asserted + kept.num_rows
        fraud += int(pc.sum(kept["is_fraud"].cast(pa.int64())).as_py() or 0)
    return FactCounts(facts, fraud, facts - asserted)


@dataclass(frozen=True)
class _History:
    """What an import has of each day. end_ms: the first instant after its newest transaction or label, of all days: a range must not see another end.

    moves: by day since 1970 of the event, the days on which its transactions arrive or mature. said: all labels.
    """

    lake: Lake
    delay_ms: int
    end_ms: int
    moves: Mapping[int, frozenset[int]]
    said: pa.Table

    @classmethod
    def of(cls, lake: Lake, delay_ms: int) -> "_History":
        said = _imported(lake.scan("labels", columns=[*LABEL_COLUMNS, "source_topic"]))
        newest = [0, pc.max(said["ingested_at_ms"]).as_py() or 0]
        moves = {}
        for day in _days(lake):
            rows = _imported(_of_day(lake, day, ["event_time_ms", "ingested_at_ms", "source_topic"]))
            arrival, due = _moments(rows, delay_ms)
            moves[day] = frozenset(np.unique(np.concatenate([arrival, due]) // DAY_MS).tolist())
            newest.append(int(arrival.max(initial=0)))
        return cls(lake, delay_ms, max(newest) + 1, moves, said)

    def labels_before(self, to_ms: int) -> pa.Table:
        return self.said.filter(pc.less(self.said["ingested_at_ms"], to_ms))

    def moved(self, day: int, to_ms: int, spoken: pa.Array) -> pa.Table:
        """Transactions that arrive or mature on a day, and those of `spoken` ids, as known at `to_ms`."""
        columns = [*TRANSACTION_COLUMNS, "source_topic"]
        parts = [_of_day(self.lake, day, columns).slice(0, 0)]
        for of, moves in self.moves.items():
            if of > to_ms // DAY_MS:
                continue
            rows = _of_day(self.lake, of, columns, to_ms, None if day in moves else ("transaction_id", spoken))
            arrival, due = _moments(rows, self.delay_ms)
            moving = (arrival // DAY_MS == day) | (due // DAY_MS == day)
            parts.append(rows.filter(pc.or_(pa.array(moving), pc.is_in(rows["transaction_id"], spoken))))
        return _imported(pa.concat_tables(parts))


def _days(lake: Lake) -> list[int]:
    return [int(np.datetime64(day, "D").astype(np.int64)) for day in lake.days("transactions")]


def _of_day(
    lake: Lake, day: int, columns: list[str], as_known_at_ms: int | None = None, among: Among | None = None
) -> pa.Table:
    """Transactions of one event date."""
    first = day * DAY_MS
    return lake.scan("transactions", first, first + DAY_MS, as_known_at_ms=as_known_at_ms, columns=columns, among=among)


def _moments(rows: pa.Table, delay_ms: int) -> tuple[Ints, Ints]:
    """(n,) when each transaction arrived, and when its silence says that it was legitimate."""
    arrival = rows["ingested_at_ms"].to_numpy()
    return arrival, np.maximum(arrival, rows["event_time_ms"].to_numpy() + delay_ms)


def _imported(rows: pa.Table) -> pa.Table:
    return rows.filter(pc.starts_with(rows["source_topic"], IMPORT_PREFIX))
