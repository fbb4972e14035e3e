"""Bytes to events and back; what is not an event says why in one word and one field.

Compatibility rule of a version: a topic's name carries the version, and within it a contract must read
whatever any recorded shape of it may have written (`contracts/shapes.py` checks that where a topic is
declared): it may gain fields with a default, and bounds may widen. Because unknown fields are refused,
consumers are upgraded before producers; an event that comes too early is a dead letter `unknown_field`,
to be replayed after the upgrade. Anything else (a field removed, renamed, retyped or with narrower bounds)
is a new version on a new topic, read beside the old one until its retention has passed.
"""

import re
from enum import StrEnum
from functools import cache
from typing import TypeVar, cast

import msgspec

from fraud_assets.contracts.cards import redacted
from fraud_assets.contracts.events import CONTRACT_VERSION, Event

MAX_EVENT_BYTES = 16 * 1024  # a transaction has about 600; far larger is an attack or a bug upstream
MAX_DEPTH = 16  # our contracts nest 3 deep; unbounded depth would exhaust the parser's stack
MAX_FIELD_CHARS = 64  # an unknown field's name is the sender's text: bounded before it reaches a log

E = TypeVar("E", bound=Event)

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_NO_STRUCTURE = bytes(sorted(set(range(256)) - set(b'"[]{}')))
_NUL_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")
_NAMED_FIELD = re.compile(r"(?:unknown|required) field `(.*?)`", re.DOTALL)
_PATH = re.compile(r"at `\$\.?(.*?)`$")


class Reason(StrEnum):
    """Why bytes are not an event; the label of a dead letter and of its counter."""

    OVERSIZED = "oversized"
    INVALID_UTF8 = "invalid_utf8"
    MALFORMED_JSON = "malformed_json"
    TOO_DEEP = "too_deep"
    NUL_CHARACTER = "nul_character"
    UNKNOWN_SCHEMA_VERSION = "unknown_schema_version"
    UNKNOWN_FIELD = "unknown_field"
    MISSING_FIELD = "missing_field"
    INVALID_VALUE = "invalid_value"


class BadEvent(ValueError):
    """Bytes that are not an event of the contract.

    field: dotted path inside the event, "" where the whole is meant. detail: what was expected.
    Neither repeats a value, so both may be logged.
    """

    def __init__(self, reason: Reason, field: str = "", detail: str = "") -> None:
        self.reason = reason
        self.field = _printable(field)
        self.detail = detail
        super().__init__(": ".join(part for part in (reason.value, self.field, detail) if part))


class _Version(msgspec.Struct):
    """The version alone, read from an event of any version."""

    schema_version: object = CONTRACT_VERSION


_version_decoder = msgspec.json.Decoder(_Version)
_encoder = msgspec.json.Encoder()


def encode(event: Event, *, max_bytes: int = MAX_EVENT_BYTES) -> bytes:
    """JSON of an event, fields in contract order. Raises BadEvent if consumers would refuse its size."""
    raw = _encoder.encode(event)
    _check_size(raw, max_bytes)
    return raw


def decode(contract: type[E], raw: bytes, *, max_bytes: int = MAX_EVENT_BYTES) -> E:
    """The event in `raw`, every bound of its contract checked. Raises BadEvent, and nothing else."""
    _check_size(raw, max_bytes)
    _check_depth(raw)
    _check_nul(raw)
    try:
        return cast(E, _decoder(contract).decode(raw))
    except UnicodeDecodeError:
        raise BadEvent(Reason.INVALID_UTF8, detail="send UTF-8") from None
    except msgspec.ValidationError as error:
        raise _explain(raw, str(error)) from None
    except msgspec.DecodeError as error:
        raise BadEvent(Reason.MALFORMED_JSON, detail=str(error)) from None


@cache
def _decoder(contract: type[Event]) -> "msgspec.json.Decoder[Event]":
    return msgspec.json.Decoder(contract)


def _check_size(raw: bytes, max_bytes: int) -> None:
    if len(raw) > max_bytes:
        raise BadEvent(Reason.OVERSIZED, detail=f"{len(raw)} bytes, at most {max_bytes}")


def _check_depth(raw: bytes) -> None:
    """Counting is nearly free; only an event with many brackets is looked at, and only one that looks deep is walked."""
    if raw.count(b"{") + raw.count(b"[") <= MAX_DEPTH:
        return
    # A batch has thousands. Where nothing is escaped, only quotes and brackets say where a string ends and what is outside.
    if b"\\" not in raw:
        raw = raw.translate(None, _NO_STRUCTURE)
        if _is_shallow(raw):
            return
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", raw)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise BadEvent(Reason.TOO_DEEP, detail=f"nested deeper than {MAX_DEPTH}")


def _is_shallow(structure: bytes) -> bool:
    """Whether quotes and brackets are certainly nested no deeper than allowed: by taking away empty pairs, at C's speed.

    Two quotes side by side are an empty text, or the seam of two texts: without them the same brackets are outside of texts.
    A round of brackets takes away at most two levels.
    """
    left = structure.replace(b'""', b"")
    for _ in range(MAX_DEPTH // 2):
        left = left.replace(b"{}", b"").replace(b"[]", b"")
    return not left


def _check_nul(raw: bytes) -> None:
    """Legal JSON, but PostgreSQL stores no NUL in text: one such id would stop the decision log."""
    if b"\\u0000" in raw and _NUL_ESCAPE.search(raw):
        raise BadEvent(Reason.NUL_CHARACTER, detail=r"drop \u0000")


def _explain(raw: bytes, message: str) -> BadEvent:
    # The version first: an event of a later version fails for its new fields, which is no typo.
    if _is_other_version(raw):
        return BadEvent(Reason.UNKNOWN_SCHEMA_VERSION, "schema_version", f"known: {CONTRACT_VERSION}")
    at = _PATH.search(message)
    path = at[1] if at else ""
    if named := _NAMED_FIELD.search(message):
        reason = Reason.UNKNOWN_FIELD if "unknown field" in message else Reason.MISSING_FIELD
        return BadEvent(reason, f"{path}.{named[1]}" if path else named[1])
    expected = message.split(" - at ")[0]
    # msgspec repeats an unknown enum value; it may be anything, such as a card number in the wrong field.
    detail = "not one of the contract's values" if expected.startswith("Invalid enum value") else expected
    return BadEvent(Reason.INVALID_VALUE, path, detail)


def _is_other_version(raw: bytes) -> bool:
    try:
        version = _version_decoder.decode(raw).schema_version
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return isinstance(version, bool) or version != CONTRACT_VERSION


def _printable(field: str) -> str:
    seen = field[: 4 * MAX_FIELD_CHARS]  # a sender may name a field at any length
    return redacted("".join(character if character.isprintable() else "?" for character in seen))[:MAX_FIELD_CHARS]
