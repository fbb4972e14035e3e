"""A model is trained again when what it scores no longer looks like what it learnt from."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime

import dagster as dg
import msgspec
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

from fraud_assets.defs.monitoring.drift import CHECK
from fraud_assets.defs.partitions import SETTINGS
from fraud_assets.rollout.machine import WATCHED
from fraud_assets.rollout.pointer import follow
from fraud_assets.settings import Settings
from fraud_assets.training.as_of import models_by_day
from fraud_assets.training.retrain import Answer, answer

JOB = "learning"
DRIFT = dg.AssetCheckKey(dg.AssetKey("drift_report"), CHECK)
# Failures that are looked at, newest first. A record's number is given when its run is planned, so of two runs the later number may be
# judged first, and a plain "newer than" would miss the other; more than this many fail at once only in a backfill of a past year.
LOOKED_AT = 200


class Place(msgspec.Struct, frozen=True):
    """seen: failures that were answered, of those that are looked at. answered: as-of day of the training that was the answer.

    since_s: when the drift that waits for its answer was first reported; 0 where none does.
    """

    seen: list[int] = []
    answered: str = ""
    since_s: float = 0.0


@dg.sensor(job_name=JOB, minimum_interval_seconds=2 * SETTINGS.sensor_interval_s)
def retrain_on_drift(context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]) -> dg.SensorResult:
    """A failed `drift_within_bounds` of severity ERROR asks for a training as of today, once for one drift.

    Not as of the day that drifted: its report may be late, and an older model must not replace a newer one.
    """
    place = msgspec.json.decode(context.cursor, type=Place) if context.cursor else Place()
    failed = context.instance.event_log_storage.get_asset_check_execution_history(
        DRIFT, limit=LOOKED_AT, status={AssetCheckExecutionRecordStatus.FAILED}
    )
    news = [one for one in failed if one.id not in place.seen and _is_error(one)]
    since_s = place.since_s or min((one.create_timestamp for one in news), default=0.0)
    if news and (waits := _waits(context.instance, since_s + 60 * settings.retrain_wait_minutes)):
        kept = msgspec.json.encode(msgspec.structs.replace(place, since_s=since_s)).decode()
        return dg.SensorResult(skip_reason=dg.SkipReason(waits), cursor=kept)
    drifted = {_day(context.instance, one): one.id for one in news}
    found = Answer("no day has drifted that far since the last look", place.answered)
    if drifted:
        found = _tried(settings, place) or answer(
            max(drifted),
            _today(),
            models_by_day(settings.model_dir),
            place.answered,
            settings.retrain_cooldown_days,
        )
    cursor = msgspec.json.encode(Place([one.id for one in failed], found.answered)).decode()
    if found.refused:
        return dg.SensorResult(skip_reason=dg.SkipReason(found.refused), cursor=cursor)
    return dg.SensorResult(run_requests=[_request(drifted, found.answered)], cursor=cursor)


def _waits(instance: dg.DagsterInstance, until_s: float) -> str:
    """Why a drift is not answered yet; empty where it is now."""
    if (left_s := until_s - time.time()) > 0:
        return f"labels of what drifted come in for another {left_s:.0f} s"
    under_way = dg.RunsFilter(job_name=JOB, statuses=[*IN_PROGRESS_RUN_STATUSES])
    found = instance.get_runs(under_way, limit=1)
    return f"run {found[0].run_id} trains already" if found else ""


def _tried(settings: Settings, place: Place) -> Answer | None:
    """While a version is tried, another one would stay registered; a drift that outlives the trial is reported again."""
    phase = follow(settings.model_dir).phase
    if settings.rollout == "direct" or phase not in WATCHED:
        return None
    return Answer(f"a version is in {phase}: the answer so far", place.answered)


def _request(drifted: Mapping[str, int], today: str) -> dg.RunRequest:
    """The key is the failure's own: a tick that died before its cursor was kept asks for the same run."""
    day = max(drifted)
    tags = {"fraud/drifted_day": day, "fraud/check_event": str(drifted[day])}
    return dg.RunRequest(run_key=f"drift:{drifted[day]}", partition_key=today, tags=tags)


def _is_error(record: AssetCheckExecutionRecord) -> bool:
    evaluation = record.evaluation
    return evaluation is not None and evaluation.severity is dg.AssetCheckSeverity.ERROR


def _day(instance: dg.DagsterInstance, record: AssetCheckExecutionRecord) -> str:
    """The partition: the check's own, or else its run's; of a check that names neither, the day on which it ran."""
    if record.partition is not None:
        return record.partition
    run = instance.get_run_by_id(record.run_id) if record.run_id else None
    ran = datetime.fromtimestamp(record.create_timestamp, UTC).date().isoformat()
    return run.tags.get("dagster/partition", ran) if run else ran


def _today() -> str:
    return datetime.fromtimestamp(time.time(), UTC).date().isoformat()
