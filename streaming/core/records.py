"""What travels through the worker, before and after it is an event."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from fraud_assets.contracts.events import Event

Headers = Sequence[tuple[str, bytes | None]]


class Record(NamedTuple):
    """A record as the broker gave it; `timestamp_ms` is its append time."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Refusal(StrEnum):
    """Why the worker refuses an event that is well formed; `codec.Reason` says why bytes are none."""

    WRONG_KEY = "wrong_key"
    CARD_NUMBER = "card_number"
    FUTURE_DATED = "future_dated"
    CONFLICTING_DUPLICATE = "conflicting_duplicate"
    FOREIGN_ENTITY_RECORD = "foreign_entity_record"
    UNKNOWN_MODEL = "unknown_model"
    OTHER_VECTOR = "other_vector"
    OTHER_SCORE = "other_score"
    DATABASE = "refused_by_database"
    NOT_NOTIFIED = "not_notified"


class DeadLetter(NamedTuple):
    """A record that goes no further: its bytes as they came, and why."""

    record: Record
    reason: str
    field: str = ""
    detail: str = ""


class Dropped(NamedTuple):
    """A record that is in order and says nothing that a state could hold."""

    record: Record
    reason: str


class Accepted(NamedTuple):
    """An event of the log. arrival_ms: the running maximum of its partition's append times.

    was_raw: the record holds something that the event has a token for, or that its text has lost, and must not go further.
    was_change: it is a row's change, of which the event is what the row then was.
    card_like: fields whose ids look like a card number, and were let pass.
    """

    record: Record
    event: Event
    arrival_ms: int
    is_duplicate: bool = False
    was_raw: bool = False
    was_change: bool = False
    card_like: tuple[str, ...] = ()


class Send(NamedTuple):
    """A record to produce."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def dead_letter_record(topic: str, letter: DeadLetter) -> Send:
    """The record of the dead-letter topic: the original key, bytes and headers, after ours."""
    at = letter.record
    said = {
        "reason": letter.reason,
        "field": letter.field,
        "detail": letter.detail,
        "source_topic": at.topic,
        "source_partition": str(at.partition),
        "source_offset": str(at.offset),
        "source_timestamp_ms": str(at.timestamp_ms),
    }
    headers = [(name, text.encode()) for name, text in said.items()]
    return Send(topic, at.key, at.value, [*headers, *at.headers])
