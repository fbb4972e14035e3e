"""The asset graph at work for one command: loaded once, then materialized selection by selection."""

import re
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path

import msgspec

from deploy.local.demo_steps import Step, StepFailed, log_tail, start, stop

LOG = "dagster-runs"
Numbers = Mapping[str, Mapping[str, int | float]]
"""Measured by asset and name."""

_STEP_STARTED = re.compile(rb'STEP_START - Started execution of step "([^"]+)"')
_LOADED_WITHIN_S = 240.0
_RUN_WITHIN_S = 900.0
_LOOK_S = 0.2


class Graph:
    """`graph_process.py` as its user sees it. One selection at a time."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._process = process
        self._log = log
        self._is_loaded = False

    def materialize(self, step: Step, selection: Sequence[str], *, first: date | None = None, last: date) -> Numbers:
        """A day, or a range of days in one run; the asset at work is shown. Raises StepFailed."""
        if not self._is_loaded:
            self._answer(step, "loading the asset graph", _LOADED_WITHIN_S)
            self._is_loaded = True
        order = {"select": ",".join(selection), "first": first and first.isoformat(), "last": last.isoformat()}
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has died: the missing answer says so
            self._process.stdin.write(msgspec.json.encode(order) + b"\n")
            self._process.stdin.flush()
        return self._answer(step, selection[0], _RUN_WITHIN_S)

    def _answer(self, step: Step, said: str, within_s: float) -> Numbers:
        """Wait for it, and show which asset is at work."""
        assert self._process.stdout is not None
        deadline, read_from = time.monotonic() + within_s, self._log.stat().st_size
        with selectors.DefaultSelector() as answers:
            answers.register(self._process.stdout, selectors.EVENT_READ)
            while not answers.select(_LOOK_S):
                said = _at_work(self._log, read_from) or said
                step.note(said)
                if time.monotonic() > deadline:
                    raise StepFailed(f"{said}: not done within {within_s:g} s\n{log_tail(self._log)}")
        line = self._process.stdout.readline()
        if not line:
            raise StepFailed(f"Dagster's process ended with {self._process.wait()}\n{log_tail(self._log)}")
        answer = msgspec.json.decode(line)
        if answer["problem"]:
            raise StepFailed(f"{answer['problem']}\n{log_tail(self._log)}")
        numbers: Numbers = answer["numbers"]
        return numbers


@contextmanager
def loaded_graph(env: Mapping[str, str], log_dir: Path) -> Iterator[Graph]:
    """It begins to load at once, beside whatever else there is to do; gone with this block.

    env: of the stack, with a DAGSTER_HOME that holds dagster.yaml.
    """
    log = log_dir / f"{LOG}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        argv = [sys.executable, "-m", "deploy.local.graph_process"]
        process = start(argv, env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out)
    try:
        yield Graph(process, log)
    finally:
        stop(process)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()


def _at_work(log: Path, read_from: int) -> str:
    """The asset whose step began last, since a place in the log."""
    with log.open("rb") as file:
        file.seek(read_from)
        started = _STEP_STARTED.findall(file.read())
    return started[-1].decode().replace("__", "/") if started else ""
