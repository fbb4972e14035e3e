"""Feature views at rest: point-in-time values of a day's transactions, one table a view.

The same columns, the same bits and the same log order as a decision would have read at that event.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from fraud_assets.engine.batch import Log, Spine, Vectors, vectors
from fraud_assets.engine.plan import Ints, ServicePlan
from fraud_assets.engine.prepare import Columns
from fraud_assets.features.language import FeatureView
from fraud_assets.features.sources import Source
from fraud_assets.stores.buckets import BucketedValues
from fraud_assets.stores.frames import to_arrow, topic_codes
from fraud_assets.stores.history import HistoryReader, rows_between, view_service
from fraud_assets.stores.lake import Lake, start_ms
from fraud_assets.stores.schemas import POSITION_COLUMNS

DAY_MS = 86_400_000
# Events of all sources of a view: with what is made of them some 2 GB.
ROWS_AT_ONCE = 10_000_000


class LogChanged(RuntimeError):
    """Rows of a day went, or came between others, while a view was computed; of that day and those after it nothing was written."""


@dataclass(frozen=True)
class ViewCounts:
    """null_share: of all values. present: share of rows whose view was neither stale nor missing.

    null_shares: of the newest day, by feature.
    """

    rows: int
    transactions: int
    null_share: float
    present: float
    null_shares: Mapping[str, float]


def view_schema(service: ServicePlan, scored: Source) -> pa.Schema:
    """Identity and time of the transaction, the view's features, its status and age by entity, log position.

    The last two begin with `view_`: a feature may be called `account_age_s`.
    """
    return pa.schema(
        [
            pa.field(scored.id_field, pa.string(), nullable=False),
            pa.field("event_time_ms", pa.int64(), nullable=False),
            *(pa.field(name, pa.float32()) for name in service.names),
            *(pa.field(f"view_status_{name}", pa.int8()) for name in _entities(service)),
            *(pa.field(f"view_age_s_{name}", pa.float32()) for name in _entities(service)),
            *POSITION_COLUMNS,
        ]
    )


def feature_lake(root: str | Path, service: ServicePlan, view: FeatureView) -> Lake:
    """Tables of features beside the raw ones, as atomic and as readable."""
    scored = service.service.scored
    return Lake(root, {view.name: view_schema(view_service(service.engine, view, scored), scored)})


class DayOfView(NamedTuple):
    """A day of a view. rows: as `view_schema` has them, in log order. transactions: how many there should be."""

    day: str
    rows: pa.Table
    transactions: int


# What computes a view's days: this process (`here`), or a cluster (`stores/spark_views.py`).
Execution = Callable[[HistoryReader, ServicePlan, Sequence[str]], Iterator[DayOfView]]


def write_view(
    features: Lake,
    reader: HistoryReader,
    view: FeatureView,
    scored: Source,
    days: Sequence[str],
    execution: Execution | None = None,
) -> ViewCounts:
    """Compute and replace these days' partitions of a view, `days` ascending and without gaps; by default here."""
    service = view_service(reader.plan, view, scored)
    rows = transactions = nulls = present = 0
    newest: dict[str, float] = {}
    for day, table, expected in (execution or here)(reader, service, days):
        features.write_partition(view.name, day, table)
        null_counts = {name: int(np.isnan(table[name].to_numpy()).sum()) for name in service.names}
        newest = {name: count / max(table.num_rows, 1) for name, count in null_counts.items()}
        rows += table.num_rows
        transactions += expected
        nulls += sum(null_counts.values())
        present += sum(int((table[name].to_numpy() == 0).sum()) for name in _statuses(service))
    return ViewCounts(
        rows=rows,
        transactions=transactions,
        null_share=nulls / (rows * len(service.names)) if rows else 0.0,
        present=present / (rows * len(service.units)) if rows else 0.0,
        null_shares=newest,
    )


def here(
    reader: HistoryReader, service: ServicePlan, days: Sequence[str], rows_at_once: int = ROWS_AT_ONCE
) -> Iterator[DayOfView]:
    """In this process: all days at once, or, of more events than `rows_at_once`, a bucket of keys at a time (`buckets.py`)."""
    scored = service.service.scored
    columns = {source.name: reader.columns(source) for source in service.sources}
    chosen = rows_between(columns[scored.name], *range_of(days))
    day = (columns[scored.name].time[chosen] - start_ms(days[0])) // DAY_MS
    found = _values(service, list(columns.values()), chosen, day, len(days), rows_at_once)
    for number, name in enumerate(days):
        start, mine = start_ms(name), chosen[day == number]
        known = reader.lake.scan(scored.table, start, start + DAY_MS, columns=row_columns(scored))
        # The reader may have read before this scan; what has arrived in between is tomorrow's business.
        rows = known.slice(0, len(mine))
        if not _are_of(rows, columns[scored.name], mine, service):
            raise LogChanged(
                f"LogChanged: {scored.table} of {name} has other rows before its end than a moment ago (an erasure, or a late partition). Compute {service.service.name} again."
            )
        yield DayOfView(name, _table(rows, service, found(number)), len(mine))


def _values(
    service: ServicePlan, columns: Sequence[Columns], chosen: Ints, day: Ints, days: int, rows_at_once: int
) -> Callable[[int], Vectors]:
    """Of a day by its number, in log order."""
    if sum(map(len, columns)) > rows_at_once:
        return BucketedValues(service, columns, chosen, day, days, rows_at_once).of
    log = Log(service.engine, columns)
    found = vectors(service, log, Spine.of_events(log, service.service.scored.name).take(chosen), freshness=True)
    assert found.status is not None and found.age_s is not None, "vectors(…, freshness=True) gives status and age"
    status, age_s = found.status, found.age_s
    return lambda number: Vectors(found.features[day == number], status[day == number], age_s[day == number])


def _are_of(rows: pa.Table, read: Columns, mine: Ints, service: ServicePlan) -> bool:
    """Whether these rows are the events that the features were computed of, one by one."""
    if rows.num_rows != len(mine):
        return False
    codes = topic_codes(service.engine, rows["source_topic"], rows["source_partition"])
    places = (rows["source_offset"].to_numpy(), rows["ingested_at_ms"].to_numpy())
    return all(map(np.array_equal, (codes, *places), (read.tp[mine], read.offset[mine], read.arrival_ms[mine])))


def range_of(days: Sequence[str]) -> tuple[int, int]:
    return start_ms(days[0]), start_ms(days[-1]) + DAY_MS


def row_columns(scored: Source) -> list[str]:
    """What a row of a view has of its transaction."""
    return [scored.id_field, "event_time_ms", *(field.name for field in POSITION_COLUMNS)]


def _statuses(service: ServicePlan) -> list[str]:
    return [f"view_status_{name}" for name in _entities(service)]


def _entities(service: ServicePlan) -> list[str]:
    return [name.partition("@")[2] for name in service.unit_names]


def _table(rows: pa.Table, service: ServicePlan, found: Vectors) -> pa.Table:
    assert found.status is not None and found.age_s is not None
    columns = {name: rows[name] for name in rows.column_names}
    columns |= dict(zip(service.names, to_arrow(service.names, found.features).columns, strict=True))
    for place, name in enumerate(_entities(service)):
        columns[f"view_status_{name}"] = pa.array(np.ascontiguousarray(found.status[:, place]))
        columns[f"view_age_s_{name}"] = pa.array(np.ascontiguousarray(found.age_s[:, place]))
    return pa.table(columns)
