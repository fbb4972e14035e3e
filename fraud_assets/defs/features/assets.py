"""One asset per feature view, made from the registry: declaring a view is all it takes to have it."""

from collections.abc import Mapping

import dagster as dg
from dagster_duckdb import DuckDBResource

from fraud_assets.defs.ingestion.assets import raw_of
from fraud_assets.defs.metadata import bars, column_schema
from fraud_assets.defs.partitions import daily, days_of, end_ms, fresh_within, one_run
from fraud_assets.defs.resources import LakeResource
from fraud_assets.defs.results import Result
from fraud_assets.engine.plan import EnginePlan
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.features.language import FeatureView
from fraud_assets.features.registry import view_digest
from fraud_assets.settings import Settings
from fraud_assets.stores.feature_tables import Execution, feature_lake, here, view_schema, write_view
from fraud_assets.stores.history import view_service

GROUP = "features"
SHOWN = 10  # features of a view's plot: every name costs a hundredth of a second, in forty views


def view_asset(plan: EnginePlan, view: FeatureView) -> dg.AssetsDefinition:
    """Point-in-time values of a view for each transaction of a day.

    Not made while a raw day up to then fails its checks, whichever run has judged it.
    """
    scored = FRAUD_SCORING.scored
    service = view_service(plan, view, scored)
    tables = {scored.table, *(source.table for source in view.sources)}

    @dg.asset(
        name=view.name,
        group_name=GROUP,
        kinds={"parquet", "numba"},
        owners=[f"team:{view.owner}"],
        description=f"{view.description} Values of each transaction of the day, as known just before it.",
        # A window reaches back as far as its length; the day itself is what must be there.
        deps=[dg.AssetDep(table, partition_mapping=dg.TimeWindowPartitionMapping()) for table in sorted(tables)],
        partitions_def=daily,
        backfill_policy=one_run,
        freshness_policy=fresh_within(36),
        code_version=view_digest(view)[:12],
        metadata={
            "dagster/column_schema": column_schema(view_schema(service, scored)),
            "entities": ", ".join(entity.name for entity in view.entities),
            "features": len(service.names),
            "digest": view_digest(view),
        },
        check_specs=[
            dg.AssetCheckSpec(
                "one_row_per_transaction",
                asset=view.name,
                description="No transaction is lost or doubled.",
                blocking=True,
            )
        ],
    )
    def values(
        context: dg.AssetExecutionContext,
        lake: LakeResource,
        duckdb: DuckDBResource,
        settings: dg.ResourceParam[Settings],
    ) -> Result:
        features = feature_lake(lake.features_uri, lake.service, view)
        days = days_of(context)
        with duckdb.get_connection() as connection:
            judge = lake.judge(context.run.run_id, settings.dedupe_horizon_ms)
            judge.refuse_bad_days(connection, raw_of(tables), end_ms(days[-1]))
        found = write_view(features, lake.reader(context.run.run_id), view, scored, days, _execution(settings))
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": found.rows,
                "engine": settings.feature_engine,
                "null_share": round(found.null_share, 4),
                "present_share": round(found.present, 4),
                "table": dg.MetadataValue.path(features.glob(view.name)),
                "dagster/column_schema": column_schema(features.schema(view.name)),
                "null_share_by_feature": bars(_worst(found.null_shares), f"null share, {days[-1]}"),
            },
            check_results=[
                dg.AssetCheckResult(
                    check_name="one_row_per_transaction",
                    passed=found.rows == found.transactions,
                    metadata={"rows": found.rows, "transactions": found.transactions},
                )
            ],
        )

    return values


def _execution(settings: Settings) -> Execution:
    """Spark is loaded by who asks for it. Raises Failure where it is not installed."""
    if settings.feature_engine == "local":
        return here
    try:
        from fraud_assets.stores.spark_views import SparkExecution
    except ModuleNotFoundError as error:
        raise dg.Failure(
            f"FRAUD_FEATURE_ENGINE is spark, and {error.name} is not installed: run `make scale`, or set it to local.",
            allow_retries=False,
        ) from error
    return SparkExecution(settings.spark_master, registry)


def _worst(null_shares: Mapping[str, float]) -> dict[str, float]:
    """The features with most nulls, the worst first."""
    return dict(sorted(null_shares.items(), key=lambda item: -item[1])[:SHOWN])


@dg.definitions
def defs() -> dg.Definitions:
    plan = EnginePlan(registry())
    return dg.Definitions(assets=[view_asset(plan, view) for view in plan.registry.views.values()])
