"""A sink of raw topics beside the router, which alone judges what is no event."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from prometheus_client import Histogram

from fraud_assets.contracts.cards import CardsInIds
from fraud_assets.contracts.codec import decode
from fraud_assets.contracts.tokens import TokenKey
from streaming import metrics
from streaming.core.accept import ArrivalClock, Decode, accept_all
from streaming.core.records import Accepted, DeadLetter, Record, Send
from streaming.core.sources import SOURCES
from streaming.edges.broker import RecordSink


class Deliveries(Protocol):
    """See Sender."""

    def send(self, records: Iterable[Send]) -> None: ...
    def flush(self) -> None: ...


class EventSink(RecordSink):
    """Buffers records until the checkpoint, which takes the events among them.

    read: how; see `accept`.
    """

    def __init__(
        self,
        key: TokenKey,
        cards_in_ids: CardsInIds = "refuse",
        read: Decode = decode,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        super().__init__()
        self._key = key
        self._cards_in_ids: CardsInIds = cards_in_ids
        self._read = read
        self._now_ms = now_ms
        self._clock = ArrivalClock()
        self._buffer: list[Record] = []
        self._began_ns = 0

    def take(self, record: Record) -> None:
        self._buffer.append(record)

    def events(self) -> list[Accepted]:
        """What is buffered, and forget it: if it cannot be dealt with now, Quix seeks back and brings it again."""
        records, self._buffer = self._buffer, []
        self._began_ns = time.time_ns()
        outcomes = accept_all(SOURCES, records, self._clock, self._key, self._cards_in_ids, self._read)
        return [one for one in outcomes if isinstance(one, Accepted)]

    def trace_all(self, events: Sequence[Accepted]) -> None:
        """See `trace`; of what `events` gave last."""
        self.trace((one.record for one in events), self._began_ns)

    def count(self, events: Sequence[Accepted], letters: Sequence[DeadLetter], lag: Histogram) -> None:
        """How late the events were dealt with, and which of them were refused."""
        now_ms = self._now_ms()
        self.trace_all(events)
        for one in events:
            lag.observe(max(0, now_ms - one.arrival_ms) / 1000)
        for letter in letters:
            metrics.DEAD_LETTERS.labels(letter.record.topic, letter.reason).inc()

    def on_paused(self) -> None:
        self._buffer.clear()
