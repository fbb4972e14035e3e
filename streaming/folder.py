"""Entity topics to the online store.

Each epoch of the store has its own consumer group, whose first offsets are those that the epoch's
snapshot names; so a worker that joins later, or after a rebuild, resumes where the states end.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping

import numpy as np
import structlog
from quixstreams.sinks.base import SinkBackpressureError

from fraud_assets.contracts.topics import DEAD_LETTERS, entity_topic
from fraud_assets.engine.plan import EnginePlan
from fraud_assets.engine.prepare import columns_from_events, rows_of
from fraud_assets.engine.state import StateEngine
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_port import EpochMarker, NoEpoch, OnlineStates, StoreUnavailable, WentBack
from streaming import metrics
from streaming.core.batch import EventBatch, Update
from streaming.core.fold import FoldReport, GroupFolder
from streaming.core.records import DeadLetter, Record, dead_letter_record
from streaming.edges.broker import RecordSink, Sender, application, consume, declare
from streaming.edges.claim import At, claim
from streaming.edges.incarnation import Incarnation, StoreTopicIds, nobody_decides_by
from streaming.settings import WorkerSettings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

GROUP = "fraud-worker-fold"
# How long a checkpoint that found no store waits before it is tried again.
RETRY_S = 0.5
# How often a folder without records looks whether the store is still the one it folds into.
LOOK_S = 1.0
# The log of a marker whose snapshot was taken without a broker; see stores/publish.py.
LAKE_ALONE = "lake"


WAY_OUT = "What the old one held and nobody had folded is in the lake; see that the topics are those that are meant."


class EpochChanged(RuntimeError):
    """The store was published anew; the process ends and starts again from that epoch's offsets."""


class FoldSink(RecordSink):
    """Folds each checkpoint's records, one group after the other. Not for several threads."""

    def __init__(
        self,
        plan: EnginePlan,
        states: OnlineStates,
        epoch: str,
        folders: Mapping[str, GroupFolder],
        sender: Sender,
        owner: str = "folder",
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        super().__init__()
        self._plan = plan
        self._states = states
        self._epoch = epoch
        self._by_topic = {entity_topic(name).name: (name, folder) for name, folder in folders.items()}
        self._sender = sender
        self._owner = owner
        self._now_ms = now_ms
        self._is_bound = False
        self._looked_s = 0.0
        self._buffer: dict[str, list[Record]] = defaultdict(list)

    def take(self, record: Record) -> None:
        self._buffer[record.topic].append(record)

    def flush(self) -> None:
        """Fold everything buffered, or raise SinkBackpressureError: Quix then seeks back and tries again.

        Ordered steps: the states are written; dead letters are delivered; the store knows how far it goes. Then Quix commits.
        Raises EpochChanged if the store holds another epoch: its states end at other offsets. Raises WentBack.
        """
        try:
            with metrics.PROCESSING.labels("folder").time():
                self._fold_buffer()
        except (NoEpoch, StoreUnavailable) as error:
            self._is_bound = False
            metrics.EPOCH_VALID.set(0)
            log.warning("folding_paused", reason=getattr(error, "reason", "no_epoch"), detail=str(error))
            raise SinkBackpressureError(RETRY_S) from error
        except WentBack:
            self._fall_behind()
            raise
        finally:
            self.on_paused()
        metrics.EPOCH_VALID.set(1)

    def _fold_buffer(self) -> None:
        """Raises NoEpoch, StoreUnavailable, and what `flush` raises."""
        self._bind()
        batch = EventBatch(self._plan)
        added = {topic: [(one, batch.add(one)) for one in records] for topic, records in self._buffer.items()}
        for topic, records in added.items():
            self._fold(topic, batch, records)
        self._sender.flush()
        self._states.advance(
            {f"{one.topic}/{one.partition}": one.offset + 1 for records in self._buffer.values() for one in records}
        )

    def tick(self) -> None:
        """Called after every poll: a loss and a rebuilt store are noticed without a record too.

        Raises EpochChanged and WentBack: what lies between a snapshot and the loss must not wait for the next event.
        """
        if time.monotonic() - self._looked_s < LOOK_S:
            return
        self._looked_s = time.monotonic()
        was_bound, self._is_bound = self._is_bound, False
        try:
            is_behind = self._bind()
            self._states.advance({})
            if is_behind and self._states.catch_up():
                log.info("states_caught_up", epoch=self._epoch)
            metrics.EPOCH_VALID.set(1)
        except WentBack:
            self._fall_behind()
            raise
        except (NoEpoch, StoreUnavailable) as error:
            metrics.EPOCH_VALID.set(0)
            if was_bound:
                log.warning("online_store_lost", reason=getattr(error, "reason", "no_epoch"), detail=str(error))

    def _fall_behind(self) -> None:
        """Until the next process has folded again what the store lost, nobody decides by what is left."""
        try:
            lost = self._states.lost()
            self._states.fall_behind(self._owner, lost)
            log.warning("states_went_back", epoch=self._epoch, partitions=len(lost))
        except (NoEpoch, StoreUnavailable) as error:
            log.warning("online_store_lost", reason=getattr(error, "reason", "no_epoch"), detail=str(error))

    def _bind(self) -> bool:
        """The store binds itself to whatever epoch it finds; after a loss only ours will do. Whether it is behind, if it was asked."""
        if self._is_bound:
            return False
        found = self._states.current_epoch()
        if found.epoch != self._epoch:
            raise EpochChanged(f"the online store is of epoch {found.epoch}, this process folds {self._epoch}")
        self._is_bound = True
        return found.behind

    def _fold(self, topic: str, batch: EventBatch, records: list[tuple[Record, Update | DeadLetter]]) -> None:
        started = time.perf_counter()
        group, folder = self._by_topic[topic]
        report = folder.fold_prepared(batch, records)
        self._sender.send(dead_letter_record(DEAD_LETTERS.name, letter) for letter in report.dead_letters)
        self._count(group, report)
        log.info(
            "states_folded",
            group=group,
            n=len(records),
            applied=report.applied,
            replayed=report.replayed,
            keys_written=report.written,
            conflicts=report.conflicts,
            latency_ms=round(1000 * (time.perf_counter() - started), 2),
        )

    def _count(self, group: str, report: FoldReport) -> None:
        metrics.APPLIED.labels(group).inc(report.applied)
        metrics.REPLAYED.labels(group).inc(report.replayed)
        metrics.CONFLICTS.labels(group).inc(report.conflicts)
        now = self._now_ms()
        for arrival_ms in report.arrivals_ms:
            metrics.FRESHNESS.observe(max(0, now - arrival_ms) / 1000)
        for letter in report.dead_letters:
            metrics.DEAD_LETTERS.labels(letter.record.topic, letter.reason).inc()

    def on_paused(self) -> None:
        self._buffer.clear()


def wait_for_epoch(states: OnlineStates, sleep: Callable[[float], None] = time.sleep) -> EpochMarker:
    """The published epoch. An empty store is no new world, so a worker waits and never invents one."""
    said = ""
    while True:
        try:
            return states.current_epoch()
        except (NoEpoch, StoreUnavailable) as error:
            metrics.EPOCH_VALID.set(0)
            if str(error) != said:
                said = str(error)
                log.warning(
                    "waiting_for_epoch", detail=said, way_out="python -m streaming init-epoch, for an empty log"
                )
            sleep(RETRY_S)


def held_by(states: OnlineStates, marker: EpochMarker) -> Callable[[At], int | None]:
    """How far the states go of each partition of an entity topic, as the store says; None where nobody knows.

    Offsets of the group may be ahead of it: a store that failed over or was restored has lost what was folded last.
    """
    positions = states.positions()
    if positions is None:
        return lambda at: marker.resume.get(f"{at[0]}/{at[1]}")
    # A snapshot that was taken without a broker does not know where its states end, and takes all that is kept.
    nothing = None if marker.log == LAKE_ALONE else 0
    return lambda at: positions.get(f"{at[0]}/{at[1]}", nothing)


def warm_up(plan: EnginePlan) -> None:
    """Load the kernels before partitions wait for it, as the first records of an assignment would: those that fold take half a second of a
    core, those that turn events to rows little, but half a second where nobody has compiled them yet.
    """
    for source in plan.sources:
        columns = columns_from_events(plan, source, [], [], [])
        for group in plan.groups:
            if source in group.sources:
                rows_of(plan, group, columns)
    for group in plan.groups:
        nothing = np.zeros((1, group.row_width), np.int64)
        StateEngine(plan, group).fold_many([None], nothing, np.array([0, 1], np.int64))


def run(settings: WorkerSettings) -> None:
    """Fold until SIGTERM, then finish the checkpoint."""
    metrics.serve(*settings.metrics_address(1))
    plan = EnginePlan(registry())
    warm_up(plan)
    states = OnlineStore.connect(settings.online_store_url, plan.registry)
    marker = wait_for_epoch(states)
    states.check()
    group, owner = f"{GROUP}.{marker.epoch}", f"{settings.worker_id}-folder"
    app = application(settings, "folder", group, settings.fold_flush_s)
    topics = [entity_topic(item.name) for item in plan.groups]
    folders = {item.name: GroupFolder(plan, item, states) for item in plan.groups}
    sink = FoldSink(plan, states, marker.epoch, folders, Sender(settings.kafka_bootstrap_servers), owner)
    consume(app, sink, topics, settings.replication_factor)
    declare(app, [DEAD_LETTERS], settings.replication_factor)
    incarnation = Incarnation(settings, group, topics, StoreTopicIds(states), WAY_OUT)
    with nobody_decides_by(states):
        incarnation.check()
        starts = claim(
            settings, group, topics, held=lambda: held_by(states, marker),
            went_back=lambda back: states.fall_behind(owner, _by_name(back)),
        )  # fmt: skip
        states.hold(owner, _by_name(starts))
        metrics.EPOCH_VALID.set(1)
        app.every_poll(sink.tick)
        app.every_poll(incarnation.tick)
        log.info("folder_started", group=group, topics=len(topics))
        app.run()


def _by_name(positions: Mapping[At, int]) -> dict[str, int]:
    return {f"{topic}/{partition}": at for (topic, partition), at in positions.items()}
