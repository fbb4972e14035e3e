"""Who shares what, and what confirmed frauds say of those who share it."""

from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
import polars as pl
from dagster_duckdb import DuckDBResource

from fraud_assets.defs.ingestion.assets import VERDICTS
from fraud_assets.defs.labels.as_of import GROUP, OWNER, caps_of, lookback
from fraud_assets.defs.metadata import bars, column_schema, lines
from fraud_assets.defs.partitions import daily, fresh_within
from fraud_assets.defs.resources import LakeResource
from fraud_assets.defs.results import Result
from fraud_assets.labels.shapes import CONFIDENCE, EDGES, Caps
from fraud_assets.labels.statements import frame
from fraud_assets.monitoring.quality import refuse_bad_days
from fraud_assets.settings import Settings
from fraud_assets.stores.keyed_tables import get_table, of_day, put_table
from fraud_assets.stores.lake import start_ms

if TYPE_CHECKING:
    from fraud_assets.labels.propagation import Propagated

CHECK = "propagation_stays_small"
# Confirmed frauds have accomplices, not crowds: where they make more than themselves, an entity that strangers share has no cap.
MAX_PROPAGATED = 1.0
LISTED = 20  # entities that most accounts share


@dg.asset(
    group_name=GROUP,
    kinds={"scipy", "parquet"},
    owners=[OWNER],
    deps=[dg.AssetDep("transactions", partition_mapping=lookback)],
    partitions_def=daily,
    freshness_policy=fresh_within(36),
    metadata={"dagster/column_schema": column_schema(EDGES.schema, EDGES.described)},
)
def identity_graph(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    duckdb: DuckDBResource,
    settings: dg.ResourceParam[Settings],
) -> Result:
    """Accounts and the devices, cards and addresses they paid with, as known when the as-of day began. No label is in it.

    Not made while a raw day that was known then fails its checks.
    """
    # Here, for SciPy takes half a second that no other command should wait for.
    from fraud_assets.labels.graph import identity_edges, transactions_as_known

    day = context.partition_key
    with duckdb.get_connection() as connection:
        refuse_bad_days(
            connection, lake.lake, settings.dedupe_horizon_ms, ("transactions",), as_known_at_ms=start_ms(day)
        )
    edges = identity_edges(transactions_as_known(lake.lake, start_ms(day), settings.graph_lookback_days))
    path = put_table(lake.labels_uri, EDGES.table, of_day(day), edges)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": edges.num_rows,
            "path": dg.MetadataValue.path(path),
            "dagster/column_schema": column_schema(EDGES.schema, EDGES.described),
            **_shape(frame(edges), caps_of(settings)),
        }
    )


def _shape(edges: pl.DataFrame, caps: Caps) -> dict[str, Any]:
    """How widely entities are shared, which most, and what hangs together."""
    from fraud_assets.labels.graph import components, degrees, most_shared

    found, together, shared = degrees(edges, caps), components(edges, caps), most_shared(edges, LISTED)
    listed = [
        dg.TableRecord({**row, "capped": row["accounts"] > caps.of(row["kind"])})
        for row in shared.iter_rows(named=True)
    ]
    return {
        "groups": together.groups,
        "accounts_in_largest_group": together.largest,
        "degrees": dg.MetadataValue.table([dg.TableRecord(vars(one)) for one in found]),
        **({"most_shared": dg.MetadataValue.table(listed)} if listed else {}),
        "shared_entities": bars({one.kind: one.shared for one in found}, "entities that two accounts or more share"),
    }


@dg.asset(
    group_name=GROUP,
    kinds={"scipy", "parquet"},
    owners=[OWNER],
    deps=[
        identity_graph,
        *(dg.AssetDep(name, partition_mapping=lookback) for name in ("transactions", "labels", "label_facts")),
    ],
    partitions_def=daily,
    freshness_policy=fresh_within(36),
    metadata={"dagster/column_schema": column_schema(CONFIDENCE.schema, CONFIDENCE.described)},
    check_specs=[
        dg.AssetCheckSpec(
            CHECK,
            asset=CONFIDENCE.table,
            description="No more unconfirmed payments count as fraud than are confirmed. If they do, look at `by_what` and at "
            "`most_shared` of identity_graph: an entity that strangers share is under its cap. Lower FRAUD_GRAPH_DEVICE_CAP, "
            "FRAUD_GRAPH_CARD_CAP or FRAUD_GRAPH_IP_CAP.",
        )
    ],
)
def label_confidence(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    duckdb: DuckDBResource,
    settings: dg.ResourceParam[Settings],
) -> Result:
    """How surely each payment that hangs together with confirmed frauds is one, as known when the as-of day began.

    Not made while a raw day that was known then fails its checks.
    """
    from fraud_assets.labels.confidence import confidence_as_of

    day, lookback_days = context.partition_key, settings.graph_lookback_days
    with duckdb.get_connection() as connection:
        refuse_bad_days(connection, lake.lake, settings.dedupe_horizon_ms, VERDICTS, as_known_at_ms=start_ms(day))
    edges = get_table(lake.labels_uri, EDGES.table, of_day(day))
    found = confidence_as_of(lake.lake, edges, start_ms(day), lookback_days, caps_of(settings))
    path = put_table(lake.labels_uri, CONFIDENCE.table, of_day(day), found.rows)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": found.rows.num_rows,
            "path": dg.MetadataValue.path(path),
            "dagster/column_schema": column_schema(CONFIDENCE.schema, CONFIDENCE.described),
            **_reach(found),
        },
        check_results=[_judged(found)],
    )


def _reach(found: "Propagated") -> dict[str, Any]:
    linked = frame(found.rows).filter(~pl.col("is_confirmed"))
    by_what = linked.group_by("through_kind").len().sort("through_kind")
    at = np.linspace(0, 1, 101)
    above = [int((linked["confidence"] >= value).sum()) for value in at]
    return {
        "confirmed": found.confirmed,
        "linked": found.linked,
        "counted_as_fraud": found.propagated,
        "rounds": found.rounds,
        "by_what": dg.MetadataValue.json(dict(by_what.iter_rows())),
        "confidences": lines({"payments": (at.tolist(), above)}, "unconfirmed payments with this confidence or more"),
    }


def _judged(found: "Propagated") -> dg.AssetCheckResult:
    measured = {"counted_as_fraud": found.propagated, "confirmed": found.confirmed, "at_most_for_each": MAX_PROPAGATED}
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=found.propagated <= MAX_PROPAGATED * found.confirmed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=measured,
    )
