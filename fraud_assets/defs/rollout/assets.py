"""Rollouts in Dagster: the evidence as an asset, a sensor that gathers it and takes the steps, a job that takes the newest thing back."""

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import dagster as dg
import msgspec

from fraud_assets.defs.metadata import bars
from fraud_assets.defs.partitions import SETTINGS
from fraud_assets.defs.resources import LakeResource
from fraud_assets.defs.rollout.shown import rollout_metadata
from fraud_assets.rollout.guard import Finding, Judgement
from fraud_assets.rollout.log import Entry, PromotionLog
from fraud_assets.rollout.machine import Halt, Rollback, Rollout, Step, kind
from fraud_assets.rollout.standing import standing
from fraud_assets.settings import Settings
from fraud_assets.stores.registry import RegistryDown, open_for_a_person
from fraud_assets.training.gathered import Place
from fraud_assets.training.guarded import Looked, look

KEY = dg.AssetKey("rollout_evidence")
CHECK = "rollout_is_healthy"
OWNER = "team:fraud-ml"
SHOWN = ("name", "basis", "alarmed", "n", "estimate", "at_most", "wealth", "peak", "threshold")
# Evidence is gathered at each look, and shown so often, or at once when a step was taken: each showing stays in Dagster's event log, and
# two a minute would be 40 MB a day of it.
SHOWN_EVERY_MS = 5 * 60_000
COLUMNS = dg.TableSchema(
    columns=[dg.TableColumn(name, type_) for name, type_ in zip(
        SHOWN, ("string", "string", "bool", "int", "float", "float", "float", "float", "float"), strict=True
    )]
)  # fmt: skip


class Cursor(msgspec.Struct, frozen=True):
    """place: of the evidence. told: the step that MLflow was told of. shown, shown_ms: the step that was shown last, and when."""

    place: Place | None = None
    told: int = 0
    shown: int = 0
    shown_ms: int = 0


rollout_evidence = dg.AssetSpec(
    KEY,
    group_name="rollout",
    kinds={"numba"},
    owners=[OWNER],
    description="What the guard has seen of the version on trial, test by test: gathered and judged by the sensor rollout_guard.",
    deps=["champion_model", "decisions", "label_facts"],
    metadata={"dagster/column_schema": COLUMNS},
)


def judged(entries: Sequence[Entry]) -> tuple[bool, str]:
    """Whether the newest step is no halt, and its words."""
    if not entries:
        return True, "nothing was ever rolled out"
    step = entries[-1].step
    return not isinstance(step, Halt), f"{kind(step)} by {step.who}: {step.why}"


@dg.asset_check(asset=KEY, name=CHECK, description="The newest step of the promotion log is no halt.")
def rollout_is_healthy(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    passed, said = judged(PromotionLog(settings.model_dir).entries())
    return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.ERROR, description=said)


@dg.sensor(minimum_interval_seconds=SETTINGS.sensor_interval_s)
def rollout_guard(
    context: dg.SensorEvaluationContext, lake: LakeResource, settings: dg.ResourceParam[Settings]
) -> dg.SensorResult:
    """Reads what the lake has got since the last look, judges the version on trial, and takes the step that is due, or a halt.

    A process that dies between the step and its cursor begins the next phase's evidence anew, of which there is none yet.
    """
    cursor = _read_cursor(context.cursor)
    now_ms, log = _now_ms(), PromotionLog(settings.model_dir)
    looked = look(log, cursor.place, lake.lake, lake.training_uri, settings, now_ms)
    sequence = looked.rollout.sequence
    told = sequence if cursor.told == sequence or _told(context.log, log, settings) else cursor.told
    is_news = sequence != cursor.shown or (looked.folded and now_ms - cursor.shown_ms >= SHOWN_EVERY_MS)
    shown, shown_ms = (sequence, now_ms) if is_news else (cursor.shown, cursor.shown_ms)
    kept = msgspec.json.encode(Cursor(looked.place, told, shown, shown_ms)).decode()
    if not is_news:
        said = f"{looked.rollout.phase}: {looked.judgement.words if looked.judgement else 'nothing is watched'}"
        return dg.SensorResult(skip_reason=dg.SkipReason(said), cursor=kept)
    return dg.SensorResult(asset_events=_events(looked, log.entries()), cursor=kept)


def _read_cursor(said: str | None) -> Cursor:
    """A new one too where it is of another version: the phase's evidence begins anew, and its step is told and shown again."""
    with contextlib.suppress(msgspec.DecodeError):
        return msgspec.json.decode(said or b"", type=Cursor)
    return Cursor()


def _events(looked: Looked, entries: Sequence[Entry]) -> list[Any]:
    passed, said = judged(entries)
    shown = {**rollout_metadata(looked.rollout), "step": said, "dagster/column_schema": COLUMNS, "dagster/row_count": 0}
    if looked.judgement is not None:
        shown |= findings_metadata(looked.judgement)
    check = dg.AssetCheckEvaluation(
        KEY, CHECK, passed, metadata={"step": said}, severity=dg.AssetCheckSeverity.ERROR, description=said
    )
    return [dg.AssetMaterialization(KEY, metadata=shown), check]


def findings_metadata(judgement: Judgement) -> dict[str, Any]:
    """A number of each test that Dagster plots over time, all of them as a table, and how near each is to its alarm as bars."""
    findings = judgement.findings
    shares = {one.name: min(one.peak / one.threshold, 1.0) for one in findings}
    return {
        "dagster/row_count": len(findings),
        "verdict": str(judgement.verdict),
        "words": judgement.words,
        **{f"wealth_{one.name}": float(one.wealth) for one in findings},
        "findings": dg.MetadataValue.table([_record(one) for one in findings], COLUMNS),
        "nearest_to_an_alarm": bars(shares, "largest wealth, as a part of what alarms"),
    }


def _record(finding: Finding) -> dg.TableRecord:
    values = {name: getattr(finding, name) for name in SHOWN}
    return dg.TableRecord({**values, "basis": str(finding.basis)})


def _told(log: Any, promotions: PromotionLog, settings: Settings) -> bool:
    """Whether MLflow says what the log says now; if it is down, the next look tells it."""
    try:
        with open_for_a_person(settings.mlflow_tracking_uri) as registry:
            found = registry.reconcile(standing(entry.rollout for entry in promotions.entries()))
    except RegistryDown as error:
        log.warning("%s. Scorers follow all the same.", error)
        return False
    log.info("MLflow: %s", ", ".join(found.changed) or "says so already")
    return True


class Said(dg.Config):
    """who, why: stay in the promotion log."""

    who: str
    why: str


@dg.op
def roll_back(context: dg.OpExecutionContext, config: Said, settings: dg.ResourceParam[Settings]) -> None:
    """The newest thing goes: a running challenger, or else the newest champion. Scorers follow within a second."""
    log, now_ms = PromotionLog(settings.model_dir), _now_ms()
    step: Step = Rollback(at_ms=now_ms, who=config.who, why=config.why, evidence={"dagster_run_id": context.run_id})
    rollout: Rollout = log.move(log.settle(now_ms), step)
    context.log.info("step %s: %s", rollout.sequence, rollout_metadata(rollout))
    _told(context.log, log, settings)


@dg.job(description="Takes the newest thing of a rollout back; say who and why.")
def rollback() -> None:
    roll_back()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
