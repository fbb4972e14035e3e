"""Who operates the platform is told what went wrong: failed checks, failed runs, halted rollouts (docs/alerts.md)."""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import msgspec
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)

from fraud_assets.defs.freshness import NAME as FRESHNESS
from fraud_assets.defs.rollout.assets import CHECK as HALT_CHECK
from fraud_assets.monitoring.alerts import Alert, Alerts, Limits, Sends
from fraud_assets.rollout.log import Entry, PromotionLog
from fraud_assets.rollout.machine import HOUR_MS, Halt
from fraud_assets.settings import Settings

FOLDER = "alerts"
PARTITION = "dagster/partition"
LOOKED_AT = 50  # failures of one check at one look, the newest: more of one kind are no news
# Two runs are judged at once, and the earlier judgement may be readable later: what is this much older is looked at again.
AGAIN_S = 600.0
# They only warn, are of every asset, and there are as many as all others together; the promotion log tells of halts itself.
PASSED_OVER = (FRESHNESS, HALT_CHECK)


class Seen(msgspec.Struct, frozen=True):
    """begun_s: when the sensor was switched on; it does not tell what was before. until_s: of the newest judgement it has seen. told: records
    of the last AGAIN_S before that.
    """

    begun_s: float
    until_s: float
    told: tuple[int, ...] = ()


@dg.sensor(minimum_interval_seconds=60)
def alert_on_checks(context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]) -> dg.SensorResult:
    """Tells of each check that failed as an error, of every run and partition; and tells again what a channel did not take."""
    now_s = _now_ms() / 1000
    seen = msgspec.json.decode(context.cursor, type=Seen) if context.cursor else Seen(now_s, now_s)
    assert context.repository_def is not None
    keys = context.repository_def.asset_graph.asset_check_keys
    found = sorted(_since(context.instance, keys, seen), key=lambda one: one.id)
    said = _tell(
        context.log, settings, [_failed(one, context.instance, settings) for one in found if one.id not in seen.told]
    )
    until_s = max([seen.until_s, *map(_judged_s, found)])
    told = tuple(one.id for one in found if _judged_s(one) > until_s - AGAIN_S)
    kept = msgspec.json.encode(Seen(seen.begun_s, until_s, told)).decode()
    return dg.SensorResult(skip_reason=dg.SkipReason(said), cursor=kept)


# All, for a run that was started from the command line belongs to none.
@dg.run_failure_sensor(minimum_interval_seconds=30, monitor_all_code_locations=True)
def alert_on_runs(context: dg.RunFailureSensorContext, settings: dg.ResourceParam[Settings]) -> dg.SkipReason:
    """Tells of each run that failed, by its job, its partition and the steps that did: a run that is retried is one alert."""
    run = context.dagster_run
    partition = run.tags.get(PARTITION, "")
    name = _selected(run) if run.job_name.startswith("__") else run.job_name
    what = context.failure_event.message or ""  # names steps, and says nothing of what they met
    page = _page(settings, f"runs/{run.run_id}")
    fields = _given({"partition": partition, "what": what, "page": page})
    alert = Alert(f"run/{name}/{partition}/{what}", f"Run of {name} failed", fields, _now_ms())
    return dg.SkipReason(_tell(context.log, settings, [alert]))


@dg.sensor(minimum_interval_seconds=30)
def alert_on_halts(context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]) -> dg.SensorResult:
    """Tells of each halt in the promotion log, whoever halted."""
    entries = PromotionLog(settings.model_dir).entries()
    newest = entries[-1].rollout.sequence if entries else 0
    seen = int(context.cursor) if context.cursor else newest
    halts = [_halted(one, settings) for one in entries if one.rollout.sequence > seen and isinstance(one.step, Halt)]
    return dg.SensorResult(skip_reason=dg.SkipReason(_tell(context.log, settings, halts)), cursor=str(newest))


def _since(
    instance: dg.DagsterInstance, keys: Iterable[dg.AssetCheckKey], seen: Seen
) -> Iterator[AssetCheckExecutionRecord]:
    """Failures as an error, judged after what was seen, or little before it.

    Asked for check by check: the event log of one machine is a file a run, and has no order over them.
    """
    for key in keys:
        if key.name in PASSED_OVER:
            continue
        failed = instance.event_log_storage.get_asset_check_execution_history(
            key, limit=LOOKED_AT, status={AssetCheckExecutionRecordStatus.FAILED}
        )
        after = max(seen.begun_s, seen.until_s - AGAIN_S)
        yield from (one for one in failed if _is_error(one) and _judged_s(one) > after)


def _is_error(record: AssetCheckExecutionRecord) -> bool:
    return record.evaluation is not None and record.evaluation.severity is dg.AssetCheckSeverity.ERROR


def _judged_s(record: AssetCheckExecutionRecord) -> float:
    return record.event.timestamp if record.event else record.create_timestamp


def _failed(record: AssetCheckExecutionRecord, instance: dg.DagsterInstance, settings: Settings) -> Alert:
    found = record.evaluation
    assert found is not None  # _is_error
    asset, partition = found.asset_key.to_user_string(), found.partition or _partition(instance, record.run_id)
    fields = {"asset": asset, "check": found.check_name, "partition": partition, "what": found.description or ""}
    page = _page(settings, f"assets/{asset}?view=checks")
    return Alert(
        f"check/{asset}/{found.check_name}/{partition}",
        f"{found.check_name} of {asset} failed",
        _given({**fields, **_numbers(found.metadata), "page": page}),
        round(_judged_s(record) * 1000),
    )


def _partition(instance: dg.DagsterInstance, run_id: str) -> str:
    """The run's, of a check that names none."""
    run = instance.get_run_by_id(run_id) if run_id else None
    return run.tags.get(PARTITION, "") if run else ""


def _numbers(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, str]:
    """What was measured. Numbers and states alone: tables and texts may name payments."""
    kinds = dg.FloatMetadataValue | dg.IntMetadataValue | dg.BoolMetadataValue
    return {name: str(value.value) for name, value in metadata.items() if isinstance(value, kinds)}


def _selected(run: dg.DagsterRun) -> str:
    """What somebody materialized without naming a job."""
    return ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ())) or "assets"


def _halted(entry: Entry, settings: Settings) -> Alert:
    step, rollout = entry.step, entry.rollout
    fields = {"why": step.why, "by": step.who, "page": _page(settings, "assets/rollout_evidence")}
    fields["champion"] = rollout.champion.version if rollout.champion else ""
    return Alert(f"halt/{rollout.sequence}", "A rollout was halted", _given(fields), step.at_ms)


def _given(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}


def _page(settings: Settings, path: str) -> str:
    return f"{settings.dagster_url.rstrip('/')}/{path}"


def _tell(log: logging.Logger, settings: Settings, alerts: Sequence[Alert]) -> str:
    """What the sensor's page says of it: there every alert is, whoever else is told."""
    limits = Limits(settings.alerts_per_hour, round(settings.alert_repeat_hours * HOUR_MS))
    news, failed = Alerts(settings.var_dir / FOLDER, _channels(settings), limits, _now_ms).tell(alerts)
    for alert in news:
        log.error("%s: %s", alert.title, "; ".join(f"{name}={value}" for name, value in alert.fields.items()))
    for place in failed:
        log.error(
            "url %s of FRAUD_ALERT_URLS did not take an alert, or Apprise does not know it; it waits for the next look",
            place,
        )
    unheard = "" if not failed else f" URLs that took nothing: {', '.join(map(str, failed))}."
    return ("; ".join(alert.title for alert in news) or "nothing new") + "." + unheard


def _channels(settings: Settings) -> list[Sends]:
    if not settings.alert_urls:
        return []
    # Here, for Apprise takes a third of a second that only who tells should wait for.
    from fraud_assets.monitoring.channels import alert_channel

    return [alert_channel(url.get_secret_value()) for url in settings.alert_urls]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
