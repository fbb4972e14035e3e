"""The lake is written beside routing, in a thread: its files take longer than a state may lag."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Protocol

import structlog

from streaming import metrics
from streaming.core.accept import TopicPartition
from streaming.core.records import Accepted, Record
from streaming.core.uncommitted import Batch, Uncommitted
from streaming.edges.broker import Mark

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# With a lake this far behind, routing waits for it: a row of a decision takes some 15 kB.
MAX_ROWS = 20_000


class Append(Protocol):
    """Write rows as files; returns at the next file once they are not wanted any more. How many rows."""

    def __call__(self, rows: Sequence[Accepted], is_wanted: Callable[[], bool]) -> int: ...


class Deliveries(Protocol):
    """What was sent, and whether it is in the log; see Sender."""

    def mark(self) -> Mark: ...
    def is_delivered(self, mark: Mark) -> bool: ...
    def flush(self) -> None: ...


class _Writing:
    """A batch on its way into the lake. sent: its entity records and dead letters."""

    def __init__(self, executor: Executor, append: Append, batch: Batch, sent: Mark) -> None:
        self.batch = batch
        self.sent = sent
        self.began_s = time.monotonic()
        self.is_wanted = True
        self._work: Future[int] = executor.submit(append, batch.rows, lambda: self.is_wanted)

    def has_files(self) -> bool:
        return self._work.done()

    def wait(self) -> None:
        """Until its files are complete. Raises what the lake raised."""
        rows = self._work.result()
        metrics.LAKE_ROWS.inc(rows)
        log.info("lake_appended", rows=rows, latency_ms=round(1000 * (time.monotonic() - self.began_s), 2))


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
        self._append = append
        self._deliveries = deliveries
        self._commit = commit
        self._every_s = every_s
        self._now_s = now_s
        # One thread: what is begun later is written later, so a replay's files replace those of a batch given up.
        self._executor = executor or ThreadPoolExecutor(1, "lake")
        self._uncommitted = Uncommitted()
        self._writing: _Writing | None = None
        self._began_s = 0.0

    def recent(self) -> Sequence[Accepted]:
        """Rows that the lake may not have yet."""
        return self._uncommitted.rows

    def add(self, records: Sequence[Record], accepted: Sequence[Accepted]) -> None:
        if not self._uncommitted:
            self._began_s = self._now_s()
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
        is_due = self._uncommitted and self._now_s() - self._began_s >= self._every_s
        if self._writing is None and (is_due or is_full):
            self._began_s = self._now_s()
            self._writing = self._begin(self._uncommitted)

    def _begin(self, uncommitted: Uncommitted) -> _Writing:
        return _Writing(self._executor, self._append, uncommitted.cut(), self._deliveries.mark())

    def _is_safe(self, writing: _Writing) -> bool:
        return writing.has_files() and self._deliveries.is_delivered(writing.sent)

    def _conclude(self, writing: _Writing) -> None:
        """Ordered steps: its files are complete; what was sent is delivered; its offsets are committed."""
        writing.wait()
        if not self._deliveries.is_delivered(writing.sent):
            self._deliveries.flush()
        self._commit(writing.batch.ends)
        self._uncommitted.leave(writing.batch)
        self._writing = None
        metrics.UNCOMMITTED.set(len(self._uncommitted.rows))

    def finish(self) -> None:
        """Return when the lake has everything that was added; who calls this commits all of it.

        What is being written is written again with all that followed it, under the same names; so it ends at its next file. The
        whole group waits for this, and the files are most of it.
        """
        rest, writing = self._take()
        if rest and (writing is None or len(rest.rows) > len(writing.batch.rows)):
            if writing is not None:
                writing.is_wanted = False
            # Queued at once and not after a wait: whatever is begun later comes later, even if we wait too long.
            writing = self._begin(rest)
        if writing is not None:
            writing.wait()

    def drop(self) -> None:
        """Forget what is not committed; it will be read again, here or by its new owner."""
        _, writing = self._take()
        if writing is not None:
            writing.is_wanted = False

    def _take(self) -> tuple[Uncommitted, _Writing | None]:
        """Taken first, dealt with later: a flush that Quix gave up must not clear what came after it."""
        taken = self._uncommitted, self._writing
        self._uncommitted, self._writing = Uncommitted(), None
        metrics.UNCOMMITTED.set(0)
        return taken
