"""Dagster from the command line on a state folder of a test's own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.history import LABEL_DELAY_DAYS, WARM_UP_DAYS, Past, make_past


@dataclass(frozen=True)
class Place:
    """A lake with a small history and no label facts, and a Dagster instance. env: of everything that uses them."""

    past: Past
    home: Path
    env: Mapping[str, str]
    root: Path

    def argv(self, arguments: Sequence[str], program: str = "dagster") -> list[str]:
        """program: the module that a command of that name runs."""
        return [sys.executable, "-m", program, *arguments]

    def dagster(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(arguments), env=self.env, cwd=self.root, capture_output=True, text=True, check=False
        )


def make_place(folder: Path, root: Path, *, rate_per_day: int = 60, **env: str) -> Place:
    """env: more variables, of everything that uses the place."""
    past = make_past(folder / "var", rate_per_day=rate_per_day, facts=False)
    home = folder / "dagster"
    home.mkdir()
    shutil.copy(root / "dagster.yaml", home)
    own = {
        "DAGSTER_HOME": str(home), "FRAUD_VAR_DIR": str(past.folder), "PYTHONPATH": str(root),
        "FRAUD_LABEL_DELAY_DAYS": str(LABEL_DELAY_DAYS), "FRAUD_WARM_UP_DAYS": str(WARM_UP_DAYS),
        "DAGSTER_DISABLE_TELEMETRY": "yes", "DO_NOT_TRACK": "1",
    }  # fmt: skip
    elsewhere = {"FRAUD_LAKE_URI", "FRAUD_MODEL_DIR", "MLFLOW_TRACKING_URI"}
    inherited = {name: value for name, value in os.environ.items() if name not in elsewhere}
    return Place(past, home, {**inherited, **own, **env}, root)
