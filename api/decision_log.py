"""Decision events to Kafka: made, kept and sent after the answer.

A record (400 features and ten states in base64, a digest) goes to the journal on disk, and from there to the broker.
"""

import asyncio
import struct
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import confluent_kafka
import msgspec
import structlog

from api.decided import decision_ids
from api.journal import Entry, Journal
from api.producer import Producer
from api.records import DecisionRecords, Record
from api.tasks import ended
from fraud_assets.contracts import topics

# Delivery reports may wait: what is sent is on disk. Each poll wakes this process and, with what it says of itself, the scorer.
POLL_S = 0.1
# Replacing a small file takes 2 ms, for the file system then writes it out. A killed process sends this much again.
MARK_S = 2.0
FLUSH_S = 5.0

# Events on their way to the broker, 10 MB: a tenth of a second of the busiest process. The rest waits on disk, and is then read back.
MAX_SENT = 2_000

log = structlog.get_logger()


class Status(msgspec.Struct, array_like=True):
    """left: events that the broker may not have. delivered, failed, lost: counts."""

    left: int = 0
    journal_bytes: int = 0
    delivered: int = 0
    failed: int = 0
    lost: int = 0


class DecisionLog:
    """Journal and producer: what is kept in the one is sent by the other.

    claim: opens the journal, which is this process's from `start` to `close`. on_status: told now and then how it stands.
    """

    def __init__(
        self,
        producer: Producer,
        claim: Callable[[], Journal],
        on_status: Callable[[Status], None] = lambda _: None,
    ) -> None:
        self._producer = producer
        self._claim = claim
        self._on_status = on_status
        self._status = Status()
        self._sent = 0
        self._refused: Entry | None = None
        self._clock = BrokerClock()
        self._failing = False
        # Positions that the broker has said it has, and the newest of what it said, since they were last taken in.
        self._reported: list[int] = []
        self._report: Any = None

    def start(self) -> None:
        self.journal = self._claim()
        if len(self.journal):
            log.info("decision_events_left", n=len(self.journal))
        # Ends by itself by an error alone.
        self.sending = asyncio.get_running_loop().create_task(self._poll())

    @property
    def status(self) -> Status:
        """As it stands."""
        self._status.left = len(self.journal)
        self._status.journal_bytes = self.journal.bytes
        return self._status

    async def close(self) -> None:
        """Wait a while for the broker, and say what the next process will send."""
        await self.stop()
        self.send()
        await asyncio.to_thread(self._producer.flush, FLUSH_S)
        self._take_reports()
        if len(self.journal):
            log.warning("decision_events_left", n=len(self.journal))
        self.journal.close()
        self._on_status(self.status)

    async def stop(self) -> None:
        """Send no more."""
        await ended(self.sending)

    def keep(self, parts: Iterable[bytes], records: DecisionRecords | None, after: str = "") -> None:
        """The records of encoded `Part`s, to the journal, in one write.

        records: makes them; None if nobody here can. after: of a part that is in the journal up to this decision the rest is kept.
        """
        # One part after the other: what is made of many at once leaves the processor's cache before it is written.
        made = (record for raw in parts for record in _behind(after, self._made(raw, records)))
        self._status.lost += self.journal.append(made)

    def _made(self, raw: bytes, records: DecisionRecords | None) -> list[Record]:
        """What is no record is put aside: the next are not to wait for it."""
        try:
            if records is None:
                raise ValueError("of a version that is not known here")
            return records.of(records.decode(raw), self._clock.offset_ms)
        except (ValueError, LookupError, TypeError, struct.error) as error:  # msgspec's are ValueErrors
            log.error("decision_unrecordable", error=str(error), bytes=len(raw))
            try:
                self.journal.put_aside(raw)
            except OSError as refused:  # a full disk; those that are records shall be kept all the same
                log.error("decision_put_aside_refused", error=str(refused))
            self._status.lost += max(1, len(decision_ids(raw)))
            return []

    def send(self) -> None:
        """From the journal to the producer, in order, as long as it takes more."""
        if self._sent > MAX_SENT // 2:  # more comes than reports are waited for
            self._poll_reports()
        produce, next_entry, topic = self._producer.produce, self.journal.next, topics.DECISIONS.name
        while self._sent < MAX_SENT:
            entry = self._refused or next_entry()
            if entry is None:
                return
            try:
                produce(
                    topic,
                    value=entry.value,
                    key=entry.key,
                    on_delivery=partial(self._on_delivery, entry.position),
                    headers=entry.headers,
                )
            except BufferError:  # others may use the producer too
                self._refused = entry
                return
            self._refused = None
            self._sent += 1

    async def _poll(self) -> None:
        """Delivery reports come in here, on the event loop."""
        marked_s = time.monotonic()
        while True:
            self._on_status(self.status)
            await asyncio.sleep(POLL_S)
            self._poll_reports()
            self.send()
            if time.monotonic() - marked_s > MARK_S:
                await self._mark()
                marked_s = time.monotonic()

    async def _mark(self) -> None:
        try:
            await asyncio.to_thread(self.journal.mark)
        except OSError as error:  # a full disk; the next process then sends more again
            log.error("decision_mark_refused", error=str(error))

    def _poll_reports(self) -> None:
        self._producer.poll(0)
        self._take_reports()

    def _take_reports(self) -> None:
        """All of them at once, for there is one of each event. The newest is as good a look at the broker's clock as any."""
        if not self._reported:
            return
        self._sent -= len(self._reported)
        self._status.delivered += len(self._reported)
        self.journal.done(*self._reported)
        self._clock.observe(self._report)
        self._reported.clear()
        self._report, self._failing = None, False

    def _on_delivery(self, position: int, error: Any, message: Any) -> None:
        if error is None:
            self._reported.append(position)
            self._report = message
            return
        self._sent -= 1
        self._status.failed += 1
        if not self._failing:  # once per outage
            self._failing = True
            log.error("decision_event_failed", error=str(error))


def _behind(last: str, records: list[Record]) -> list[Record]:
    """Those behind the one that is named; all of them if it is not there."""
    place = next((place for place, one in enumerate(records) if one.decision_id == last), -1) if last else -1
    return records[place + 1 :]


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
