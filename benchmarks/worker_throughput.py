"""The worker beside a Quix app of the same fan-out that does nothing, on one broker and two cores.

worker.vs_passthrough: transactions a second, from a full raw topic until every entity record is
folded and committed. The peer reads the same topic, sends nine copies of each record to nine
topics, and reads those; it decodes, checks, remembers and writes nothing.
worker.freshness: from an event's append to its state being readable, 99th percentile at 500/s.
"""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.measure import report
from deploy.local.stack import running
from deploy.local.topics import ensure_platform_topics, ensure_topics
from fraud_assets.contracts.codec import encode
from fraud_assets.contracts.events import Transaction
from fraud_assets.contracts.topics import PARTITIONER, TRANSACTIONS, Topic, entity_topic
from fraud_assets.features.catalogue.ticketing import registry
from streaming import folder

N = 20_000
RATE, RATE_S = 500, 20
FAN_OUT = 9
WAIT_S = 600
METRICS_PORT = 19_400


def transaction(i: int, now_ms: int) -> Transaction:
    """Skewed enough: some accounts, devices and cards are busy, most are not."""
    values = {
        "event_time_ms": now_ms,
        "transaction_id": f"t{i}",
        "account_id": f"a{(i * i) % 5003}",
        "event_id": f"e{i % 200}",
        "promoter_id": f"p{i % 40}",
        "device_id": f"d{(i * i) % 4001}",
        "ip_token": f"dev:{i % 3000:08x}",
        "ip_country": "DE",
        "card_token": f"dev:c{(i * i) % 4507}",
        "payment_method": "card",
        "amount_minor": 1_000 + i % 9_000,
        "currency": "EUR",
        "ticket_count": 2,
        "tier": "standard",
        "category": "concert",
        "billing_country": "DE",
        "outcome": "approved",
    }
    return msgspec.convert(values, Transaction)


def produce(bootstrap: str, topic: str, numbers: range, rate: float | None = None) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": PARTITIONER, "linger.ms": 5})
    started = time.perf_counter()
    for place, i in enumerate(numbers):
        made = transaction(i, time.time_ns() // 1_000_000)
        producer.produce(topic, key=made.account_id, value=encode(made))
        producer.poll(0)
        if rate and place % 10 == 0:
            time.sleep(max(0.0, started + place / rate - time.perf_counter()))
    producer.flush()


def ends(bootstrap: str, topics: list[str]) -> dict[tuple[str, int], int]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "watch"})
    try:
        return {
            (topic, partition): consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1]
            for topic in topics
            for partition in range(8)
        }
    finally:
        consumer.close()


def committed(bootstrap: str, group: str, topics: list[str]) -> int:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    try:
        found = consumer.committed([TopicPartition(topic, p) for topic in topics for p in range(8)], timeout=10)
        return sum(max(0, at.offset) for at in found)
    finally:
        consumer.close()


def wait_for(question: Callable[[], bool], claim: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not question():
        if time.monotonic() > deadline:
            raise TimeoutError(claim)
        time.sleep(0.1)


@contextlib.contextmanager
def worker(env: dict[str, str]) -> Iterator[str]:
    """A running worker; the consumer group of its folder."""
    full = {**os.environ, **env, "FRAUD_WORKER_METRICS_PORT": str(METRICS_PORT)}
    told = subprocess.run(
        [sys.executable, "-m", "streaming", "init-epoch"], env=full, capture_output=True, text=True, check=True
    )
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, "-m", "streaming"], env=full, stderr=log, stdout=log)
        try:
            yield f"{folder.GROUP}.{told.stdout.split()[1]}"
        finally:
            process.terminate()
            process.wait(60)


def drained(bootstrap: str, group: str, topics: list[str], expected: int) -> Callable[[], bool]:
    return lambda: committed(bootstrap, group, topics) >= expected


def ours(bootstrap: str, group: str) -> float:
    """Seconds for N transactions; the worker is warm, and its label facts come to nothing here."""
    topics = [entity_topic(item.name).name for item in registry().groups]
    produce(bootstrap, TRANSACTIONS.name, range(500))
    wait_for(drained(bootstrap, group, topics, FAN_OUT * 500), "warm-up")
    before = committed(bootstrap, group, topics)
    started = time.perf_counter()
    produce(bootstrap, TRANSACTIONS.name, range(500, 500 + N))
    wait_for(drained(bootstrap, group, topics, before + FAN_OUT * N), "all folded")
    return time.perf_counter() - started


def freshness_p99_ms(bootstrap: str, group: str) -> float:
    """Upper bound of the histogram's bucket that holds the 99th percentile."""
    topics = [entity_topic(item.name).name for item in registry().groups]
    before, at_start = buckets(), committed(bootstrap, group, topics)
    produce(bootstrap, TRANSACTIONS.name, range(10**6, 10**6 + RATE * RATE_S), RATE)
    wait_for(drained(bootstrap, group, topics, at_start + FAN_OUT * RATE * RATE_S), "folded at a rate")
    after = buckets()
    counts = {bound: after[bound] - before.get(bound, 0.0) for bound in after}
    total = max(counts.values())
    return 1000 * min(bound for bound, count in counts.items() if count >= 0.99 * total)


def buckets() -> dict[float, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{METRICS_PORT + 1}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return {
        float(sample.labels["le"]): sample.value
        for family in families
        for sample in family.samples
        if sample.name == "fraud_worker_freshness_seconds_bucket"
    }


def passthrough(bootstrap: str, role: str) -> None:
    """One of the peer's two processes: fan out, or read what was fanned out."""
    from quixstreams import Application

    app = Application(
        bootstrap, consumer_group=f"peer-{role}", auto_offset_reset="earliest", commit_interval=0.1, loglevel="ERROR"
    )

    def declare(topic: Topic) -> Any:
        return app.topic(topic.name, value_deserializer="bytes", value_serializer="bytes")

    outputs = peer_topics()
    if role == "fan":
        frame = app.dataframe(declare(peer_input()))
        for output in outputs:
            frame = frame.to_topic(declare(output))
    else:
        for output in outputs:
            app.dataframe(declare(output)).apply(lambda value: value)
    app.run()


def peer_input() -> Topic:
    return Topic(name="peer.raw", key="account_id", contract=None)


def peer_topics() -> list[Topic]:
    return [Topic(name=f"peer.{n}", key="account_id", contract=None) for n in range(FAN_OUT)]


def peer(bootstrap: str) -> float:
    """Seconds for N transactions through an app that does nothing with them."""
    ensure_topics(bootstrap, [peer_input(), *peer_topics()])
    names = [topic.name for topic in peer_topics()]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=passthrough, args=(bootstrap, role)) for role in ("fan", "read")]
    for process in processes:
        process.start()
    try:
        produce(bootstrap, peer_input().name, range(500))
        wait_for(drained(bootstrap, "peer-read", names, FAN_OUT * 500), "peer's warm-up")
        started = time.perf_counter()
        produce(bootstrap, peer_input().name, range(N))
        wait_for(drained(bootstrap, "peer-read", names, FAN_OUT * (500 + N)), "peer has read all")
        return time.perf_counter() - started
    finally:
        for process in processes:
            if process.pid:
                os.kill(process.pid, signal.SIGTERM)
            process.join(30)


def main() -> None:
    with tempfile.TemporaryDirectory() as var, running(["valkey", "broker"], Path(var)) as stack:
        bootstrap = stack.env["KAFKA_BOOTSTRAP_SERVERS"]
        ensure_platform_topics(bootstrap)
        with worker(stack.env) as group:
            seconds = ours(bootstrap, group)
            fresh_ms = freshness_p99_ms(bootstrap, group)
        peer_seconds = peer(bootstrap)
    report("worker.vs_passthrough", N / seconds, N / peer_seconds, peer_seconds / seconds, "events/s", N)
    report("worker.freshness", fresh_ms, None, None, "ms", RATE * RATE_S, percentile=99, rate=RATE)


if __name__ == "__main__":
    main()
