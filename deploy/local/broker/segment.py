"""One file of record batches, appended to, with an index of its batches in memory."""

import mmap
import os
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from pathlib import Path

from deploy.local.broker.records import Header, is_intact, read_header


class Segment:
    """Batches from `base_offset` on. Only the index (32 bytes a batch) is held in memory.

    A batch is handed to the operating system before `append` returns, so it survives a killed
    broker; `flush` makes it survive a power cut.
    """

    def __init__(self, directory: Path, base_offset: int) -> None:
        self.base_offset = base_offset
        self.path = directory / f"{base_offset:020d}.log"
        self.size = 0
        self.last_timestamp_ms = -1
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._bases = array("q")
        self._lasts = array("q")
        self._timestamps = array("q")
        self._positions = array("q")

    @property
    def end_offset(self) -> int:
        return self._lasts[-1] + 1 if self._lasts else self.base_offset

    @property
    def first_timestamp_ms(self) -> int:
        return self._timestamps[0] if self._timestamps else 0

    def recover(self) -> Iterator[Header]:
        """Index what is on disk, batch by batch, and cut off a torn or corrupt tail."""
        length = os.fstat(self._fd).st_size
        if length:
            with mmap.mmap(self._fd, length, prot=mmap.PROT_READ) as mapped, memoryview(mapped) as view:
                yield from self._scan(view)
        os.ftruncate(self._fd, self.size)

    def _scan(self, view: memoryview) -> Iterator[Header]:
        while (header := read_header(view, self.size)) is not None:
            with view[self.size : self.size + header.size] as batch:
                if header.base_offset != self.end_offset or not is_intact(batch, header):
                    return
            self._index(header)
            yield header

    def _index(self, header: Header) -> None:
        self._bases.append(header.base_offset)
        self._lasts.append(header.last_offset)
        self._timestamps.append(header.max_timestamp)
        self._positions.append(self.size)
        self.size += header.size
        self.last_timestamp_ms = max(self.last_timestamp_ms, header.max_timestamp)

    def append(self, batch: bytes) -> None:
        """Store one stamped batch. Raises OSError, with the file as it was, if the disk does not take it."""
        header = read_header(batch)
        assert header is not None, "the batch was parsed before it was stamped"
        written = os.write(self._fd, batch)
        if written != len(batch):
            os.ftruncate(self._fd, self.size)
            raise OSError(f"{self.path}: short write of {written} of {len(batch)} bytes (disk full?)")
        self._index(header)

    def read(self, offset: int, max_bytes: int) -> bytes:
        """Whole batches from the one holding `offset`; at least one, else as many as fit `max_bytes`."""
        first = bisect_left(self._lasts, offset)
        if first == len(self._lasts):
            return b""
        start = self._positions[first]
        if self.size - start <= max_bytes:
            return os.pread(self._fd, self.size - start, start)
        after = max(bisect_right(self._positions, start + max_bytes) - 1, first + 1)
        end = self._positions[after] if after < len(self._positions) else self.size
        return os.pread(self._fd, end - start, start)

    def first_at_or_after(self, timestamp_ms: int) -> tuple[int, int] | None:
        """(base offset, timestamp) of the first batch whose newest record is at or after a time."""
        if timestamp_ms > self.last_timestamp_ms:
            return None
        found = next(i for i, newest in enumerate(self._timestamps) if newest >= timestamp_ms)
        return self._bases[found], self._timestamps[found]

    def flush(self) -> None:
        os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)

    def delete(self) -> None:
        self.close()
        self.path.unlink()
