"""Dagster from the command line on a state folder of a test's own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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

    @contextmanager
    def dagster(self) -> Iterator[Callable[[Sequence[str]], None]]:
        """Runs `dagster` with the arguments it is given, as often as it is called, in one process: loading takes four seconds.

        Raises AssertionError, with what the command said last, where one fails.
        """
        log = self.home / "commands.log"
        with (
            log.open("wb") as out,
            subprocess.Popen(
                [sys.executable, "-m", "tests.defs.together"], env=self.env, cwd=self.root,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out, text=True,
            ) as process,
        ):  # fmt: skip

            def run(arguments: Sequence[str]) -> None:
                assert process.stdin is not None and process.stdout is not None
                print(json.dumps(arguments), file=process.stdin, flush=True)
                answer = process.stdout.readline() or '"it ended"'
                error = json.loads(answer)
                assert not error, f"{arguments}: {error}\n{log.read_text(errors='replace')[-3000:]}"

            yield run


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
