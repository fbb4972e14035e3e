"""The scorer's side of its recorder: decisions are in the spool before they are answered.

A recorder that dies is replaced: the next finds in its journal how far the one before had come, and the rest in the spool.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec
import structlog

from api.decided import Facts
from api.decision_log import FLUSH_S, DecisionLog, Status
from api.frames import framed
from api.journal import Journal, claimed
from api.metrics import Metrics
from api.producer import MAX_PENDING, Producer
from api.recorder import GOODBYE, Stand, Start, frame_of
from api.records import DecisionRecords
from api.spool import SpoolWriter
from api.tasks import ended

START_S = 60.0  # an interpreter on a busy machine
# For the broker, and before that for what is still in the spool: less than the ten seconds that a container has from its stop to its
# kill. Who is killed instead loses nothing either, but cannot say so.
CLOSE_S = FLUSH_S + 3.0
AGAIN_S, AGAIN_LAST_S = 0.2, 10.0
RECORDER = (sys.executable, "-m", "api.recorder")
_HOME = Path(__file__).parents[1]  # where the child finds the package, wherever the scorer was started

log = structlog.get_logger()


class Recording(Protocol):
    """Where decisions go."""

    async def start(self) -> None: ...
    def add(self, part: bytes, n: int) -> None:
        """An encoded `Part` of n decisions. Never waits and never raises."""

    async def close(self) -> None: ...


class Counts:
    """What a log says of itself, as metrics: gauges of how it stands, counters of what has become more."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._counters = {result: metrics.events.labels(result) for result in ("delivered", "failed", "lost")}
        self._last = Status()

    def anew(self) -> None:
        """Another log counts from nothing."""
        self._last = Status()

    def lose(self, n: int) -> None:
        self._counters["lost"].inc(n)

    def take(self, status: Status) -> None:
        for name, counter in self._counters.items():
            counter.inc(getattr(status, name) - getattr(self._last, name))
        self._metrics.journal_bytes.set(status.journal_bytes)
        self._last = msgspec.structs.replace(status)


class Here:
    """In the scorer's own process, between its requests, with whatever producer it is given."""

    def __init__(self, facts: Facts, producer: Producer, folder: Path, journal_bytes: int, metrics: Metrics) -> None:
        self._records = DecisionRecords(facts)
        self._counts = Counts(metrics)
        self._log = DecisionLog(producer, partial(Journal.claim, folder, journal_bytes), self._counts.take)
        self._pending: deque[tuple[bytes, int]] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        metrics.pending.set_function(lambda: self._unrecorded + self._log.status.left)

    @property
    def _unrecorded(self) -> int:
        return sum(n for _, n in self._pending)

    async def start(self) -> None:
        self._log.start()
        self._task = asyncio.get_running_loop().create_task(self._drain())

    def add(self, part: bytes, n: int) -> None:
        if self._unrecorded >= MAX_PENDING:
            self._counts.lose(n)
            return
        self._pending.append((part, n))
        self._wake.set()

    async def close(self) -> None:
        await ended(self._task)
        while self._pending:
            self._keep()
        await self._log.close()

    async def _drain(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                self._keep()
                self._log.send()
                await asyncio.sleep(0)

    def _keep(self) -> None:
        part, _ = self._pending.popleft()
        self._log.keep([part], self._records)


class Beside:
    """In a process beside the scorer. unrecorded: decisions that are in the spool and not known to be in the journal."""

    def __init__(
        self, facts: Facts, bootstrap_servers: str, folder: Path, journal_bytes: int, metrics: Metrics,
        command: Sequence[str] = RECORDER,
    ) -> None:  # fmt: skip
        self._facts, self._bootstrap_servers = facts, bootstrap_servers
        self._folder, self._journal_bytes = folder.absolute(), journal_bytes
        self._command = command
        self._counts = Counts(metrics)
        self._stand = Stand(0, Status())
        self._spool: SpoolWriter | None = None
        # How many decisions each part holds that is not known to be in the journal.
        self._unread: deque[int] = deque()
        self.unrecorded = 0
        self._lock: BinaryIO | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None
        metrics.pending.set_function(lambda: self.unrecorded + self._stand.status.left)

    async def start(self) -> None:
        """Raises RuntimeError if the recorder does not start; why, it has said itself."""
        mine, self._lock = claimed(self._folder)
        self._spool = SpoolWriter(mine, msgspec.msgpack.encode(self._facts))
        self._start = Start(
            self._bootstrap_servers, str(mine), self._journal_bytes, self._lock.fileno(), self._spool.start
        )
        try:
            reader = await self._begin()
        except (TimeoutError, asyncio.IncompleteReadError, OSError):
            await self._end()
            raise RuntimeError("the recorder of decisions did not start; its own words are above") from None
        self._task = asyncio.get_running_loop().create_task(self._keep_running(reader))

    def add(self, part: bytes, n: int) -> None:
        if self._spool is None or self.unrecorded > MAX_PENDING or not self._spool.add([part]):
            self._counts.lose(n)
            return
        self._unread.append(n)
        self.unrecorded += n

    async def close(self) -> None:
        """Say goodbye, and wait until everything is kept and the broker has had a while; what is left then stays on disk."""
        await ended(self._task)
        if self._spool is not None:
            self._spool.close()
        if self._writer is not None:
            self._writer.write(GOODBYE)
        elif self.unrecorded:
            log.error("decisions_left_in_spool", n=self.unrecorded)  # the next scorer's recorder begins with them
        if not await self._end(CLOSE_S):
            log.error(
                "recorder_did_not_end", within_s=CLOSE_S
            )  # nor is that lost: spool and journal go to the next one
        if self._lock is not None:
            self._lock.close()

    async def _begin(self) -> asyncio.StreamReader:
        """A child, connected, told how to start, and started: it has said how it stands."""
        ours, theirs = socket.socketpair()
        with theirs:
            fds = (theirs.fileno(), self._start.lock_fd)
            self._child = await asyncio.to_thread(_process, [*self._command, str(theirs.fileno())], fds)
        reader, self._writer = await asyncio.open_connection(sock=ours)
        self._writer.write(framed(msgspec.msgpack.encode(self._start)))
        self._counts.anew()
        self._take(await asyncio.wait_for(frame_of(reader), START_S))
        return reader

    def _take(self, raw: bytes) -> None:
        """A recorder that has just begun does not know yet how far the one before had come."""
        said = msgspec.msgpack.decode(raw, type=Stand)
        self._stand = Stand(max(said.recorded, self._stand.recorded), said.status)
        if self._spool is not None:
            while len(self._unread) > self._spool.given - self._stand.recorded:
                self.unrecorded -= self._unread.popleft()
        self._counts.take(said.status)

    async def _keep_running(self, reader: asyncio.StreamReader) -> None:
        pause_s = AGAIN_S
        while True:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                while True:
                    self._take(await frame_of(reader))
                    pause_s = AGAIN_S
            log.error("recorder_ended", unrecorded=self.unrecorded)
            reader, pause_s = await self._again(pause_s)

    async def _again(self, pause_s: float) -> tuple[asyncio.StreamReader, float]:
        """Another recorder, and how long to wait before the next; one that does not start is tried again, less and less often."""
        while True:
            await self._end()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, AGAIN_LAST_S)
            try:
                return await self._begin(), pause_s
            except (TimeoutError, asyncio.IncompleteReadError, OSError) as error:
                log.error("recorder_did_not_start", error=str(error), unrecorded=self.unrecorded)

    async def _end(self, within_s: float = 1.0) -> bool:
        """Until the child is gone; one that does not go is made to. Whether it went by itself."""
        child, writer = self._child, self._writer
        self._child = self._writer = None
        if child is None:
            return True
        try:
            await asyncio.to_thread(child.wait, within_s)
            went = True
        except subprocess.TimeoutExpired:
            child.kill()
            await asyncio.to_thread(child.wait)
            went = False
        if writer is not None:
            writer.close()
        return went


def _process(command: list[str], fds: tuple[int, ...]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL, cwd=_HOME)
