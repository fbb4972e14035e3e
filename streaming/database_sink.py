"""Decisions and explanations to PostgreSQL, where `DATABASE_URL` is set.

A consumer group of its own: a database that is away delays nobody else, and loses nothing, for the log waits.
"""

import time
from collections.abc import Sequence
from typing import Protocol

import structlog
from quixstreams.sinks.base import SinkBackpressureError

from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.contracts.topics import DEAD_LETTERS, DECISIONS, EXPLANATIONS
from streaming import metrics
from streaming.core.records import Accepted, DeadLetter, dead_letter_record
from streaming.edges.broker import Sender, application, consume, declare
from streaming.edges.claim import claim
from streaming.edges.database import Database, DatabaseUnavailable
from streaming.edges.event_sink import Deliveries, EventSink
from streaming.settings import WorkerSettings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

GROUP = "fraud-worker-database"
# Bounds a checkpoint: some ten megabytes of rows.
MAX_BATCH = 1_000
RETRY_S = 1.0


class Tables(Protocol):
    """See Database."""

    def write(self, accepted: Sequence[Accepted]) -> list[DeadLetter]: ...


class DatabaseSink(EventSink):
    """Stores what each checkpoint brings of both topics."""

    def __init__(self, tables: Tables, sender: Deliveries, key: TokenKey) -> None:
        super().__init__(key)
        self._tables = tables
        self._sender = sender

    def flush(self) -> None:
        """Ordered steps: rows are committed; what the database refused is in the log; then Quix commits offsets.

        Raises SinkBackpressureError while the database is away: Quix then seeks back and tries again.
        """
        started, events = time.perf_counter(), self.events()
        try:
            with metrics.PROCESSING.labels("database").time():
                letters = self._tables.write(events)
        except DatabaseUnavailable as error:
            metrics.DATABASE_UP.set(0)
            log.warning("database_unavailable", detail=str(error), waiting=len(events))
            raise SinkBackpressureError(RETRY_S) from error
        self._sender.send(dead_letter_record(DEAD_LETTERS.name, letter) for letter in letters)
        self._sender.flush()
        metrics.DATABASE_UP.set(1)
        metrics.DATABASE_ROWS.inc(len(events) - len(letters))
        self.count(events, letters, metrics.DATABASE_LAG)
        log.info(
            "rows_stored",
            n=len(events),
            dead_letters=len(letters),
            latency_ms=round(1000 * (time.perf_counter() - started), 2),
        )


def run(settings: WorkerSettings) -> None:
    """Store until SIGTERM, then finish the checkpoint."""
    metrics.serve(*settings.metrics_address(4))
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
    claim(settings, GROUP, [DECISIONS, EXPLANATIONS])
    log.info("database_sink_started", group=GROUP)
    app.run()
    database.close()
