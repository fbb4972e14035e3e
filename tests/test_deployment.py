"""The files that people and containers start from say what is true."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml


def test_the_container_instance_differs_from_the_local_one_in_its_storage_only(root: Path) -> None:
    local = yaml.safe_load((root / "dagster.yaml").read_text())
    container = yaml.safe_load((root / "deploy" / "dagster" / "dagster.yaml").read_text())

    for key in ("storage", "local_artifact_storage", "compute_logs"):
        assert key not in local
        container.pop(key)
    assert container == local


def test_dagster_accepts_its_settings(root: Path, tmp_path: Path) -> None:
    from dagster import DagsterInstance

    (tmp_path / "dagster.yaml").write_text((root / "dagster.yaml").read_text())

    with DagsterInstance.from_config(str(tmp_path)) as instance:
        assert not instance.telemetry_enabled
        assert instance.freshness_enabled


def test_make_help_lists_every_target(root: Path) -> None:
    makefile = (root / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony is not None
    internal = {"java", "jars", "redis", "torch", "chromium", "prometheus", "scale"}

    # Under `make check` the inner make would announce the folders it enters.
    command = ["make", "--no-print-directory", "help"]
    shown = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout

    listed = {line.split()[1] for line in shown.splitlines()}
    assert listed == set(phony[1].split()) - internal


def test_ci_runs_the_commands_of_the_readme(root: Path) -> None:
    script = (root / ".ci" / "run").read_text()

    assert (root / ".ci" / "run").stat().st_mode & 0o100
    # What is broken in the small should be said before what takes minutes.
    before, after = script.split("\nmake static\n")
    beside = {*CI_GOALS} - {"install", "static", "test", "test-redis"}
    assert set(re.findall(r"^  make ([\w-]+)$", before, re.MULTILINE)) == beside  # a function, which is called:
    assert re.findall(r"^(waiting|make [\w-]+)", after, re.MULTILINE) == [
        "waiting",
        "waiting",
        "make test",
        "make test-redis",
    ]


CI_GOALS = (
    *("install", "static", "test", "docs", "fetch", "test-kafka", "test-redis", "test-torch", "test-browser"),
    *("test-prometheus", "test-demo", "scale-test"),
)


@pytest.mark.parametrize("broken", ["", *CI_GOALS])
def test_ci_fails_when_any_of_its_commands_does(tmp_path: Path, root: Path, broken: str) -> None:
    """Also one that ran in the background, and then its output is shown."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(root / ".ci" / "run", tmp_path / ".ci")
    (tmp_path / "Makefile").write_text(
        "".join(f"{goal}:\n\t@echo this is {goal}{'; false' if goal == broken else ''}\n" for goal in CI_GOALS)
    )

    # Not below the make that runs this test, whose flags it would inherit.
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    env |= {"FRAUD_DATA_DIR": str(tmp_path)}
    done = subprocess.run([tmp_path / ".ci" / "run"], env=env, capture_output=True, text=True, check=False)

    assert (done.returncode == 0) == (not broken), done.stdout + done.stderr
    assert f"this is {broken or 'test-demo'}\n" in done.stdout
