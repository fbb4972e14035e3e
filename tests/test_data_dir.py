"""Tests of external data: skipped without it, failed without it in CI."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = f"{__file__}::test_the_data_sets_are_there"


def test_the_data_sets_are_there(handbook_dir: Path, sparkov_dir: Path) -> None:
    assert list(handbook_dir.glob("*.parquet")) and list(sparkov_dir.glob("*.parquet"))


@pytest.mark.parametrize(("in_ci", "outcome", "code"), [("", "1 skipped", 0), ("true", "1 error", 1)])
def test_without_the_data_a_test_is_skipped_and_in_ci_fails(
    tmp_path: Path, in_ci: str, outcome: str, code: int
) -> None:
    (tmp_path / "handbook").mkdir()  # one set alone is not enough
    env = {**os.environ, "FRAUD_DATA_DIR": str(tmp_path), "CI": in_ci}

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", PROBE],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ran.returncode == code, ran.stdout
    assert outcome in ran.stdout and "set FRAUD_DATA_DIR" in ran.stdout
