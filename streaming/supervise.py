"""`python -m streaming`: router, folder, label stage, explainer and, with a database, its sink as processes that live and die together.

A process that ends is started again after a growing pause: after a long broker loss, a lost
delivery or a new epoch the right thing is a fresh start from the last commit.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger()

ROLES = ("router", "folder", "labels", "explainer")
DATABASE = "database"  # one role more where `DATABASE_URL` is set
NOTIFIER = "notifier"  # and one where `FRAUD_NOTIFICATIONS_FILE` is
TETHERED = "--tethered"  # standard input is the supervisor's pipe, not a terminal
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
HEALTHY_AFTER_S = 60.0
STOP_WITHIN_S = 15.0
LOOK_S = 0.1
ORPHANED = 70


@dataclass
class Child:
    """One role's process, and how long to wait before it is started again."""

    role: str
    process: "subprocess.Popen[bytes] | None" = None
    started_s: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    start_at_s: float = field(default_factory=time.monotonic)


def roles(database_url: str, notifications_file: Path | None = None) -> tuple[str, ...]:
    """What runs here."""
    more = ((DATABASE, database_url), (NOTIFIER, notifications_file))
    return (*ROLES, *(role for role, is_set in more if is_set))


def supervise(chosen: Sequence[str]) -> int:
    """Run these roles until SIGTERM or SIGINT; 0 once they have drained."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    # Children read the other end: it closes when this process is gone, even by SIGKILL.
    lifeline, _held = os.pipe()
    children = [Child(role) for role in chosen]
    while not stopping.wait(LOOK_S):
        for child in children:
            _look_after(child, lifeline)
    return _stop(children)


def _look_after(child: Child, lifeline: int) -> None:
    now_s = time.monotonic()
    if child.process is None:
        if now_s >= child.start_at_s:
            child.process, child.started_s = _start(child.role, lifeline), now_s
        return
    code = child.process.poll()
    if code is None:
        return
    if now_s - child.started_s > HEALTHY_AFTER_S:
        child.pause_s = FIRST_PAUSE_S
    log.error("worker_process_ended", role=child.role, code=code, restart_in_s=child.pause_s)
    child.process, child.start_at_s = None, now_s + child.pause_s
    child.pause_s = min(2 * child.pause_s, LONGEST_PAUSE_S)


def _start(role: str, lifeline: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "streaming", TETHERED, role], stdin=lifeline)


def _stop(children: list[Child]) -> int:
    """SIGTERM lets each finish its checkpoint; what has not drained in time is killed and replays later."""
    running = [child.process for child in children if child.process is not None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + STOP_WITHIN_S
    clean = True
    for process in running:
        try:
            clean &= process.wait(max(0.0, deadline - time.monotonic())) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            clean = False
    log.info("worker_stopped", drained=clean)
    return 0 if clean else 1


def die_with_parent() -> None:
    """In a child: end at once when the supervisor is gone, as if both had been killed."""

    def watch() -> None:
        os.read(0, 1)  # nobody ever writes: it returns when the last writer has closed
        os._exit(ORPHANED)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
