"""The platform's proof about itself: what was served, recomputed from the log."""

from typing import Any

import dagster as dg

from fraud_assets.defs.metadata import bars, record_schema
from fraud_assets.defs.partitions import daily, end_ms, fresh_within
from fraud_assets.defs.resources import LakeResource
from fraud_assets.defs.results import Result
from fraud_assets.monitoring.skew import SkewReport
from fraud_assets.monitoring.skew import skew_report as skew_between
from fraud_assets.stores.lake import start_ms

RAW = ("transactions", "activity", "profiles", "label_facts", "decisions")
CHECKS = {
    "no_mismatches": "The log up to the logged positions gives every served vector bit for bit.",
    "no_stale_reads": "Every state held what had arrived one second before its decision.",
    "states_readable": "Every decision logged positions that can be read, so that it can be recomputed.",
    "no_missing_decisions": "Every live transaction has its decision, and every decision its transaction.",
}


# A day's report is one row.
COLUMNS = record_schema(SkewReport)


def _judged(found: SkewReport) -> list[dg.AssetCheckResult]:
    """A mismatch is an error of ours, and says where; lateness and gaps may be the weather, and warn.

    So does a decision that differs and may have read an erased person's events: nobody can say whether it is a mismatch.
    """
    measured: dict[str, dict[str, Any]] = {
        "no_mismatches": {
            "mismatches": found.mismatches,
            "other_vectors": found.other_vectors,
            "checked": found.checked,
            "erased": found.erased,
            **_named(found),
        },
        "no_stale_reads": {"stale_reads": found.stale_reads, "checked": found.checked},
        "states_readable": {"unreadable": found.unreadable, "decisions": found.decisions},
        "no_missing_decisions": {"missing": found.missing, "extra": found.extra},
    }
    wrong = {
        "no_mismatches": found.mismatches + found.erased,
        "no_stale_reads": found.stale_reads,
        "states_readable": found.unreadable,
        "no_missing_decisions": found.missing + found.extra,
    }
    return [
        dg.AssetCheckResult(
            check_name=name,
            passed=wrong[name] == 0,
            severity=dg.AssetCheckSeverity.ERROR
            if name == "no_mismatches" and found.mismatches
            else dg.AssetCheckSeverity.WARN,
            metadata=metadata,
        )
        for name, metadata in measured.items()
    ]


def _named(found: SkewReport) -> dict[str, dg.JsonMetadataValue]:
    return {
        "mismatched_features": dg.MetadataValue.json(found.by_feature),
        "mismatched_decisions": dg.MetadataValue.json(found.examples),
    }


@dg.asset(
    group_name="monitoring",
    kinds={"numba", "parquet"},
    owners=["team:fraud-ml"],
    deps=[dg.AssetDep(name, partition_mapping=dg.TimeWindowPartitionMapping()) for name in RAW],
    partitions_def=daily,
    freshness_policy=fresh_within(36),
    metadata={"dagster/column_schema": COLUMNS},
    check_specs=[dg.AssetCheckSpec(name, asset="skew_report", description=text) for name, text in CHECKS.items()],
)
def skew_report(context: dg.AssetExecutionContext, lake: LakeResource) -> Result:
    """The day's served vectors against recomputation up to the positions that their decisions logged."""
    day = context.partition_key
    found = skew_between(lake.lake, lake.service, start_ms(day), end_ms(day))
    counts = {name: value for name, value in vars(found).items() if isinstance(value, int)}
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": found.decisions,
            **counts,
            **_named(found),
            "dagster/column_schema": COLUMNS,
            "findings": bars(counts, f"decisions of {day}, by what was found"),
        },
        check_results=_judged(found),
    )
