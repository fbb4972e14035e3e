"""Prices and their outcomes to Kafka, after the answer: whoever asked waits for no broker.

What was written down in Redis is owed to the log until the broker has confirmed it. Any process sends what another one left;
a copy has the same identity and the same bytes, and the worker's dedupe stage marks it.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import structlog

from api.pricing.metrics import PricingMetrics
from api.pricing.store import PriceStore
from api.producer import Producer
from api.shared import SharedGone
from api.tasks import ended
from fraud_assets.contracts import codec, topics
from fraud_assets.contracts.prices import PriceDecision, PricedInterval

POLL_S = 0.1
FLUSH_S = 5.0
# Looked for this often, and only what is older: the younger is on its way.
SWEEP_S = 30.0
SWEPT_AT_ONCE = 1_000

log = structlog.get_logger()


class Owed(NamedTuple):
    """One event on its way. key: under which Redis owes it; empty for one that Redis knows nothing of."""

    key: str
    topic: str
    event_id: str
    raw: bytes


class PriceLog:
    """One per process; all methods but `flush` are for the event loop's thread."""

    def __init__(
        self,
        producer: Producer,
        store: PriceStore,
        metrics: PricingMetrics,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._producer = producer
        self._store = store
        self._metrics = metrics
        self._now_ms = now_ms
        self._under_way = set[str]()
        self._confirmed = list[str]()
        self._failing = False

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._poll())

    async def close(self) -> None:
        """Wait a while for the broker; the rest stays owed."""
        await ended(self._task)
        await asyncio.to_thread(self._producer.flush, FLUSH_S)
        await self._look()

    def send(self, events: Iterable[PriceDecision | PricedInterval], *, owed: bool = True) -> None:
        """Never waits, never raises. owed: as the store has written them down."""
        for one in events:
            topic = topics.PRICE_DECISIONS if isinstance(one, PriceDecision) else topics.PRICE_OUTCOMES
            key = self._store.key_of(one) if owed else ""
            self._produce(Owed(key, topic.name, one.event_id, codec.encode(one)))

    async def sweep(self) -> None:
        """Send what has been owed for long, whoever wrote it down."""
        found = await self._store.owed(self._now_ms() - int(1_000 * SWEEP_S), SWEPT_AT_ONCE)
        self._confirmed += [key for key, raw in found if raw is None]
        left = [_owed(key, raw) for key, raw in found if raw is not None and key not in self._under_way]
        for one in left:
            self._produce(one)
        if left:
            log.info("price_events_sent_again", n=len(left))

    def _produce(self, one: Owed) -> None:
        try:
            self._producer.produce(
                one.topic, value=one.raw, key=one.event_id.encode(), on_delivery=partial(self._on_delivery, one), headers=[]
            )  # fmt: skip
        except BufferError:
            self._metrics.logged.labels(one.topic, "refused").inc()
            return
        if one.key:
            self._under_way.add(one.key)

    def _on_delivery(self, one: Owed, error: Any, message: Any) -> None:
        del message
        self._under_way.discard(one.key)
        self._metrics.logged.labels(one.topic, "failed" if error else "delivered").inc()
        if error is None:
            self._failing = False
            self._confirmed += [one.key] if one.key else []
        elif not self._failing:  # once per outage
            self._failing = True
            log.error("price_event_failed", error=str(error))

    async def _poll(self) -> None:
        swept_s = time.monotonic()
        while True:
            await asyncio.sleep(POLL_S)
            await self._look()
            if time.monotonic() - swept_s > SWEEP_S:
                swept_s = time.monotonic()
                try:
                    await self.sweep()
                except SharedGone:
                    continue

    async def _look(self) -> None:
        self._producer.poll(0)
        if not self._confirmed:
            return
        confirmed, self._confirmed = self._confirmed, []
        try:
            await self._store.confirm(confirmed)
        except SharedGone:
            self._confirmed += confirmed


def _owed(key: str, raw: bytes) -> Owed:
    """As it was kept: `fraud:price:<grid>:<kind>:<interval>:<event>`."""
    *_, kind, _, event_id = key.split(":", 5)
    topic = topics.PRICE_DECISIONS if kind == "decision" else topics.PRICE_OUTCOMES
    return Owed(key, topic.name, event_id, raw)
