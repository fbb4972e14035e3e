"""A worker that starts, and a role of it that starts anew: forked by their supervisor, beside programs of their own.

worker.start_cpu: seconds of a core until all roles have their partitions. worker.restart_cpu: those of a folder that was killed, until
it has them again. worker.memory: of all processes, what they share counted once. The sides take turns.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import psutil

from benchmarks.measure import report
from benchmarks.worker_throughput import wait_for
from deploy.local.stack import running
from deploy.local.topics import ensure_platform_topics
from streaming.supervise import ROLES

TURNS = 3
SETTLED_S = 3.0
KILLED = "folder"
WORKER = (sys.executable, "-m", "streaming")
UNITS = {"start_cpu": "s", "restart_cpu": "s", "memory": "MiB"}


def cpu_s(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])


def measured(env: Mapping[str, str], log: Path, *, is_forked: bool) -> dict[str, float]:
    """A figure each of UNITS. log: a new file."""
    with log.open("wb") as out:

        def start(*role: str) -> "subprocess.Popen[bytes]":
            return subprocess.Popen([*WORKER, *role], env={**os.environ, **env}, stderr=out, stdout=out)

        programs = {"supervisor": start()} if is_forked else {role: start(role) for role in ROLES}
        try:
            wait_for(lambda: joined(log) == len(ROLES), "all roles have their partitions")
            found = {"start_cpu": sum(map(cpu_s, processes(programs).values()))}
            time.sleep(SETTLED_S)
            found["memory"] = sum(one.memory_full_info().pss for one in processes(programs).values()) / 2**20
            processes(programs)[KILLED].kill()
            if not is_forked:
                programs[KILLED].wait()
                programs[KILLED] = start(KILLED)
            wait_for(lambda: joined(log) > len(ROLES), "the folder has them again")
            return found | {"restart_cpu": cpu_s(processes(programs)[KILLED])}
        finally:
            for program in programs.values():
                program.terminate()
                program.wait(60)


def processes(programs: Mapping[str, "subprocess.Popen[bytes]"]) -> dict[str, psutil.Process]:
    own = {name: psutil.Process(program.pid) for name, program in programs.items()}
    return own | {child.name(): child for one in own.values() for child in one.children()}


def joined(log: Path) -> int:
    return log.read_text().count('"partitions_assigned"')


def main() -> None:
    figures: dict[tuple[str, bool], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as var, running(["valkey", "broker"], Path(var)) as stack:
        ensure_platform_topics(stack.env["KAFKA_BOOTSTRAP_SERVERS"])
        subprocess.run([*WORKER, "init-epoch"], env={**os.environ, **stack.env}, stdout=subprocess.DEVNULL, check=True)
        for turn in range(2 * TURNS):
            is_forked = turn % 2 == 0
            for name, value in measured(stack.env, Path(var) / f"{turn}.log", is_forked=is_forked).items():
                figures[name, is_forked].append(value)
    for name, unit in UNITS.items():
        ours, peer = (statistics.median(figures[name, is_forked]) for is_forked in (True, False))
        report(f"worker.{name}", ours, peer, peer / ours, unit, TURNS)


if __name__ == "__main__":
    main()
