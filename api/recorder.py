"""`python -m api.recorder FD`: the process that records a scorer's decisions.

It takes them over a socket pair, as bytes, before they are answered, and makes, keeps and sends their events: half of a
decision's work, on another core. It imports neither numba nor NumPy. When its scorer says goodbye it waits for the
broker a while; when the scorer is gone without a word it keeps what it has and leaves the journal to the next.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from api import logs
from api.decided import DecisionRecord, Facts
from api.decision_log import DecisionLog, Status
from api.journal import Journal
from api.producer import Producer, kafka_producer

LENGTH_BYTES = 4
GOODBYE = bytes(LENGTH_BYTES)


class Start(msgspec.Struct, array_like=True):
    """The first that a recorder is told."""

    facts: Facts
    bootstrap_servers: str
    journal_dir: str
    journal_bytes: int

    def log(self, producer: Producer, on_status: Callable[[Status], None]) -> DecisionLog:
        claim = partial(Journal.claim, Path(self.journal_dir), self.journal_bytes)
        return DecisionLog(DecisionRecord(self.facts), producer, claim, on_status)


def framed(raw: bytes) -> bytes:
    """As it goes over the socket, in both directions. A frame of no bytes is a goodbye."""
    return len(raw).to_bytes(LENGTH_BYTES, "big") + raw


class Frames(asyncio.Protocol):
    """Cuts what comes into frames. gone: done when the other side is. is_out: everything written is the system's to deliver."""

    def __init__(self, on_frame: Callable[[bytes], None]) -> None:
        self._on_frame = on_frame
        self._buffer = bytearray()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_out = asyncio.Event()
        self.is_out.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.WriteTransport, transport).set_write_buffer_limits(high=0)

    def pause_writing(self) -> None:
        self.is_out.clear()

    def resume_writing(self) -> None:
        self.is_out.set()

    def data_received(self, data: bytes) -> None:
        buffer, at = self._buffer, 0
        buffer += data
        while len(buffer) >= at + LENGTH_BYTES:
            begin = at + LENGTH_BYTES
            end = begin + int.from_bytes(buffer[at:begin], "big")
            if len(buffer) < end:
                break
            self._on_frame(bytes(buffer[begin:end]))
            at = end
        del buffer[:at]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's
        self.is_out.set()
        if not self.gone.done():
            self.gone.set_result(None)


class Recorder:
    """One scorer's. told: done when it says goodbye, or failed if nothing can be recorded."""

    def __init__(self, say: Callable[[Status], None]) -> None:
        self._say = say
        self.log: DecisionLog | None = None
        self.told: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(self, raw: bytes) -> None:
        """One frame: how to start, then decisions, then nothing."""
        if self.told.done():
            return
        if not raw:
            self.told.set_result(None)
        elif self.log is not None:
            self.log.add(raw)
        else:
            try:
                self.log = self._started(msgspec.msgpack.decode(raw, type=Start))
            except Exception as error:  # noqa: BLE001  # whatever it is, it ends the process with its words
                self.told.set_exception(error)

    def _started(self, start: Start) -> DecisionLog:
        log = start.log(kafka_producer(start.bootstrap_servers), self._say)
        log.start()
        return log


async def record(end: socket.socket) -> None:
    """Until the scorer says goodbye or is gone."""
    sent: list[asyncio.Transport] = []
    recorder = Recorder(lambda status: sent[0].write(framed(msgspec.msgpack.encode(status))))
    transport, protocol = await asyncio.get_running_loop().create_connection(lambda: Frames(recorder.take), sock=end)
    sent.append(transport)
    await asyncio.wait([recorder.told, protocol.gone], return_when=asyncio.FIRST_COMPLETED)
    if recorder.told.done():
        recorder.told.result()
    if recorder.log is None:
        return
    if not recorder.told.done():
        await recorder.log.keep()
        recorder.log.journal.close()
        return
    await recorder.log.close()
    transport.write(framed(msgspec.msgpack.encode(msgspec.structs.replace(recorder.log.status, is_done=True))))
    transport.close()
    await protocol.gone


def main() -> None:
    # Who stops a scorer signals its whole group; what this process has still to do is said by its scorer.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    logs.configure()
    uvloop.run(record(socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
