"""Label facts: what people said about transactions, settled, keyed and signed."""

import dagster as dg
from dagster_duckdb import DuckDBResource

from fraud_assets.contracts.events import LabelFact
from fraud_assets.defs.ingestion.assets import VERDICTS
from fraud_assets.defs.metadata import bars, column_schema
from fraud_assets.defs.partitions import daily, days_of, end_ms, fresh_within, one_run
from fraud_assets.defs.resources import LakeResource
from fraud_assets.defs.results import Result
from fraud_assets.labels.imported import write_imported_facts
from fraud_assets.monitoring.quality import refuse_bad_days
from fraud_assets.settings import Settings
from fraud_assets.stores.lake import start_ms
from fraud_assets.stores.schemas import arrow_schema


@dg.asset(
    group_name="labels",
    kinds={"parquet", "python"},
    owners=["team:fraud-ml"],
    deps=[
        dg.AssetDep("transactions", partition_mapping=dg.TimeWindowPartitionMapping()),
        dg.AssetDep("labels", partition_mapping=dg.TimeWindowPartitionMapping()),
        dg.AssetKey(["kafka", "label_facts_v1"]),
    ],
    partitions_def=daily,
    backfill_policy=one_run,
    freshness_policy=fresh_within(36),
    metadata={"dagster/column_schema": column_schema(arrow_schema(LabelFact))},
)
def label_facts(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    duckdb: DuckDBResource,
    settings: dg.ResourceParam[Settings],
) -> Result:
    """Signed verdicts on transactions, by the day they became known: fraud, or legitimate once the delay has passed.

    Of imported history; of live events the worker's label stage writes them, by the same rule. Not made while a raw
    day that was known then fails its checks.
    """
    days = days_of(context)
    from_ms, to_ms = start_ms(days[0]), end_ms(days[-1])
    with duckdb.get_connection() as connection:
        refuse_bad_days(connection, lake.lake, settings.dedupe_horizon_ms, VERDICTS, as_known_at_ms=to_ms)
    found = write_imported_facts(lake.lake, from_ms, to_ms, settings.label_delay_days)
    counts = {
        "fraud": found.fraud,
        "legitimate": found.facts - found.fraud - found.retractions,
        "retractions": found.retractions,
    }
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": found.facts,
            **counts,
            "dagster/column_schema": column_schema(lake.lake.schema("label_facts")),
            "facts": bars(counts, "facts"),
        }
    )
