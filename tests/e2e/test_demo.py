"""The whole platform once through, small: `python -m deploy.local.demo --quick` as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.demo, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def demo(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Its folder and what it said. Addresses of the tester's own are not used."""
    folder = tmp_path_factory.mktemp("demo") / "var"
    env = {name: value for name, value in os.environ.items() if name not in ("KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL")}
    command = [sys.executable, "-m", "deploy.local.demo", "--quick", "--var", str(folder)]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=840, check=False)
    print(done.stdout, done.stderr)
    return folder, done


def test_it_ends_well(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = demo

    assert done.returncode == 0, done.stdout[-4000:]
    assert (folder / "report.html").as_uri() in done.stdout


def test_every_decision_is_recomputed_and_none_differs(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    summary = json.loads((demo[0] / "summary.json").read_text())

    # On a busy machine the client gives up on answers that the scorer still makes, so it may check more than were counted.
    assert 0 < summary["decisions"] <= summary["skew"]["checked"]
    assert summary["skew"]["mismatches"] == 0
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p95"] <= summary["latency_ms"]["p99"]


def test_nothing_it_started_outlives_it(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder = str(demo[0])

    alive = [process.pid for process in psutil.process_iter() if var_dir_of(process) == folder]

    assert alive == []


def var_dir_of(process: psutil.Process) -> str | None:
    """What every process of a stack is told; None for one that is gone or another user's."""
    try:
        return process.environ().get("FRAUD_VAR_DIR")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
