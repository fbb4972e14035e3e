"""A backfill as docs/operations.md tells it: the command queues a run for each day, a daemon runs them to the end."""

import re
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psutil
import pytest

from fraud_assets.definitions import defs
from tests.defs.commands import Place, make_place

# Ten times what it takes on two idle cores.
WITHIN_S = 300
DAYS = ["2026-10-03", "2026-10-04", "2026-10-05"]

pytestmark = pytest.mark.timeout(WITHIN_S + 120)


@pytest.fixture
def place(tmp_path: Path, root: Path) -> Place:
    return make_place(tmp_path, root)


def documented(root: Path, job: str, **changed: str) -> list[str]:
    """The page's command for a job, word for word but for the values of some options."""
    (line,) = re.findall(
        rf"^    (dagster job backfill .* -j {job} .*)$", (root / "docs/operations.md").read_text(), re.MULTILINE
    )
    words = shlex.split(line)
    for option, value in changed.items():
        words[words.index(f"--{option}") + 1] = value
    return words[1:]


@contextmanager
def daemon(place: Place, log: Path) -> Iterator[psutil.Process]:
    """`dagster-daemon run -w workspace.yaml`; it and whatever it started are gone afterwards."""
    assert "`dagster-daemon run -w workspace.yaml`" in (place.root / "docs/operations.md").read_text()
    with log.open("wb") as out:
        process = psutil.Popen(
            place.argv(["run", "-w", "workspace.yaml"], "dagster._daemon"),
            env=place.env, cwd=place.root, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield process
    finally:
        family = process.children(recursive=True)  # named before its end: orphans have no parent to ask
        process.terminate()
        psutil.wait_procs([process], timeout=30)
        for left_over in (process, *family):
            if left_over.is_running():
                left_over.kill()
        psutil.wait_procs([process, *family], timeout=30)


def finished(instance: dg.DagsterInstance, process: psutil.Process, log: Path) -> Mapping[str, dg.DagsterRunStatus]:
    """Each day's run, once none of them is going on."""
    deadline = time.monotonic() + WITHIN_S
    while True:
        runs = instance.get_runs()
        if all(run.is_finished for run in runs):
            return {run.tags["dagster/partition"]: run.status for run in runs}
        tail = log.read_text(errors="replace")[-3000:]
        assert process.is_running(), tail
        assert time.monotonic() < deadline, tail
        time.sleep(0.5)


def test_the_documented_backfill_materializes_every_day_through_a_daemon(place: Place, tmp_path: Path) -> None:
    history = defs().resolve_job_def("history").asset_layer.executable_asset_keys
    log = tmp_path / "daemon.log"
    with dg.DagsterInstance.from_config(str(place.home)) as instance, daemon(place, log) as process:
        command = documented(place.root, "history", **{"from": DAYS[0], "to": DAYS[-1]})

        queued = place.dagster(command)
        assert queued.returncode == 0, queued.stderr[-3000:]
        statuses = finished(instance, process, log)

        assert statuses == dict.fromkeys(DAYS, dg.DagsterRunStatus.SUCCESS), log.read_text(errors="replace")[-3000:]
        (backfill,) = instance.get_backfills()
        assert sorted(backfill.partition_names or ()) == DAYS
        assert {run.tags["dagster/backfill"] for run in instance.get_runs()} == {backfill.backfill_id}
        assert {key.to_user_string() for key in history} >= {"transactions", "labels", "label_facts"}
        for key in history:
            assert instance.get_materialized_partitions(key) == set(DAYS), key
    facts = place.past.lake.scan("label_facts")
    assert facts.num_rows > 0
