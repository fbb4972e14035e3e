"""The scorer's side of its recorder: decisions go out before they are answered, and are kept here until they are on disk.

A recorder that dies is replaced, and gets again what it did not say it had; the journal it shares with the next names the
newest that it had all the same.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from api.decision_log import FLUSH_S, Status
from api.metrics import Metrics
from api.producer import MAX_PENDING, Producer
from api.recorder import GOODBYE, Frames, Start, framed
from api.tasks import ended

START_S = 60.0  # an interpreter on a busy machine
AGAIN_S = 0.2
# For a batch, which is more than a socket holds, and for a recorder that is behind; past it an answer goes out all the same.
SETTLE_S = 0.1
_HOME = Path(__file__).parents[1]  # where the child finds the package, wherever the scorer was started

log = structlog.get_logger()


class Recording(Protocol):
    """Where decisions go."""

    async def start(self) -> None: ...
    def add(self, ids: Sequence[str], frames: Sequence[bytes]) -> None:
        """Encoded `Decided`, by their decision ids. Never waits and never raises."""

    async def settled(self) -> None:
        """Until what was added outlives this process, or it takes too long."""

    async def close(self) -> None: ...


class Counts:
    """What a log says of itself, as metrics: gauges of how it stands, counters of what has become more."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._counters = {result: metrics.events.labels(result) for result in ("delivered", "failed", "lost")}
        self._last = Status()
        self.anew()

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
    """In the scorer's own process, with whatever producer it is given."""

    def __init__(self, start: Start, producer: Producer, metrics: Metrics) -> None:
        self._log = start.log(producer, Counts(metrics).take)
        metrics.pending.set_function(lambda: self._log.status.left)

    async def start(self) -> None:
        self._log.start()

    def add(self, ids: Sequence[str], frames: Sequence[bytes]) -> None:  # noqa: ARG002  # as Beside is asked
        for raw in frames:
            self._log.add(raw)

    async def settled(self) -> None:
        """It is this process's own."""

    async def close(self) -> None:
        await self._log.close()


class Beside:
    """In a process beside the scorer."""

    def __init__(self, start: Start, metrics: Metrics, command: list[str] | None = None) -> None:
        self._start = start
        self._command = command or [sys.executable, "-m", "api.recorder"]
        self._counts = Counts(metrics)
        self._status = Status()
        # Not yet known to be in the journal.
        self._unkept: deque[tuple[str, bytes]] = deque()
        self._child: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.Transport | None = None
        self._protocol: Frames | None = None
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        metrics.pending.set_function(lambda: len(self._unkept) + self._status.left)

    async def start(self) -> None:
        """Raises RuntimeError if the recorder ends at once, for what it says on its standard output."""
        protocol = await self._begin()
        ready = asyncio.get_running_loop().create_task(_set(self._ready))
        first: list[asyncio.Future[None]] = [ready, protocol.gone]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED, timeout=START_S)
        await ended(ready)
        if not self._ready.is_set():
            await self._end()
            raise RuntimeError("the recorder of decisions did not start; its own words are above")
        self._task = asyncio.get_running_loop().create_task(self._keep_running(protocol))

    def add(self, ids: Sequence[str], frames: Sequence[bytes]) -> None:
        if len(self._unkept) >= MAX_PENDING:
            self._counts.lose(len(frames))
            return
        self._unkept.extend(zip(ids, frames, strict=True))
        if self._transport is not None and self._ready.is_set():
            self._transport.write(b"".join(map(framed, frames)))

    async def settled(self) -> None:
        if self._protocol is not None and not self._protocol.is_out.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._protocol.is_out.wait(), SETTLE_S)

    async def close(self) -> None:
        """Say goodbye, and wait until everything is kept and the broker has had a while."""
        await ended(self._task)
        if self._transport is not None:
            self._transport.write(GOODBYE)
        await self._end(FLUSH_S + START_S)
        if self._unkept:
            log.error("decisions_unkept", n=len(self._unkept))

    async def _begin(self) -> Frames:
        """A child, connected and told how to start; what it says when it has, is taken in `_take`."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = await asyncio.to_thread(_process, [*self._command, str(theirs.fileno())], theirs.fileno())
        transport, protocol = await loop.create_connection(lambda: Frames(self._take), sock=ours)
        transport.write(framed(msgspec.msgpack.encode(self._start)))
        self._transport, self._protocol = transport, protocol
        return protocol

    def _take(self, raw: bytes) -> None:
        status = msgspec.msgpack.decode(raw, type=Status)
        if not self._ready.is_set():
            self._ready.set()
            self._status = Status()
            self._counts.anew()
            self._send_again(status.last_id)
        for _ in range(status.recorded - self._status.recorded):
            self._unkept.popleft()
        self._status = status
        self._counts.take(status)

    def _send_again(self, last_id: str) -> None:
        """What the recorder before this one had not said to have, less what its journal shows that it had."""
        kept = next((place for place, (name, _) in enumerate(self._unkept, start=1) if name == last_id), 0)
        for _ in range(kept):
            self._unkept.popleft()
        if self._unkept and self._transport is not None:
            self._transport.write(b"".join(framed(raw) for _, raw in self._unkept))

    async def _keep_running(self, protocol: Frames) -> None:
        while True:
            await protocol.gone
            self._ready.clear()
            log.error("recorder_ended", unkept=len(self._unkept))
            await self._end()
            await asyncio.sleep(AGAIN_S)
            protocol = await self._begin()

    async def _end(self, within_s: float = 1.0) -> None:
        """Until the child is gone; one that does not go is made to."""
        child, transport = self._child, self._transport
        self._child = self._transport = None
        if child is None:
            return
        try:
            await asyncio.to_thread(child.wait, within_s)
        except subprocess.TimeoutExpired:
            child.kill()
            await asyncio.to_thread(child.wait)
        if transport is not None:
            with contextlib.suppress(OSError):
                transport.close()


def _process(command: list[str], fd: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, pass_fds=[fd], stdin=subprocess.DEVNULL, cwd=_HOME)


async def _set(event: asyncio.Event) -> None:
    await event.wait()
