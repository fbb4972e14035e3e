"""Do live scores look like those that the model gave to payments it had not learnt from?"""

from typing import Any

import dagster as dg
import numpy as np
import numpy.typing as npt

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.defs.metadata import bars, lines, record_schema, scored_above
from fraud_assets.defs.monitoring.drift import trained_within_a_week
from fraud_assets.defs.partitions import daily, end_ms, fresh_within
from fraud_assets.defs.resources import LakeResource
from fraud_assets.defs.results import Result
from fraud_assets.models.artifact import read_champion
from fraud_assets.monitoring.drift import DRIFTED, SEVERE
from fraud_assets.monitoring.scores import FAR, TOO_FAR, Shift, State, shift_between
from fraud_assets.settings import Settings
from fraud_assets.stores.decided import decided, deciding_version, scores_by
from fraud_assets.stores.lake import start_ms
from fraud_assets.training.expected import expected_scores

CHECK = "scores_within_bounds"
COLUMNS = record_schema(Shift)
HOURS = 24

Floats = npt.NDArray[np.float64]


@dg.asset(
    group_name="monitoring",
    kinds={"scipy", "parquet"},
    owners=["team:fraud-ml"],
    deps=[
        dg.AssetDep("decisions", partition_mapping=dg.TimeWindowPartitionMapping()),
        dg.AssetDep("fraud_model", partition_mapping=trained_within_a_week),
    ],
    partitions_def=daily,
    freshness_policy=fresh_within(36),
    metadata={"dagster/column_schema": COLUMNS},
    check_specs=[
        dg.AssetCheckSpec(
            CHECK,
            asset="prediction_drift",
            description=(
                f"The PSI of the scores is at most {DRIFTED} and their Kolmogorov–Smirnov distance at most {FAR}."
                f" An error over {SEVERE} or {TOO_FAR}."
            ),
        )
    ],
)
def prediction_drift(
    context: dg.AssetExecutionContext, lake: LakeResource, settings: dg.ResourceParam[Settings]
) -> Result:
    """The day's scores of the model that made most of its decisions, against those that it gave to payments it had not learnt from."""
    day = context.partition_key
    rows = decided(lake.lake, start_ms(day), end_ms(day))
    version = deciding_version(rows)
    champion = read_champion(settings.model_dir)
    score, time_ms = np.empty(0), np.empty(0, np.int64)
    reference, origin = np.empty(0), ""
    if version is not None:
        said = scores_by(version, rows)
        score, time_ms = said[np.isfinite(said)], rows["event_time_ms"].to_numpy()[np.isfinite(said)]
        reference, origin = expected_scores(lake.training_uri, settings.model_dir, version)
    found = shift_between(reference, score, has_champion=champion is not None)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": found.rows,
            "model_version": version or "",
            "reference": str(origin),
            **measured(found),
            "dagster/column_schema": COLUMNS,
            "counted": bars({"day": found.rows, "expected": found.reference_rows}, "scores of either side"),
            **_drawn(reference, score, (time_ms - start_ms(day)) * HOURS // DAY_MS),
        },
        check_results=[_judged(found)],
    )


def measured(found: Shift) -> dict[str, Any]:
    """Numbers that Dagster plots over partitions; nothing that was not measured."""
    numbers = {"psi": found.psi, "psi_by_chance": found.by_chance, "ks": found.ks, "ks_p_value": found.ks_p_value}
    return {
        "state": str(found.state),
        "rows": found.rows,
        "reference_rows": found.reference_rows,
        **{name: round(value, 4) for name, value in numbers.items() if value is not None},
    }


def _judged(found: Shift) -> dg.AssetCheckResult:
    """A warning, for an attack moves scores too, and the model is then right; far out of bounds an error. A day that cannot be judged
    passes, and says why it was not.
    """
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=found.within_bounds,
        severity=dg.AssetCheckSeverity.ERROR if found.severe else dg.AssetCheckSeverity.WARN,
        description=f"not judged: {found.state}" if found.state is not State.JUDGED else None,
        metadata={**measured(found), "psi_at_most": DRIFTED, "ks_at_most": FAR},
    )


def _drawn(reference: Floats, score: Floats, hour: npt.NDArray[np.int64]) -> dict[str, Any]:
    """What share scores at or above each score, on either side; and the day by the hour, where a step is a release or an attack."""
    if not len(score):
        return {}
    hours, place = np.unique(hour, return_inverse=True)
    mean = np.bincount(place, score) / np.bincount(place)
    return {
        **scored_above({"expected": reference, "day": score}),
        "by_hour": lines({"mean score": (hours.tolist(), mean.tolist())}, "mean score by hour of the day"),
    }
