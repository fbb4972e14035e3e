"""The worker at fifty purchases a second: how evenly it routes, and what the broker beside it takes.

worker.routing_gap: the longest time in which no entity record was appended, though one purchase arrived
each 20 ms. worker.routing_delay: from a purchase's append to its entity record's, the latest one.
worker.broker_cpu: cores that the development broker takes meanwhile; a Kafka elsewhere has its own.
"""

import itertools
import math
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.measure import report
from benchmarks.worker_throughput import committed, ends, transaction, wait_for, worker
from deploy.local.stack import running
from deploy.local.topics import ensure_platform_topics
from fraud_assets.contracts.codec import encode
from fraud_assets.contracts.events import Activity, Decision, Event, StatesRead, Transaction
from fraud_assets.contracts.topics import ACTIVITY, DECISIONS, PARTITIONER, TRANSACTIONS, Topic
from streaming import router

RATE, WARM_UP_S, SECONDS = 50, 15, 60
ENTITY = "entity.account.v1"
FEATURES = 384
GROUPS = 9
READ = StatesRead(
    groups=[f"g{n}" for n in range(GROUPS)],
    keys=["k" * 12] * GROUPS,
    versions=list(range(GROUPS)),
    positions=[struct.pack("<2q", n, 1000 + n) for n in range(GROUPS)],
    topics=["transactions.v1"],
    partition_bits=20,
)


def decision(paid: Transaction) -> Decision:
    """As wide as a scorer's: most of what the lake is given, by bytes."""
    values = {
        "event_time_ms": paid.event_time_ms,
        "decision_id": f"d-{paid.transaction_id}",
        "transaction_id": paid.transaction_id,
        "account_id": paid.account_id,
        "request": msgspec.to_builtins(paid),
        "decided_at_ms": paid.event_time_ms,
        "service": "fraud_scoring",
        "service_digest": "0" * 64,
        "policy_digest": "0" * 64,
        "model_version": "1",
        "model_sha256": "0" * 64,
        "epoch": "e",
        "vector": struct.pack(f"<{FEATURES}f", *(n / 7 if n % 3 else math.nan for n in range(FEATURES))),
        "view_codes": bytes(20),
        "states": [],
        "states_read": READ,
        "fraud_score": 0.01,
        "action": "approve",
        "reason_codes": [],
        "degraded_reasons": [],
        "latency_ms": 1.5,
    }
    return msgspec.convert(values, Decision)


def activity(paid: Transaction) -> Activity:
    values = {
        "event_time_ms": paid.event_time_ms,
        "activity_id": f"v-{paid.transaction_id}",
        "kind": "view",
        "event_id": paid.event_id,
        "promoter_id": paid.promoter_id,
        "account_id": paid.account_id,
    }
    return msgspec.convert(values, Activity)


def produce(bootstrap: str, numbers: range) -> None:
    """A purchase each 20 ms, with the view before it and the decision about it."""
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": PARTITIONER, "linger.ms": 5})

    def send(topic: Topic, event: Event) -> None:
        producer.produce(topic.name, key=getattr(event, topic.key), value=encode(event))
        producer.poll(0)

    started = time.perf_counter()
    for place, i in enumerate(numbers):
        time.sleep(max(0.0, started + place / RATE - time.perf_counter()))
        paid = transaction(i, time.time_ns() // 1_000_000)
        send(ACTIVITY, activity(paid))
        send(DECISIONS, decision(paid))
        send(TRANSACTIONS, paid)
    producer.flush()


def appended(bootstrap: str, until: dict[tuple[str, int], int]) -> Iterator[tuple[int, int]]:
    """(appended at, its event's arrival) of each entity record of a purchase, in ms of the broker's clock."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "watch", "enable.auto.commit": False})
    try:
        for (topic, partition), end in until.items():
            consumer.assign([TopicPartition(topic, partition, 0)])
            at = 0
            while at < end:
                for message in consumer.consume(min(500, end - at), 5.0):
                    at = (message.offset() or 0) + 1
                    headers = dict(message.headers() or [])
                    if headers["source_topic"] == TRANSACTIONS.name.encode():
                        yield message.timestamp()[1], int(headers["arrival_ms"])
    finally:
        consumer.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as var, running(["valkey", "broker"], Path(var)) as stack:
        bootstrap = stack.env["KAFKA_BOOTSTRAP_SERVERS"]
        ensure_platform_topics(bootstrap)
        with worker(stack.env):
            produce(bootstrap, range(WARM_UP_S * RATE))
            began_ms = time.time_ns() // 1_000_000
            broker = psutil.Process(stack.pid("broker"))
            before = broker.cpu_times()
            produce(bootstrap, range(10**6, 10**6 + SECONDS * RATE))
            after = broker.cpu_times()
            sent = (WARM_UP_S + SECONDS) * RATE
            wait_for(lambda: committed(bootstrap, router.GROUP, [TRANSACTIONS.name]) >= sent, "all routed")
            rows = sorted(row for row in appended(bootstrap, ends(bootstrap, [ENTITY])) if row[1] >= began_ms)
    gaps = sorted(later[0] - earlier[0] for earlier, later in itertools.pairwise(rows))
    delays = sorted(at - arrival for at, arrival in rows)
    cores = (after.user + after.system - before.user - before.system) / SECONDS
    report("worker.routing_gap", gaps[-1], None, None, "ms", len(rows), rate=RATE, largest=gaps[-8:])
    report("worker.routing_delay", delays[-1], None, None, "ms", len(rows), p99=delays[int(0.99 * len(delays))])
    report("worker.broker_cpu", cores, None, None, "cores", SECONDS * RATE * 3)


if __name__ == "__main__":
    main()
