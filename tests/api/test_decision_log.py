"""The broker's clock against ours: read off the fastest delivery, and in every decision after it. And how fast events leave."""

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME

from api.decided import encode
from api.decision_log import MAX_SENT, BrokerClock, DecisionLog
from api.journal import Journal
from fraud_assets.stores.online import OnlineStore
from tests.api.test_decided import RECORDS, part
from tests.api.world import Delivered, Producer, request, runtime, served, until

NOW_S = 1_800_000_000.0
HOUR_MS = 3_600_000
MIB = 2**20


@dataclass
class Stamped(Delivered):
    """Reported at `now_s`, and stamped halfway there by a clock that is ahead of ours."""

    ahead_ms: int
    latency_s: float | None = 0.002
    kind: int = TIMESTAMP_LOG_APPEND_TIME
    now_s: float = NOW_S

    def timestamp(self) -> tuple[int, int]:
        return self.kind, round(self.now_s * 1_000 - (self.latency_s or 0) * 500 + self.ahead_ms)

    def latency(self) -> float | None:
        return self.latency_s


def clock(*seen: Stamped) -> BrokerClock:
    made = BrokerClock(now_s=lambda: NOW_S)
    for message in seen:
        made.observe(message)
    return made


def test_the_offset_is_the_brokers_stamp_less_our_time_halfway_to_the_report() -> None:
    assert clock(Stamped(5_000)).offset_ms == 5_000
    assert clock(Stamped(-5_000, latency_s=0.8)).offset_ms == -5_000


def test_a_slower_delivery_says_less_and_a_faster_one_says_more() -> None:
    assert clock(Stamped(5_000), Stamped(9_000, latency_s=0.1)).offset_ms == 5_000
    assert clock(Stamped(5_000), Stamped(9_000, latency_s=0.001)).offset_ms == 9_000


def test_after_many_slower_deliveries_the_best_is_too_old_to_be_believed() -> None:
    """Clocks drift: a thousandth a delivery, and half as slow again is as good after 406."""
    slower = Stamped(9_000, latency_s=0.003)

    assert clock(Stamped(5_000), *[slower] * 300).offset_ms == 5_000
    assert clock(Stamped(5_000), *[slower] * 500).offset_ms == 9_000


def test_a_producers_own_stamp_and_an_unknown_latency_say_nothing_of_the_broker() -> None:
    assert clock(Stamped(5_000, kind=TIMESTAMP_CREATE_TIME), Stamped(5_000, latency_s=None)).offset_ms == 0


def test_a_decision_carries_the_offset_known_when_it_is_recorded(
    store: OnlineStore, valkey_server: str, shared_models: Path
) -> None:
    producer = Producer()
    producer.message = Stamped(HOUR_MS, now_s=time.time())

    with served(runtime(shared_models, valkey_server, producer)) as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        client.post("/predict", json=request(transaction_id="t1"))
        until(lambda: b"fraud_decision_events_pending 0.0" in client.get("/metrics").content)
        client.post("/predict", json=request(transaction_id="t2"))
        until(lambda: len(producer.decisions()) == 2)

    first, second = producer.decisions()
    assert first.broker_clock_offset_ms == 0
    assert abs(second.broker_clock_offset_ms - HOUR_MS) < HOUR_MS // 10  # the stamp is as old as this test


def test_who_has_more_to_send_than_may_be_on_its_way_hears_in_between_what_has_arrived(tmp_path: Path) -> None:
    """Not ten times a second only, which would hold it to ten times as many a second."""
    producer, count = Producer(), 2 * MAX_SENT + 1

    async def scenario() -> int:
        log = DecisionLog(producer, partial(Journal.claim, tmp_path, 64 * MIB))
        log.start()
        log.keep([encode(part())] * count, RECORDS)
        for _ in range(3):
            log.send()  # and nothing else has had its turn
        sent = len(producer.sent)
        await log.close()
        return sent

    assert asyncio.run(scenario()) == count
