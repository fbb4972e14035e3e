"""Decisions and explanations to PostgreSQL, where `DATABASE_URL` is set.

A consumer group of its own: a database that is away delays nobody else, and loses nothing, for the log waits.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import structlog
from quixstreams.sinks.base import SinkBackpressureError

from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.contracts.topics import DEAD_LETTERS, DECISIONS, EXPLANATIONS
from streaming import metrics
from streaming.core.accept import ArrivalClock, accept_all
from streaming.core.records import Accepted, DeadLetter, Record, Send, dead_letter_record
from streaming.core.sources import SOURCES
from streaming.edges.broker import RecordSink, Sender, application, consume, declare
from streaming.edges.database import Database, DatabaseUnavailable
from streaming.settings import WorkerSettings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

GROUP = "fraud-worker-database"
# Bounds a checkpoint: some ten megabytes of rows.
MAX_BATCH = 1_000
RETRY_S = 1.0


class Tables(Protocol):
    """See Database."""

    def write(self, accepted: Sequence[Accepted]) -> list[DeadLetter]: ...


class Deliveries(Protocol):
    """See Sender."""

    def send(self, records: Iterable[Send]) -> None: ...
    def flush(self) -> None: ...


class DatabaseSink(RecordSink):
    """Buffers both topics until the checkpoint. What is no event of theirs is the router's business."""

    def __init__(
        self,
        tables: Tables,
        sender: Deliveries,
        key: TokenKey,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        super().__init__()
        self._tables = tables
        self._sender = sender
        self._key = key
        self._now_ms = now_ms
        self._clock = ArrivalClock()
        self._buffer: list[Record] = []

    def take(self, record: Record) -> None:
        self._buffer.append(record)

    def flush(self) -> None:
        """Ordered steps: rows are committed; what the database refused is in the log; then Quix commits offsets.

        Raises SinkBackpressureError while the database is away: Quix then seeks back and tries again.
        """
        started = time.perf_counter()
        outcomes = accept_all(SOURCES, self._buffer, self._clock, self._key)
        rows = [one for one in outcomes if isinstance(one, Accepted)]
        try:
            letters = self._tables.write(rows)
        except DatabaseUnavailable as error:
            metrics.DATABASE_UP.set(0)
            log.warning("database_unavailable", detail=str(error), waiting=len(rows))
            raise SinkBackpressureError(RETRY_S) from error
        finally:
            self.on_paused()
        self._sender.send(dead_letter_record(DEAD_LETTERS.name, letter) for letter in letters)
        self._sender.flush()
        metrics.DATABASE_UP.set(1)
        self._count(rows, letters)
        log.info(
            "rows_stored",
            n=len(rows),
            dead_letters=len(letters),
            latency_ms=round(1000 * (time.perf_counter() - started), 2),
        )

    def _count(self, rows: list[Accepted], letters: list[DeadLetter]) -> None:
        now_ms = self._now_ms()
        for one in rows:
            metrics.DATABASE_ROWS.labels(SOURCES[one.record.topic].table).inc()
            metrics.DATABASE_LAG.observe(max(0, now_ms - one.arrival_ms) / 1000)
        for letter in letters:
            metrics.DEAD_LETTERS.labels(letter.record.topic, letter.reason).inc()

    def on_paused(self) -> None:
        self._buffer.clear()


def run(settings: WorkerSettings) -> None:
    """Store until SIGTERM, then finish the checkpoint."""
    metrics.serve(settings.worker_metrics_port and settings.worker_metrics_port + 4)
    database = Database(settings.database_url.get_secret_value())
    try:
        database.open()
        metrics.DATABASE_UP.set(1)
    except DatabaseUnavailable as error:
        metrics.DATABASE_UP.set(0)
        log.warning("database_unavailable", detail=str(error), way_out="rows wait in the log until it answers")
    sender = Sender(settings.kafka_bootstrap_servers)
    app = application(settings, "database", GROUP, settings.database_flush_s, MAX_BATCH)
    sink = DatabaseSink(database, sender, TokenKey.of_settings(settings))
    consume(app, sink, [DECISIONS, EXPLANATIONS], settings.replication_factor)
    declare(app, [DEAD_LETTERS], settings.replication_factor)
    log.info("database_sink_started", group=GROUP)
    app.run()
    database.close()
