"""The worker's processes are forked, and are as far apart as programs of their own: each ends alone, but none without its supervisor."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil

from tests.streaming.live import wait_for

# Roles that do nothing but wait as their names say.
PROGRAM = """
import signal, sys, threading, time
from streaming import logs, supervise

def play(role):
    if role == "drains":
        stopping = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stopping.set())
        stopping.wait()
        return 0
    if role == "fails":
        raise ValueError("for a reason")
    time.sleep(600)

def preload(roles):
    print("loading", flush=True)
    if "is slow to load" in roles:
        time.sleep(600)

logs.configure()
supervise.preload = preload
sys.exit(supervise.supervise(sys.argv[1:], play))
"""


class Supervised:
    """A supervisor of such roles."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self.log = log

    def said(self, event: str) -> list[dict[str, Any]]:
        found = [msgspec.json.decode(line) for line in self.log.read_text().splitlines()]
        return [line for line in found if line["event"] == event]

    def children(self, *roles: str) -> dict[str, psutil.Process]:
        """Once they all run."""
        found: dict[str, psutil.Process] = {}

        def run() -> bool:
            for child in psutil.Process(self.process.pid).children():
                with suppress(psutil.NoSuchProcess):
                    found[child.name()] = child
            return set(roles) <= set(found)

        wait_for(run, f"{roles} run")
        return found

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)


@contextmanager
def supervised(tmp_path: Path, *roles: str) -> Iterator[Supervised]:
    log = tmp_path / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, *roles], stdout=subprocess.PIPE, stderr=sink)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"loading\n"
        yield Supervised(process, log)
    finally:
        process.kill()
        process.communicate()


def test_a_stop_lets_every_role_drain(tmp_path: Path) -> None:
    with supervised(tmp_path, "drains") as made:
        (child,) = made.children("drains").values()
        wait_for(lambda: _catches(child, signal.SIGTERM), "it has a handler")

        assert made.stop() == 0
        assert made.said("worker_stopped")[0]["drained"]


def test_a_role_that_has_no_handler_yet_ends_by_the_signal(tmp_path: Path) -> None:
    """Not its supervisor's handler, of which a fork has a copy: it would wait for a kill, fifteen seconds."""
    with supervised(tmp_path, "waits") as made:
        child = made.children("waits")["waits"]
        child.terminate()
        wait_for(lambda: bool(made.said("worker_process_ended")), "its end is noticed", within_s=10)

        assert made.said("worker_process_ended")[0]["code"] == -signal.SIGTERM


def test_a_role_that_is_killed_is_started_again_and_no_other(tmp_path: Path) -> None:
    with supervised(tmp_path, "waits", "drains") as made:
        before = made.children("waits", "drains")
        before["waits"].kill()
        wait_for(lambda: made.children("waits")["waits"].pid != before["waits"].pid, "it is started again")

        assert made.children("drains")["drains"].pid == before["drains"].pid
        (told,) = made.said("worker_process_ended")
        assert (told["role"], told["code"]) == ("waits", -signal.SIGKILL)


def test_an_error_of_a_role_is_a_line_of_the_log(tmp_path: Path) -> None:
    with supervised(tmp_path, "fails") as made:
        wait_for(lambda: bool(made.said("worker_process_ended")), "its end is noticed")

        assert made.said("process_failed")[0]["detail"] == "for a reason"
        assert made.said("worker_process_ended")[0]["code"] == 1


def test_no_role_outlives_its_supervisor_even_beside_one_that_is_stopped(tmp_path: Path) -> None:
    """A fork has all that its supervisor had open: one that sleeps must not hold the others' lifeline."""
    with supervised(tmp_path, "waits", "sleeps") as made:
        children = made.children("waits", "sleeps")
        children["sleeps"].suspend()
        try:
            made.process.kill()
            gone, _ = psutil.wait_procs([children["waits"]], timeout=10)
            assert gone
        finally:
            children["sleeps"].resume()
        _, alive = psutil.wait_procs([children["sleeps"]], timeout=10)
        assert alive == []


def test_a_stop_while_it_loads_ends_it_at_once(tmp_path: Path) -> None:
    with supervised(tmp_path, "is slow to load") as made:
        assert made.stop() == 0


def _catches(process: psutil.Process, number: signal.Signals) -> bool:
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)
    return bool(caught >> (number - 1) & 1)
