"""Small tools for tests that talk to a broker: topics of one's own, and clients that are closed."""

import time
import uuid
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

PATIENCE_S = 30.0

Answer = TypeVar("Answer")


def poll_until(question: Callable[[], Answer | None], claim: str, within_s: float = PATIENCE_S) -> Answer:
    """Wait for a true answer with a deadline, and return it; the question itself may block for a moment."""
    deadline = time.monotonic() + within_s
    while not (answer := question()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {claim}"
        time.sleep(0.02)
    return answer


class Kafka:
    """One broker as a test sees it. Everything it creates has a name of its own."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.admin = AdminClient({"bootstrap.servers": bootstrap_servers})
        self._consumers: list[Consumer] = []
        self._producer: Producer | None = None

    def unique(self, stem: str) -> str:
        return f"{stem}-{uuid.uuid4().hex[:10]}"

    def topic(self, partitions: int = 1, **settings: str) -> str:
        """A new topic; settings are given with underscores for dots."""
        name = self.unique("topic")
        self.create(name, partitions, {key.replace("_", "."): value for key, value in settings.items()})
        return name

    def create(self, name: str, partitions: int, config: dict[str, str]) -> None:
        self.admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result(PATIENCE_S)
        poll_until(lambda: len(self.partitions(name)) == partitions, f"{name} visible")

    def setting(self, topic: str, name: str) -> str:
        described = self.admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)])
        value: str = next(iter(described.values())).result(PATIENCE_S)[name].value
        return value

    def partitions(self, topic: str) -> list[int]:
        found = self.admin.list_topics(topic, timeout=PATIENCE_S).topics[topic]
        return [] if found.error else sorted(found.partitions)

    def producer(self, **settings: object) -> Producer:
        config = {key.replace("_", "."): value for key, value in settings.items()}
        return Producer({"bootstrap.servers": self.bootstrap_servers, "linger.ms": 5, **config})

    def send(self, topic: str, values: list[bytes], **arguments: object) -> list[Message]:
        """Produce and wait; the delivery reports, in order. Raises KafkaException."""
        reports: list[tuple[KafkaError | None, Message]] = []
        if self._producer is None:  # one for the whole test: an idempotent producer needs half a second to begin
            self._producer = self.producer(enable_idempotence=True)
        for value in values:
            self._producer.produce(topic, value=value, on_delivery=lambda *report: reports.append(report), **arguments)
        assert self._producer.flush(PATIENCE_S) == 0
        for error, _ in reports:
            if error is not None:
                raise KafkaException(error)
        return [message for _, message in reports]

    def consumer(self, group: str | None = None, **settings: object) -> Consumer:
        """Closed at the end of the test."""
        config = {key.replace("_", "."): value for key, value in settings.items()}
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "group.id": group or self.unique("group"),
                "auto.offset.reset": "earliest",
                "session.timeout.ms": 6000,  # the shortest that real Kafka allows by default
                "heartbeat.interval.ms": 500,
                "enable.auto.commit": False,
                **config,
            }
        )
        self._consumers.append(consumer)
        return consumer

    def read(self, topic: str, count: int, partition: int = 0, offset: int = 0) -> list[Message]:
        """`count` messages of one partition, without a group."""
        consumer = self.consumer()
        consumer.assign([TopicPartition(topic, partition, offset)])
        return take(consumer, count)

    def close(self) -> None:
        self._producer = None
        for consumer in self._consumers:
            consumer.close()


def take(consumer: Consumer, count: int, within_s: float = PATIENCE_S) -> list[Message]:
    """Exactly the next `count` messages."""
    messages: list[Message] = []
    deadline = time.monotonic() + within_s
    while len(messages) < count:
        assert time.monotonic() < deadline, f"{len(messages)} of {count} messages within {within_s:g} s"
        for message in consumer.consume(count - len(messages), 0.1):
            if message.error():
                raise KafkaException(message.error())
            messages.append(message)
    return messages
