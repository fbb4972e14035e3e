"""Decisions to the people and systems that asked to be told, long after the payment had its answer.

Delivery is at least once: offsets are committed when every notice of a batch was taken or has become a dead letter, so
who is killed in between tells again, with the same id. A target that is gone costs its own notices some attempts and
nobody else theirs.
"""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import structlog

from fraud_assets.contracts.codec import BadEvent, decode
from fraud_assets.contracts.events import Decision
from fraud_assets.contracts.topics import CLIENT_HEADER, DEAD_LETTERS, DECISIONS
from streaming import metrics
from streaming.core.notices import Notice, Rules, Target, notices, read_rules
from streaming.core.records import DeadLetter, Record, Refusal, Send, dead_letter_record
from streaming.core.sources import MAX_DECISION_BYTES
from streaming.edges.broker import RecordSink, Sender, application, consume, declare
from streaming.edges.claim import claim
from streaming.edges.targets import Targets, Undeliverable
from streaming.settings import HOUR_MS, WorkerSettings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

GROUP = "fraud-worker-notify"
# Delivered before more is read, so that even slow targets are done long before the broker gives the consumer up (5 minutes).
BATCH = 64
AT_ONCE = 8
# So long after a target's last failed attempt its notices become dead letters unasked: else each would wait for its own attempts.
REST_S = 30.0


class Delivers(Protocol):
    """See Targets."""

    def deliver(self, notice: Notice) -> None: ...


class Sends(Protocol):
    """See Sender."""

    def send(self, records: Iterable[Send]) -> None: ...
    def flush(self) -> None: ...


class NotifySink(RecordSink):
    """Tells of decisions in batches; one that is older than `max_age_ms` is nobody's news any more."""

    def __init__(
        self,
        rules: Rules,
        targets: Delivers,
        sender: Sends,
        max_age_ms: int,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        super().__init__()
        self._rules = rules
        self._targets = targets
        self._sender = sender
        self._max_age_ms = max_age_ms
        self._now_ms = now_ms
        self._resting: dict[Target, float] = {}
        self._lock = threading.Lock()
        self._buffer: list[tuple[Record, Notice]] = []

    def take(self, record: Record) -> None:
        """What is no decision is the router's business."""
        try:
            decision = decode(Decision, record.value or b"", max_bytes=MAX_DECISION_BYTES)
        except BadEvent:
            return
        found = list(notices(self._rules, decision, client_of(record)))
        if found and decision.decided_at_ms < self._now_ms() - self._max_age_ms:
            for notice in found:
                metrics.NOTICES.labels(notice.target.rule, "stale").inc()
            return
        self._buffer.extend((record, notice) for notice in found)
        if len(self._buffer) >= BATCH:
            self.tell()

    def tell(self) -> None:
        """Everything buffered: each notice is taken by its target, or in the dead letters."""
        told, self._buffer = self._buffer, []
        if not told:
            return
        with metrics.PROCESSING.labels("notifier").time(), ThreadPoolExecutor(min(AT_ONCE, len(told))) as threads:
            faults = list(threads.map(lambda one: self._told(one[1]), told))
        letters = [
            DeadLetter(record, Refusal.NOT_NOTIFIED, str(notice.target), fault)
            for (record, notice), fault in zip(told, faults, strict=True)
            if fault
        ]
        self._sender.send(dead_letter_record(DEAD_LETTERS.name, letter) for letter in letters)
        log.info("decisions_notified", n=len(told) - len(letters), dead_letters=len(letters))

    def _told(self, notice: Notice) -> str:
        """Empty, or why not."""
        if self._is_resting(notice.target):
            return self._counted(notice, "failed", f"{notice.target} has just failed others; not asked")
        try:
            self._targets.deliver(notice)
        except Undeliverable as error:
            with self._lock:
                self._resting[notice.target] = time.monotonic() + REST_S
            log.warning("notification_failed", target=str(notice.target), notification_id=notice.id)
            return self._counted(notice, "failed", str(error))
        return self._counted(notice, "sent", "")

    def _is_resting(self, target: Target) -> bool:
        with self._lock:
            return time.monotonic() < self._resting.get(target, 0.0)

    def _counted(self, notice: Notice, result: str, fault: str) -> str:
        metrics.NOTICES.labels(notice.target.rule, result).inc()
        return fault

    def flush(self) -> None:
        """Ordered steps: everything is told; dead letters are in the log. Quix commits offsets after it."""
        self.tell()
        self._sender.flush()

    def on_paused(self) -> None:
        self._buffer.clear()


def client_of(record: Record) -> str:
    """Who asked for a decision, as the scorer says in its record's headers; "" of one that a scorer of before made."""
    return (dict(record.headers).get(CLIENT_HEADER) or b"").decode(errors="replace")


def rules_of(file: Path) -> Rules:
    """Raises BadRules, OSError."""
    return read_rules(file.read_bytes())


def run(settings: WorkerSettings) -> None:
    """Notify until SIGTERM, then finish the checkpoint."""
    if settings.notifications_file is None:
        raise ValueError("no FRAUD_NOTIFICATIONS_FILE says who is to be told of what")
    metrics.serve(*settings.metrics_address(5))
    rules = rules_of(settings.notifications_file)
    targets = Targets(rules, settings.notify_attempts, settings.notify_first_pause_s)
    app = application(settings, "notifier", GROUP, settings.notify_flush_s)
    sender = Sender(settings.kafka_bootstrap_servers)
    sink = NotifySink(rules, targets, sender, settings.notify_max_age_hours * HOUR_MS)
    consume(app, sink, [DECISIONS], settings.replication_factor)
    declare(app, [DEAD_LETTERS], settings.replication_factor)
    claim(settings, GROUP, [DECISIONS])
    log.info("notifier_started", group=GROUP, rules=[rule.name for rule in rules.notify])
    app.run()
