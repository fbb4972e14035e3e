"""Labels of a file to a platform that runs: the same records as `POST /labels` makes, so the same becomes of them.

Written into the lake they would be history: the label stage, which makes the facts of live payments, hears of what is in the log.
"""

from collections.abc import Sequence
from typing import Any

from confluent_kafka import Producer

from fraud_assets.contracts import codec, topics
from fraud_assets.contracts.events import Label

# A file is sent by a person or a nightly job, who rather asks again than waits for a broker that is gone.
CONFIRMED_WITHIN_S = 30.0


class NotSent(RuntimeError):
    """The broker may not have every label; sent again, what it has changes nothing."""


def send_labels(bootstrap_servers: str, labels: Sequence[Label], within_s: float = CONFIRMED_WITHIN_S) -> None:
    """Returns once the broker has every one. Raises NotSent."""
    failed: list[str] = []

    def on_delivery(error: Any, message: Any) -> None:
        del message
        if error is not None:
            failed.append(str(error))

    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "enable.idempotence": True,
            "partitioner": topics.PARTITIONER,
            "message.timeout.ms": int(within_s * 1000),
            "log_level": 2,  # what fails is told once, by us
        }
    )
    for label in labels:
        key, value = label.account_id.encode(), codec.encode(label)
        while not _queued(producer, key, value, on_delivery):
            producer.poll(0.1)
    left = producer.flush(within_s + 1)
    if left or failed:
        why = failed[0] if failed else "no answer"
        raise NotSent(
            f"NotSent: {left + len(failed):,} of {len(labels):,} labels: {why}. Send the file again; its label ids make that safe."
        )


def _queued(producer: Producer, key: bytes, value: bytes, on_delivery: Any) -> bool:
    """Whether there was room for it."""
    try:
        producer.produce(topics.LABELS.name, value=value, key=key, on_delivery=on_delivery)
    except BufferError:
        return False
    return True
