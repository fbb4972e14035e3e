"""A router's life on a lake of files: what it reads, writes and commits, in a process that ends where a test says."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.lake import Lake
from streaming.core.accept import TopicPartition
from streaming.core.records import Accepted, Record, Send
from streaming.core.rekey import ReKeyer
from streaming.core.route import Router
from streaming.edges.broker import Mark
from streaming.edges.lake import LakeHistory, append_accepted
from streaming.edges.writer import LakeWriter
from streaming.router import RouterSink
from tests.streaming.events import DAY, KEY, T0, FakeSeen, record, transaction

TOPIC = "transactions.v1"


class Crash(RuntimeError):
    pass


class Later(Executor):
    """A thread that runs when the test says so."""

    def __init__(self) -> None:
        self.queue: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.queue.append((future, lambda: fn(*args, **kwargs)))
        return future

    def run(self) -> None:
        while self.queue:
            future, work = self.queue.pop(0)
            try:
                future.set_result(work())
            except Crash as crash:
                future.set_exception(crash)


class AtOnce(Later):
    """A thread so fast that it is done when it has begun."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        self.run()
        return future


class World:
    """What outlives a process: the lake, the dedupe store, the sent records and the committed offsets."""

    def __init__(self, root: str | Path) -> None:
        self.lake = Lake(root)
        self.seen = FakeSeen()
        self.sent: list[Send] = []
        self.committed: dict[TopicPartition, int] = {}

    def unread(self, log: Sequence[Record]) -> list[Record]:
        return [one for one in log if one.offset >= self.committed.get((one.topic, one.partition), 0)]

    def rows_in_files(self) -> Counter[tuple[int, int]]:
        """How often a plain reader, who knows nothing of replays, sees each row."""
        rows = self.lake.dataset("transactions").to_table(["source_partition", "source_offset"])
        return Counter(zip(*(column.to_pylist() for column in rows.columns), strict=True))


class Process:
    """One life of a router that writes a batch at each tick.

    dies: at which step of its lake or its commit. before_files: what the lake's thread does before those of each partition. worker:
    whose life it is. takes_s: what the files of a partition take, by the clock of this life.
    """

    def __init__(
        self,
        world: World,
        dies: str = "",
        executor: Executor | None = None,
        every_s: float = 0.0,
        before_files: Callable[[], object] = lambda: None,
        worker: str = "worker-0",
        takes_s: float = 0.0,
    ) -> None:
        self.now_s, self.takes_s = 0.0, takes_s
        self.world, self.dies, self.before_files, self.worker = world, dies, before_files, worker
        self.in_flight = Mark()
        self.writer = LakeWriter(self.append, self, self.commit, every_s, executor or AtOnce(), lambda: self.now_s)
        history = LakeHistory(world.lake, self.writer.recent)
        sender: Any = self
        self.sink = RouterSink(Router(ReKeyer(registry()), world.seen, history, DAY, KEY), sender, self.writer)

    def live(self, records: Sequence[Record], each: int) -> None:
        """Route `each` records at a time, and give the writer its turn after them."""
        for start in range(0, len(records), each):
            for one in records[start : start + each]:
                self.sink.take(one)
            self.sink.route_buffer()
            self.writer.tick()

    def send(self, records: Iterable[Send]) -> None:
        self.world.sent.extend(records)

    def mark(self) -> Mark:
        made, self.in_flight = self.in_flight, Mark()
        return made

    def is_delivered(self, mark: Mark) -> bool:
        self._die_at("before delivery")
        return mark.undelivered == 0

    def flush(self) -> None:
        self.in_flight.undelivered = 0

    def append(self, rows: Sequence[Accepted], is_wanted: Callable[[], bool]) -> int:
        self.before_files()
        if not is_wanted():
            return 0
        self.now_s += self.takes_s
        self._die_at("before the files")
        if self.dies == "between the files":
            asked = iter([True])  # one file, and then the process is gone
            append_accepted(self.world.lake, self.worker, rows, lambda: next(asked, False))
            raise Crash
        return append_accepted(self.world.lake, self.worker, rows)

    def commit(self, ends: Mapping[TopicPartition, int]) -> None:
        self._die_at("before the commit")
        self.world.committed.update(ends)
        self._die_at("after the commit")

    def _die_at(self, step: str) -> None:
        if self.dies == step:
            raise Crash


def two_partitions(n: int) -> list[Record]:
    """Events of two days in two partitions; every fifth is a copy of the one before it in its partition."""
    log = []
    for place in range(n):
        offset, partition = divmod(place, 2)
        number = offset - 1 if offset % 5 == 4 else offset
        event = transaction(transaction_id=f"t{partition}-{number}", event_time_ms=T0 - DAY * (number % 2))
        log.append(record(event, offset, T0 + place, partition=partition))
    return log


LOG = two_partitions(40)
EVERY_ROW_ONCE = Counter({(one.partition, one.offset): 1 for one in LOG})


def run_until(turn: Callable[[], object], is_reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_reached():
        assert time.monotonic() < deadline
        turn()
        time.sleep(0.001)


def resume_and_end(world: World) -> None:
    """A life without trouble, ended by SIGTERM with nobody to hand over to."""
    last = Process(world)
    last.live(world.unread(LOG), 7)
    last.sink.flush()
    assert world.unread(LOG) == []
