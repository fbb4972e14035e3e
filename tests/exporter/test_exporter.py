"""Dagster's runs, checks and reports as metrics, read from a real instance."""

import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import OperationalError

from fraud_assets.defs.monitoring import drift, matured, predictions
from fraud_assets.defs.results import Result
from fraud_assets.defs.rollout.shown import rollout_metadata
from fraud_assets.exporter.exporter import Exporter, Watched
from fraud_assets.exporter.figures import FIGURES
from fraud_assets.monitoring.drift import Drift, Moved
from fraud_assets.monitoring.scores import Shift, State
from fraud_assets.monitoring.skew import SkewReport
from fraud_assets.rollout.machine import Rollout
from fraud_assets.training.live import Calibrated, Performance

DAY, DAY_S = "2026-11-06", 1_793_923_200.0
CHECK = dg.AssetCheckSpec("performs_as_trained", asset="performance_report")


@dg.asset(partitions_def=dg.DailyPartitionsDefinition("2026-11-01"), group_name="monitoring", check_specs=[CHECK])
def performance_report(context: dg.AssetExecutionContext) -> Result:
    """Of a day, with a figure that is no number and one that nobody draws."""
    if context.run.tags.get("break"):
        raise RuntimeError("broken on purpose")
    severe = context.run.tags.get("severe") == "yes"
    return dg.MaterializeResult(
        metadata={"recall": 0.8, "precision": 0.9, "f1": "unknown", "rows": 12},
        check_results=[
            dg.AssetCheckResult(
                check_name=CHECK.name,
                passed=not context.run.tags.get("severe"),
                severity=dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN,
            )
        ],
    )


JOB = dg.define_asset_job("matured", selection=[performance_report])
DEFINITIONS = dg.Definitions(assets=[performance_report], jobs=[JOB])
WATCHED = Watched.of(DEFINITIONS)
CHECKED = {"asset": "performance_report", "check": "performs_as_trained"}


class Clock:
    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral(str(tmp_path)) as found:
        yield found


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def run(instance: dg.DagsterInstance, **tags: str) -> None:
    DEFINITIONS.resolve_job_def("matured").execute_in_process(
        instance=instance, partition_key=DAY, tags=tags, raise_on_error=False
    )


def test_runs_that_end_are_counted_once_by_how_they_ended(
    instance: dg.DagsterInstance, registry: CollectorRegistry
) -> None:
    """From zero on, and none of before: an exporter that is started again must not make a burst of failures."""
    run(instance, **{"break": "yes"})
    clock = Clock()
    exporter = Exporter(instance, WATCHED, registry, clock)

    def ended(status: str) -> float | None:
        return registry.get_sample_value(
            "fraud_dagster_run_duration_seconds_count", {"job": "matured", "status": status}
        )

    exporter.look()
    assert (ended("success"), ended("failure")) == (0, 0)

    run(instance)
    run(instance, **{"break": "yes"})
    for _ in range(3):
        exporter.look()
        clock.ahead_s += 60
    assert (ended("success"), ended("failure")) == (1, 1)
    newest = registry.get_sample_value(
        "fraud_dagster_job_end_timestamp_seconds", {"job": "matured", "status": "failure"}
    )
    assert newest == pytest.approx(time.time(), abs=60)


def test_what_waits_is_the_backlog(instance: dg.DagsterInstance, registry: CollectorRegistry) -> None:
    place = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("fraud_assets"), "__repository__")
    instance.create_run_for_job(
        DEFINITIONS.resolve_job_def("matured"),
        status=dg.DagsterRunStatus.QUEUED,
        remote_job_origin=RemoteJobOrigin(place, "matured"),
    )
    clock = Clock()
    clock.ahead_s = 300

    Exporter(instance, WATCHED, registry, clock).look()

    assert registry.get_sample_value("fraud_dagster_runs", {"status": "queued"}) == 1
    assert registry.get_sample_value("fraud_dagster_oldest_queued_run_seconds") == pytest.approx(300, abs=60)


def test_a_check_is_shown_as_it_was_judged_last(instance: dg.DagsterInstance, registry: CollectorRegistry) -> None:
    exporter = Exporter(instance, WATCHED, registry, Clock())
    found = []
    for tags in ({}, {"severe": "no"}, {"severe": "yes"}, {}):
        run(instance, **tags)
        exporter.look()
        found.append(registry.get_sample_value("fraud_dagster_check_state", CHECKED))

    assert found == [0, 1, 2, 0]


def test_a_reports_numbers_are_shown_with_their_day_and_what_is_none_is_not_there(
    instance: dg.DagsterInstance, registry: CollectorRegistry
) -> None:
    run(instance)

    Exporter(instance, WATCHED, registry, Clock()).look()

    def figure(name: str) -> float | None:
        return registry.get_sample_value("fraud_report_figure", {"report": "performance_report", "figure": name})

    assert (figure("recall"), figure("precision"), figure("f1"), figure("rows")) == (0.8, 0.9, None, None)
    assert registry.get_sample_value("fraud_report_day_timestamp_seconds", {"report": "performance_report"}) == DAY_S
    made = registry.get_sample_value(
        "fraud_dagster_asset_materialization_timestamp_seconds", {"asset": "performance_report", "group": "monitoring"}
    )
    assert made == pytest.approx(time.time(), abs=60)


def test_a_storage_that_is_away_says_so_and_leaves_nothing_stale(
    instance: dg.DagsterInstance, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(instance)
    exporter = Exporter(instance, WATCHED, registry, Clock())
    exporter.look()
    with monkeypatch.context() as broken:
        broken.setattr(
            dg.DagsterInstance, "get_runs_count", lambda *_: (_ for _ in ()).throw(OperationalError("", {}, OSError()))
        )
        exporter.look()

        assert registry.get_sample_value("fraud_dagster_up") == 0
        assert registry.get_sample_value("fraud_dagster_check_state", CHECKED) is None
        assert registry.get_sample_value("fraud_dagster_reads_total", {"result": "failed"}) == 1

    exporter.look()
    assert registry.get_sample_value("fraud_dagster_up") == 1
    assert registry.get_sample_value("fraud_dagster_check_state", CHECKED) == 0


def test_every_figure_is_one_that_its_report_writes() -> None:
    of_day = {f"{name}_of_day" for name in ("recall", "precision", "f1", "average_precision", "cost_minor")}
    moved = Moved("feature", 0.1, (0.0, 0.0), (0.0, 0.0), 0.1)
    written = {
        "performance_report": {one.name for one in fields(Performance)}
        | of_day
        | {"expected_recall", *matured.COUNTED},
        "calibration_report": {one.name for one in fields(Calibrated)} | {"gap"},
        "prediction_drift": set(predictions.measured(Shift(State.JUDGED, 1, 1, 0.1, 0.1, 0.1, 0.1))),
        "drift_report": set(drift._measured(Drift(1, 1, {"feature": 0.1}, 0.1, (moved,)))),
        "skew_report": {one.name for one in fields(SkewReport)},
        "rollout_evidence": set(rollout_metadata(Rollout())),
    }

    assert set(FIGURES) == set(written)
    for report, figures in FIGURES.items():
        assert set(figures) <= written[report], report
