"""`POST /labels`: what a payment turned out to be, acknowledged once the broker has it."""

import asyncio
from collections import Counter
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from api.contract import MAX_BATCH
from api.errors import BrokerSilent
from api.intake import MAX_AHEAD_MS, BadField, decode, no_card_in
from api.producer import Producer
from fraud_assets.contracts import codec, topics
from fraud_assets.contracts.cards import OnCard, refuse
from fraud_assets.contracts.events import Label

# A label has 250 bytes; a full batch of the longest ids has a megabyte.
MAX_BYTES = 2**20
CONFIRMED_WITHIN_S = 5.0
POLL_S = 0.005


class LabelBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody found out: chargebacks, manual reviews, confirmations of operators."""

    labels: Annotated[list[Label], Meta(min_length=1, max_length=MAX_BATCH)]


class Accepted(msgspec.Struct, frozen=True):
    """All of them are in the log, for good."""

    accepted: int


def parse_labels(raw: bytes, now_ms: int, in_id: OnCard = refuse) -> list[Label]:
    """Raises codec.BadEvent or BadField. A label has no field for a raw identifier, so there is nothing to tokenise."""
    labels = decode(LabelBatch, raw, MAX_BYTES).labels
    for place, label in enumerate(labels):
        if label.event_time_ms > now_ms + MAX_AHEAD_MS:
            raise BadField(
                f"labels[{place}].event_time_ms",
                "more than 5 minutes ahead of our clock; send milliseconds UTC of when it became known",
            )
        no_card_in(label, in_id, f"labels[{place}].")
    return labels


def counted(labels: list[Label]) -> dict[str, int]:
    """Labels by source, for the log line."""
    return dict(Counter(label.source.value for label in labels))


class LabelSink:
    """Sends and waits. What was sent before a failure may arrive all the same; a label sent again changes nothing."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    async def send(self, labels: list[Label], headers: list[tuple[str, bytes]]) -> None:
        """Raises BrokerSilent unless the broker has every one."""
        left, failed = len(labels), False

        def on_delivery(error: Any, message: Any) -> None:
            nonlocal left, failed
            del message
            left -= 1
            failed = failed or error is not None

        try:
            for label in labels:
                self._producer.produce(
                    topics.LABELS.name,
                    value=codec.encode(label),
                    key=label.account_id.encode(),
                    on_delivery=on_delivery,
                    headers=headers,
                )
            async with asyncio.timeout(CONFIRMED_WITHIN_S):
                while left and not failed:
                    self._producer.poll(0)
                    await asyncio.sleep(POLL_S)
        except (BufferError, TimeoutError):
            failed = True
        if failed:
            raise BrokerSilent
