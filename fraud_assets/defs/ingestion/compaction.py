"""Small files of the lake, merged when their day is over."""

from dataclasses import asdict

import dagster as dg

from fraud_assets.defs.ingestion.assets import OWNER, RAW
from fraud_assets.defs.metadata import bars, record_schema
from fraud_assets.defs.partitions import daily, days_of, fresh_within, one_run
from fraud_assets.defs.resources import LakeResource
from fraud_assets.defs.results import Result
from fraud_assets.stores.compaction import Compacted, compact

# What the worker's sink writes.
TABLES = (*RAW, "label_facts")
COLUMNS = record_schema(Compacted)


@dg.asset(
    group_name="lake",
    kinds={"parquet"},
    owners=[OWNER],
    deps=list(TABLES),
    partitions_def=daily,
    backfill_policy=one_run,
    freshness_policy=fresh_within(36),
    metadata={"dagster/column_schema": COLUMNS},
)
def compacted_days(context: dg.AssetExecutionContext, lake: LakeResource) -> Result:
    """The small files of each raw table's day, merged into few; the rows, and what is made of them, stay as they are."""
    done = [compact(lake.lake, table, day) for day in days_of(context) for table in TABLES]
    left = {table: sum(one.files_after for one in done if one.table == table) for table in TABLES}
    return dg.MaterializeResult(
        metadata={
            "files_before": sum(one.files_before for one in done),
            "files_after": sum(left.values()),
            "merged": sum(one.merged for one in done),
            "dagster/row_count": sum(one.rows for one in done),
            "by_table": dg.MetadataValue.table([dg.TableRecord(asdict(one)) for one in done]),
            "dagster/column_schema": COLUMNS,
            "files": bars(left, "files of each table"),
        }
    )
