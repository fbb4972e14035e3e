"""Raw events of the lake, one table each; and the live path they come by, as external assets."""

from collections.abc import Iterable

import dagster as dg
from dagster_duckdb import DuckDBResource

from fraud_assets.contracts import topics
from fraud_assets.defs.metadata import column_schema, lines
from fraud_assets.defs.partitions import daily, days_of, end_ms, fresh_within, one_run
from fraud_assets.defs.resources import LakeResource
from fraud_assets.defs.results import Result
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.monitoring.explained import unexplained
from fraud_assets.monitoring.quality import quality_of
from fraud_assets.settings import Settings
from fraud_assets.stores.lake import Lake, start_ms
from fraud_assets.stores.schemas import TABLES, arrow_schema

GROUP = "ingestion"
OWNER = "team:fraud-platform"
RAW = {
    "transactions": (topics.TRANSACTIONS, "Payments with their outcome, as their source published them."),
    "activity": (topics.ACTIVITY, "Page views, inventory counts and closings of events."),
    "profiles": (topics.PROFILES, "Versions of accounts' slowly changing attributes."),
    "labels": (topics.LABELS, "What banks, reviewers and operators said about transactions."),
    "decisions": (topics.DECISIONS, "Every decision with all that is needed to recompute it."),
    "explanations": (topics.EXPLANATIONS, "What moved each decision's score: exact TreeSHAP values of its model."),
    "price_decisions": (topics.PRICE_DECISIONS, "Every price recommended, with the chances it was drawn with."),
    "price_outcomes": (
        topics.PRICE_OUTCOMES,
        "What the intervals of those prices came to, each as it was learned from.",
    ),
}
# What features are made of. Who reads them judges them again.
EVENTS = ("transactions", "activity", "profiles", "labels")
# Label facts are made of these.
VERDICTS = ("transactions", "labels")
CHECKS = {
    "no_empty_ids": "Every event names itself and the entity it is keyed by.",
    "no_duplicates": "An identity and a log position occur once, but for copies that the dedupe stage marked.",
    "no_future_events": "No event is dated more than five minutes after its arrival.",
    "values_in_range": "Amounts and counts are within the contract's bounds.",
}
EXPLAINED = "explanations"
EVERY_DECISION = dg.AssetCheckSpec(
    "every_decision_explained",
    asset=EXPLAINED,
    description="Every decision of the day, but for the newest ten minutes, has its explanation.",
)
NAMED = 10  # decisions that the check names


def raw_of(tables: Iterable[str]) -> list[str]:
    """The raw tables that some tables are, or are made of."""
    return sorted({raw for table in tables for raw in (VERDICTS if table == "label_facts" else (table,))})


def topic_key(name: str) -> dg.AssetKey:
    """`transactions.v1` is kafka/transactions_v1: a dot would end the key in Dagster's selections."""
    return dg.AssetKey(["kafka", name.replace(".", "_")])


# Whose work a topic carries, where it is not a source's: the scorer's, the explainer's of that, pricing's, the label stage's.
MADE_OF = {
    topics.DECISIONS.name: [dg.AssetKey("fraud_scorer")],
    topics.EXPLANATIONS.name: [topic_key(topics.DECISIONS.name)],
    topics.FEATURE_VECTORS.name: [topic_key(topics.DECISIONS.name)],
    topics.PRICE_DECISIONS.name: [dg.AssetKey("pricing_service")],
    topics.PRICE_OUTCOMES.name: [dg.AssetKey("pricing_service")],
    topics.LABEL_FACTS.name: [topic_key(topics.TRANSACTIONS.name), topic_key(topics.LABELS.name)],
}


def raw_asset(table: str, topic: topics.Topic, description: str) -> dg.AssetsDefinition:
    """One raw table. The worker's sink or an import has written it; materializing a day judges it."""

    @dg.asset(
        name=table,
        group_name=GROUP,
        kinds={"parquet", "duckdb"},
        owners=[OWNER],
        description=description,
        deps=[topic_key(topic.name), *(["decisions"] if table == EXPLAINED else [])],
        partitions_def=daily,
        backfill_policy=one_run,
        freshness_policy=fresh_within(36),
        metadata={"dagster/column_schema": column_schema(arrow_schema(TABLES[table]))},
        check_specs=[
            *(dg.AssetCheckSpec(name, asset=table, description=text, blocking=True) for name, text in CHECKS.items()),
            *([EVERY_DECISION] if table == EXPLAINED else []),
        ],
    )
    def raw(
        context: dg.AssetExecutionContext,
        lake: LakeResource,
        duckdb: DuckDBResource,
        settings: dg.ResourceParam[Settings],
    ) -> Result:
        days = days_of(context)
        from_ms, to_ms = start_ms(days[0]), end_ms(days[-1])
        with duckdb.get_connection() as connection:
            found = quality_of(connection, lake.lake, settings.dedupe_horizon_ms, table, from_ms, to_ms)
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": found.rows,
                "duplicates": found.duplicates,
                "last_arrival": dg.MetadataValue.timestamp(found.last_arrival_ms / 1000),
                "lake": dg.MetadataValue.path(lake.lake.glob(table)),
                "dagster/column_schema": column_schema(lake.lake.schema(table)),
                "rows_by_hour": lines({table: (range(24), found.by_hour)}, "rows by hour of the day, UTC"),
            },
            check_results=[
                dg.AssetCheckResult(check_name=name, passed=count == 0, metadata={"bad_rows": count})
                for name, count in found.problems().items()
            ]
            + ([_every_decision(lake.lake, from_ms, to_ms)] if table == EXPLAINED else []),
        )

    return raw


def _every_decision(lake: Lake, from_ms: int, to_ms: int) -> dg.AssetCheckResult:
    missing = unexplained(lake, from_ms, to_ms)
    return dg.AssetCheckResult(
        check_name=EVERY_DECISION.name,
        passed=not missing,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"unexplained": len(missing), "decisions": missing[:NAMED]},
    )


def live_path() -> list[dg.AssetSpec]:
    """Topics, and what the worker makes of them: nothing here is materialized by Dagster."""
    raw = [
        dg.AssetSpec(
            topic_key(topic.name),
            group_name="live",
            kinds={"kafka"},
            owners=[OWNER],
            description=f"Topic {topic.name}, keyed by {topic.key}, stamped by the broker's clock.",
            deps=MADE_OF.get(topic.name, []),
        )
        for topic in (*topics.RAW_TOPICS, *topics.DECIDED_TOPICS)
    ]
    feeds = {
        group.name: [topic_key(source.topic) for source in group.sources if source.topic] for group in registry().groups
    }
    rekeyed = [
        dg.AssetSpec(
            topic_key(topics.entity_topic(name).name),
            group_name="live",
            kinds={"kafka", "python"},
            owners=[OWNER],
            description=f"All sources of {name}, keyed by it, so that one consumer writes a given {name}.",
            deps=deps,
        )
        for name, deps in feeds.items()
    ]
    return [*raw, *rekeyed]


@dg.definitions
def defs() -> dg.Definitions:
    return dg.Definitions(assets=[*(raw_asset(name, *what) for name, what in RAW.items()), *live_path()])
