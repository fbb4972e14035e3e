"""The one producer of a scorer: decisions and labels leave through it."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import confluent_kafka

from fraud_assets.contracts import topics

# What may wait in memory, in librdkafka or for the journal, some 5 KB each; past it the oldest are kept, for they
# are already promised, and new ones are refused. Decisions wait for a broker on disk, not here (api/journal.py).
MAX_PENDING = 20_000


class Producer(Protocol):
    """What we use of confluent_kafka.Producer."""

    def produce(
        self,
        topic: str,
        value: bytes,
        key: bytes,
        on_delivery: Callable[[Any, Any], None],
        headers: Sequence[tuple[str, bytes]],
    ) -> None: ...
    def poll(self, timeout: float) -> int: ...
    def flush(self, timeout: float) -> int: ...


def kafka_producer(bootstrap_servers: str) -> Producer:
    """Idempotent, all replicas, waiting for a lost broker as long as memory lasts."""
    producer: Producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "enable.idempotence": True,
            "partitioner": topics.PARTITIONER,
            "linger.ms": 5,
            # Of decisions as they are batched it leaves a quarter, for 7 µs a record. Without it the broker would take as much
            # more to keep four times as much, and each of four readers to fetch it; zstd leaves a sixth, for 30 µs.
            "compression.type": "lz4",
            "queue.buffering.max.messages": MAX_PENDING,
            "queue.buffering.max.kbytes": 262_144,
            "message.timeout.ms": 0,
            "log_level": 2,  # an absent broker is counted and logged once by us, not twice a second by it
        },
        logger=logging.getLogger("librdkafka"),  # else it writes on standard error
    )
    return producer
