"""The label facts of imported history, written to the lake by the day they arrive."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.labels.history import LABEL_COLUMNS, TRANSACTION_COLUMNS, facts_between
from fraud_assets.stores.lake import Lake

IMPORT_PREFIX = "import."


@dataclass(frozen=True)
class FactCounts:
    """facts: rows written, retractions among them. fraud: of those that assert, not retract."""

    facts: int
    fraud: int
    retractions: int


def write_imported_facts(lake: Lake, from_ms: int, to_ms: int, label_delay_days: float) -> FactCounts:
    """Append the facts that arrived in [from_ms, to_ms), whole days, replacing those of an earlier run.

    They end where the import ends. From then on the worker's label stage settles imported transactions
    too, and a fact made twice would count twice.
    """
    transactions = _imported(lake, "transactions", TRANSACTION_COLUMNS, to_ms)
    labels = _imported(lake, "labels", LABEL_COLUMNS, to_ms)
    facts = facts_between(transactions, labels, from_ms, min(to_ms, _import_end(lake)), label_delay_days)
    days = facts["ingested_at_ms"].to_numpy() // DAY_MS
    for day in range(from_ms // DAY_MS, -(-to_ms // DAY_MS)):
        rows = facts.filter(pa.array(days == day))
        lake.append("label_facts", rows, f"import-{np.datetime64(day, 'D')}", rewrite=True)
    asserted = facts.filter(pc.greater(facts["sign"], 0))
    fraud = int(pc.sum(asserted["is_fraud"].cast(pa.int64())).as_py() or 0)
    return FactCounts(facts.num_rows, fraud, facts.num_rows - asserted.num_rows)


def _imported(lake: Lake, table: str, columns: list[str], to_ms: int) -> pa.Table:
    rows = lake.scan(table, as_known_at_ms=to_ms, columns=[*columns, "source_topic"])
    return rows.filter(pc.starts_with(rows["source_topic"], IMPORT_PREFIX))


def _import_end(lake: Lake) -> int:
    """First instant after the newest imported transaction or label, of all days: a range must not see another end."""
    newest = [0]
    for table in ("transactions", "labels"):
        rows = lake.scan(table, columns=["ingested_at_ms", "source_topic"])
        newest.append(
            pc.max(rows.filter(pc.starts_with(rows["source_topic"], IMPORT_PREFIX))["ingested_at_ms"]).as_py() or 0
        )
    return max(newest) + 1
