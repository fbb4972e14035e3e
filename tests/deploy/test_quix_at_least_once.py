"""Quix Streams keeps its promise on this broker: killed with SIGKILL, its local state wiped, nothing is lost."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from tests.deploy.client import PATIENCE_S, Kafka, poll_until

ROWS = 4_000
KEYS = 50
PARTITIONS = 2
APP = Path(__file__).with_name("quix_counter.py")


@pytest.mark.e2e
@pytest.mark.timeout(150)
def test_a_stateful_app_loses_nothing_when_it_is_killed_and_its_state_is_wiped(kafka: Kafka, tmp_path: Path) -> None:
    source, sink = kafka.topic(PARTITIONS), kafka.topic(PARTITIONS)
    command = [sys.executable, str(APP), kafka.bootstrap_servers, kafka.unique("quix"), source, sink]
    state_dir = tmp_path / "state"

    app = start(command, state_dir, tmp_path)
    try:
        produce(kafka, source, range(ROWS // 2))
        poll_until(lambda: length(kafka, sink) > ROWS // 4, "half way", within_s=60)
        app.kill()
        app.wait()
        shutil.rmtree(state_dir)

        app = start(command, state_dir, tmp_path)
        produce(kafka, source, range(ROWS // 2, ROWS))
        poll_until(lambda: len(seen_rows(kafka, sink)) == ROWS, "every row has come out", within_s=60)
    finally:
        app.kill()
        app.wait()

    highest: Counter[str] = Counter()
    for row in rows_of(kafka, sink):
        highest[row["key"]] = max(highest[row["key"]], row["seen"])
    # At least once: a replayed row may be counted twice, none may be missed.
    assert all(highest[str(key)] >= ROWS // KEYS for key in range(KEYS))


def start(command: list[str], state_dir: Path, tmp_path: Path) -> subprocess.Popen[bytes]:
    with (tmp_path / "app.log").open("ab") as log:
        return subprocess.Popen([*command, str(state_dir)], stdout=log, stderr=log)


def produce(kafka: Kafka, topic: str, numbers: Iterable[int]) -> None:
    producer = kafka.producer(enable_idempotence=True)
    for i in numbers:
        key = str(i % KEYS)
        producer.produce(topic, key=key, value=json.dumps({"i": i, "key": key}))
        producer.poll(0)
    assert producer.flush(PATIENCE_S) == 0


def length(kafka: Kafka, topic: str) -> int:
    consumer = kafka.consumer()
    ends = [consumer.get_watermark_offsets(TopicPartition(topic, p), PATIENCE_S)[1] for p in range(PARTITIONS)]
    return sum(ends)


def seen_rows(kafka: Kafka, topic: str) -> set[int]:
    return {row["i"] for row in rows_of(kafka, topic)} if length(kafka, topic) >= ROWS else set()


def rows_of(kafka: Kafka, topic: str) -> Iterator[dict[str, Any]]:
    consumer = kafka.consumer()
    for partition in range(PARTITIONS):
        end = consumer.get_watermark_offsets(TopicPartition(topic, partition), PATIENCE_S)[1]
        if end:
            yield from (json.loads(message.value()) for message in kafka.read(topic, end, partition))
