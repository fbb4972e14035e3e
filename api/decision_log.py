"""Decision events to Kafka, made, kept and sent after the answer.

A request only appends to a queue in memory. What a record costs (positions of ten states, 400 numbers
as JSON) is paid between requests, one record at a time, so that nobody waits for more than one. It goes to the
journal on disk, and from there to the broker.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import confluent_kafka
import msgspec
import structlog

from api.journal import Entry, Journal
from api.metrics import Metrics
from api.producer import MAX_PENDING, Producer
from api.scorer import Made
from api.tasks import ended
from fraud_assets.contracts import topics
from fraud_assets.contracts.events import Decision, StateRead, ViewStatus
from fraud_assets.engine.plan import ServicePlan
from fraud_assets.engine.request import STATUS_NAMES
from fraud_assets.engine.state import BadState, StateEngine

POLL_S = 0.05
# Replacing a small file takes 2 ms, for the file system then writes it out. A killed process sends this much again.
MARK_S = 2.0
FLUSH_S = 5.0

# Events on their way to the broker: some seconds of a busy process, 10 MB. The rest waits on disk.
MAX_SENT = 1_000

log = structlog.get_logger()


class DecisionRecord:
    """Made → the contract's Decision."""

    def __init__(self, plan: ServicePlan, unit_names: tuple[str, ...], service_digest: str) -> None:
        self._engines = [(group.name, StateEngine(plan.engine, group)) for group in plan.groups]
        self._unit_names = unit_names
        self._statuses = [ViewStatus(name) for name in STATUS_NAMES]
        self._service = plan.service.name
        self._service_digest = service_digest

    def warm(self) -> None:
        """Compile what reads positions."""
        for _, engine in self._engines[:1]:
            with contextlib.suppress(BadState):
                engine.position(b"\0")

    def of(self, made: Made, latency_ms: float, broker_clock_offset_ms: int) -> Decision:
        """Everything needed to recompute it; nulls among the features are null."""
        model, seen, served = made.serving.model, made.seen, made.served
        return Decision(
            event_time_ms=made.event.event_time_ms,
            decision_id=made.decision_id,
            transaction_id=made.event.transaction_id,
            account_id=made.event.account_id,
            request=msgspec.structs.asdict(made.event),
            decided_at_ms=made.decided_at_ms,
            broker_clock_offset_ms=broker_clock_offset_ms,
            service=self._service,
            service_digest=self._service_digest,
            policy_digest=made.serving.decider.digest,
            model_version=model.version,
            model_sha256=model.sha256,
            epoch=seen.epoch,
            features=served.features.tolist(),  # JSON writes NaN as null
            view_status=dict(
                zip(self._unit_names, map(self._statuses.__getitem__, served.status.tolist()), strict=True)
            ),
            states=self._states(made),
            fraud_score=made.score,
            action=made.verdict.action.value,
            reason_codes=[code.value for code in made.verdict.reasons],
            degraded_reasons=seen.degraded,
            self_included=served.self_included,
            latency_ms=latency_ms,
        )

    def _states(self, made: Made) -> list[StateRead]:
        """Every state that was asked for; an unknown entity has version 0 and no position. None if degraded."""
        if made.seen.degraded:
            return []
        return [
            StateRead(group=group, entity_key=key, version=version, position=engine.position(state) if state else {})
            for (group, engine), key, state, version in zip(
                self._engines, made.seen.keys, made.seen.states, made.seen.versions, strict=True
            )
            if key is not None
        ]


class _Request(NamedTuple):
    """Decisions of one request that are not yet recorded."""

    made: deque[Made]
    latency_ms: float
    headers: list[tuple[str, bytes]]


class DecisionLog:
    """Queue, journal and producer. `add` never waits and never raises.

    claim: opens the journal, which is this process's from `start` to `close`.
    """

    def __init__(
        self, record: DecisionRecord, producer: Producer, metrics: Metrics, claim: Callable[[], Journal]
    ) -> None:
        self._record = record
        self._producer = producer
        self._metrics = metrics
        self._claim = claim
        self._pending: deque[_Request] = deque()
        self._sent = 0
        self._refused: Entry | None = None
        self._wake = asyncio.Event()
        self._clock = BrokerClock()
        self._tasks: list[asyncio.Task[None]] = []
        self._failing = False
        self._delivered = metrics.events.labels("delivered")
        self._failed = metrics.events.labels("failed")
        self._lost = metrics.events.labels("lost")

    def start(self) -> None:
        self.journal = self._claim()
        if len(self.journal):
            log.info("decision_events_left", n=len(self.journal))
        self._metrics.pending.set_function(lambda: len(self._pending) + len(self.journal))
        self._metrics.journal_bytes.set_function(lambda: self.journal.bytes)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._drain()), loop.create_task(self._poll())]

    async def close(self) -> None:
        """Keep what is queued, wait a while for the broker, and say what the next process will send."""
        await ended(*self._tasks)
        while self._pending:
            self._keep_next()
        self._send()
        await asyncio.to_thread(self._producer.flush, FLUSH_S)
        if len(self.journal):
            log.warning("decision_events_left", n=len(self.journal))
        self.journal.close()

    def add(self, made: list[Made], latency_ms: float, headers: list[tuple[str, bytes]]) -> None:
        if len(self._pending) >= MAX_PENDING:
            self._lost.inc(len(made))
            return
        self._pending.append(_Request(deque(made), latency_ms, headers))
        self._wake.set()

    async def _drain(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                self._keep_next()
                self._send()
                await asyncio.sleep(0)  # requests that arrived meanwhile go first

    def _keep_next(self) -> None:
        """One record, to the journal; a batch stays at the front until its last."""
        request = self._pending[0]
        one = request.made.popleft()
        if not request.made:
            self._pending.popleft()
        decision = self._record.of(one, request.latency_ms, self._clock.offset_ms)
        if not self.journal.append(decision, request.headers):
            self._lost.inc()
        self._count(one)

    def _send(self) -> None:
        """From the journal to the producer, in order, as long as it takes more."""
        while self._sent < MAX_SENT:
            entry = self._refused or self.journal.next()
            if entry is None:
                return
            try:
                self._producer.produce(
                    topics.DECISIONS.name,
                    value=entry.value,
                    key=entry.key,
                    on_delivery=partial(self._on_delivery, entry.position),
                    headers=entry.headers,
                )
            except BufferError:  # labels share the producer
                self._refused = entry
                return
            self._refused = None
            self._sent += 1

    def _count(self, one: Made) -> None:
        self._metrics.score.observe(one.score)
        if one.served.self_included:
            self._metrics.self_included.inc()
        for reason in one.seen.degraded:
            self._metrics.degraded.labels(reason).inc()

    async def _poll(self) -> None:
        """Delivery reports come in here, on the event loop."""
        marked_s = time.monotonic()
        while True:
            await asyncio.sleep(POLL_S)
            self._producer.poll(0)
            self._send()
            if time.monotonic() - marked_s > MARK_S:
                await asyncio.to_thread(self.journal.mark)
                marked_s = time.monotonic()

    def _on_delivery(self, position: int, error: Any, message: Any) -> None:
        self._sent -= 1
        if error is None:
            self._delivered.inc()
            self.journal.done(position)
            self._clock.observe(message)
            self._failing = False
            return
        self._failed.inc()
        if not self._failing:  # once per outage
            self._failing = True
            log.error("decision_event_failed", error=str(error))


class BrokerClock:
    """Broker's clock minus ours, from the delivery that was fastest: its stamp lies between send and report."""

    def __init__(self, now_s: Callable[[], float] = time.time) -> None:
        self.offset_ms = 0
        self._now_s = now_s
        self._best_s = float("inf")

    def observe(self, message: Any) -> None:
        kind, stamp_ms = message.timestamp()
        took_s = message.latency()
        # A sample a little slower than the best replaces it in the end, for clocks drift.
        self._best_s *= 1.001
        if kind != confluent_kafka.TIMESTAMP_LOG_APPEND_TIME or took_s is None or took_s > self._best_s:
            return
        self._best_s = took_s
        self.offset_ms = round(stamp_ms - (self._now_s() * 1_000 - took_s * 500))
