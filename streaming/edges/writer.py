"""The lake is written beside routing, in a thread: its files take longer than a state may lag."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from typing import Protocol

import structlog

from streaming import metrics
from streaming.core.accept import TopicPartition
from streaming.core.records import Accepted, Record
from streaming.core.uncommitted import Batch, Uncommitted, by_partition
from streaming.edges.broker import Mark

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# With a lake this far behind, routing waits for it: a row of a decision takes some 15 kB.
MAX_ROWS = 20_000
# At a hand-over: the file that is being written when time is up is waited for so long, for without its commit its rows are soon in two.
FILE_IN_HAND_S = 1.0
# At a hand-over: with fewer rows of a partition, its file (5 ms of a core, however few it holds) costs more than to read and judge them again.
WORTH_A_FILE = 32
LOOK_S = 0.005


class Append(Protocol):
    """Write rows as files; returns at the next file once they are not wanted any more. How many rows."""

    def __call__(self, rows: Sequence[Accepted], is_wanted: Callable[[], bool]) -> int: ...


class Deliveries(Protocol):
    """What was sent, and whether it is in the log; see Sender."""

    def mark(self) -> Mark: ...
    def is_delivered(self, mark: Mark) -> bool: ...
    def flush(self) -> None: ...


class _Writing:
    """A batch on its way into the lake, one partition after the other. sent: its entity records and dead letters.

    complete: how many rows of a partition have their files. until_s: no file is begun after it. least: nor one of fewer rows. before: a
    batch given up, whose rows are the first of this one; what it has written of a partition that got no more is not written again.
    """

    def __init__(
        self,
        writer: "LakeWriter",
        batch: Batch,
        until_s: float = math.inf,
        least: int = 0,
        before: "_Writing | None" = None,
    ) -> None:
        self.batch, self.sent = batch, writer.deliveries.mark()
        self.until_s, self._least = until_s, least
        self.complete: dict[TopicPartition, int] = {}
        self._append, self._before = writer.append, before
        self._now_s: Callable[[], float] = writer.now_s
        self._began_s = time.monotonic()
        self._work: Future[int] = writer.executor.submit(self._write)

    def _write(self) -> int:
        written = 0
        for at, rows in by_partition(self.batch.rows):
            if self._before is None or self._before.complete.get(at) != len(rows):
                appended = self._append(rows, self._is_wanted) if len(rows) >= self._least else 0
                if appended < len(rows):
                    continue
                written += appended
            self.complete[at] = len(rows)
        return written

    def _is_wanted(self) -> bool:
        return self._now_s() < self.until_s

    def has_files(self) -> bool:
        return self._work.done()

    def wait(self, at_most_s: float | None = None) -> None:
        """Until its files are complete, or nobody wants to wait any more. Raises what the lake raised."""
        if not wait([self._work], at_most_s).done:
            return
        rows = self._work.result()
        metrics.LAKE_ROWS.inc(rows)
        log.info("lake_appended", rows=rows, latency_ms=round(1000 * (time.monotonic() - self._began_s), 2))


class LakeWriter:
    """Batches of accepted rows, each written in a thread and then committed, while the next one gathers.

    A batch begins only after the one before it is committed. A file is named by the first row after
    the committed offset, which a replay finds again; a batch begun earlier would have another name, and
    if we died then, its rows would be in two files.

    commit: offsets by partition. every_s: between two batches. Methods are for one thread, that of the poll loop.
    """

    def __init__(
        self,
        append: Append,
        deliveries: Deliveries,
        commit: Callable[[Mapping[TopicPartition, int]], None],
        every_s: float,
        executor: Executor | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.append = append
        self.deliveries = deliveries
        self.now_s = now_s
        # One thread: what is begun later is written later, so a replay's files replace those of a batch given up.
        self.executor = executor or ThreadPoolExecutor(1, "lake")
        self._commit = commit
        self._every_s = every_s
        self._uncommitted = Uncommitted()
        self._writing: _Writing | None = None
        self._began_s = 0.0

    def recent(self) -> Sequence[Accepted]:
        """Rows that the lake may not have yet."""
        return self._uncommitted.rows

    def add(self, records: Sequence[Record], accepted: Sequence[Accepted]) -> None:
        if not self._uncommitted:
            self._began_s = self.now_s()
        self._uncommitted.add(records, accepted)
        metrics.UNCOMMITTED.set(len(self._uncommitted.rows))

    def tick(self) -> None:
        """Commit the batch that the lake and the log have; begin the next when it is time.

        Waits only for a lake that is MAX_ROWS behind. Raises what the lake or the broker raised: the
        process must end and replay.
        """
        is_full = len(self._uncommitted.rows) >= MAX_ROWS
        if self._writing is not None and (is_full or self._is_safe(self._writing)):
            self._conclude(self._writing)
        is_due = self._uncommitted and self.now_s() - self._began_s >= self._every_s
        if self._writing is None and (is_due or is_full):
            self._began_s = self.now_s()
            self._writing = _Writing(self, self._uncommitted.cut())

    def _is_safe(self, writing: _Writing) -> bool:
        return writing.has_files() and self.deliveries.is_delivered(writing.sent)

    def _conclude(self, writing: _Writing) -> None:
        """Ordered steps: its files are complete; what was sent is delivered; its offsets are committed."""
        writing.wait()
        if not self.deliveries.is_delivered(writing.sent):
            self.deliveries.flush()
        self._commit(writing.batch.ends)
        self._uncommitted.leave(writing.batch)
        self._writing = None
        metrics.UNCOMMITTED.set(len(self._uncommitted.rows))

    def hand_over(self, within_s: float) -> None:
        """Commit what the lake and the log have within this time; what is left is read again, here or by a new owner.

        Ordered steps: files are complete, partition by partition; what was sent is delivered; the offsets of those partitions are
        committed. Raises what the lake or the broker raised.

        Partitions wait for this, those of the whole group at a rebalance. Of a partition whose file is not there nothing is committed,
        as if we had died: a replay finds the file's first row again, and so its name.
        """
        rest, writing = self._take()
        if not rest:
            return
        began_s = self.now_s()
        if writing is not None:
            writing.until_s = -math.inf  # all its rows are in what follows, under the same names
        # Queued at once and not after a wait: whatever is begun later comes later, even if we wait too long.
        least = 0 if math.isinf(within_s) else WORTH_A_FILE
        last = _Writing(self, rest.cut(), began_s + within_s, least, writing)
        last.wait(None if math.isinf(within_s) else within_s + FILE_IN_HAND_S)
        done = [one for one in (writing, last) if one is not None]
        is_delivered = self._are_delivered([one.sent for one in done], began_s + within_s + FILE_IN_HAND_S)
        ends = _ends_of(last.batch, [(one.batch.ends, list(one.complete)) for one in done]) if is_delivered else {}
        if ends:
            self._commit(ends)
        left = sum(ends.get(one.record[:2], 0) <= one.record.offset for one in last.batch.rows)
        taken_ms = round(1000 * (self.now_s() - began_s), 2)
        log.info("lake_handed_over", rows=len(rest.rows), to_be_read_again=left, latency_ms=taken_ms)

    def _are_delivered(self, marks: Sequence[Mark], until_s: float) -> bool:
        if math.isinf(until_s):
            self.deliveries.flush()
        while not all(map(self.deliveries.is_delivered, marks)):
            if self.now_s() >= until_s:
                return False
            time.sleep(LOOK_S)
        return True

    def drop(self) -> None:
        """Forget what is not committed; it will be read again, here or by its new owner."""
        _, writing = self._take()
        if writing is not None:
            writing.until_s = -math.inf

    def _take(self) -> tuple[Uncommitted, _Writing | None]:
        """Taken first, dealt with later: what comes afterwards is of the next assignment."""
        taken = self._uncommitted, self._writing
        self._uncommitted, self._writing = Uncommitted(), None
        metrics.UNCOMMITTED.set(0)
        return taken


def _ends_of(
    rest: Batch, written: Iterable[tuple[Mapping[TopicPartition, int], Iterable[TopicPartition]]]
) -> dict[TopicPartition, int]:
    """How far each partition may be committed. written: the ends of batches, oldest first, and of which partitions they have all files."""
    owed = {one.record[:2] for one in rest.rows}
    found = {at: end for at, end in rest.ends.items() if at not in owed}
    for ends, complete in written:
        found |= {at: ends[at] for at in complete}
    return found
