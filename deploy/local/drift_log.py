"""What happened, as the platform's own logs have it: checks and runs of Dagster, steps of the promotion log, decisions of the lake."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pyarrow as pa
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from fraud_assets.rollout.log import Entry, PromotionLog
from fraud_assets.stores.lake import Lake

DRIFT = dg.AssetCheckKey(dg.AssetKey("drift_report"), "drift_within_bounds")
LEARNING = "learning"
SENSOR_TAG = "dagster/sensor_name"


@dataclass(frozen=True)
class Check:
    """A drift check. is_error: it asks for a training."""

    at_ms: int
    passed: bool
    is_error: bool
    share_drifted: float
    score_psi: float | None


@dataclass(frozen=True)
class Training:
    """A run of `learning`. sensor: that asked for it, empty for a person's."""

    asked_ms: int
    ended_ms: int | None
    succeeded: bool
    sensor: str


@dataclass(frozen=True)
class Served:
    """Decisions that a version made: how many, the first and the last."""

    version: str
    decisions: int
    first_ms: int
    last_ms: int


class Logs:
    """Read while it happens, and once more in the end."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._home = env["DAGSTER_HOME"]
        self._promotions = PromotionLog(Path(env["FRAUD_MODEL_DIR"]))
        self._lake = Lake(env["FRAUD_LAKE_URI"])

    def steps(self) -> list[Entry]:
        return self._promotions.entries()

    def checks(self) -> list[Check]:
        """Drift checks that were judged, oldest first."""
        judged = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
        with dg.DagsterInstance.from_config(self._home) as instance:
            records = instance.event_log_storage.get_asset_check_execution_history(DRIFT, limit=200, status=judged)
        found = [_check(one.event.timestamp, one.evaluation) for one in records if one.event and one.evaluation]
        return sorted(found, key=lambda one: one.at_ms)

    def trainings(self) -> list[Training]:
        """Runs of `learning`, oldest first."""
        with dg.DagsterInstance.from_config(self._home) as instance:
            records = instance.get_run_records(dg.RunsFilter(job_name=LEARNING))
        return sorted((_training(one) for one in records), key=lambda one: one.asked_ms)

    def served(self, since_ms: int) -> list[Served]:
        """By version, of decisions made since."""
        rows = self._lake.scan("decisions", since_ms, columns=("event_time_ms", "decided_at_ms", "model_version"))
        return served_by(rows)


def served_by(rows: pa.Table) -> list[Served]:
    at = "decided_at_ms"
    counted = rows.group_by("model_version").aggregate([(at, "count"), (at, "min"), (at, "max")])
    return [
        Served(one["model_version"], one[f"{at}_count"], one[f"{at}_min"], one[f"{at}_max"])
        for one in counted.to_pylist()
    ]


def _check(at_s: float, evaluation: dg.AssetCheckEvaluation) -> Check:
    numbers = {name: value.value for name, value in evaluation.metadata.items()}
    psi = numbers.get("psi_of_score")
    return Check(
        at_ms=round(at_s * 1000),
        passed=evaluation.passed,
        is_error=not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR,
        share_drifted=float(str(numbers.get("share_drifted", 0.0))),
        score_psi=None if psi is None else float(str(psi)),
    )


def _training(record: dg.RunRecord) -> Training:
    return Training(
        asked_ms=round(record.create_timestamp.timestamp() * 1000),
        ended_ms=None if record.end_time is None else round(record.end_time * 1000),
        succeeded=record.dagster_run.status is dg.DagsterRunStatus.SUCCESS,
        sensor=record.dagster_run.tags.get(SENSOR_TAG, ""),
    )
