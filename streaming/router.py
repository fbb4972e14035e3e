"""Raw topics to entity topics, dead letters and the lake.

Entity records are sent as soon as a mini-batch is judged; the lake and the offsets follow at the
next checkpoint. A crash in between sends them again, and states filter by position.
"""

import time
from collections.abc import Callable

import redis
import structlog

from fraud_assets.contracts.topics import DEAD_LETTERS, entity_topic
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.lake import Lake
from streaming import metrics
from streaming.core.records import Accepted, Record, Refusal
from streaming.core.rekey import ReKeyer
from streaming.core.route import Routed, Router
from streaming.core.sources import SOURCES
from streaming.edges.broker import POLL_S, RecordSink, Sender, application, check_arrival_stamps, consume, declare
from streaming.edges.lake import LakeHistory, append_accepted
from streaming.edges.seen import RedisSeen, connect
from streaming.settings import WorkerSettings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

GROUP = "fraud-worker"
MINI_BATCH = 256
# Without Redis nobody knows what is a duplicate. Longer than this, the supervisor's restart is clearer.
REDIS_PATIENCE_S = 30.0
RETRY_S = 0.25


class RouterSink(RecordSink):
    """Buffers records into mini-batches, routes them at once, and writes the lake at each checkpoint."""

    def __init__(self, router: Router, sender: Sender, lake: Lake, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._router = router
        self._sender = sender
        self._lake = lake
        self._now_s = now_s
        self._buffer: list[Record] = []
        self._oldest_s = 0.0
        self._accepted: list[Accepted] = []

    def take(self, record: Record) -> None:
        if not self._buffer:
            self._oldest_s = self._now_s()
        self._buffer.append(record)
        if len(self._buffer) >= MINI_BATCH:
            self.route_buffer()

    def tick(self) -> None:
        """Called after every poll: a mini-batch waits no longer than one."""
        if self._buffer and self._now_s() - self._oldest_s >= POLL_S:
            self.route_buffer()

    def route_buffer(self) -> None:
        if not self._buffer:
            return
        started = self._now_s()
        routed = _with_patience(lambda: self._router.route(self._buffer), self._now_s)
        self._sender.send(routed.sends)
        self._accepted.extend(routed.accepted)
        _count(self._buffer, routed)
        log.info(
            "records_routed",
            n=len(self._buffer),
            accepted=len(routed.accepted),
            duplicates=sum(one.is_duplicate for one in routed.accepted),
            dead_letters=len(routed.dead_letters),
            sent=len(routed.sends),
            latency_ms=round(1000 * (self._now_s() - started), 2),
        )
        self._buffer.clear()

    def flush(self) -> None:
        """Ordered steps: route what is buffered; everything sent is delivered; the lake has the rows.

        Quix commits the offsets after this, so they stand for all three.
        """
        self.route_buffer()
        self._sender.flush()
        rows = append_accepted(self._lake, self._accepted)
        metrics.LAKE_ROWS.inc(rows)
        if rows:
            log.info("lake_appended", rows=rows)
        self.on_paused()

    def on_paused(self) -> None:
        """Drop what is not committed; it will be read again."""
        self._buffer.clear()
        self._accepted.clear()


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
    for one in routed.accepted:
        if one.is_duplicate:
            metrics.DUPLICATES.labels(one.record.topic).inc()
        if one.event.event_time_ms < one.arrival_ms - metrics.EXPECTED_LATENESS_MS:
            metrics.LATE.labels(one.record.topic).inc()


def run(settings: WorkerSettings) -> None:
    """Route until SIGTERM, then finish the checkpoint."""
    metrics.serve(settings.worker_metrics_port)
    features, lake = registry(), Lake(settings.lake_uri)
    seen = RedisSeen(connect(settings.redis_url), settings.dedupe_horizon_ms)
    router = Router(ReKeyer(features), seen, LakeHistory(lake), settings.dedupe_horizon_ms)
    sink = RouterSink(router, Sender(settings.kafka_bootstrap_servers), lake)
    app = application(settings, "router", GROUP, settings.lake_flush_s)
    raw = [source.topic for source in SOURCES.values()]
    consume(app, sink, raw, settings.replication_factor)
    declare(app, [DEAD_LETTERS, *(entity_topic(g.name) for g in features.groups)], settings.replication_factor)
    check_arrival_stamps(settings, raw)
    app.every_poll(sink.tick)
    log.info("router_started", group=GROUP, topics=len(raw))
    app.run()
