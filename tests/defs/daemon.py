"""The daemon that starts what `dagster job backfill` queues, as docs/operations.md says to run it."""

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psutil

from tests.defs.commands import Place


@contextmanager
def daemon(place: Place, log: Path) -> Iterator[psutil.Process]:
    """`dagster-daemon run -w workspace.yaml`; it and whatever it started are gone afterwards."""
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


def finished(
    instance: dg.DagsterInstance, process: psutil.Process, log: Path, within_s: float
) -> Mapping[tuple[str, str], dg.DagsterRunStatus]:
    """Each (job, day)'s run, once none of them is going on."""
    deadline = time.monotonic() + within_s
    while True:
        runs = instance.get_runs()
        if all(run.is_finished for run in runs):
            return {(run.job_name, run.tags["dagster/partition"]): run.status for run in runs}
        tail = log.read_text(errors="replace")[-3000:]
        assert process.is_running(), tail
        assert time.monotonic() < deadline, tail
        time.sleep(0.5)
