"""A worker as its users run it: real processes on a real broker and a real Redis, started and killed."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from fraud_assets.contracts import topics
from fraud_assets.contracts.topics import entity_topic
from fraud_assets.features.catalogue.ticketing import registry
from streaming.core.records import Record
from streaming.core.sources import SOURCES

PATIENCE_S = 90.0
ANSWER_S = 30.0  # of one question to a server that shares its cores with other tests
NO_LEADER_YET = (
    KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.FENCED_LEADER_EPOCH, KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE,
)  # fmt: skip
RAW = list(SOURCES)
ENTITY = [entity_topic(group.name).name for group in registry().groups]


def wait_for(question: Callable[[], bool], claim: str, within_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + within_s
    while not question():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {claim}"
        time.sleep(0.05)


# Said of every micro-batch; what else a worker says is about itself.
BULK = ("records_routed", "states_folded", "labels_applied", "labels_matured", "lake_appended")
TOLD_LINES = 120


class Worker:
    """`python -m streaming` with all its processes. A `with` block starts and drains it, and prints its log if it fails."""

    def __init__(
        self, env: Mapping[str, str], log: Path, command: Sequence[str] = (sys.executable, "-m", "streaming")
    ) -> None:
        self.env = {**os.environ, **env}
        self.log = log
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(self.command, env=self.env, stderr=out, stdout=out)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code = self.stop()
        if kind is not None or code != 0:
            print(self.told())
        assert kind is not None or code == 0, f"the supervisor ended with {code}"

    def told(self) -> str:
        """The last lines of its log but for those of every micro-batch."""
        lines = self.log.read_text(errors="replace").splitlines()
        own = [line for line in lines if not any(f'"event": "{name}"' in line for name in BULK)]
        return "\n".join([f"the end of {self.log.name}:", *own[-TOLD_LINES:], "and at the very end:", *lines[-3:]])

    def init_epoch(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "streaming", "init-epoch"],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def children(self) -> dict[str, psutil.Process]:
        assert self.process is not None
        assert self.process.poll() is None, f"the supervisor ended with {self.process.returncode}"
        found = {}
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                found[child.name()] = child
        return found

    def kill_one(self, role: str) -> None:
        """SIGKILL one process, which the supervisor replaces; waits for it to be there at all."""
        wait_for(lambda: role in self.children(), f"{role} runs")
        self.children()[role].send_signal(signal.SIGKILL)

    def kill(self) -> None:
        """SIGKILL the supervisor; its processes see their lifeline close and end without a word."""
        assert self.process is not None
        family = psutil.Process(self.process.pid).children()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE_S)
        _, alive = psutil.wait_procs(family, timeout=ANSWER_S)
        assert alive == [], "processes outlived their supervisor"

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(PATIENCE_S)


class Log:
    """The broker as a test reads and writes it."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.address = {"bootstrap.servers": bootstrap_servers}
        # A broker that is stopped at the end of a test is no news: a failed test says what it waited for.
        quiet = {**self.address, "log_level": 2}
        self.producer = Producer({**quiet, "enable.idempotence": True, "partitioner": topics.PARTITIONER})
        # One client for all questions. A client for each leaves thousands of connections in TIME_WAIT, each on a port.
        self.admin = AdminClient(quiet)

    def send(self, topic: str, key: bytes, value: bytes | None) -> None:
        self.producer.produce(topic, key=key, value=value, on_delivery=_delivered)
        self.producer.poll(0)

    def flush(self) -> None:
        assert self.producer.flush(PATIENCE_S) == 0

    def ends(self, names: Sequence[str]) -> dict[tuple[str, int], int]:
        """(topic, partition) to its end offset."""
        known = self.admin.list_topics(timeout=ANSWER_S).topics
        asked = [TopicPartition(name, partition) for name in names for partition in known[name].partitions]
        found = self.admin.list_offsets({at: OffsetSpec.latest() for at in asked}, request_timeout=ANSWER_S)
        return {(at.topic, at.partition): answer.result(ANSWER_S).offset for at, answer in found.items()}

    def committed(self, group: str, at: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """0 where nothing is committed."""
        asked = ConsumerGroupTopicPartitions(group, [TopicPartition(*one) for one in at])
        found = self.admin.list_consumer_group_offsets([asked], request_timeout=ANSWER_S)[group].result(ANSWER_S)
        return {(one.topic, one.partition): max(0, one.offset) for one in found.topic_partitions}

    def has_caught_up(self, group: str, names: Sequence[str]) -> bool:
        """Not while a broker that has come back does not lead a partition yet: it says so for a moment, and is asked again."""
        try:
            ends = self.ends(names)
        except KafkaException as error:
            if error.args[0].code() in NO_LEADER_YET:
                return False
            raise
        return self.committed(group, list(ends)) == ends

    def read(self, name: str) -> Iterator[Record]:
        """Every record of a topic, those of a partition in their order."""
        ends = {at: end for at, end in self.ends([name]).items() if end}
        consumer = Consumer({**self.address, "group.id": "reader", "enable.auto.commit": False})
        try:
            consumer.assign([TopicPartition(*at, 0) for at in ends])
            while ends:
                message = consumer.poll(ANSWER_S)
                assert message is not None, f"records before {ends} do not come"
                if message.error():
                    raise KafkaException(message.error())
                record = as_record(message)
                at = record.topic, record.partition
                if record.offset < ends.get(at, 0):  # others have come since
                    yield record
                if record.offset + 1 >= ends.get(at, 0):
                    ends.pop(at, None)
        finally:
            consumer.close()


def as_record(message: Message) -> Record:
    headers: Any = message.headers() or []
    return Record(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        _bytes(message.key()),
        _bytes(message.value()),
        headers,
    )


def _bytes(value: Any) -> bytes | None:
    return value if value is None or isinstance(value, bytes) else str(value).encode()


def _delivered(error: Any, _: Message) -> None:
    assert error is None, error
