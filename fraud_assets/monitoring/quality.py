"""What can be wrong with a day of raw events, counted in one pass of SQL.

The worker quarantines bad events before they reach the lake; what is found here came another way
(an import, a bug, a disk) and must stop before anything is computed from it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import LOG_ORDER, POSITION_COLUMNS

# A profile's valid-from may lie ahead; any other event dated later than this was never admitted.
MAX_AHEAD_MS = 5 * 60_000
HOUR_MS = 60 * 60_000
# Where the contract's bounds are: what is outside was written by somebody else than our codec.
RANGES = {
    "transactions": "amount_minor NOT BETWEEN 0 AND 1000000000000 OR ticket_count NOT BETWEEN 1 AND 1000000",
    "activity": "inventory < 0 OR tickets_sold < 0 OR capacity < 0",
    "profiles": "created_at_ms < 0 OR address_changed_at_ms < 0",
    "labels": "revision NOT BETWEEN 0 AND 1000000",
    "decisions": "fraud_score NOT BETWEEN 0 AND 1 OR latency_ms < 0",
    "explanations": "NOT isfinite(margin) OR NOT isfinite(base_value)",
    "price_decisions": "price_minor NOT BETWEEN 1 AND 1000000000000 OR base_price_minor NOT BETWEEN 1 AND 1000000000000",
    "price_outcomes": "tickets_sold < 0 OR visitors < 0",
}
IDS = {
    "transactions": "transaction_id",
    "activity": "activity_id",
    "profiles": "profile_id",
    "labels": "label_id",
    "decisions": "decision_id",
    "explanations": "decision_id",
    "price_decisions": "decision_id",
    "price_outcomes": "decision_id",
}
OWNERS = {
    "transactions": "account_id",
    "activity": "event_id",
    "profiles": "account_id",
    "labels": "account_id",
    "decisions": "account_id",
    "explanations": "account_id",
    "price_decisions": "event_id",
    "price_outcomes": "event_id",
}
MAY_BE_AHEAD = frozenset({"profiles"})
NAMED = 3  # days that a refusal names; whoever mends those finds the others


class BadRawDay(ValueError):
    """A day of raw events fails a blocking check: nothing may be made of it. The message names what and where."""


@dataclass(frozen=True)
class Quality:
    """rows: without duplicates; duplicates: marked by the dedupe stage. by_hour: (24,) rows by the hour of their event
    time, UTC, where a source that fell silent shows at once. The others should be 0.
    """

    rows: int
    duplicates: int
    empty_ids: int
    repeated_ids: int
    repeated_positions: int
    future_dated: int
    out_of_range: int
    last_arrival_ms: int
    by_hour: tuple[int, ...]

    def problems(self) -> dict[str, int]:
        """Counts by the name of the check that stops on them."""
        return {
            "no_empty_ids": self.empty_ids,
            "no_duplicates": self.repeated_ids + self.repeated_positions,
            "no_future_events": self.future_dated,
            "values_in_range": self.out_of_range,
        }


def quality_of(
    connection: duckdb.DuckDBPyConnection, lake: Lake, horizon_ms: int, table: str, from_ms: int, to_ms: int
) -> Quality:
    """Counts over a table's rows with event time in [from_ms, to_ms); see `quality_by_day`. Raises UnknownTable."""
    return _sum(quality_by_day(connection, lake, horizon_ms, table, from_ms, to_ms).values())


def quality_by_day(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    horizon_ms: int,
    table: str,
    from_ms: int | None = None,
    to_ms: int | None = None,
    as_known_at_ms: int | None = None,
) -> dict[str, Quality]:
    """Counts of each event date that has rows, ascending. A repeat counts where its later copy is. Raises UnknownTable.

    horizon_ms: of arrival time, within which the dedupe stage should have marked a copy; after it, it is another event.
    """
    rows = lake.scan(table, from_ms, to_ms, as_known_at_ms, _columns(lake.schema(table)), duplicates=True)
    ahead = "FALSE" if table in MAY_BE_AHEAD else f"event_time_ms > ingested_at_ms + {MAX_AHEAD_MS}"
    connection.register("events", rows)
    found = connection.execute(
        _SQL.format(
            id=IDS[table],
            owner=OWNERS[table],
            ahead=ahead,
            range=RANGES[table],
            log_order=", ".join(LOG_ORDER),
            day_ms=DAY_MS,
            hour_ms=HOUR_MS,
            horizon_ms=horizon_ms,
        )
    ).fetchall()
    connection.unregister("events")
    return {str(day): Quality(*_counted(counts)) for day, *counts in found}


def _counted(counts: Sequence[Any]) -> list[Any]:
    """One row of the query as `Quality` has it: a histogram names only the hours that it saw."""
    *numbers, hours = counts
    return [*map(int, numbers), tuple((hours or {}).get(hour, 0) for hour in range(24))]


def refuse_bad_days(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    horizon_ms: int,
    tables: Sequence[str],
    *,
    as_known_at_ms: int | None = None,
    arrived_from_ms: int = 0,
) -> None:
    """Judge again what is about to be read, for the run that judged it first may have been another, or none.

    Of each table the rows that had arrived before `as_known_at_ms`, on days with an arrival from `arrived_from_ms`.
    Raises BadRawDay.
    """
    _refuse(
        fault
        for table in tables
        for fault in _faults(
            table, quality_by_day(connection, lake, horizon_ms, table, as_known_at_ms=as_known_at_ms), arrived_from_ms
        )
    )


@dataclass
class Judge:
    """`refuse_bad_days` for a run that makes many things of the same days, each table judged once."""

    lake: Lake
    horizon_ms: int
    _found: dict[tuple[str, int], list[str]] = field(default_factory=dict)

    def refuse_bad_days(self, connection: duckdb.DuckDBPyConnection, tables: Sequence[str], to_ms: int) -> None:
        """Of the days before `to_ms`, whenever their events arrived. Raises BadRawDay."""
        for table in tables:
            if (table, to_ms) not in self._found:
                days = quality_by_day(connection, self.lake, self.horizon_ms, table, to_ms=to_ms)
                self._found[table, to_ms] = _faults(table, days)
        _refuse(fault for table in tables for fault in self._found[table, to_ms])


def _faults(table: str, days: Mapping[str, Quality], arrived_from_ms: int = 0) -> list[str]:
    return [
        f"{table} of {day} fails {check} ({count} rows)"
        for day, found in days.items()
        for check, count in found.problems().items()
        if count and found.last_arrival_ms >= arrived_from_ms
    ]


def _refuse(faults: Iterable[str]) -> None:
    bad = list(faults)
    if bad:
        others = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        raise BadRawDay(
            f"BadRawDay: {'; '.join(bad[:NAMED])}{others}. Nothing was written. Mend the day in the lake "
            "(docs/operations.md, 'When a raw day is bad'), materialize it until its checks pass, then this again."
        )


def _columns(schema: pa.Schema) -> list[str]:
    """What the query reads: a decision's vector is a hundred times the rest of its row."""
    judged = {*IDS.values(), *OWNERS.values(), *(word for text in RANGES.values() for word in re.findall(r"\w+", text))}
    wanted = {"event_time_ms", *judged, *(field.name for field in POSITION_COLUMNS)}
    return [name for name in schema.names if name in wanted]


def _sum(days: Iterable[Quality]) -> Quality:
    """Counts add up; the last arrival is the latest."""
    *counts, arrivals, hours = zip(*map(astuple, [_NOTHING, *days]), strict=True)
    added: list[Any] = [*map(sum, counts), max(arrivals), tuple(map(sum, zip(*hours, strict=True)))]
    return Quality(*added)


_NOTHING = Quality(0, 0, 0, 0, 0, 0, 0, 0, (0,) * 24)

# Groups first: few rows are repeats, and numbering all of them to find those would take four times as long.
_SQL = """
WITH dated AS (
    SELECT *, strftime(make_timestamp(event_time_ms // {day_ms} * {day_ms} * 1000), '%Y-%m-%d') AS event_date FROM events
), firsts AS (
    SELECT * FROM dated WHERE NOT is_duplicate
), shared_ids AS (
    SELECT {owner}, {id} FROM firsts GROUP BY {owner}, {id} HAVING count(*) > 1
), shared_positions AS (
    SELECT source_topic, source_partition, source_offset FROM dated
    GROUP BY source_topic, source_partition, source_offset HAVING count(*) > 1
), repeated_ids AS (
    SELECT
        event_date,
        ingested_at_ms - lag(ingested_at_ms) OVER (PARTITION BY {owner}, {id} ORDER BY {log_order}) AS after_ms
    FROM firsts SEMI JOIN shared_ids USING ({owner}, {id})
), repeated_positions AS (
    SELECT
        event_date,
        row_number() OVER (PARTITION BY source_topic, source_partition, source_offset ORDER BY ingested_at_ms) AS nth
    FROM dated SEMI JOIN shared_positions USING (source_topic, source_partition, source_offset)
)
SELECT
    event_date,
    count(*) FILTER (NOT is_duplicate) AS n_rows,
    count(*) FILTER (is_duplicate) AS duplicates,
    count(*) FILTER (NOT is_duplicate AND (coalesce({id}, '') = '' OR coalesce({owner}, '') = '')) AS empty_ids,
    (SELECT count(*) FROM repeated_ids AS r WHERE r.after_ms <= {horizon_ms} AND r.event_date = d.event_date) AS repeated_ids,
    (SELECT count(*) FROM repeated_positions AS r WHERE r.nth > 1 AND r.event_date = d.event_date) AS repeated_positions,
    count(*) FILTER (NOT is_duplicate AND ({ahead})) AS future_dated,
    count(*) FILTER (NOT is_duplicate AND ({range})) AS out_of_range,
    max(ingested_at_ms) AS last_arrival_ms,
    histogram(event_time_ms // {hour_ms} % 24) FILTER (NOT is_duplicate) AS by_hour
FROM dated AS d
GROUP BY event_date
ORDER BY event_date
"""
