"""The asset graph in a process that stays: each order is a run of the instance, and a failure says what and where."""

import os
import shutil
from collections.abc import Iterator
from datetime import date
from io import StringIO
from pathlib import Path

import dagster as dg
import psutil
import pytest
from rich.console import Console

from deploy.local.demo_steps import StepFailed, Steps
from deploy.local.graph import LOG, Graph, loaded_graph
from tests.history import FIRST_DAY, LABEL_DELAY_DAYS, LAST_DAY, make_past

FIRST, LAST = date.fromisoformat(FIRST_DAY), date.fromisoformat(LAST_DAY)

pytestmark = pytest.mark.timeout(600)  # the graph's imports, on a busy machine


@pytest.fixture(scope="module")
def env(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A history without verdicts, and a Dagster home."""
    folder = tmp_path_factory.mktemp("graph")
    past = make_past(folder / "var", rate_per_day=60, facts=False)
    (folder / "dagster").mkdir()
    shutil.copy(root / "dagster.yaml", folder / "dagster")
    return {
        "DAGSTER_HOME": str(folder / "dagster"), "FRAUD_VAR_DIR": str(past.folder), "FRAUD_LAKE_URI": past.lake.uri,
        "FRAUD_LABEL_DELAY_DAYS": str(LABEL_DELAY_DAYS), "DAGSTER_DISABLE_TELEMETRY": "yes",
    }  # fmt: skip


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def graph(env: dict[str, str], logs: Path) -> Iterator[Graph]:
    with loaded_graph(env, logs) as graph:
        yield graph


@pytest.fixture
def steps(logs: Path) -> Steps:
    return Steps(Console(file=StringIO()), 1, logs, {})


def test_a_range_of_days_is_one_run_whose_numbers_come_back(graph: Graph, steps: Steps, env: dict[str, str]) -> None:
    with steps.step("raw") as step:
        numbers = graph.materialize(step, ["transactions", "profiles"], first=FIRST, last=LAST)

    assert set(numbers) == {"transactions", "profiles"}
    assert numbers["transactions"]["dagster/row_count"] > 500
    assert numbers["transactions"]["duplicates"] == 0
    with dg.DagsterInstance.from_config(env["DAGSTER_HOME"]) as instance:
        (run,) = instance.get_runs()
        made = instance.get_materialized_partitions(dg.AssetKey("transactions"))
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert {FIRST_DAY, LAST_DAY} <= made


def test_a_run_that_fails_names_its_step_and_ends_with_the_log(graph: Graph, steps: Steps, logs: Path) -> None:
    """A single day; and the process lives on for the next order."""
    with pytest.raises(StepFailed) as failed, steps.step("too early") as step:
        graph.materialize(step, ["training_set"], last=LAST)

    message = str(failed.value)
    assert "failed in training_set" in message
    assert "NoLabels" in message
    assert str(logs / f"{LOG}.log") in message
    with steps.step("afterwards") as step:
        assert graph.materialize(step, ["transactions"], first=LAST, last=LAST)


def test_a_process_that_is_gone_is_said_to_be(env: dict[str, str], steps: Steps, tmp_path: Path) -> None:
    before = set(psutil.Process(os.getpid()).children())
    with loaded_graph(env, tmp_path) as graph:
        (mine,) = set(psutil.Process(os.getpid()).children()) - before
        mine.kill()

        with pytest.raises(StepFailed, match="Dagster's process ended with -9"), steps.step("late") as step:
            graph.materialize(step, ["transactions"], last=LAST)


def test_nothing_of_it_is_left_after_its_block(env: dict[str, str], tmp_path: Path) -> None:
    before = set(psutil.Process().children())

    with loaded_graph(env, tmp_path):
        started = set(psutil.Process().children()) - before

    assert len(started) == 1
    assert not any(one.is_running() for one in started)
