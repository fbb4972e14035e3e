"""Decision events on disk, in the order of their chain, until the broker has them.

A process appends each event to its journal before it sends it, and sends what it reads there. So a broker that
is gone costs disk and no memory, a process that is killed loses nothing it has answered, and the next one sends
what is left and goes on with the chain. Writes go to the system's page cache: they outlive a process, and of a
power cut the last seconds may be missing, which the chain then shows.

    <folder>/0/                   one process's; the lowest number that no live process holds (`lock`)
    <folder>/0/000000000001.log   records from that link of the chain on, some megabytes
    <folder>/0/delivered          the broker has every link up to this one
"""

import fcntl
import itertools
import os
import threading
import uuid
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

import msgspec
import structlog

from api.decided import Headers
from api.frames import LENGTH_BYTES, framed, framed_all, length_in
from api.records import Record
from fraud_assets.contracts.chain import Head, linked

# Events that are sent as they were written, without being read back: what a recorder reads at once several times over, for the
# producer may be full for a moment; two megabytes.
FRESH = 512

# A segment is deleted as a whole, so at most this much that the broker has stays behind.
SEGMENT_BYTES = 8 * 2**20

log = structlog.get_logger()


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One event as the topic gets it, and the head of its chain."""

    chain_id: str
    position: int
    sha256: str
    key: bytes
    headers: Headers
    value: bytes


class _Named(msgspec.Struct):
    decision_id: str


_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Entry).decode


class _Segment(NamedTuple):
    path: Path
    last: int


class Journal:
    """What one process has decided and the broker may not have. Not for several threads."""

    def __init__(self, folder: Path, max_bytes: int, lock: BinaryIO) -> None:
        self._folder, self._max_bytes, self._lock = folder, max_bytes, lock
        self._delivered_file = folder / "delivered"
        self._marking = threading.Lock()
        self._delivered = self._marked = int(_text(self._delivered_file) or 0)
        self._read_to = self._delivered
        self._ahead: set[int] = set()
        self.head = Head(uuid.uuid4().hex)
        self.last_decision_id = ""
        self._closed: deque[_Segment] = deque()
        self._to_read: deque[Path] = deque()
        self._reader: BinaryIO | None = None
        # Behind the reader in its file, which it then passes over, `_passed` bytes so far; `_at_end`: nothing else is behind it.
        self._fresh: deque[tuple[Entry, int]] = deque()
        self._passed = 0
        self._at_end = False
        self._writer: BinaryIO | None = None
        self.bytes = 0
        for path in sorted(folder.glob("*.log")):
            self._take_up(path)
        if not self.head.sha256:  # another chain, of which the broker has nothing
            self._delivered = self._read_to = 0
        elif self._delivered > self.head.position:
            # The newest links were refused, or a power cut took them, and nobody waits for them: their places stay empty.
            self.head = self.head._replace(position=self._delivered)
        self._forget()

    @classmethod
    def claim(cls, folder: Path, max_bytes: int) -> Self:
        """The journal of the lowest number that no live process holds."""
        mine, lock = claimed(folder)
        return cls(mine, max_bytes, lock)

    def __len__(self) -> int:
        """Events that the broker may not have."""
        return self.head.position - self._delivered - len(self._ahead)

    def append(self, records: Iterable[Record]) -> int:
        """Link events and keep them; how many are lost, for the journal is full or the disk refuses them: the chain then shows a gap."""
        kept, size, lost = [], self.bytes, 0
        for said, decision_id, account_id, headers in records:
            value, self.head = linked(said, self.head)
            entry = Entry(*self.head, account_id.encode(), headers, value)
            self.last_decision_id = decision_id
            record = _encode(entry)
            if size + LENGTH_BYTES + len(record) <= self._max_bytes:
                kept.append((entry, record))
                size += LENGTH_BYTES + len(record)
            else:
                self.done(entry.position)
                lost += 1
        return lost + self._keep(kept)

    def _keep(self, entries: list[tuple[Entry, bytes]]) -> int:
        """In one write, and one by one if the disk refuses that, for it may have room for some; how many are lost."""
        if not entries:
            return 0
        if not self._write(entries[0][0].position, framed_all([record for _, record in entries])):
            if len(entries) > 1:
                return sum(self._keep([one]) for one in entries)
            self.done(entries[0][0].position)
            return 1
        for entry, record in entries:
            self._at_end = self._at_end and len(self._fresh) < FRESH
            if self._at_end:
                self._fresh.append((entry, LENGTH_BYTES + len(record)))
        return 0

    def put_aside(self, raw: bytes) -> None:
        """What no record can be made of, for people to look at."""
        with (self._folder / "unrecordable").open("ab") as file:
            file.write(framed(raw))

    def next(self) -> Entry | None:
        """The next event to send, each once; None while there is no other."""
        if self._fresh:
            entry, size = self._fresh.popleft()
            self._passed += size
            self._pass_to(entry.position)
            return entry
        if self._passed and self._reader is not None:
            self._reader.seek(self._passed, os.SEEK_CUR)
            self._passed = 0
        while True:
            if self._reader is None:
                if not self._to_read:
                    return None
                self._reader = self._to_read.popleft().open("rb")
            record = _read(self._reader)
            if record is not None:
                entry = _decode(record)
                if entry.position > self._delivered:
                    self._pass_to(entry.position)
                    return entry
            elif self._to_read:
                self._reader.close()
                self._reader = None
            else:
                self._at_end = True
                return None

    def done(self, *positions: int) -> None:
        """The broker has these."""
        ahead, delivered = self._ahead, self._delivered
        ahead.update([position for position in positions if position > delivered])
        while (following := delivered + 1) in ahead:
            ahead.remove(following)
            delivered = following
        if delivered != self._delivered:
            self._delivered = delivered
            self._forget()

    def _pass_to(self, position: int) -> None:
        """Nobody waits for links between the last that was read and this one: an earlier process could not keep them."""
        if position > self._read_to + 1:
            self.done(*range(self._read_to + 1, position))
        self._read_to = position

    def mark(self) -> None:
        """Write down what the broker has, if that has changed: the next process then does not send it again.

        The one call that may be made in another thread, for it takes milliseconds.
        """
        with self._marking:
            delivered = self._delivered
            if delivered != self._marked:
                partial = self._delivered_file.with_suffix(".partial")
                partial.write_text(str(delivered))
                partial.replace(self._delivered_file)
                self._marked = delivered

    def close(self) -> None:
        self.mark()
        for file in (self._reader, self._writer, self._lock):
            if file is not None:
                file.close()

    def _write(self, position: int, records: bytes) -> bool:
        """position: of the first of them."""
        is_new = self._writer is None
        try:
            if self._writer is None:
                path = self._folder / f"{position:012}.log"
                self._writer = path.open("ab", buffering=0)
            # Not where the writer stands: that is behind what an earlier short write left, and was cut off.
            start = os.fstat(self._writer.fileno()).st_size
            if self._writer.write(records) != len(records):
                os.ftruncate(self._writer.fileno(), start)
                raise OSError("short write")
        except OSError as error:
            log.error("decision_journal_refused", error=str(error))
            if is_new and self._writer is not None:
                self._writer.close()
                Path(self._writer.name).unlink(missing_ok=True)
                self._writer = None
            return False
        if is_new:
            self._to_read.append(Path(self._writer.name))
            self._at_end = False
        self.bytes += len(records)
        if start + len(records) >= SEGMENT_BYTES:
            self._writer.close()
            self._closed.append(_Segment(Path(self._writer.name), self.head.position))
            self._writer = None
        return True

    def _forget(self) -> None:
        """Delete segments of which the broker has everything, all but the newest: it knows the head."""
        while self._closed and self._closed[0].last <= self._delivered and (self._writer or len(self._closed) > 1):
            path = self._closed.popleft().path
            self.bytes -= path.stat().st_size
            if path in self._to_read:
                self._to_read.remove(path)
            path.unlink()

    def _take_up(self, path: Path) -> None:
        """A segment of the process before. What stands behind its last whole record is kept beside it."""
        whole = 0
        with path.open("r+b") as file:
            for record in iter(lambda: _read(file), None):
                try:
                    entry = _decode(record)
                    self.last_decision_id = msgspec.json.decode(entry.value, type=_Named).decision_id
                except msgspec.DecodeError:
                    break
                self.head, whole = Head(entry.chain_id, entry.position, entry.sha256), file.tell()
            file.seek(whole)
            rest = file.read()
            if rest:
                path.with_suffix(".torn").write_bytes(rest)
                file.truncate(whole)
                log.error("decision_journal_torn", file=path.name, bytes=len(rest))
        if not whole:
            path.unlink()  # its name is the next link's, which begins a file anew
            return
        self.bytes += whole
        self._closed.append(_Segment(path, self.head.position))
        self._to_read.append(path)


def claimed(folder: Path) -> tuple[Path, BinaryIO]:
    """The lowest number's folder that no live process holds, and what holds it while it is open, in whatever process."""
    for number in itertools.count():
        mine = folder / str(number)
        mine.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (mine / "lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return mine, lock
    raise AssertionError("unreachable: numbers do not end")


def _read(file: BinaryIO) -> bytes | None:
    """The record at the file's place; None, and the place unchanged, if no whole one is there."""
    start = file.tell()
    length = length_in(file.read(LENGTH_BYTES))
    record = file.read(length)
    if length and len(record) == length:
        return record
    file.seek(start)
    return None


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
