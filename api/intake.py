"""Bytes to scored events: parsed strictly, tokenised here, and nothing raw goes further."""

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from api.contract import Scored, ScoringBatch, ScoringRequest
from fraud_assets.contracts import codec
from fraud_assets.contracts.cards import HoldsCard, OnCard, may_hold_cards, refuse, without_cards
from fraud_assets.contracts.tokens import TokenKey, country_of, tokenise

MAX_TRANSACTION_BYTES = 16 * 1024
MAX_BODY_BYTES = 16 * 2**20  # a full batch of the largest transactions
MAX_AHEAD_MS = 5 * 60_000  # the platform's quarantine bound: further ahead is a clock fault, not a payment

_IS_BATCH = re.compile(rb'\s*\{\s*"transactions"')
_decode_batch = msgspec.json.Decoder(ScoringBatch).decode
# What is made here, and of which field of the request; all others are the request's.
_MADE_OF = {"ip_token": "ip", "ip_country": "ip", "card_token": "card_number", "email_token": "email"}
_FIELDS = Scored.__struct_fields__
_ADDRESS, _COUNTRY, _CARD, _EMAIL = map(_FIELDS.index, _MADE_OF)
_TIME = _FIELDS.index("event_time_ms")
_TOKENS: tuple[tuple[int, Literal["card", "email"]], ...] = ((_CARD, "card"), (_EMAIL, "email"))
_sent = attrgetter(*[_MADE_OF.get(name, name) for name in _FIELDS])
T = TypeVar("T", bound=msgspec.Struct)


class BadField(ValueError):
    """A field whose value cannot be; `fix` never repeats it."""

    def __init__(self, field: str, fix: str) -> None:
        self.field = field
        self.fix = fix
        super().__init__(f"{field}: {fix}")


class Parsed(NamedTuple):
    """is_batch: whether the answer is a list. events: `Scored`, in the order sent."""

    is_batch: bool
    events: list[Any]


def parse(raw: bytes, key: TokenKey, now_ms: int, in_id: OnCard = refuse) -> Parsed:
    """Raises codec.BadEvent for bytes outside the contract, BadField for what tokens, clocks or `in_id` refuse."""
    if not _IS_BATCH.match(raw):
        return Parsed(False, [scored(decode(ScoringRequest, raw, MAX_TRANSACTION_BYTES), key, now_ms, in_id)])
    batch = _batch(raw)
    if len(raw) > MAX_TRANSACTION_BYTES * len(batch.transactions):
        raise codec.BadEvent(
            codec.Reason.OVERSIZED, "transactions", f"at most {MAX_TRANSACTION_BYTES} bytes for each transaction"
        )
    return Parsed(True, _many_scored(batch.transactions, key, now_ms, in_id))


def scored(request: ScoringRequest, key: TokenKey, now_ms: int, in_id: OnCard = refuse) -> Any:
    """The event features are made of."""
    if request.event_time_ms > now_ms + MAX_AHEAD_MS:
        raise BadField(
            "event_time_ms", "more than 5 minutes ahead of our clock; send milliseconds UTC of when it happened"
        )
    values = list(_sent(request))
    try:
        values[_COUNTRY], values[_ADDRESS] = _address(request.ip, key)
        if request.card_number is not None:
            values[_CARD] = tokenise("card", request.card_number, key)
        if request.email is not None:
            values[_EMAIL] = tokenise("email", request.email, key)
    except ValueError as error:
        kind, _, fix = str(error).partition(": ")
        raise BadField(_FIELD_OF_KIND[kind], fix) from None
    return no_card_in(Scored(*values), in_id)


def _many_scored(requests: Sequence[ScoringRequest], key: TokenKey, now_ms: int, in_id: OnCard) -> list[Any]:
    """`scored` of each. Where a column has something wrong in it, one by one until what is refused first."""
    place = 0
    try:
        if (events := _by_columns(requests, key, now_ms)) is not None:
            for place in may_hold_cards(events):
                events[place] = no_card_in(events[place], in_id)
            return events
        events = []
        for one in requests:
            place = len(events)
            events.append(scored(one, key, now_ms, in_id))
    except BadField as error:
        raise BadField(f"transactions[{place}].{error.field}", error.fix) from None
    return events


def _by_columns(requests: Sequence[ScoringRequest], key: TokenKey, now_ms: int) -> list[Any] | None:
    """Events that nobody has looked for cards in yet; None if one of them will be refused. Each distinct value becomes a token once."""
    columns: list[Sequence[Any]] = list(zip(*map(_sent, requests), strict=True))
    if max(columns[_TIME]) > now_ms + MAX_AHEAD_MS:
        return None
    try:
        addresses = {ip: _address(ip, key) for ip in set(columns[_ADDRESS])}
        for column, kind in _TOKENS:
            tokens = {one: None if one is None else tokenise(kind, one, key) for one in set(columns[column])}
            columns[column] = list(map(tokens.__getitem__, columns[column]))
    except ValueError:
        return None
    columns[_COUNTRY], columns[_ADDRESS] = zip(*map(addresses.__getitem__, columns[_ADDRESS]), strict=True)
    return list(map(Scored, *columns))


def no_card_in(event: T, in_id: OnCard, where: str = "") -> T:
    """See `without_cards`. Raises BadField; where: prefix of the field's name in it."""
    try:
        return without_cards(event, in_id)
    except HoldsCard as error:
        raise BadField(where + error.field, error.fix) from None


_FIELD_OF_KIND = {"ip": "ip", "card": "card_number", "email": "email"}


# An address comes back within minutes or not at all; the table behind it never changes in a process.
@lru_cache(maxsize=1 << 14)
def _address(ip: str, key: TokenKey) -> tuple[str, str]:
    """(country, token). Raises ValueError."""
    return country_of(ip), tokenise("ip", ip, key)


def _batch(raw: bytes) -> ScoringBatch:
    """What is as it should be is no deeper than its contract, and is not walked for it. Of the rest the codec says what is wrong."""
    if len(raw) <= MAX_BODY_BYTES and b"\\u0000" not in raw:
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            return _decode_batch(raw)
    return decode(ScoringBatch, raw, MAX_BODY_BYTES)


def decode(contract: type[T], raw: bytes, max_bytes: int) -> T:
    """The contracts' own codec; a batch is no event, but is read and refused by the same rules."""
    return codec.decode(contract, raw, max_bytes=max_bytes)  # type: ignore[type-var]
