"""Raw topics to entity topics, dead letters and the lake.

Entity records are sent as soon as a mini-batch is judged; the lake follows beside it, and the offsets
once its files are complete. A crash in between sends them again, and states filter by position.
"""

import functools
import math
import time
from collections.abc import Callable

import redis
import structlog

from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.contracts.topics import DEAD_LETTERS, entity_topic
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.lake_topics import LakeTopicIds
from fraud_assets.stores.online import OnlineStore
from streaming import metrics
from streaming.core.records import Record, Refusal
from streaming.core.rekey import ReKeyer
from streaming.core.route import Routed, Router
from streaming.core.sources import SOURCES
from streaming.edges.broker import POLL_S, RecordSink, Sender, application, check_arrival_stamps, consume, declare
from streaming.edges.claim import claim
from streaming.edges.incarnation import Incarnation, nobody_decides_by
from streaming.edges.lake import LakeHistory, append_accepted, read_until, without_pandas
from streaming.edges.seen import RedisSeen, connect
from streaming.edges.writer import LakeWriter
from streaming.settings import WorkerSettings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

GROUP = "fraud-worker"
MINI_BATCH = 256
# Without Redis nobody knows what is a duplicate. Longer than this, the supervisor's restart is clearer.
REDIS_PATIENCE_S = 30.0
RETRY_S = 0.25
WAY_OUT = (
    "Bring the old topic back; or begin a new world: new topics, lake and online store. If it is the same log on another broker, with its"
    " offsets, remove its file from _topics in the lake."
)


class RouterSink(RecordSink):
    """Buffers records into mini-batches, routes them at once, and gives what was accepted to the lake's writer, which commits."""

    commits = True

    def __init__(
        self, router: Router, sender: Sender, writer: LakeWriter, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._router = router
        self._sender = sender
        self._writer = writer
        self._now_s = now_s
        self._buffer: list[Record] = []
        self._oldest_s = 0.0

    def take(self, record: Record) -> None:
        if not self._buffer:
            self._oldest_s = self._now_s()
        self._buffer.append(record)
        if len(self._buffer) >= MINI_BATCH:
            self.route_buffer()

    def tick(self) -> None:
        """Called after every poll: a mini-batch waits no longer than one, a batch of the lake for nobody."""
        if self._buffer and self._now_s() - self._oldest_s >= POLL_S:
            self.route_buffer()
        self._writer.tick()

    def route_buffer(self) -> None:
        records, self._buffer = self._buffer, []
        if not records:
            return
        started, began_ns = self._now_s(), time.time_ns()
        with metrics.PROCESSING.labels("router").time():
            routed = self._routed(records)
        self.trace(records, began_ns)
        _count(records, routed)
        log.info(
            "records_routed",
            n=len(records),
            accepted=len(routed.accepted),
            duplicates=sum(one.is_duplicate for one in routed.accepted),
            dead_letters=len(routed.dead_letters),
            dropped=len(routed.dropped),
            sent=len(routed.sends),
            card_like_ids=sum(len(one.card_like) for one in routed.accepted),
            latency_ms=round(1000 * (self._now_s() - started), 2),
        )

    def _routed(self, records: list[Record]) -> Routed:
        """Judged, sent on, and with the lake's writer."""
        routed = _with_patience(lambda: self._router.route(records), self._now_s)
        self._sender.send(routed.sends)
        self._writer.add(records, routed.accepted)
        return routed

    def flush(self) -> None:
        """Ordered steps: route what is buffered; the lake has the rows; everything sent is delivered; the offsets are committed.

        At a stop with nobody to hand over to.
        """
        self.route_buffer()
        self._writer.hand_over(math.inf)

    def hand_over(self, within_s: float) -> None:
        """Before partitions change hands: commit what is written within this time, drop the rest; it will be read again."""
        self._buffer.clear()
        self._writer.hand_over(within_s)

    def on_paused(self) -> None:
        """Drop what is not committed; it will be read again."""
        self._buffer.clear()
        self._writer.drop()


def _with_patience(act: Callable[[], Routed], now_s: Callable[[], float]) -> Routed:
    """Routing is idempotent, so a Redis that is away for a moment is simply asked again."""
    deadline = now_s() + REDIS_PATIENCE_S
    while True:
        try:
            return act()
        except (redis.ConnectionError, redis.TimeoutError) as error:
            if now_s() > deadline:
                raise
            log.warning("redis_unavailable", stage="dedupe", error=type(error).__name__)
            time.sleep(RETRY_S)


def _count(records: list[Record], routed: Routed) -> None:
    for record in records:
        metrics.PROCESSED.labels(record.topic).inc()
    for letter in routed.dead_letters:
        metrics.DEAD_LETTERS.labels(letter.record.topic, letter.reason).inc()
        if letter.reason == Refusal.FUTURE_DATED:
            metrics.QUARANTINED.labels(letter.record.topic).inc()
    for gone in routed.dropped:
        metrics.DROPPED.labels(gone.record.topic, gone.reason).inc()
    for one in routed.accepted:
        if one.was_raw:
            metrics.RAW.labels(one.record.topic).inc()
        for name in one.card_like:
            metrics.CARD_LIKE.labels(one.record.topic, name).inc()
        if one.is_duplicate:
            metrics.DUPLICATES.labels(one.record.topic).inc()
        if one.event.event_time_ms < one.arrival_ms - metrics.EXPECTED_LATENESS_MS:
            metrics.LATE.labels(one.record.topic).inc()


def run(settings: WorkerSettings) -> None:
    """Route until SIGTERM, then finish the checkpoint."""
    without_pandas()
    metrics.serve(*settings.metrics_address(0))
    features, lake = registry(), Lake(settings.lake_uri)
    seen = RedisSeen(connect(settings.redis_url), settings.dedupe_horizon_ms)
    # The writer commits, so that no checkpoint stops the poll loop.
    app = application(settings, "router", GROUP, commit_interval_s=math.inf)
    sender = Sender(settings.kafka_bootstrap_servers)
    append = functools.partial(append_accepted, lake, settings.worker_id)
    writer = LakeWriter(append, sender, app.commit, settings.lake_flush_s)
    router = Router(
        ReKeyer(features),
        seen,
        LakeHistory(lake, writer.recent),
        settings.dedupe_horizon_ms,
        TokenKey.of_settings(settings),
        settings.cards_in_ids,
    )
    sink = RouterSink(router, sender, writer)
    raw = [source.topic for source in SOURCES.values()]
    consume(app, sink, raw, settings.replication_factor)
    declare(app, [DEAD_LETTERS, *(entity_topic(g.name) for g in features.groups)], settings.replication_factor)
    check_arrival_stamps(settings, raw)
    incarnation = Incarnation(settings, GROUP, raw, LakeTopicIds(settings.lake_uri), WAY_OUT)
    with nobody_decides_by(OnlineStore.connect(settings.online_store_url, features)):
        incarnation.check()
        claim(settings, GROUP, raw, seen=lambda: read_until(lake, SOURCES.values()))
        app.every_poll(sink.tick)
        app.every_poll(incarnation.tick)
        log.info("router_started", group=GROUP, topics=len(raw))
        app.run()
