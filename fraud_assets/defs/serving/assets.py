"""What the live path reads: entity state in the online store; and the live processes themselves."""

import time
from contextlib import closing
from typing import Any

import dagster as dg
from dagster_duckdb import DuckDBResource

from fraud_assets.contracts.topics import entity_topic
from fraud_assets.defs.ingestion.assets import EVENTS, topic_key
from fraud_assets.defs.metadata import bars, column_schema
from fraud_assets.defs.partitions import daily, end_ms, fresh_within, one_run
from fraud_assets.defs.resources import LakeResource, OnlineStoreResource
from fraud_assets.defs.results import Result
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.monitoring.quality import refuse_bad_days
from fraud_assets.settings import Settings
from fraud_assets.stores.publish import OVERLAP_MS, catch_up, snapshot
from fraud_assets.stores.snapshot import GroupReport
from fraud_assets.stores.state_files import STATES

GROUP = "serving"
OWNER = "team:fraud-platform"
SOURCES = ("transactions", "activity", "profiles", "label_facts")
# A row is an entity of a group: its key, and its state as Redis and the kept snapshot hold it.
COLUMNS = column_schema(STATES)
ONLINE_STORE = dg.AssetKey("online_store")


def _report(groups: dict[str, GroupReport]) -> dict[str, Any]:
    """Totals, and the entities of each group as bars."""
    entities = sum(group.entities for group in groups.values())
    return {
        "dagster/row_count": entities,
        "entities": entities,
        "states_written": sum(group.changed for group in groups.values()),
        "rows_folded": sum(group.rows for group in groups.values()),
        "rows_applied": sum(group.applied for group in groups.values()),
        "bytes": sum(group.bytes for group in groups.values()),
        "dagster/column_schema": COLUMNS,
        "entities_by_group": bars({name: group.entities for name, group in groups.items()}, "entities"),
    }


@dg.asset(
    group_name=GROUP,
    kinds={"redis", "numba"},
    owners=[OWNER],
    deps=[dg.AssetDep(name, partition_mapping=dg.TimeWindowPartitionMapping()) for name in SOURCES],
    partitions_def=daily,
    backfill_policy=one_run,
    freshness_policy=fresh_within(36),
    metadata={"dagster/column_schema": COLUMNS},
    pool="online_store",
)
def online_store_snapshot(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    duckdb: DuckDBResource,
    online_store: OnlineStoreResource,
    settings: dg.ResourceParam[Settings],
) -> Result:
    """All entity state as of the day's end (of a range, its last; of today, now), published under a new epoch.

    The worker resumes at the offsets that the epoch names and filters by position, so the result
    equals what a flushed or foreign store had lost. Not published while a raw day of it fails its checks.
    """
    now_ms, until_ms = time.time_ns() // 1_000_000, end_ms(max(context.partition_keys))
    with duckdb.get_connection() as connection:
        refuse_bad_days(connection, lake.lake, settings.dedupe_horizon_ms, EVENTS, as_known_at_ms=until_ms)
    with closing(online_store.connect()) as store:
        made = snapshot(lake.lake, lake.plan, store, settings.kafka_bootstrap_servers, until_ms, now_ms)
    return dg.MaterializeResult(
        metadata={
            "epoch": made.marker.epoch,
            "resume": dg.MetadataValue.json(made.marker.resume or "earliest"),
            "former_states_dropped": made.dropped,
            **_report(made.groups),
        }
    )


@dg.asset(
    group_name=GROUP,
    kinds={"redis", "numba"},
    owners=[OWNER],
    deps=[*(dg.AssetDep(name, partition_mapping=dg.AllPartitionMapping()) for name in SOURCES)],
    freshness_policy=fresh_within(3),
    metadata={"dagster/column_schema": COLUMNS},
    pool="online_store",
)
def hourly_online_views(
    lake: LakeResource, duckdb: DuckDBResource, online_store: OnlineStoreResource, settings: dg.ResourceParam[Settings]
) -> Result:
    """The worker's own views from the raw Parquet, folded into the published states that lack them.

    Where the worker has kept up, nothing changes; `rows_applied` above zero says that it has not. Days that
    got events since the states were published must pass their checks.
    """
    with closing(online_store.connect()) as store:
        since_ms = store.current_epoch().published_at_ms - OVERLAP_MS
        with duckdb.get_connection() as connection:
            refuse_bad_days(connection, lake.lake, settings.dedupe_horizon_ms, EVENTS, arrived_from_ms=since_ms)
        groups = catch_up(lake.lake, lake.plan, store)
    return dg.MaterializeResult(metadata=_report(groups))


online_store = dg.AssetSpec(
    ONLINE_STORE,
    group_name="live",
    kinds={"redis"},
    owners=[OWNER],
    description="Packed state of every entity, kept current by the worker's compare-and-set writes.",
    deps=[
        "online_store_snapshot",
        "hourly_online_views",
        *(topic_key(entity_topic(group.name).name) for group in registry().groups),
    ],
)

fraud_scorer = dg.AssetSpec(
    "fraud_scorer",
    group_name="live",
    kinds={"litestar"},
    owners=[OWNER],
    description="POST /predict: reads the states, scores with the champion, publishes the decision.",
    deps=[ONLINE_STORE, "champion_model"],
)

pricing_service = dg.AssetSpec(
    "pricing_service",
    group_name="live",
    kinds={"litestar"},
    owners=[OWNER],
    description="POST /price: reads events' states, draws a price within guard rails, publishes it and what came of it.",
    deps=[ONLINE_STORE],
)
