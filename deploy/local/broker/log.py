"""The log of one partition: segments of batches, offsets, timestamps, retention."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from kio.schema.errors import ErrorCode

from deploy.local.broker.errors import Refused
from deploy.local.broker.producers import ProducerStates
from deploy.local.broker.records import Appended, parse_produced, stamp
from deploy.local.broker.segment import Segment


class PartitionLog:
    """config: the topic's settings, read at each use, so that an alteration takes effect at once.
    start_offset: where a DeleteRecords once moved the start to. clock_ms: the broker's clock.
    """

    def __init__(
        self, directory: Path, config: Mapping[str, str], start_offset: int, clock_ms: Callable[[], int]
    ) -> None:
        self._directory = directory
        self._config = config
        self._clock_ms = clock_ms
        self._producers = ProducerStates()
        self._segments: list[Segment] = []
        self._unflushed = False
        self.on_append: set[Callable[[], None]] = set()
        directory.mkdir(parents=True, exist_ok=True)
        self._recover()
        if self.end_offset < start_offset:
            self._restart_at(start_offset)
        self.start_offset = max(start_offset, self._segments[0].base_offset)
        self._last_append_ms = max(segment.last_timestamp_ms for segment in self._segments)

    def _recover(self) -> None:
        """Rebuild index and producer states; batches behind a damaged one are gone with their segment."""
        for path in sorted(self._directory.glob("*.log")):
            base_offset = int(path.stem)
            if self._segments and base_offset != self.end_offset:
                path.unlink()
                continue
            segment = Segment(self._directory, base_offset)
            self._segments.append(segment)
            for header in segment.recover():
                self._producers.remember(header, Appended(header.base_offset, header.append_time_ms))
        if not self._segments:
            self._segments.append(Segment(self._directory, 0))

    def _restart_at(self, offset: int) -> None:
        """A cut tail may end before the records that were deleted; their offsets are not given out again."""
        for segment in self._segments:
            segment.delete()
        self._segments = [Segment(self._directory, offset)]

    @property
    def end_offset(self) -> int:
        return self._segments[-1].end_offset

    @property
    def size(self) -> int:
        return sum(segment.size for segment in self._segments)

    def append(self, batch: bytes) -> Appended:
        """Store one produced batch, or find it already stored. Raises Refused."""
        header = parse_produced(batch, int(self._config["max.message.bytes"]))
        duplicate_of = self._producers.find_duplicate(header)
        if duplicate_of is not None:
            return duplicate_of
        appended = self._store(batch)
        self._producers.remember(header, appended)
        for notify in tuple(self.on_append):
            notify()
        return appended

    def _store(self, batch: bytes) -> Appended:
        self._roll_when_due(len(batch))
        appended = Appended(self.end_offset, self._append_time_ms())
        try:
            self._segments[-1].append(stamp(batch, *appended))
        except OSError as error:
            raise Refused(ErrorCode.kafka_storage_error, str(error)) from error
        self._unflushed = True
        return appended

    def _append_time_ms(self) -> int | None:
        """The broker's time as a running maximum: arrival never goes back within a partition,
        also when the machine's clock does.
        """
        if self._config["message.timestamp.type"] != "LogAppendTime":
            return None
        self._last_append_ms = max(self._last_append_ms, self._clock_ms())
        return self._last_append_ms

    def _roll_when_due(self, incoming_bytes: int) -> None:
        active = self._segments[-1]
        is_full = active.size + incoming_bytes > int(self._config["segment.bytes"])
        is_old = self._clock_ms() - active.first_timestamp_ms > int(self._config["segment.ms"])
        if active.size and (is_full or is_old):
            self._roll()

    def _roll(self) -> None:
        self._segments[-1].flush()
        self._segments.append(Segment(self._directory, self.end_offset))

    def check_readable(self, offset: int) -> None:
        """Raises Refused outside the log; its end, where the next record will be, is inside."""
        if not self.start_offset <= offset <= self.end_offset:
            raise Refused(ErrorCode.offset_out_of_range, f"{offset} not in {self.start_offset}..{self.end_offset}")

    def read(self, offset: int, max_bytes: int) -> bytes:
        """Whole batches from the one holding `offset`, of one segment; at least one. Raises Refused."""
        self.check_readable(offset)
        for segment in reversed(self._segments):
            if segment.base_offset <= offset:
                return segment.read(offset, max_bytes)
        return self._segments[0].read(offset, max_bytes)

    def offset_for_time(self, timestamp_ms: int) -> tuple[int, int] | None:
        """(offset, timestamp) of the first batch that reaches a time, None past the newest.

        Exact for LogAppendTime, where a batch has one time; with the producers' times the batch
        may begin with earlier records.
        """
        for segment in self._segments:
            found = segment.first_at_or_after(timestamp_ms)
            if found is not None:
                return max(found[0], self.start_offset), found[1]
        return None

    def newest(self) -> tuple[int, int] | None:
        """(offset, timestamp) of the batch with the largest timestamp, None for an empty log."""
        newest_ms = max(segment.last_timestamp_ms for segment in self._segments)
        return None if newest_ms < 0 else self.offset_for_time(newest_ms)

    def delete_records(self, before: int) -> int:
        """Move the start to `before` and drop the segments left behind; the new start."""
        if before > self.end_offset:
            raise Refused(ErrorCode.offset_out_of_range, f"{before} is past the end, {self.end_offset}")
        self.start_offset = max(self.start_offset, before)
        while len(self._segments) > 1 and self._segments[0].end_offset <= self.start_offset:
            self._segments.pop(0).delete()
        return self.start_offset

    def apply_retention(self) -> None:
        """Drop whole segments, oldest first, that are past the topic's age or size.

        `cleanup.policy=compact` topics keep everything: a superset of what compaction keeps.
        """
        if "delete" not in self._config["cleanup.policy"]:
            return
        while self._segments[0].size and self._is_past_retention(self._segments[0]):
            if len(self._segments) == 1:
                self._roll()
            self.delete_records(self._segments[1].base_offset)

    def _is_past_retention(self, oldest: Segment) -> bool:
        retention_ms = int(self._config["retention.ms"])
        retention_bytes = int(self._config["retention.bytes"])
        too_old = 0 <= retention_ms < self._clock_ms() - oldest.last_timestamp_ms
        return too_old or 0 <= retention_bytes <= self.size - oldest.size

    def flush(self) -> None:
        if self._unflushed:
            self._unflushed = False
            self._segments[-1].flush()

    def close(self) -> None:
        for segment in self._segments:
            segment.close()

    def delete(self) -> None:
        self.close()
        shutil.rmtree(self._directory)
