"""What prices earned, what other ways to price would have, and whether each was drawn as it says."""

import math
from collections import Counter
from dataclasses import asdict

import dagster as dg

from fraud_assets.defs.metadata import bars, record_schema
from fraud_assets.defs.partitions import daily, end_ms, fresh_within
from fraud_assets.defs.resources import LakeResource
from fraud_assets.defs.results import Result
from fraud_assets.monitoring.off_policy import TARGETS, Decided, Estimate, estimate, faults_of, logged
from fraud_assets.stores.lake import start_ms

COLUMNS = record_schema(Estimate)
CHECKS = {
    "drawn_as_logged": "A price that was drawn is a permitted one, its chance is above 0, and the chances add up to 1.",
    "one_price_for_all": "An event has one price in an interval, whoever asked: fairness, and what off-policy estimates rest on.",
}


@dg.asset(
    group_name="monitoring",
    kinds={"numpy", "parquet"},
    owners=["team:fraud-ml"],
    deps=[
        dg.AssetDep(name, partition_mapping=dg.TimeWindowPartitionMapping())
        for name in ("price_decisions", "price_outcomes")
    ],
    partitions_def=daily,
    freshness_policy=fresh_within(36),
    metadata={"dagster/column_schema": COLUMNS},
    check_specs=[dg.AssetCheckSpec(name, asset="pricing_report", description=text) for name, text in CHECKS.items()],
)
def pricing_report(context: dg.AssetExecutionContext, lake: LakeResource) -> Result:
    """Off-policy estimates of the day's prices from their logged chances, and faults of the log they rest on."""
    day = context.partition_key
    from_ms, to_ms = start_ms(day), end_ms(day)
    decided, faults = logged(lake.lake, from_ms, to_ms), faults_of(lake.lake, from_ms, to_ms)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(decided),
            "dagster/column_schema": COLUMNS,
            "estimates": _table(decided),
            "drawn": bars(_drawn(decided), f"prices drawn by multiplier, {day}"),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=name, passed=not bad, severity=dg.AssetCheckSeverity.WARN, metadata={"bad": bad}
            )
            for name, bad in zip(CHECKS, faults, strict=True)
        ],
    )


def _drawn(decided: list[Decided]) -> dict[str, float]:
    """How often each multiplier was, from the lowest on."""
    counts = Counter(float(one.multipliers[one.place]) for one in decided)
    return {f"{multiplier:g}": float(counts[multiplier]) for multiplier in sorted(counts)}


def _table(decided: list[Decided]) -> dg.TableMetadataValue:
    """A row of each policy that the log can speak of."""
    rows = []
    for name, target in TARGETS.items():
        try:
            found = estimate(decided, target)
        except ValueError:  # no decision of the day permits what it would do
            continue
        numbers = {key: round(value, 5) for key, value in asdict(found).items() if math.isfinite(value)}
        rows.append(dg.TableRecord({"policy": name, **numbers}))
    return dg.MetadataValue.table(rows) if rows else dg.MetadataValue.table([dg.TableRecord({"policy": "none"})])
