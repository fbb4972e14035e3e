"""Failed checks, failed runs and halts reach a webhook, each once, from events of a real instance and a real promotion log."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
from dagster._core.scheduler.instigation import TickStatus
from pydantic import SecretStr

from fraud_assets.defs.monitoring.alerts import alert_on_checks, alert_on_halts, alert_on_runs
from fraud_assets.defs.results import Result
from fraud_assets.models.artifact import champion_of
from fraud_assets.monitoring.channels import ID_HEADER
from fraud_assets.rollout.log import PromotionLog
from fraud_assets.rollout.machine import BeginShadow, Halt
from fraud_assets.settings import Settings
from tests.defs.commands import make_place
from tests.defs.daemon import daemon
from tests.models.made import Trained
from tests.streaming.test_notifier import Hook
from tests.training.trials import PLAN, T0, Trial

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
DAY, OTHER_DAY = "2026-10-14", "2026-10-13"
Look = Callable[..., str]


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        yield server
        server.shutdown()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral(str(tmp_path)) as found:
        yield found


@pytest.fixture
def settings(tmp_path: Path, hook: Hook) -> Settings:
    return Settings(
        var_dir=tmp_path / "var", alert_urls=(SecretStr(hook.url),), dagster_url="https://dagster.shop.example/"
    )


@pytest.fixture
def look(instance: dg.DagsterInstance, settings: Settings) -> Look:
    """A sensor's look after the one before; what its page says."""
    cursors: dict[str, str | None] = {}

    def tick(sensor: Any = alert_on_checks, changed: Settings | None = None) -> str:
        context = dg.build_sensor_context(
            instance=instance,
            cursor=cursors.get(sensor.name),
            resources={"settings": changed or settings},
            repository_def=REPOSITORY,
        )
        found = sensor(context)
        cursors[sensor.name] = found.cursor
        return str(found.skip_reason.skip_message)

    return tick


def judged(
    instance: dg.DagsterInstance,
    partition: str = DAY,
    *,
    passed: bool = False,
    severity: dg.AssetCheckSeverity = ERROR,
    asset: str = "drift_report",
    name: str = "drift_within_bounds",
) -> None:
    metadata: dict[str, Any] = {"share_drifted": 0.4, "mismatched": dg.MetadataValue.json(["decision-of-anna"])}
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            dg.AssetKey(asset), name, passed, metadata=metadata, severity=severity, partition=partition,
            description="far out of bounds",
        )
    )  # fmt: skip


@dg.asset(
    partitions_def=dg.DailyPartitionsDefinition("2026-10-01"),
    check_specs=[dg.AssetCheckSpec("is_sound", asset="report")],
)
def report(context: dg.AssetExecutionContext) -> Result:
    """Sound on one day alone."""
    passed = context.partition_key == OTHER_DAY
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(check_name="is_sound", passed=passed)])


def checked(asset: str, check: str) -> dg.AssetsDefinition:
    """An asset that others judge."""

    @dg.asset(name=asset, check_specs=[dg.AssetCheckSpec(check, asset=asset)])
    def made() -> Result:
        raise NotImplementedError

    return made


REPOSITORY = dg.Definitions(
    assets=[
        report,
        checked("drift_report", "drift_within_bounds"),
        checked("rollout_evidence", "rollout_is_healthy"),
    ]
).get_repository_def()


@dg.asset
def unmade() -> None:
    """Cannot be made."""
    raise RuntimeError("of anna's payment t17")


@dg.op
def breaks() -> None:
    raise RuntimeError("of anna's payment t17")


@dg.job
def broken() -> None:
    breaks()


def test_a_check_that_failed_as_an_error_is_told_once_with_what_was_measured_and_no_payment(
    look: Look, instance: dg.DagsterInstance, hook: Hook
) -> None:
    look()
    judged(instance)

    said = [look(), look()]

    (told,) = hook.taken
    assert said == ["drift_within_bounds of drift_report failed.", "nothing new."]
    assert told["title"] == "drift_within_bounds of drift_report failed"
    assert (told["partition"], told["what"], told["share_drifted"]) == (DAY, "far out of bounds", "0.4")
    assert told["page"] == "https://dagster.shop.example/assets/drift_report?view=checks"
    assert "anna" not in str(told)
    assert hook.headers[0][ID_HEADER] == told["alert_id"]


def test_warnings_and_passes_are_told_to_nobody(look: Look, instance: dg.DagsterInstance, hook: Hook) -> None:
    look()
    judged(instance, severity=WARN)
    judged(instance, OTHER_DAY, passed=True)

    assert (look(), hook.taken) == ("nothing new.", [])


def test_what_was_before_the_sensor_was_switched_on_is_told_to_nobody(
    look: Look, instance: dg.DagsterInstance, hook: Hook
) -> None:
    judged(instance)
    look()
    judged(instance, OTHER_DAY)

    look()

    assert [one["partition"] for one in hook.taken] == [OTHER_DAY]


def test_every_partition_of_a_run_is_looked_at_and_a_check_that_names_none_has_its_runs(
    look: Look, instance: dg.DagsterInstance, hook: Hook
) -> None:
    look()
    for day in (DAY, OTHER_DAY):
        dg.materialize([report], instance=instance, partition_key=day)
    for day in ("2026-10-02", "2026-10-03"):
        judged(instance, day)

    look()

    assert [(one["asset"], one["partition"]) for one in hook.taken] == [
        ("report", DAY), ("drift_report", "2026-10-02"), ("drift_report", "2026-10-03"),
    ]  # fmt: skip


def test_a_receiver_that_refuses_is_asked_again_at_the_next_look(
    look: Look, instance: dg.DagsterInstance, hook: Hook
) -> None:
    look()
    hook.refusals = 1
    judged(instance)

    said = [look(), look()]

    assert said[0].endswith("URLs that took nothing: 0.")
    assert said[1] == "nothing new."
    assert [one["check"] for one in hook.taken] == ["drift_within_bounds"]


def test_without_a_channel_the_log_and_the_sensors_page_say_it(
    look: Look, instance: dg.DagsterInstance, settings: Settings, hook: Hook
) -> None:
    alone = settings.model_copy(update={"alert_urls": ()})
    look(changed=alone)
    judged(instance)

    assert look(changed=alone) == "drift_within_bounds of drift_report failed."
    assert hook.taken == []


def test_a_url_that_leads_nowhere_is_named_by_its_place_and_what_it_did_not_take_waits(
    look: Look, instance: dg.DagsterInstance, settings: Settings, hook: Hook
) -> None:
    look()
    judged(instance)
    wrong = settings.model_copy(update={"alert_urls": (SecretStr("nonsense://hush"),)})

    said = look(changed=wrong)
    look()

    assert said.endswith("URLs that took nothing: 0.") and "hush" not in said
    assert len(hook.taken) == 1


def failure_of(result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance, settings: Settings) -> Any:
    """What Dagster hands to a failure sensor."""
    return dg.build_run_status_sensor_context(
        sensor_name="alert_on_runs",
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        dagster_event=result.get_run_failure_event(),
        resources={"settings": settings},
    ).for_run_failure()


def test_a_run_that_failed_is_told_by_its_job_and_a_retry_of_it_is_the_same_alert(
    instance: dg.DagsterInstance, settings: Settings, hook: Hook
) -> None:
    runs = [broken.execute_in_process(instance=instance, raise_on_error=False) for _ in range(2)]

    said = [str(alert_on_runs(failure_of(run, instance, settings))) for run in runs]

    (told,) = hook.taken
    assert told["title"] == "Run of broken failed"
    assert "breaks" in told["what"]
    assert told["page"] == f"https://dagster.shop.example/runs/{runs[0].run_id}"
    assert "anna" not in str(told)
    assert "nothing new" in said[1]


def test_a_run_that_was_started_by_hand_is_told_by_the_sensor_as_the_daemon_asks_it(
    instance: dg.DagsterInstance, settings: Settings, hook: Hook
) -> None:
    def asked(cursor: str | None) -> str | None:
        context = dg.build_sensor_context(
            instance=instance, cursor=cursor, resources={"settings": settings}, repository_def=REPOSITORY
        )
        return alert_on_runs.evaluate_tick(context).cursor

    broken.execute_in_process(instance=instance, raise_on_error=False)
    begun = asked(None)
    dg.materialize([report], instance=instance, partition_key=OTHER_DAY)
    dg.materialize([unmade], instance=instance, raise_on_error=False)

    asked(asked(begun))

    (told,) = hook.taken
    assert told["title"] == "Run of assets failed"
    assert "unmade" in told["what"] and "anna" not in str(told)


def test_a_halt_is_told_once_by_whom_and_why_and_its_check_says_it_no_second_time(
    look: Look, instance: dg.DagsterInstance, tmp_path: Path, trained: Trained, hook: Hook
) -> None:
    log = Trial.made(tmp_path / "var", trained).log
    look(alert_on_halts), look(alert_on_checks)
    log.move(log.settle(T0), Halt(at_ms=T0 + 1, who="rollout_guard", why="it denies too many"))
    judged(instance, asset="rollout_evidence", name="rollout_is_healthy")

    said = [look(alert_on_halts), look(alert_on_checks), look(alert_on_halts)]

    (told,) = hook.taken
    assert said == ["A rollout was halted.", "nothing new.", "nothing new."]
    assert (told["why"], told["by"], told["champion"]) == ("it denies too many", "rollout_guard", "v1")


def test_halts_of_before_are_told_to_nobody_and_the_next_one_is(
    look: Look, tmp_path: Path, trained: Trained, hook: Hook
) -> None:
    trial = Trial.made(tmp_path / "var", trained)
    log: PromotionLog = trial.log
    log.move(log.settle(T0), Halt(at_ms=T0 + 1, who="a test", why="the first"))
    look(alert_on_halts)
    challenger = champion_of(trial.settings.model_dir, "v2")
    log.move(log.settle(T0 + 2), BeginShadow(at_ms=T0 + 2, who="a test", why="again", challenger=challenger, plan=PLAN))
    log.move(log.settle(T0 + 3), Halt(at_ms=T0 + 3, who="a test", why="the second"))

    look(alert_on_halts)

    assert [one["why"] for one in hook.taken] == ["the second"]


WITHIN_S = 420  # ten times what it takes on two idle cores


def looked(instance: dg.DagsterInstance, name: str) -> bool:
    """Whether the daemon has asked a sensor, which is when that begins."""
    for state in instance.all_instigator_state():
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
        if state.name == name and ticks and ticks[0].status in (TickStatus.SKIPPED, TickStatus.SUCCESS):
            return True
    return False


def until(done: Callable[[], bool], process: psutil.Process, log: Path) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not done():
        tail = log.read_text(errors="replace")[-3000:]
        assert process.is_running(), tail
        assert time.monotonic() < deadline, tail
        time.sleep(0.5)


@pytest.mark.timeout(2 * WITHIN_S + 240)
def test_a_daemon_tells_the_webhook_of_a_failed_check_and_a_failed_run(tmp_path: Path, root: Path, hook: Hook) -> None:
    """As `dagster-daemon run` evaluates sensors: in a code server that has nothing but the environment."""
    place = make_place(tmp_path, root, FRAUD_ALERT_URLS=json.dumps([hook.url]))
    with place.dagster() as dagster:
        dagster(["sensor", "start", "--start-all", "-w", "workspace.yaml"])
    log = tmp_path / "daemon.log"

    with dg.DagsterInstance.from_config(str(place.home)) as instance, daemon(place, log) as process:
        until(lambda: looked(instance, "alert_on_checks") and looked(instance, "alert_on_runs"), process, log)
        judged(instance)
        broken.execute_in_process(instance=instance, raise_on_error=False)
        until(lambda: len(hook.taken) == 2, process, log)

    assert {one["title"] for one in hook.taken} == {
        "drift_within_bounds of drift_report failed", "Run of broken failed",
    }  # fmt: skip
