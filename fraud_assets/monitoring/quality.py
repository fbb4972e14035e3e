"""What can be wrong with a day of raw events, counted in one pass of SQL.

The worker quarantines bad events before they reach the lake; what is found here came another way
(an import, a bug, a disk) and must stop before anything is computed from it.
"""

from dataclasses import dataclass

import duckdb
import pyarrow as pa

from fraud_assets.stores.lake import Lake

# A profile's valid-from may lie ahead; any other event dated later than this was never admitted.
MAX_AHEAD_MS = 5 * 60_000
# Where the contract's bounds are: what is outside was written by somebody else than our codec.
RANGES = {
    "transactions": "amount_minor NOT BETWEEN 0 AND 1000000000000 OR ticket_count NOT BETWEEN 1 AND 1000000",
    "activity": "inventory < 0 OR tickets_sold < 0 OR capacity < 0",
    "profiles": "created_at_ms < 0 OR address_changed_at_ms < 0",
    "labels": "revision NOT BETWEEN 0 AND 1000000",
    "decisions": "fraud_score NOT BETWEEN 0 AND 1 OR latency_ms < 0",
}
IDS = {
    "transactions": "transaction_id",
    "activity": "activity_id",
    "profiles": "profile_id",
    "labels": "label_id",
    "decisions": "decision_id",
}
OWNERS = {
    "transactions": "account_id",
    "activity": "event_id",
    "profiles": "account_id",
    "labels": "account_id",
    "decisions": "account_id",
}
MAY_BE_AHEAD = frozenset({"profiles"})


@dataclass(frozen=True)
class Quality:
    """rows: without duplicates; duplicates: marked by the dedupe stage. The others should be 0."""

    rows: int
    duplicates: int
    empty_ids: int
    repeated_ids: int
    repeated_positions: int
    future_dated: int
    out_of_range: int
    last_arrival_ms: int

    def problems(self) -> dict[str, int]:
        """Counts by the name of the check that stops on them."""
        return {
            "no_empty_ids": self.empty_ids,
            "no_duplicates": self.repeated_ids + self.repeated_positions,
            "no_future_events": self.future_dated,
            "values_in_range": self.out_of_range,
        }


def quality_of(connection: duckdb.DuckDBPyConnection, lake: Lake, table: str, from_ms: int, to_ms: int) -> Quality:
    """Counts over a table's rows with event time in [from_ms, to_ms). Raises UnknownTable."""
    events: pa.Table = lake.scan(table, from_ms, to_ms, duplicates=True)
    connection.register("events", events)
    ahead = "FALSE" if table in MAY_BE_AHEAD else f"event_time_ms > ingested_at_ms + {MAX_AHEAD_MS}"
    found = connection.execute(
        _SQL.format(id=IDS[table], owner=OWNERS[table], ahead=ahead, range=RANGES[table])
    ).fetchone()
    connection.unregister("events")
    assert found is not None
    return Quality(*(int(value or 0) for value in found))


_SQL = """
WITH firsts AS (
    SELECT * FROM events WHERE NOT is_duplicate
), identities AS (
    SELECT count(*) AS n FROM firsts GROUP BY {owner}, {id}
), positions AS (
    SELECT count(*) AS n FROM events GROUP BY source_topic, source_partition, source_offset
)
SELECT
    (SELECT count(*) FROM firsts) AS n_rows,
    (SELECT count(*) FROM events WHERE is_duplicate) AS duplicates,
    (SELECT count(*) FROM firsts WHERE coalesce({id}, '') = '' OR coalesce({owner}, '') = '') AS empty_ids,
    (SELECT coalesce(sum(n - 1), 0) FROM identities) AS repeated_ids,
    (SELECT coalesce(sum(n - 1), 0) FROM positions) AS repeated_positions,
    (SELECT count(*) FROM firsts WHERE {ahead}) AS future_dated,
    (SELECT count(*) FROM firsts WHERE {range}) AS out_of_range,
    (SELECT max(ingested_at_ms) FROM events) AS last_arrival_ms
"""
