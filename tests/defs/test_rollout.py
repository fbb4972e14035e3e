"""The guard as a sensor of a Dagster instance, what it shows, and the job that takes the newest thing back."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fraud_assets.defs.resources import resources_of
from fraud_assets.defs.rollout import assets
from fraud_assets.models.artifact import champion_of, read_champion
from fraud_assets.rollout.log import PromotionLog
from fraud_assets.rollout.machine import Phase, Rollback
from fraud_assets.stores.registry import ModelRegistry, _client
from fraud_assets.training.trial import FOLLOWED_MS
from tests.models.made import Trained
from tests.training.trials import T0, Trial, calm, decision

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

LIVE = T0 + FOLLOWED_MS


@pytest.fixture
def trial(tmp_path: Path, trained: Trained) -> Trial:
    """MLflow is down: nothing that is decided waits for it."""
    return Trial.made(tmp_path / "var", trained, mlflow_tracking_uri="http://127.0.0.1:1")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral(str(tmp_path)) as found:
        yield found


class Guard:
    """Ticks as the daemon makes them: the cursor is kept, events go to the instance."""

    def __init__(self, trial: Trial, instance: dg.DagsterInstance, patch: pytest.MonkeyPatch) -> None:
        self._trial, self._instance, self._patch, self.cursor = trial, instance, patch, ""

    def tick(self, at_ms: int) -> dg.SensorResult:
        self._patch.setattr(assets, "_now_ms", lambda: at_ms)
        resources = resources_of(self._trial.settings)
        wanted = {name: resources[name] for name in ("lake", "settings")}
        context = dg.build_sensor_context(
            instance=self._instance, cursor=self.cursor or None, resources=wanted, sensor_name="rollout_guard"
        )
        found = assets.rollout_guard(context)
        assert isinstance(found, dg.SensorResult)
        self.cursor = found.cursor or ""
        for event in found.asset_events or []:
            self._instance.report_runless_asset_event(event)
        return found

    def check(self) -> dg.AssetCheckEvaluation:
        """The newest evaluation that the instance knows."""
        key = dg.AssetCheckKey(assets.KEY, assets.CHECK)
        found = self._instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key].evaluation
        assert found is not None
        return found


@pytest.fixture
def guard(trial: Trial, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Guard:
    return Guard(trial, instance, monkeypatch)


def test_a_bad_challenger_is_halted_the_check_fails_and_the_evidence_is_shown(
    trial: Trial, guard: Guard, instance: dg.DagsterInstance
) -> None:
    trial.decided([decision(n, LIVE + n, 0.01, {"v2": 0.9 if n % 3 == 0 else 0.1}) for n in range(400)])

    guard.tick(LIVE + 1_000)

    event = instance.get_latest_materialization_event(assets.KEY)
    assert event is not None and event.asset_materialization is not None
    shown: Mapping[str, Any] = event.asset_materialization.metadata
    assert trial.log.entries()[-1].rollout.phase is Phase.HALTED
    assert (shown["phase"].value, shown["verdict"].value, shown["champion"].value) == ("halted", "halt", "v1")
    assert shown["wealth_excess_denials"].value > 800  # its alarm is at 900, for 0.01 is split among nine
    assert len(shown["findings"].records) == shown["dagster/row_count"].value
    assert "data:image/png" in shown["nearest_to_an_alarm"].md_str
    assert not guard.check().passed
    assert guard.check().severity is dg.AssetCheckSeverity.ERROR
    assert "halt by rollout_guard" in (guard.check().description or "")


def test_a_sound_rollout_passes_its_check_is_shown_now_and_then_and_gathers_at_every_look(
    trial: Trial, guard: Guard
) -> None:
    trial.decided(calm(100))
    first = guard.tick(LIVE + 1_000)
    trial.decided(calm(50, first=100, at_ms=LIVE + 1_000))
    second = guard.tick(LIVE + 31_000)
    trial.decided(calm(10, first=150, at_ms=LIVE + 40_000))
    third = guard.tick(LIVE + 1_000 + assets.SHOWN_EVERY_MS)

    assert [len(one.asset_events or []) for one in (first, second, third)] == [2, 0, 2]
    assert "none of" in str(second.skip_reason)
    shown = (third.asset_events or [])[0]
    assert isinstance(shown, dg.AssetMaterialization)
    findings = shown.metadata["findings"]
    assert isinstance(findings, dg.TableMetadataValue)
    assert {record.data["n"] for record in findings.records if record.data["name"] == "deny_rate"} == {160}
    assert guard.check().passed


def test_a_cursor_of_another_version_begins_the_evidence_anew(trial: Trial, guard: Guard) -> None:
    trial.decided(calm(100))
    guard.tick(LIVE + 1_000)
    guard.cursor = '{"place":{"gathered":{"sequence":2},"offsets":{"decisions.v1/0":99}},"told":2}'

    found = guard.tick(LIVE + 31_000)

    shown = (found.asset_events or [])[0]
    assert isinstance(shown, dg.AssetMaterialization)
    findings = shown.metadata["findings"]
    assert isinstance(findings, dg.TableMetadataValue)
    assert {record.data["n"] for record in findings.records if record.data["name"] == "deny_rate"} == {100}


def test_a_persons_step_is_shown_at_the_next_look_and_is_no_failure(trial: Trial, guard: Guard) -> None:
    guard.tick(LIVE)
    trial.move(Rollback(at_ms=LIVE, who="anna", why="denies half of Oslo"))

    found = guard.tick(LIVE + 30_000)
    quiet = guard.tick(LIVE + 60_000)

    assert len(found.asset_events or []) == 2
    assert guard.check().passed
    assert "rollback by anna: denies half of Oslo" in (guard.check().description or "")
    assert "nothing is watched" in str(quiet.skip_reason)


def test_mlflow_is_told_when_it_is_back(trial: Trial, guard: Guard, mlflow_uri: str) -> None:
    """The step was taken while it was down."""
    trial.decided([decision(n, LIVE + n, 0.01, {"v2": 0.9}) for n in range(200)])
    guard.tick(LIVE + 1_000)
    registry, client = ModelRegistry(mlflow_uri), _client(mlflow_uri)
    for version in ("v1", "v2"):
        registry.register(client.create_run("0").info.run_id, version, {})

    trial.settings = trial.settings.model_copy(update={"mlflow_tracking_uri": mlflow_uri})
    guard.tick(LIVE + 31_000)

    stages = {one.tags["model_version"]: one.tags["stage"] for one in client.search_model_versions("name='fraud'")}
    assert trial.log.entries()[-1].rollout.phase is Phase.HALTED
    assert stages == {"v1": "Production", "v2": "Archived"}
    assert registry.champion().model_version == "v1"


def test_the_check_can_be_asked_without_the_sensor(trial: Trial, instance: dg.DagsterInstance) -> None:
    result = dg.materialize(
        [assets.rollout_evidence, assets.rollout_is_healthy], resources=resources_of(trial.settings), instance=instance,
        selection=dg.AssetSelection.checks(assets.rollout_is_healthy),
    )  # fmt: skip

    (check,) = result.get_asset_check_evaluations()
    assert check.passed
    assert "shadow by a test" in (check.description or "")


def test_one_click_takes_the_newest_thing_back_and_says_who_and_why(trial: Trial, instance: dg.DagsterInstance) -> None:
    said = {"ops": {"roll_back": {"config": {"who": "anna", "why": "denies half of Oslo"}}}}

    result = assets.rollback.execute_in_process(
        run_config=said, resources=resources_of(trial.settings), instance=instance
    )

    newest = PromotionLog(trial.settings.model_dir).entries()[-1]
    assert result.success
    assert isinstance(newest.step, Rollback)
    assert (newest.step.who, newest.step.why) == ("anna", "denies half of Oslo")
    assert newest.step.evidence == {"dagster_run_id": result.run_id}
    assert newest.rollout.phase is Phase.HALTED
    assert read_champion(trial.settings.model_dir) == champion_of(trial.settings.model_dir, "v1")
