"""`python -m api.recorder FD`: the process that records a scorer's decisions.

It reads them from the scorer's spool, and makes, keeps and sends their events: half of a decision's work, on another
core. It imports neither numba nor NumPy. Over a socket its scorer says how to start and when to end, and hears how it
stands. After a goodbye it waits for the broker a while; when the scorer is gone without a word it keeps what is in the
spool and leaves the journal to the next.
"""

import signal

# Before all that takes long: who stops a scorer signals its whole group, and what this process has still to do is said by its scorer.
if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import uvloop

from api import logs
from api.decided import Facts, decision_ids
from api.decision_log import DecisionLog, Status
from api.frames import LENGTH_BYTES, framed, length_in
from api.journal import Journal
from api.producer import kafka_producer
from api.records import DecisionRecords
from api.spool import SpoolReader, frames_through
from api.tasks import ended

# What has come in the meantime is recorded in a row and sent in one batch: one by one, a record costs twice as much, and the
# scorer's neighbour wakes as often as the scorer. Nobody waits for a record. Where nothing comes it looks less and less often, for a
# look that finds nothing costs as much as a record.
LOOK_S, LAST_LOOK_S = 0.04, 0.1


async def frame_of(reader: asyncio.StreamReader) -> bytes:
    """The next; a goodbye is empty. Raises IncompleteReadError when the other side is gone."""
    return await reader.readexactly(length_in(await reader.readexactly(LENGTH_BYTES)))


GOODBYE = framed(b"")


class Start(msgspec.Struct, array_like=True):
    """folder: of spool and journal. lock_fd: holds it. scorer: when the spool's files that are this scorer's begin."""

    bootstrap_servers: str
    folder: str
    journal_bytes: int
    lock_fd: int
    scorer: int


class Stand(msgspec.Struct, array_like=True):
    """How a recorder stands. recorded: the number of the scorer's newest part that is in the journal."""

    recorded: int
    status: Status


class Recorder:
    """Spool to journal to broker."""

    def __init__(self, start: Start, say: Callable[[bytes], None]) -> None:
        folder = Path(start.folder)
        journal = partial(Journal, folder, start.journal_bytes, os.fdopen(start.lock_fd, "ab"))
        self._scorer = start.scorer
        self._say = say
        self._said: bytes = b""
        self._records: dict[bytes, DecisionRecords | None] = {}
        self._recorded = 0
        self._log = DecisionLog(kafka_producer(start.bootstrap_servers), journal, self._stand)
        self._log.start()
        # What a recorder before this one had recorded when it died, and not deleted.
        last = self._log.journal.last_decision_id
        through = frames_through(folder, lambda raw: bool(last) and last.encode() in raw and last in decision_ids(raw))
        # Of the part that holds the last one there may be more.
        self._after = last if through else ""
        self._spool = SpoolReader(folder, max(through - 1, 0))
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def failed(self) -> None:
        """Returns or raises when one of its parts has ended, which none does by itself."""
        done, _ = await asyncio.wait([self._task, self._log.sending], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def keep_all(self) -> None:
        """What is in the spool and will be, for its scorer writes no more; then send no more."""
        await ended(self._task)
        while self._look():
            pass
        self._spool.forget()
        await self._log.stop()

    async def close(self) -> None:
        """Keep everything, and wait a while for the broker."""
        await self.keep_all()
        await self._log.close()

    async def _follow(self) -> None:
        pause_s = LOOK_S
        while True:
            pause_s = LOOK_S if self._look() else min(2 * pause_s, LAST_LOOK_S)
            await asyncio.sleep(0 if self._spool.has_more else pause_s)

    def _look(self) -> bool:
        """Record what is there. False if nothing was."""
        frames = self._spool.read()
        if frames:
            self._log.keep(frames, self._makes(), self._after)
            self._after = ""
        if self._spool.start == self._scorer:
            self._recorded = self._spool.number
        self._log.send()
        return bool(frames)

    def _makes(self) -> DecisionRecords | None:
        """What makes records of the frames that were read last; None if they are of a version that we do not know."""
        about = self._spool.about
        if about not in self._records:
            try:
                self._records[about] = DecisionRecords(msgspec.msgpack.decode(about, type=Facts))
            except ValueError:  # msgspec's are, too
                self._records[about] = None
        return self._records[about]

    def _stand(self, status: Status) -> None:
        """Only what is new: a scorer has better things to do than to hear it."""
        said = msgspec.msgpack.encode(Stand(self._recorded, status))
        if said != self._said:
            self._say(said)
            self._said = said


async def record(end: socket.socket) -> None:
    """Until the scorer says goodbye or is gone."""
    reader, writer = await asyncio.open_connection(sock=end)
    recorder = Recorder(
        msgspec.msgpack.decode(await frame_of(reader), type=Start), lambda raw: writer.write(framed(raw))
    )
    loop = asyncio.get_running_loop()
    told, failed = loop.create_task(_goodbye(reader)), loop.create_task(recorder.failed())
    await asyncio.wait([told, failed], return_when=asyncio.FIRST_COMPLETED)
    if failed.done():
        failed.result()  # raises; the scorer begins another
        return
    failed.cancel()
    if told.result():
        await recorder.close()
    else:
        await recorder.keep_all()
    writer.close()


async def _goodbye(reader: asyncio.StreamReader) -> bool:
    """Whether it was said; False if the scorer is gone, with things from us unread or without."""
    try:
        await frame_of(reader)
    except (asyncio.IncompleteReadError, OSError):
        return False
    return True


def main() -> None:
    logs.configure()
    uvloop.run(record(socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
