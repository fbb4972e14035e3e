"""From a scorer to its recorder: files that one appends to and the other reads.

A write goes to the system's page cache, so what was written outlives its writer, and it wakes nobody: on a machine with
few cores, waking a reader for each payment costs as much as making its vector.

    <folder>/<start>-<number>.in    some megabytes of frames of the scorer that began at <start>; deleted once recorded

A file begins with the number of its first frame and with what its scorer said of all of them, for another may come to read it.
"""

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import structlog

from api.frames import LENGTH_BYTES, cut, framed, framed_all, length_in

SEGMENT_BYTES = 8 * 2**20
# What one look takes, so that whoever waits behind it does not wait long.
READ_BYTES = 2**18
_NUMBER_BYTES = 8

log = structlog.get_logger()


class SpoolWriter:
    """The scorer's end. about: of all its frames. given: how many there were, the next one's number less one."""

    def __init__(self, folder: Path, about: bytes = b"") -> None:
        # After every start that is there, whatever the clock has done: files are read in order.
        self.start = max([time.time_ns(), *(_start(path) + 1 for path in _files(folder))])
        self.given = 0
        self._folder = folder
        self._about = about
        self._segments = 0
        self._size = 0
        self._fd: int | None = None

    def add(self, frames: Sequence[bytes]) -> bool:
        """All of them or none: False if the disk refuses."""
        try:
            self._write(framed_all(frames))
        except OSError as error:
            log.error("decision_spool_refused", error=str(error))
            self._cut_off()
            return False
        self.given += len(frames)
        if self._size >= SEGMENT_BYTES:
            self.close()
        return True

    def _write(self, raw: bytes) -> None:
        if self._fd is not None:
            self._size += _whole(self._fd, raw)
            return
        # Under another name until its head is there, for the reader takes that first.
        path = self._folder / f"{self.start:020}-{self._segments:08}.in"
        new = path.with_suffix(".new")
        self._fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        self._size = _whole(self._fd, (self.given + 1).to_bytes(_NUMBER_BYTES, "big") + framed(self._about) + raw)
        new.rename(path)
        self._segments += 1

    def _cut_off(self) -> None:
        """What was written of it; and begin another file, for the reader may have read a part already, which it then leaves."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
        self.close()

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
        self._fd, self._size = None, 0


class SpoolReader:
    """The recorder's end; files of scorers before come first. start, number, about: of the frame that was read last.

    skip: how many frames to pass over first. has_more: whether the last look took as much as one may, so that the next need not wait.
    """

    def __init__(self, folder: Path, skip: int = 0) -> None:
        self._folder = folder
        self._skip = skip
        self._path: Path | None = None
        self._file: BinaryIO | None = None
        self._rest = b""
        self.start = self.number = 0
        self.about = b""
        self.has_more = False

    def read(self) -> list[bytes]:
        """The next frames, none if there are no others yet. Whatever was read before has been recorded."""
        while self._file is not None or self._open():
            if found := self._next():
                return found
            # Looked for before its end is looked at again: once there is another file, nothing more comes to this one.
            is_whole = any(path != self._path for path in _files(self._folder))
            if found := self._next():
                return found
            if not is_whole:
                break
            self.forget()
        return []

    def forget(self) -> None:
        """Delete the file that is being read."""
        if self._file is not None and self._path is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)
        self._file, self._path, self._rest = None, None, b""

    def _open(self) -> bool:
        """The oldest file. One without a head is left of a power cut, and holds nothing."""
        for path in _files(self._folder):
            file = path.open("rb", buffering=0)
            head = file.read(_NUMBER_BYTES + LENGTH_BYTES)
            size = length_in(head[_NUMBER_BYTES:])
            about = file.read(size)
            if len(head) < _NUMBER_BYTES + LENGTH_BYTES or len(about) < size:
                file.close()
                path.rename(path.with_suffix(".torn"))
                continue
            self._path, self._file, self.about = path, file, about
            self.start, self.number = _start(path), int.from_bytes(head[:_NUMBER_BYTES], "big") - 1
            return True
        return False

    def _next(self) -> list[bytes]:
        """The next frames of the file that is being read; none at its end."""
        assert self._file is not None
        while data := self._file.read(READ_BYTES):
            self.has_more = len(data) == READ_BYTES
            if found := self._taken(data):
                return found
        self.has_more = False
        return []

    def _taken(self, data: bytes) -> list[bytes]:
        found, self._rest = cut(self._rest + data)
        self.number += len(found)
        passed = min(self._skip, len(found))
        self._skip -= passed
        return found[passed:]


def frames_through(folder: Path, is_last: Callable[[bytes], bool]) -> int:
    """How many frames there are up to the last that is one; 0 if none is."""
    n = last = 0
    for path in _files(folder):
        data = path.read_bytes()[_NUMBER_BYTES:]
        for frame in cut(data)[0][1:]:
            n += 1
            if is_last(frame):
                last = n
    return last


def _whole(fd: int, raw: bytes) -> int:
    written = os.write(fd, raw)
    if written != len(raw):
        raise OSError("short write")
    return written


def _files(folder: Path) -> list[Path]:
    """Asked for at each look that finds nothing, and `Path.glob` takes three times as long."""
    try:
        with os.scandir(folder) as found:
            return sorted(Path(entry.path) for entry in found if entry.name.endswith(".in"))
    except FileNotFoundError:
        return []


def _start(path: Path) -> int:
    return int(path.name.partition("-")[0])
