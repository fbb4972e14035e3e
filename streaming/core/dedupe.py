"""The one verdict on duplicates, a function of the log before an event and of nothing else.

Identity is (topic, key, id). The first position of an identity is accepted; later ones within the
horizon of arrival time are duplicates. Whoever judges again, after a crash, beside a former owner
that is not quite dead, or a day later, comes to the same verdict, since firsts are kept with
their positions and a position is compared only with those before it.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

import msgspec

from fraud_assets.contracts.events import Event
from streaming.core.accept import Peak, TopicPartition

# Each kept first is a horizon younger than the one before; eight outlast every raw topic's retention.
MAX_FIRSTS = 8
IDENTITY_BYTES = 16
PAYLOAD_BYTES = 8

_FIRST = struct.Struct("<qq8s")
_encoder = msgspec.json.Encoder()


class First(NamedTuple):
    """A position that was accepted for an identity. payload: hash of the event's canonical bytes."""

    offset: int
    arrival_ms: int
    payload: bytes


class Mark(NamedTuple):
    """How far a partition has been judged: the next offset, and what the arrivals of its records, from one on, were made from."""

    next_offset: int
    peaks: tuple[Peak, ...]
    complete_from: int

    def covers(self, offset: int) -> bool:
        """Whether what was before an offset is remembered."""
        return self.complete_from <= offset <= self.next_offset


class Verdict(Enum):
    FIRST = "first"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


Firsts = tuple[First, ...]


class SeenStore(Protocol):
    """Where firsts and marks are kept; entries may vanish after the horizon, marks then vanish too."""

    def read(
        self, at: Sequence[TopicPartition], identities: Sequence[bytes]
    ) -> tuple[list[Mark | None], list[Firsts]]: ...

    def write(self, marks: Mapping[TopicPartition, Mark], firsts: Mapping[bytes, Firsts]) -> None: ...


class History(Protocol):
    """The lake as the dedupe stage sees it: what it accepted before."""

    def firsts(self, at: TopicPartition, before_offset: int, horizon_ms: int) -> tuple[dict[bytes, First], int | None]:
        """Firsts of a partition within a horizon of its newest row before an offset, and that row's arrival."""


def judge(past: Firsts, copy: First, horizon_ms: int) -> tuple[Verdict, Firsts]:
    """Verdict on a position, and the firsts of its identity from now on (ascending by offset)."""
    if any(first.offset == copy.offset for first in past):
        return Verdict.FIRST, past
    earlier = [
        first for first in past if first.offset < copy.offset and copy.arrival_ms - first.arrival_ms <= horizon_ms
    ]
    if not earlier:
        return Verdict.FIRST, tuple(sorted((*past, copy)))[-MAX_FIRSTS:]
    return (Verdict.DUPLICATE if earlier[-1].payload == copy.payload else Verdict.CONFLICT), past


def identity_hash(topic: str, key: str, event_id: str) -> bytes:
    """128 bits, keyed by nothing: whoever finds a collision could hide an event, so not a fast hash."""
    text = f"{topic}\x00{key}\x00{event_id}"
    return hashlib.blake2b(text.encode(), digest_size=IDENTITY_BYTES).digest()


def payload_hash(event: Event) -> bytes:
    """Of the event, not of its bytes: other white space or field order is the same payload."""
    return hashlib.blake2b(_encoder.encode(event), digest_size=PAYLOAD_BYTES).digest()


def pack_firsts(firsts: Firsts) -> bytes:
    return b"".join(_FIRST.pack(*first) for first in firsts)


def unpack_firsts(packed: bytes | None) -> Firsts:
    return tuple(First(*fields) for fields in _FIRST.iter_unpack(packed or b""))
