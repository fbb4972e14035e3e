"""A worker of the pure core over a log, a lake, a dedupe store and an online store in memory, that dies wherever it is told to.

The steps and their order are the worker's own (streaming/router.py, streaming/edges/writer.py, streaming/folder.py);
what Kafka, Redis and files do is a list or a dict here. What a process holds in memory is gone when it dies.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fraud_assets.contracts.topics import DEAD_LETTERS, entity_topic
from fraud_assets.engine.plan import EnginePlan
from fraud_assets.engine.prepare import columns_from_events, entity_key, rows_of
from fraud_assets.engine.state import StateEngine
from fraud_assets.features.registry import Registry
from fraud_assets.stores.online_memory import MemoryStore
from fraud_assets.stores.online_port import Versioned, Write
from streaming.core.accept import TopicPartition
from streaming.core.dedupe import First, Firsts, Mark, identity_hash, payload_hash
from streaming.core.fold import GroupFolder
from streaming.core.records import Accepted, Record
from streaming.core.rekey import ReKeyer, origin_of
from streaming.core.route import Router
from streaming.core.sources import SOURCES
from streaming.core.uncommitted import Uncommitted, by_partition
from tests.streaming.events import DAY, KEY, T0, FakeSeen

Place = tuple[str, int, int]


class Crash(BaseException):
    """SIGKILL: nothing of the core may catch it."""


class Fuse:
    """Burns a little before and after each effect on the world; at its end the process dies. None: it never does."""

    def __init__(self, length: int | None = None) -> None:
        self.left = length

    def burn(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Crash

    def around(self, act: Any) -> Any:
        self.burn()
        done = act()
        self.burn()
        return done


class FusedSeen:
    """The dedupe store as a process sees it."""

    def __init__(self, inner: FakeSeen, fuse: Fuse) -> None:
        self._inner, self._fuse = inner, fuse

    def read(self, at: Any, identities: Any) -> tuple[list[Mark | None], list[Firsts]]:
        found: tuple[list[Mark | None], list[Firsts]] = self._fuse.around(lambda: self._inner.read(at, identities))
        return found

    def write(self, marks: Any, firsts: Any) -> None:
        self._fuse.around(lambda: self._inner.write({}, firsts))  # in this order, as edges/seen.py has it
        self._fuse.around(lambda: self._inner.write(marks, {}))


class FusedStore(MemoryStore):
    """The online store as a process sees it. Each key is written by itself, so a batch may be written by half."""

    def __init__(self, registry: Registry, server: dict[str, bytes], fuse: Fuse) -> None:
        super().__init__(registry, server)
        self.fuse = fuse

    def read_many(self, group: str, keys: Sequence[str]) -> list[Versioned | None]:
        found: list[Versioned | None] = self.fuse.around(lambda: MemoryStore.read_many(self, group, keys))
        return found

    def compare_and_set(self, group: str, writes: Sequence[Write]) -> list[bool]:
        return [self.fuse.around(lambda one=one: MemoryStore.compare_and_set(self, group, [one]))[0] for one in writes]


class Worker:
    """Everything outside a process, and the process that runs now."""

    def __init__(self, registry: Registry) -> None:
        self.registry, self.plan = registry, EnginePlan(registry)
        self.raw: dict[TopicPartition, list[Record]] = defaultdict(list)
        self.entity: dict[str, list[Record]] = {entity_topic(group.name).name: [] for group in registry.groups}
        self.lake: dict[Place, Accepted] = {}
        self.letters: dict[Place, str] = {}
        self.committed: dict[TopicPartition, int] = defaultdict(int)
        self.folded: dict[str, int] = dict.fromkeys(self.entity, 0)
        self.seen, self.server = FakeSeen(), dict[str, bytes]()
        self.epochs = 0
        self.fuse = Fuse()
        self.publish()
        self.start()

    def start(self) -> None:
        """A new process: it knows what is committed, and nothing else."""
        self.fuse = Fuse()
        self.read_again()
        self.router = Router(ReKeyer(self.registry), FusedSeen(self.seen, self.fuse), self, DAY, KEY)
        self.bind()

    def read_again(self) -> None:
        """From the last commit: what a process does, old or new, when it is given partitions."""
        self.read_to = defaultdict(int, self.committed)
        self.uncommitted = Uncommitted()

    def bind(self) -> None:
        self.store = FusedStore(self.registry, self.server, self.fuse)
        self.store.current_epoch()

    def append(self, at: TopicPartition, key: bytes, value: bytes, timestamp_ms: int) -> None:
        self.raw[at].append(Record(*at, len(self.raw[at]), timestamp_ms, key, value))

    def route(self, most: int) -> None:
        """A mini-batch: judged, sent, and owed to the lake."""
        records = [one for at, log in self.raw.items() for one in log[self.read_to[at] : self.read_to[at] + most]]
        routed = self.router.route(records)
        for send in routed.sends:
            self.fuse.burn()
            if send.topic == DEAD_LETTERS.name:
                self._keep_letter(dict(send.headers))
            else:
                log = self.entity[send.topic]
                log.append(Record(send.topic, 0, len(log), T0, send.key, send.value, send.headers))
        self.uncommitted.add(records, routed.accepted)
        for one in records:
            self.read_to[one.topic, one.partition] = one.offset + 1

    def write_lake(self) -> None:
        """Rows, then offsets. A row that is written again must be the row that was there."""
        batch = self.uncommitted.cut()
        for row in batch.rows:
            self.fuse.burn()
            place = row.record[:3]
            assert self.lake.setdefault(place, row) == row, f"another verdict on {place}"
        self.fuse.burn()
        self.committed.update(batch.ends)
        self.uncommitted.leave(batch)

    def hand_over(self, written: int) -> None:
        """The lake gets the rows of so many partitions, those with most rows first, and only these are committed; then others go on."""
        batch, owed = self.uncommitted.cut(), by_partition(self.uncommitted.rows)
        for _, rows in owed[:written]:
            for row in rows:
                self.fuse.burn()
                assert self.lake.setdefault(row.record[:3], row) == row, f"another verdict on {row.record[:3]}"
        self.fuse.burn()
        left = {at for at, _ in owed[written:]}
        self.committed.update({at: end for at, end in batch.ends.items() if at not in left})
        self.read_again()

    def fold(self, most: int, back: int = 0) -> None:
        """A checkpoint of each entity topic, from `back` before the committed offset."""
        for group in self.plan.groups:
            topic = entity_topic(group.name).name
            start = max(0, self.folded[topic] - back)
            end = min(len(self.entity[topic]), start + most)
            report = GroupFolder(self.plan, group, self.store).fold(self.entity[topic][start:end])
            assert report.dead_letters == []
            self.fuse.burn()
            self.folded[topic] = max(self.folded[topic], end)

    def publish(self) -> None:
        """The online store is lost; a snapshot of the lake as of the committed offsets is published under a new epoch."""
        self.server.clear()
        self.epochs += 1
        rows = [row for row in self.lake.values() if row.record.offset < self.committed[row.record[:2]]]
        made = MemoryStore(self.registry, self.server)
        for group, states in self.recomputed(rows).items():
            made.load(f"e{self.epochs}", group, list(states.items()))
        made.publish_epoch(f"e{self.epochs}", log="log", resume={}, now_ms=0)
        for topic, log in self.entity.items():
            later = (place for place, one in enumerate(log) if self._is_later(one))
            self.folded[topic] = next(later, len(log))

    def _is_later(self, one: Record) -> bool:
        origin = origin_of(one)
        return origin.offset >= self.committed[origin[:2]]

    def recomputed(self, rows: Sequence[Accepted]) -> dict[str, dict[str, bytes]]:
        """Packed states by group and key: each first of the lake folded once, in log order."""
        found: dict[str, dict[str, bytes]] = {group.name: {} for group in self.plan.groups}
        sources = {source.topic: source for source in self.plan.sources}
        for row in sorted(rows, key=lambda row: (row.arrival_ms, row.record[:3])):
            source = sources.get(row.record.topic)
            for group in self.plan.groups if source is not None and not row.is_duplicate else ():
                key = entity_key(group.group.entity, row.event)
                if source in group.sources and key is not None:
                    columns = columns_from_events(self.plan, source, [row.event], [row.record[:3]], [row.arrival_ms])
                    rows_here = rows_of(self.plan, group, columns)
                    states = found[group.name]
                    states[key] = StateEngine(self.plan, group).fold(states.get(key), rows_here).packed[0]
        return found

    def firsts(self, at: TopicPartition, before_offset: int, horizon_ms: int) -> tuple[dict[bytes, First], int | None]:
        """`History`: the lake, and what it is owed."""
        known = {**self.lake, **{row.record[:3]: row for row in self.uncommitted.rows}}
        rows = [row for _, row in sorted(known.items()) if row.record[:2] == at and row.record.offset < before_offset]
        newest = max((row.arrival_ms for row in rows), default=None)
        return dict(_firsts(rows, newest, horizon_ms)), newest

    def _keep_letter(self, said: Mapping[str, bytes | None]) -> None:
        topic, partition, offset, reason = (
            (said[name] or b"").decode() for name in ("source_topic", "source_partition", "source_offset", "reason")
        )
        place = (topic, int(partition), int(offset))
        assert self.letters.setdefault(place, reason) == reason, f"another reason for {place}"


def _firsts(rows: Sequence[Accepted], newest: int | None, horizon_ms: int) -> Iterator[tuple[bytes, First]]:
    for row in rows:
        if newest is not None and not row.is_duplicate and newest - row.arrival_ms <= horizon_ms:
            identity = SOURCES[row.record.topic].identity(row.event)
            first = First(row.record.offset, row.arrival_ms, payload_hash(row.event))
            yield identity_hash(row.record.topic, *identity), first
