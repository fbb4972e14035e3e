"""`python -m streaming`: router, folder, label stage, explainer and, with a database, its sink as processes that live and die together.

Each is forked from this one, which has loaded what they run (see preload.py). A process that ends is started again after a growing
pause: after a long broker loss, a lost delivery or a new epoch the right thing is a fresh start from the last commit.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import NamedTuple

import structlog

from streaming.preload import preload

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# Plays a role until it is told to stop, in a process of its own; the process' exit code.
Play = Callable[[str], int]

ROLES = ("router", "folder", "labels", "explainer")
DATABASE = "database"  # one role more where `DATABASE_URL` is set
NOTIFIER = "notifier"  # and one where `FRAUD_NOTIFICATIONS_FILE` is
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
HEALTHY_AFTER_S = 60.0
STOP_WITHIN_S = 15.0
LOOK_S = 0.1
ORPHANED = 70
ENDED_BY = (signal.SIGTERM, signal.SIGINT)


class Lifeline(NamedTuple):
    """A pipe that nobody writes to. It closes when the supervisor, which alone holds the other end, is gone, even by SIGKILL."""

    end: int
    held: int


@dataclass
class Child:
    """One role's process, and how long to wait before it is started again."""

    role: str
    process: ForkProcess | None = None
    started_s: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    start_at_s: float = field(default_factory=time.monotonic)


def roles(database_url: str, notifications_file: Path | None = None) -> tuple[str, ...]:
    """What runs here."""
    more = ((DATABASE, database_url), (NOTIFIER, notifications_file))
    return (*ROLES, *(role for role, is_set in more if is_set))


def supervise(chosen: Sequence[str], play: Play) -> int:
    """Run these roles until SIGTERM or SIGINT; 0 once they have drained."""
    for number in ENDED_BY:
        signal.signal(number, lambda *_: sys.exit(0))  # nothing runs yet
    preload(chosen)
    stopping = threading.Event()
    for number in ENDED_BY:
        signal.signal(number, lambda *_: stopping.set())
    lifeline = Lifeline(*os.pipe())
    children = [Child(role) for role in chosen]
    while not stopping.wait(LOOK_S):
        for child in children:
            _look_after(child, play, lifeline)
    return _stop(children)


def _look_after(child: Child, play: Play, lifeline: Lifeline) -> None:
    now_s = time.monotonic()
    if child.process is None:
        if now_s >= child.start_at_s:
            child.process, child.started_s = _start(child.role, play, lifeline), now_s
        return
    code = child.process.exitcode
    if code is None:
        return
    if now_s - child.started_s > HEALTHY_AFTER_S:
        child.pause_s = FIRST_PAUSE_S
    log.error("worker_process_ended", role=child.role, code=code, restart_in_s=child.pause_s)
    child.process, child.start_at_s = None, now_s + child.pause_s
    child.pause_s = min(2 * child.pause_s, LONGEST_PAUSE_S)


def _start(role: str, play: Play, lifeline: Lifeline) -> ForkProcess:
    process = multiprocessing.get_context("fork").Process(target=_live, args=(role, play, lifeline), daemon=True)
    # A signal that comes before the child has handlers of its own is its, not one for a copy of ours.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDED_BY)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDED_BY)
    return process


def _live(role: str, play: Play, lifeline: Lifeline) -> None:
    """All of a child's life. It ends as a program of its own would, and its errors are in the log as any other's."""
    os.close(lifeline.held)
    for number in ENDED_BY:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDED_BY)
    threading.Thread(target=_die_with_parent, args=(lifeline.end,), name="lifeline", daemon=True).start()
    with contextlib.suppress(OSError):  # where there is no such file, all are called as their supervisor is
        Path("/proc/self/comm").write_text(role)
    try:
        sys.exit(play(role))
    except Exception:  # noqa: BLE001  # the end of the process
        sys.excepthook(*sys.exc_info())
        sys.exit(1)


def _die_with_parent(end: int) -> None:
    """End at once when the supervisor is gone, as if both had been killed."""
    os.read(end, 1)
    os._exit(ORPHANED)


def _stop(children: list[Child]) -> int:
    """SIGTERM lets each finish its checkpoint; what has not drained in time is killed and replays later."""
    running = [child.process for child in children if child.process is not None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + STOP_WITHIN_S
    for process in running:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.exitcode is None:
            process.kill()
            process.join()
    clean = all(process.exitcode == 0 for process in running)
    log.info("worker_stopped", drained=clean)
    return 0 if clean else 1
