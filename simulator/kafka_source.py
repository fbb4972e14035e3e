"""Events to Kafka, keyed as their topics say, by an idempotent producer."""

from collections import Counter

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from fraud_assets.contracts.codec import encode
from fraud_assets.contracts.events import Event
from fraud_assets.contracts.topics import PARTITIONER, RAW_TOPICS, Topic

_FLUSH_S = 15.0
LOOK_S = 15.0  # for a broker to answer


def ensure_topics(bootstrap: str) -> None:
    """Create the raw topics that are missing, with the contract's settings. Raises KafkaException."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    missing = [topic for topic in RAW_TOPICS if topic.name not in admin.list_topics(timeout=LOOK_S).topics]
    wanted = [NewTopic(topic.name, topic.partitions, replication_factor=1, config=topic.config()) for topic in missing]
    for future in (admin.create_topics(wanted) if wanted else {}).values():
        try:
            future.result(LOOK_S)
        except KafkaException as failure:
            # Somebody else created it between our look and our call.
            if failure.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


class KafkaSource:
    """Publishes contract events. Order per key is kept; a failed delivery is counted, not hidden."""

    def __init__(self, bootstrap: str) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "partitioner": PARTITIONER,
                "linger.ms": 5,
                "client.id": "simulator",
            }
        )
        self.published: dict[str, int] = Counter()
        self.failed = 0

    def publish(self, topic: Topic, event: Event) -> None:
        """Queue an event; waits for room when the broker is slower than the world."""
        key, value = str(getattr(event, topic.key)), encode(event)
        while True:
            try:
                self._producer.produce(topic.name, key=key, value=value, on_delivery=self._delivered)
                return
            except BufferError:
                self._producer.poll(0.1)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed += 1
        else:
            self.published[message.topic()] += 1

    def poll(self) -> None:
        """Let confirmations in without waiting."""
        self._producer.poll(0)

    def close(self) -> None:
        """Wait for what is under way; what remains undelivered then counts as failed."""
        self.failed += self._producer.flush(_FLUSH_S)
