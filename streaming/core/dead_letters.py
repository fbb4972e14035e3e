"""Dead letters read back: what was refused, whether it may be sent again, and whether it was. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Self

import msgspec

from fraud_assets.contracts.cards import CardsInIds
from fraud_assets.contracts.tokens import MIN_SECRET_BYTES, TokenKey
from fraud_assets.contracts.topics import DEAD_LETTERS
from streaming.core.accept import accept
from streaming.core.records import DeadLetter, Dropped, Headers, Record, Refusal, Send, dead_letter_record
from streaming.core.sources import SOURCES

# A replayed record says so, and of which letter; entity records made of it do not carry it on.
REPLAY_OF = "replay_of"

_OURS = tuple(name for name, _ in dead_letter_record("", DeadLetter(Record("", 0, 0, 0, None, None), "")).headers)


class NotALetter(ValueError):
    """A record of the dead-letter topic that no worker wrote."""


class Letter(NamedTuple):
    """A refused record: its own bytes and headers, where it came from, and why it went no further.

    partition, offset, refused_at_ms: its place in the dead-letter topic. source_*: the refused record's.
    """

    partition: int
    offset: int
    refused_at_ms: int
    reason: str
    field: str
    detail: str
    source_topic: str
    source_partition: int
    source_offset: int
    source_timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def name(self) -> str:
        """What the command line calls it: `<partition>/<offset>`."""
        return f"{self.partition}/{self.offset}"

    @property
    def source(self) -> str:
        """The refused record's position. A crash may refuse one position twice; it is still one record."""
        return f"{self.source_topic}/{self.source_partition}/{self.source_offset}"


def letter_of(record: Record) -> Letter:
    """Raises NotALetter. Ours are the first headers: a sender may have given its own the same names."""
    said = record.headers[: len(_OURS)]
    if tuple(name for name, _ in said) != _OURS:
        raise NotALetter(f"{record.partition}/{record.offset} has no headers of the worker")
    try:
        reason, field, detail, topic, *numbers = ((value or b"").decode() for _, value in said)
        partition, offset, timestamp_ms = map(int, numbers)
    except ValueError as error:
        raise NotALetter(f"{record.partition}/{record.offset}: {error}") from None
    own = record.headers[len(_OURS) :]
    place = (record.partition, record.offset, record.timestamp_ms)
    return Letter(*place, reason, field, detail, topic, partition, offset, timestamp_ms, record.key, record.value, own)


class Wanted(NamedTuple):
    """Which letters; None takes any."""

    reason: str | None = None
    topic: str | None = None
    since_ms: int | None = None

    def takes(self, letter: Letter) -> bool:
        return (
            self.reason in (None, letter.reason)
            and self.topic in (None, letter.source_topic)
            and (self.since_ms is None or letter.refused_at_ms >= self.since_ms)
        )


# Whether an event would be accepted does not turn on the key of its tokens.
_ANY_KEY = TokenKey("any", bytes(MIN_SECRET_BYTES))


def why_not(letter: Letter, now_ms: int, horizon_ms: int, cards_in_ids: CardsInIds = "refuse") -> str | None:
    """Why a replay would do nothing good, judged by this version of the contracts and these settings; None if it may go.

    horizon_ms: the dedupe stage's.
    """
    source = SOURCES.get(letter.source_topic)
    if source is None:
        return (
            f"{letter.source_topic} is no raw topic. Its event is in the lake, and a state that is past its position"
            " would ignore it: materialize online_store_snapshot."
        )
    if letter.reason == Refusal.CONFLICTING_DUPLICATE:
        return (
            "an event with its id was accepted. Within the dedupe horizon it would be refused again, after it counted"
            " beside the first. Send it under an id of its own."
        )
    if letter.reason in (Refusal.OTHER_SCORE, Refusal.OTHER_VECTOR):
        return "its decision is in the lake, and its model explains it no better the second time."
    if letter.reason == Refusal.UNKNOWN_MODEL and now_ms - letter.source_timestamp_ms > horizon_ms:
        return "its decision is in the lake, and past the dedupe horizon the lake would hold it as another one."
    if letter.reason == Refusal.DATABASE:
        return "its event is in the lake; a value of it fits no column, the second time neither."
    again = Record(letter.source_topic, 0, 0, now_ms, letter.key, letter.value)
    judged = accept(source, again, now_ms, _ANY_KEY, cards_in_ids)
    if isinstance(judged, DeadLetter):
        said = ": ".join(part for part in (judged.reason, judged.field, judged.detail) if part)
        return f"it would be refused again: {said}"
    if isinstance(judged, Dropped):
        return f"it says nothing that is kept: {judged.reason}"
    return None


def replay_record(letter: Letter) -> Send:
    """The refused record as it was, key and headers too, and one header more."""
    own = [(name, value) for name, value in letter.headers if name != REPLAY_OF]
    said = f"{DEAD_LETTERS.name}/{letter.name}"
    return Send(letter.source_topic, letter.key, letter.value, [*own, (REPLAY_OF, said.encode())])


class Step(StrEnum):
    """How far a replay came."""

    BEGUN = "begun"
    SENT = "sent"


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the log of replays. source: the position that was refused; run: one call of the command."""

    source: str
    letter: str
    run: str
    step: Step
    at_ms: int


class Replays(msgspec.Struct, frozen=True):
    """What was replayed before: refused position to its newest receipt, `sent` above `begun`."""

    by_source: Mapping[str, Receipt]

    @classmethod
    def of(cls, receipts: Iterable[Receipt]) -> Self:
        found: dict[str, Receipt] = {}
        for one in receipts:
            held = found.get(one.source)
            if held is None or held.step is not Step.SENT or one.step is Step.SENT:
                found[one.source] = one
        return cls(found)

    def step(self, letter: Letter) -> Step | None:
        held = self.by_source.get(letter.source)
        return held.step if held else None

    def why_not(self, letter: Letter) -> str | None:
        """Why a second replay would be a mistake, or may be one; None if there was none."""
        held = self.by_source.get(letter.source)
        if held is None:
            return None
        if held.step is Step.SENT:
            return f"it was replayed before, as {held.letter}; --again sends it once more"
        return (
            f"a replay of it was begun as {held.letter} and not confirmed. Look for the header {REPLAY_OF} in"
            f" {letter.source_topic}; --again sends it once more"
        )


def ours(run: str, receipts: Iterable[Receipt]) -> set[str]:
    """Positions that this run may send: of all runs that began one at the same time, the first in the log may."""
    first: dict[str, str] = {}
    for one in receipts:
        if one.step is Step.BEGUN:
            first.setdefault(one.source, one.run)
    return {source for source, owner in first.items() if owner == run}


def one_of_each(letters: Sequence[Letter]) -> list[Letter]:
    """Letters of distinct positions, the first of each."""
    found: dict[str, Letter] = {}
    for letter in letters:
        found.setdefault(letter.source, letter)
    return list(found.values())


def printable(raw: bytes | None) -> str:
    """Bytes as text that cannot steer a terminal: what is not printable is escaped, also what turns text around."""
    text = (raw or b"").decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
