"""The drift report and its check in a Dagster instance: a day like the training set, and one that is not."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import dagster as dg
import msgspec
import numpy as np
import pytest
from dagster._core.test_utils import create_run_for_test

from fraud_assets.contracts.events import Decision
from fraud_assets.defs.monitoring.drift import CHECK, _looked_at, drift_report
from fraud_assets.defs.partitions import end_ms
from fraud_assets.defs.resources import resources_of
from fraud_assets.defs.training import sensors
from fraud_assets.models.artifact import Champion
from fraud_assets.monitoring.day import vectors_of_day
from fraud_assets.rollout.machine import Phase, Rollout
from fraud_assets.rollout.pointer import Pointer, write_pointer
from fraud_assets.settings import Settings
from fraud_assets.stores.history import HistoryReader
from fraud_assets.stores.lake import Lake, start_ms
from fraud_assets.stores.schemas import LogPosition, from_events
from fraud_assets.training import store
from fraud_assets.training.as_of import AS_OF_FOLDER, note_model
from fraud_assets.training.dataset import TrainingSet, training_set, window_as_of
from tests.history import LABEL_DELAY_DAYS, LAST_DAY, Past
from tests.streaming.decided import before

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.timeout(600),  # kernels may have to be compiled first
]

OTHER_DAY = "2026-10-13"
MODEL = "fraud-000000000001"


class Decide(Protocol):
    """Makes a decision of the last day, as far as drift reads it."""

    def __call__(self, number: int, features: np.ndarray, score: float, **changed: object) -> Decision: ...


class Report(Protocol):
    """Materializes the report, after the decisions were written; its run, its metadata and its check."""

    def __call__(
        self, decisions: Sequence[Decision] = ()
    ) -> tuple[dg.ExecuteInProcessResult, Mapping[str, Any], dg.AssetCheckEvaluation]: ...


@pytest.fixture(scope="module")
def decision(past: Past) -> Decide:
    """A decision of the last day, as far as drift reads it."""
    digest = past.plan.registry.service_digest(past.service.service)

    def make(number: int, features: np.ndarray, score: float, **changed: object) -> Decision:
        at_ms = start_ms(LAST_DAY) + number
        usual = Decision(
            event_time_ms=at_ms,
            decision_id=f"d{number}",
            transaction_id=f"t{number}",
            account_id="a1",
            request={},
            decided_at_ms=at_ms,
            service="fraud_scoring",
            service_digest=digest,
            policy_digest="",
            model_version=MODEL,
            model_sha256="",
            epoch="e1",
            vector=features.astype("<f4").tobytes(),
            view_status={},
            states=[],
            fraud_score=score,
            action="approve",
            reason_codes=[],
            degraded_reasons=[],
            latency_ms=1.0,
        )
        made = msgspec.structs.replace(usual, **changed)
        return before(made) if number % 2 else made  # on a day on which scorers were upgraded

    return make


def append(lake: Lake, decisions: Sequence[Decision], name: str) -> None:
    at = [LogPosition(start_ms(LAST_DAY), "decisions.v1", 0, place) for place in range(len(decisions))]
    lake.append("decisions", from_events(Decision, decisions, at), name)


@pytest.fixture(scope="module")
def place(past: Past, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingSet]:
    """A lake with a training set of the last day, and the scores of its model; to be copied."""
    folder = tmp_path_factory.mktemp("drift")
    shutil.copytree(past.folder / "lake", folder / "lake")
    found = training_set(past.lake, past.service, window_as_of(start_ms(LAST_DAY), 90, LABEL_DELAY_DAYS))
    for as_of in (OTHER_DAY, LAST_DAY):
        store.save(str(folder / "training"), as_of, found)
    scores = np.random.default_rng(1).beta(1, 50, 1_000).astype(np.float32)
    store.save_scores(str(folder / "training"), OTHER_DAY, scores)
    (folder / "models" / AS_OF_FOLDER).mkdir(parents=True)
    (folder / "models" / AS_OF_FOLDER / OTHER_DAY).write_text(MODEL)
    return folder, found


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral(str(tmp_path)) as found:
        yield found


@pytest.fixture
def report(place: tuple[Path, TrainingSet], instance: dg.DagsterInstance, tmp_path: Path) -> Report:
    """Materialize the last day over a copy of the place, after `decisions` were written to it."""
    shutil.copytree(place[0], tmp_path / "var", dirs_exist_ok=True)
    settings = Settings(var_dir=tmp_path / "var", label_delay_days=LABEL_DELAY_DAYS)

    def make(
        decisions: Sequence[Decision] = (),
    ) -> tuple[dg.ExecuteInProcessResult, Mapping[str, Any], dg.AssetCheckEvaluation]:
        if decisions:
            append(Lake(settings.lake_uri), decisions, "decided")
        result = dg.materialize(
            [drift_report], resources=resources_of(settings), instance=instance, partition_key=LAST_DAY
        )
        (check,) = result.get_asset_check_evaluations()
        return result, result.asset_materializations_for_node("drift_report")[0].metadata, check

    return make


def test_a_day_without_decisions_is_compared_by_its_recomputed_vectors(report: Report, tmp_path: Path) -> None:
    result, metadata, check = report()

    assert result.success
    assert metadata["vectors"].value == "recomputed"
    assert metadata["reference_as_of"].value == LAST_DAY
    assert metadata["judged"].value is True
    assert metadata["rows"].value > 200
    assert 0 <= metadata["share_drifted"].value <= 1
    assert metadata["psi_max"].value > 0
    assert len(metadata["moved"].records) == 20
    assert "data:image/png" in metadata["moved_most"].md_str
    assert "psi_of_score" not in metadata
    assert metadata["page"].value == str(tmp_path / "var" / "reports" / "drift" / f"{LAST_DAY}.html")
    assert (tmp_path / "var" / "reports" / "drift" / f"{LAST_DAY}.html").stat().st_size > 1_000_000
    assert check.check_name == "drift_within_bounds"


def test_served_vectors_like_those_of_training_pass(
    decision: Decide, place: tuple[Path, TrainingSet], report: Report
) -> None:
    found = place[1]
    rng = np.random.default_rng(5)
    rows = rng.choice(len(found), 400, replace=False)

    _, metadata, check = report(
        [decision(n, found.features[row], float(rng.beta(1, 50))) for n, row in enumerate(rows)]
    )

    assert metadata["vectors"].value == "served"
    assert metadata["model_version"].value == MODEL
    assert metadata["reference_as_of"].value == OTHER_DAY  # the day that this model is of, not the newest
    assert metadata["share_drifted"].value == 0.0
    assert metadata["psi_of_score"].value < 0.1
    assert check.passed
    assert check.metadata["judged"].value is True


def test_vectors_and_scores_unlike_those_of_training_are_an_error_that_stops_nothing(
    decision: Decide, place: tuple[Path, TrainingSet], report: Report
) -> None:
    found = place[1]
    rows = np.random.default_rng(6).choice(len(found), 300, replace=False)

    result, metadata, check = report([decision(n, found.features[row] * 3 + 1, 0.5) for n, row in enumerate(rows)])

    assert result.success
    assert metadata["share_drifted"].value > 0.5
    assert metadata["features_drifted"].value > 100
    assert metadata["psi_of_score"].value > 1
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.ERROR


def test_a_few_drifted_features_warn(decision: Decide, place: tuple[Path, TrainingSet], report: Report) -> None:
    """Between the two bounds a person looks."""
    found = place[1]
    rng = np.random.default_rng(5)
    moved = rng.choice(len(found.names), round(len(found.names) * 0.22), replace=False)
    rows = found.features[rng.choice(len(found), 400, replace=False)].copy()
    rows[:, moved] = rows[:, moved] * 3 + 1

    _, metadata, check = report([decision(n, row, float(rng.beta(1, 50))) for n, row in enumerate(rows)])

    assert 0.1 < metadata["share_drifted"].value < 0.25
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN


def test_decisions_that_read_nothing_or_saw_themselves_are_no_drift(
    decision: Decide, place: tuple[Path, TrainingSet], report: Report
) -> None:
    found = place[1]
    rows = np.random.default_rng(7).choice(len(found), 400, replace=False)
    nothing = np.full(len(found.names), np.nan)
    good = [decision(n, found.features[row], 0.01) for n, row in enumerate(rows[:250])]
    degraded = [decision(1_000 + n, nothing, 0.5, degraded_reasons=["online_store_timeout"]) for n in range(100)]
    included = [decision(2_000 + n, nothing, 0.5, self_included=True) for n in range(50)]

    _, metadata, _ = report([*good, *degraded, *included])

    assert metadata["rows"].value == 250
    assert metadata["share_drifted"].value == 0.0


def test_the_scores_of_two_models_are_not_mixed(
    decision: Decide, place: tuple[Path, TrainingSet], report: Report
) -> None:
    found = place[1]
    rng = np.random.default_rng(8)
    rows = rng.choice(len(found), 500, replace=False)
    mine = [decision(n, found.features[row], float(rng.beta(1, 50))) for n, row in enumerate(rows[:300])]
    other = [
        decision(1_000 + n, found.features[row], 0.9, model_version="fraud-other") for n, row in enumerate(rows[300:])
    ]

    _, metadata, _ = report([*mine, *other])

    assert metadata["rows"].value == 500
    assert metadata["psi_of_score"].value < 0.1


def test_a_platform_that_has_trained_nothing_says_so(past: Past, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    shutil.copytree(past.folder / "lake", tmp_path / "var" / "lake")
    resources = resources_of(Settings(var_dir=tmp_path / "var"))

    with pytest.raises(FileNotFoundError, match="Materialize training_set first"):
        dg.materialize([drift_report], resources=resources, instance=instance, partition_key=LAST_DAY)


def test_the_vectors_of_a_day_are_those_of_its_transactions(past: Past) -> None:
    day = vectors_of_day(HistoryReader(past.lake, past.plan), past.service, start_ms(OTHER_DAY), end_ms(OTHER_DAY))

    assert day.sample.names == past.service.names
    assert not np.isnan(day.sample.features).all(axis=1).any()


# ------------------------------------------------------------------------------- what drift then asks for


class Tick(Protocol):
    """A look of the sensor on a day, after the look before."""

    def __call__(self, today: str) -> dg.SensorResult: ...


@pytest.fixture
def tick(
    instance: dg.DagsterInstance, place: tuple[Path, TrainingSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Tick:
    """Over the instance that reports are made in, and a platform whose model is of the day before."""
    shutil.copytree(place[0] / "models", tmp_path / "var" / "models", dirs_exist_ok=True)
    cursor: list[str | None] = [None]

    def look(today: str) -> dg.SensorResult:
        monkeypatch.setattr(sensors, "_today", lambda: today)
        settings = Settings(var_dir=tmp_path / "var")
        context = dg.build_sensor_context(instance=instance, cursor=cursor[0], resources={"settings": settings})
        found = sensors.retrain_on_drift(context)
        assert isinstance(found, dg.SensorResult)
        cursor[0] = found.cursor
        return found

    return look


def judged(instance: dg.DagsterInstance, day: str, severity: dg.AssetCheckSeverity, *, passed: bool = False) -> None:
    """What the check of a further day said."""
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            dg.AssetKey("drift_report"), CHECK, passed, metadata={}, severity=severity, partition=day
        )
    )


def test_a_day_that_drifted_far_asks_once_for_a_training_as_of_today(
    decision: Decide, place: tuple[Path, TrainingSet], report: Report, tick: Tick
) -> None:
    found = place[1]
    rows = np.random.default_rng(6).choice(len(found), 300, replace=False)
    result, _, check = report([decision(n, found.features[row] * 3 + 1, 0.5) for n, row in enumerate(rows)])

    first, second = tick("2026-10-15"), tick("2026-10-15")

    (request,) = first.run_requests or []
    assert not check.passed
    assert result.success
    assert request.partition_key == "2026-10-15"
    assert request.tags["fraud/drifted_day"] == LAST_DAY
    assert request.run_key == f"drift:{request.tags['fraud/check_event']}"
    assert not second.run_requests


ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


def test_a_warning_or_a_day_that_passes_asks_for_nothing(instance: dg.DagsterInstance, tick: Tick) -> None:
    judged(instance, LAST_DAY, WARN)
    judged(instance, OTHER_DAY, ERROR, passed=True)

    assert not tick("2026-10-15").run_requests


def test_the_same_drift_asks_again_only_after_the_cool_down(instance: dg.DagsterInstance, tick: Tick) -> None:
    asked = []
    for day, today in [("2026-10-14", "2026-10-15"), ("2026-10-15", "2026-10-16"), ("2026-10-21", "2026-10-22")]:
        judged(instance, day, ERROR)
        asked.append([request.partition_key for request in tick(today).run_requests or []])

    assert asked == [["2026-10-15"], [], ["2026-10-22"]]


def test_a_drift_that_the_nights_training_knew_of_asks_for_nothing(
    instance: dg.DagsterInstance, tick: Tick, tmp_path: Path
) -> None:
    judged(instance, LAST_DAY, ERROR)
    note_model(tmp_path / "var" / "models", "2026-10-15", MODEL)

    found = tick("2026-10-15")

    assert not found.run_requests
    assert "as of 2026-10-15 was trained when 2026-10-14 was known" in str(found.skip_reason)


def test_a_tick_that_died_before_its_cursor_was_kept_asks_for_the_same_run(
    instance: dg.DagsterInstance, tick: Tick, tmp_path: Path
) -> None:
    judged(instance, LAST_DAY, ERROR)
    lost = dg.build_sensor_context(
        instance=instance, cursor=None, resources={"settings": Settings(var_dir=tmp_path / "var")}
    )

    first = tick("2026-10-15")
    again = sensors.retrain_on_drift(lost)

    assert isinstance(again, dg.SensorResult)
    assert [request.run_key for request in first.run_requests or []] == [
        request.run_key for request in again.run_requests or []
    ]


def test_a_drift_is_answered_when_the_labels_of_what_drifted_are_in(
    instance: dg.DagsterInstance, tick: Tick, waiting: Callable[[float], None]
) -> None:
    """From its first report on, however often it is reported again meanwhile."""
    waiting(1.0)
    judged(instance, OTHER_DAY, ERROR)
    first = tick("2026-10-15")
    waiting(100.0)
    judged(instance, LAST_DAY, ERROR)
    second = tick("2026-10-15")
    waiting(200.0)
    third = tick("2026-10-15")

    assert not first.run_requests and not second.run_requests
    assert "labels of what drifted come in" in str(second.skip_reason)
    assert len(third.run_requests or []) == 1


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Three minutes are waited; the clock is so many seconds on."""
    monkeypatch.setenv("FRAUD_RETRAIN_WAIT_MINUTES", "3")
    now_s = time.time()
    return lambda later_s: monkeypatch.setattr(sensors, "time", SimpleNamespace(time=lambda: now_s + later_s))


def test_a_drift_that_is_reported_while_a_training_runs_waits_for_how_that_ends(
    instance: dg.DagsterInstance, tick: Tick
) -> None:
    run = create_run_for_test(instance, job_name="learning", status=dg.DagsterRunStatus.STARTED)
    judged(instance, LAST_DAY, ERROR)

    during = tick("2026-10-15")
    instance.report_run_failed(run)
    after = tick("2026-10-15")

    assert not during.run_requests
    assert f"run {run.run_id} trains already" in str(during.skip_reason)
    assert len(after.run_requests or []) == 1


@pytest.mark.parametrize(("mode", "asked"), [("shadow", 0), ("direct", 1)])
def test_while_a_version_is_tried_no_other_is_asked_for(
    instance: dg.DagsterInstance, tick: Tick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, asked: int
) -> None:
    """It would stay registered. Where nothing is tried before it decides, a drift is answered all the same."""
    monkeypatch.setenv("FRAUD_ROLLOUT", mode)
    champion, challenger = (Champion(name, "0" * 64) for name in ("fraud-000000000001", "fraud-000000000002"))
    rollout = Rollout(sequence=2, phase=Phase.SHADOW, champion=champion, challenger=challenger)
    (tmp_path / "var" / "models").mkdir(parents=True, exist_ok=True)
    write_pointer(tmp_path / "var" / "models", Pointer(rollout=rollout, entry_sha256="0" * 64))
    judged(instance, LAST_DAY, ERROR)

    first, again = tick("2026-10-15"), tick("2026-10-15")

    assert len(first.run_requests or []) == asked
    assert not again.run_requests


def test_of_the_day_that_goes_on_only_the_newest_minutes_are_looked_at() -> None:
    noon_ms = start_ms("2026-10-15") + 43_200_000

    assert _looked_at("2026-10-15", 10.0, noon_ms) == (noon_ms - 600_000, end_ms("2026-10-15"))
    assert _looked_at("2026-10-15", 1440.0, noon_ms) == (start_ms("2026-10-15"), end_ms("2026-10-15"))
    assert _looked_at("2026-10-14", 10.0, noon_ms) == (start_ms("2026-10-14"), end_ms("2026-10-14"))
