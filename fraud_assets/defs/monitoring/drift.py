"""Does the day look like what the model was trained on? A report, a page, and a check that warns, or asks for a training."""

import math
import time
from pathlib import Path
from typing import Any

import dagster as dg

from fraud_assets.defs.metadata import bars
from fraud_assets.defs.monitoring.assets import RAW
from fraud_assets.defs.partitions import daily, end_ms, fresh_within
from fraud_assets.defs.resources import LakeResource
from fraud_assets.defs.results import Result
from fraud_assets.monitoring.day import vectors_of_day
from fraud_assets.monitoring.drift import (
    DRIFTED,
    MAX_DRIFTED_SHARE,
    SEVERE,
    SEVERE_SHARE,
    Drift,
    Moved,
    Sample,
    drift_between,
    of_the_clock,
)
from fraud_assets.settings import Settings
from fraud_assets.stores.lake import start_ms
from fraud_assets.training import store
from fraud_assets.training.as_of import reference_as_of

CHECK = "drift_within_bounds"
# The lineage shows the training sets of a week, as often as one is due; an older one serves where there is no other.
trained_within_a_week = dg.TimeWindowPartitionMapping(start_offset=-7, allow_nonexistent_upstream_partitions=True)


def _record(moved: Moved) -> dg.TableRecord:
    pairs = {"null_share": moved.null_share, "median": moved.median}
    return dg.TableRecord(
        {
            "feature": moved.name,
            "psi": round(moved.psi, 4),
            "ks": None if math.isnan(moved.ks) else round(moved.ks, 4),
            **{
                f"{name}_{side}": None if math.isnan(value) else float(f"{value:.5g}")
                for name, pair in pairs.items()
                for side, value in zip(("reference", "day"), pair, strict=True)
            },
        }
    )


# Of the table `moved`, a row for each feature; days without rows have none to take it from.
COLUMNS = dg.MetadataValue.table([_record(Moved("", 0.0, (0.0, 0.0), (0.0, 0.0), 0.0))]).schema


@dg.asset(
    group_name="monitoring",
    kinds={"evidently", "parquet"},
    owners=["team:fraud-ml"],
    deps=[
        *(dg.AssetDep(name, partition_mapping=dg.TimeWindowPartitionMapping()) for name in RAW),
        dg.AssetDep("training_set", partition_mapping=trained_within_a_week),
        dg.AssetDep("fraud_model", partition_mapping=trained_within_a_week),
    ],
    partitions_def=daily,
    freshness_policy=fresh_within(36),
    metadata={"dagster/column_schema": COLUMNS},
    check_specs=[
        dg.AssetCheckSpec(
            CHECK,
            asset="drift_report",
            description=(
                f"At most {MAX_DRIFTED_SHARE:.0%} of the features, and not the score, have a PSI over {DRIFTED}."
                f" An error over {SEVERE_SHARE:.0%} of them, or a PSI of the score over {SEVERE}."
            ),
        )
    ],
)
def drift_report(context: dg.AssetExecutionContext, lake: LakeResource, settings: dg.ResourceParam[Settings]) -> Result:
    """The day's vectors and scores against the training set of the model that served them, by PSI."""
    day, now_ms = context.partition_key, time.time_ns() // 1_000_000
    from_ms, to_ms = _looked_at(day, settings.drift_window_minutes, now_ms)
    current = vectors_of_day(lake.reader(context.run.run_id), lake.service, from_ms, to_ms)
    as_of = reference_as_of(lake.training_uri, settings.model_dir, day, current.model_version)
    reference = _reference(lake.training_uri, as_of)
    found = drift_between(reference, current.sample, of_the_clock(lake.service.service))
    page = settings.var_dir / "reports" / "drift" / f"{day}.html"
    rendered = _rendered(found, reference, current.sample, page) if found.judged and to_ms <= now_ms else 0
    return dg.MaterializeResult(
        metadata={
            "vectors": str(current.origin),
            "model_version": current.model_version or "",
            "reference_as_of": as_of,
            "from_ms": from_ms,
            **_measured(found),
            "dagster/column_schema": COLUMNS,
            **_page(page, rendered),
        },
        check_results=[_judged(found)],
    )


def _looked_at(day: str, window_minutes: float, now_ms: int) -> tuple[int, int]:
    """The day; of one that goes on its newest minutes: what began an hour ago is not hidden among the hours before."""
    if not start_ms(day) <= now_ms < end_ms(day):
        return start_ms(day), end_ms(day)
    return max(start_ms(day), now_ms - round(window_minutes * 60_000)), end_ms(day)


def _rendered(found: Drift, reference: Sample, current: Sample, page: Path) -> int:
    """Columns of the page, which is made of days that are over: it takes longer than all the rest, and a live check is wanted soon."""
    # Here, for it takes seconds: nobody else who loads these definitions should wait for Evidently.
    from fraud_assets.monitoring.drift_page import write_drift_page

    return write_drift_page(found, reference, current, page)


def _reference(root: str, as_of: str) -> Sample:
    trained = store.load(root, as_of)
    return Sample(trained.names, trained.features, store.load_scores(root, as_of))


def _measured(found: Drift) -> dict[str, Any]:
    """Numbers that Dagster plots over partitions; then the features that moved most."""
    numbers = {
        "psi_max": found.moved[0].psi if found.moved else None,
        "psi_of_score": found.score_psi,
        "psi_by_chance": found.chance,
    }
    shown: dict[str, Any] = {
        "dagster/row_count": found.rows,
        "rows": found.rows,
        "reference_rows": found.reference_rows,
        "judged": found.judged,
        "features_drifted": found.drifted,
        "share_drifted": round(found.share, 4),
        **{name: round(value, 4) for name, value in numbers.items() if value is not None},
    }
    if found.moved:
        shown["moved"] = dg.MetadataValue.table([_record(moved) for moved in found.moved], COLUMNS)
        shown["moved_most"] = bars({moved.name: moved.psi for moved in found.moved}, "PSI")
    return shown


def _page(path: Path, columns: int) -> dict[str, Any]:
    return {"page": dg.MetadataValue.path(path), "page_columns": columns} if columns else {}


def _judged(found: Drift) -> dg.AssetCheckResult:
    """A warning, for the weather may have changed, and the model may cope; far out of bounds an error, which trains again."""
    measured: dict[str, Any] = {
        "share_drifted": round(found.share, 4),
        "at_most": MAX_DRIFTED_SHARE,
        "judged": found.judged,
    }
    if found.score_psi is not None:
        measured |= {"psi_of_score": round(found.score_psi, 4), "score_at_most": DRIFTED}
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=found.within_bounds,
        severity=dg.AssetCheckSeverity.ERROR if found.severe else dg.AssetCheckSeverity.WARN,
        metadata=measured,
    )
