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
_COLUMNS = [*TRANSACTION_COLUMNS, "source_topic"]


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
    history = _History.of(lake, round(label_delay_days * DAY_MS), to_ms)
    facts = fraud = asserted = 0
    for day in range(from_ms // DAY_MS, -(-to_ms // DAY_MS)):
        until_ms = min((day + 1) * DAY_MS, to_ms)
        transactions, labels = history.of_day(day, until_ms)
        rows = facts_between(transactions, labels, day * DAY_MS, min(until_ms, history.end_ms), label_delay_days)
        lake.append("label_facts", rows, f"import-{np.datetime64(day, 'D')}", rewrite=True)
        kept = rows.filter(pc.greater(rows["sign"], 0))
        facts, asserted = facts + rows.num_rows, asserted + kept.num_rows
        fraud += int(pc.sum(kept["is_fraud"].cast(pa.int64())).as_py() or 0)
    return FactCounts(facts, fraud, facts - asserted)


@dataclass(frozen=True)
class _History:
    """What an import has of each day, as known at the end of a range.

    end_ms: the first instant after its newest transaction or label, of all days: a range must not see another end. due: by day since 1970 of the event, the days
    on which its transactions mature. said: all labels. spoken_of: the transactions that they name.
    """

    lake: Lake
    delay_ms: int
    end_ms: int
    due: Mapping[int, frozenset[int]]
    said: pa.Table
    spoken_of: pa.Table

    @classmethod
    def of(cls, lake: Lake, delay_ms: int, to_ms: int) -> "_History":
        said = _imported(lake.scan("labels", columns=[*LABEL_COLUMNS, "source_topic"]))
        newest, due = [0, pc.max(said["ingested_at_ms"]).as_py() or 0], {}
        said = said.filter(pc.less(said["ingested_at_ms"], to_ms))
        named = ("transaction_id", said["transaction_id"].unique())
        spoken_of = [lake.schema("transactions").empty_table().select(_COLUMNS)]
        for day in _days(lake):
            rows = _imported(_of_day(lake, day, ["event_time_ms", "ingested_at_ms", "source_topic"]))
            arrival, matures = _moments(rows, delay_ms)
            newest.append(int(arrival.max(initial=0)))
            due[day] = frozenset(np.unique(matures // DAY_MS).tolist())
            spoken_of.append(_of_day(lake, day, _COLUMNS, to_ms, named))
        return cls(lake, delay_ms, max(newest) + 1, due, said, _imported(pa.concat_tables(spoken_of)))

    def of_day(self, day: int, until_ms: int) -> tuple[pa.Table, pa.Table]:
        """What facts of a day are made of, as known at `until_ms`: transactions that mature on it, those that are spoken of and move, and their labels."""
        labels = self.said.filter(pc.less(self.said["ingested_at_ms"], until_ms))
        new = labels.filter(pc.greater_equal(labels["ingested_at_ms"], day * DAY_MS))
        silent = [self._maturing(of, day, until_ms) for of, days in self.due.items() if day in days]
        known = self.spoken_of.filter(pc.less(self.spoken_of["ingested_at_ms"], until_ms))
        arrival, due = _moments(known, self.delay_ms)
        moves = pc.or_(
            pa.array((arrival // DAY_MS == day) | (due // DAY_MS == day)),
            pc.is_in(known["transaction_id"], new["transaction_id"].combine_chunks()),
        )
        transactions = pa.concat_tables([known.filter(moves), *silent])
        ids = transactions["transaction_id"].combine_chunks()
        return transactions, labels.filter(pc.is_in(labels["transaction_id"], ids))

    def _maturing(self, of: int, day: int, until_ms: int) -> pa.Table:
        """Transactions of a day that mature on another, but those that somebody speaks of."""
        rows = _imported(_of_day(self.lake, of, _COLUMNS, until_ms))
        _, due = _moments(rows, self.delay_ms)
        spoken = pc.is_in(rows["transaction_id"], self.spoken_of["transaction_id"].combine_chunks())
        return rows.filter(pc.and_(pa.array(due // DAY_MS == day), pc.invert(spoken)))


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
