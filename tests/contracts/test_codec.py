"""Codec: an event survives the round trip, and whatever is no event has one named reason."""

import contextlib
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.contracts.codec import MAX_DEPTH, MAX_EVENT_BYTES, BadEvent, Reason, decode, encode
from fraud_assets.contracts.events import (
    Activity,
    ActivityKind,
    Category,
    Decision,
    Event,
    Label,
    LabelFact,
    LabelSource,
    Profile,
    StateRead,
    StatesRead,
    Transaction,
    ViewStatus,
)

TRANSACTION = {
    "schema_version": 1,
    "event_time_ms": 1_700_000_000_000,
    "transaction_id": "t1",
    "account_id": "a1",
    "event_id": "e1",
    "promoter_id": "p1",
    "device_id": "d1",
    "ip_token": "k1:00",
    "ip_country": "NL",
    "payment_method": "card",
    "amount_minor": 4999,
    "currency": "EUR",
    "ticket_count": 2,
    "tier": "standard",
    "category": "concert",
    "billing_country": "NL",
    "outcome": "approved",
}


def _raw(**changes: object) -> bytes:
    fields = {**TRANSACTION, **changes}
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


EVENTS = [
    decode(Transaction, _raw()),
    Activity(event_time_ms=1, activity_id="v1", kind=ActivityKind.VIEW, event_id="e1", promoter_id="p1", device_id="d"),
    Profile(
        event_time_ms=1,
        profile_id="f1",
        account_id="a1",
        created_at_ms=0,
        address_changed_at_ms=0,
        email_changed_at_ms=0,
        phone_changed_at_ms=0,
        home_country="NL",
        home_lat_e6=52_000_000,
        home_lon_e6=-4_000_000,
    ),
    Label(
        event_time_ms=1,
        label_id="l1",
        transaction_id="t1",
        account_id="a1",
        source=LabelSource.CHARGEBACK,
        is_fraud=True,
    ),
    LabelFact(
        event_time_ms=1,
        fact_id="f1",
        transaction_id="t1",
        account_id="a1",
        event_id="e1",
        promoter_id="p1",
        device_id="d1",
        ip_token="k1:00",
        category=Category.SPORT,
        amount_minor=1,
        is_fraud=True,
        sign=-1,
    ),
    Decision(
        event_time_ms=1,
        decision_id="d1",
        transaction_id="t1",
        account_id="a1",
        request={"nested": {"deeply": [1, 2]}},
        decided_at_ms=2,
        service="fraud_scoring",
        service_digest="x",
        policy_digest="x",
        model_version="1",
        model_sha256="x",
        epoch="1",
        features=[0.1 + 0.2, None, -0.0, 1e300],
        view_status={"v": ViewStatus.STALE},
        states=[StateRead(group="account", entity_key="a1", version=1, position={"transactions.v1/0": 7})],
        fraud_score=0.25,
        action="review",
        reason_codes=[],
        degraded_reasons=[],
        latency_ms=1.5,
    ),
]
READ = StatesRead(
    groups=["account", "card"], keys=["a1", None], versions=[1, 0], positions=[bytes(range(32)), b""], topics=["transactions.v1"],
    partition_bits=20,
)  # fmt: skip
EVENTS.append(
    msgspec.structs.replace(
        EVENTS[-1],
        features=[],
        vector=bytes(range(256)),
        view_status={},
        view_codes=b"\0\2",
        states=[],
        states_read=READ,
    )
)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_survives_the_round_trip(event: Event) -> None:
    """Encode then decode gives the equal event, floats bit for bit."""
    assert decode(type(event), encode(event)) == event


@pytest.mark.parametrize(
    ("raw", "reason", "field"),
    [
        (b"", Reason.MALFORMED_JSON, ""),
        (b"{", Reason.MALFORMED_JSON, ""),
        (b"not json", Reason.MALFORMED_JSON, ""),
        (_raw() + b"x", Reason.MALFORMED_JSON, ""),
        (b"\xef\xbb\xbf" + _raw(), Reason.MALFORMED_JSON, ""),
        (_raw().replace(b"4999", b"NaN"), Reason.MALFORMED_JSON, ""),
        (_raw(transaction_id="\ud800"), Reason.MALFORMED_JSON, ""),
        (b"[]", Reason.INVALID_VALUE, ""),
        (b"null", Reason.INVALID_VALUE, ""),
        (_raw().replace(b'"t1"', b'"\xff"'), Reason.INVALID_UTF8, ""),
        (_raw(transaction_id="a\0b"), Reason.NUL_CHARACTER, ""),
        (_raw(user_agent="x" * MAX_EVENT_BYTES), Reason.OVERSIZED, ""),
        (_raw().replace(b'"t1"', b"[" * 8000 + b"]" * 8000), Reason.TOO_DEEP, ""),
        (b"[" * MAX_EVENT_BYTES, Reason.TOO_DEEP, ""),
        (_raw(schema_version=2), Reason.UNKNOWN_SCHEMA_VERSION, "schema_version"),
        (_raw(schema_version=0), Reason.UNKNOWN_SCHEMA_VERSION, "schema_version"),
        (_raw(schema_version="1"), Reason.UNKNOWN_SCHEMA_VERSION, "schema_version"),
        (_raw(schema_version=True), Reason.UNKNOWN_SCHEMA_VERSION, "schema_version"),
        (_raw(schema_version=2, new_field=1), Reason.UNKNOWN_SCHEMA_VERSION, "schema_version"),
        (_raw(amount=1), Reason.UNKNOWN_FIELD, "amount"),
        (_raw(amount_minor=...), Reason.MISSING_FIELD, "amount_minor"),
        (_raw(amount_minor=-1), Reason.INVALID_VALUE, "amount_minor"),
        (_raw(amount_minor=10**30), Reason.INVALID_VALUE, "amount_minor"),
        (_raw(amount_minor=49.99), Reason.INVALID_VALUE, "amount_minor"),
        (_raw(amount_minor="4999"), Reason.INVALID_VALUE, "amount_minor"),
        (_raw(amount_minor=True), Reason.INVALID_VALUE, "amount_minor"),
        (_raw(event_time_ms=1_700_000_000_000_000), Reason.INVALID_VALUE, "event_time_ms"),
        (_raw(account_id=""), Reason.INVALID_VALUE, "account_id"),
        (_raw(account_id="x" * 129), Reason.INVALID_VALUE, "account_id"),
        (_raw(currency="euro"), Reason.INVALID_VALUE, "currency"),
        (_raw(tier="platinum"), Reason.INVALID_VALUE, "tier"),
        (_raw(lat_e6=90_000_001), Reason.INVALID_VALUE, "lat_e6"),
    ],
)
def test_bad_event_has_a_reason_and_a_field(raw: bytes, reason: str, field: str) -> None:
    """Each way of being wrong is told apart, so that a dead letter can be acted on."""
    with pytest.raises(BadEvent) as error:
        decode(Transaction, raw)

    assert (error.value.reason, error.value.field) == (reason, field)


def test_nested_field_is_named_by_its_path() -> None:
    """A fault inside a list of structs names the struct and the field."""
    raw = encode(EVENTS[5]).replace(b'"entity_key"', b'"entitykey"')

    with pytest.raises(BadEvent) as error:
        decode(Decision, raw)

    assert (error.value.reason, error.value.field) == (Reason.UNKNOWN_FIELD, "states[0].entitykey")


def test_value_of_a_bad_field_is_not_repeated() -> None:
    """A card number sent in the wrong field must not reach the log through the error."""
    with pytest.raises(BadEvent) as error:
        decode(Transaction, _raw(tier="4111111111111111"))

    assert "4111" not in str(error.value)


def test_name_of_an_unknown_field_is_bounded_and_printable() -> None:
    """The sender chose it: it may not forge or flood a log line."""
    with pytest.raises(BadEvent) as error:
        decode(Transaction, _raw(**{"a\nlevel=info " + "x" * 500: 1}))

    assert "\n" not in error.value.field
    assert len(error.value.field) <= 64


def test_brackets_inside_text_are_no_depth() -> None:
    """A user agent full of brackets is an ordinary event."""
    raw = _raw(user_agent='[{"' * 100)

    assert decode(Transaction, raw).user_agent == '[{"' * 100


def test_depth_limit_is_exact() -> None:
    """An event nested exactly as deep as allowed passes, one deeper does not, on any stack."""
    allowed, refused = (
        encode(EVENTS[5]).replace(b'{"nested"', b'{"n":' + b"[" * depth + b"]" * depth + b',"nested"')
        for depth in (MAX_DEPTH - 2, MAX_DEPTH - 1)
    )

    assert decode(Decision, allowed).decision_id == "d1"
    with pytest.raises(BadEvent, match="too_deep"):
        decode(Decision, refused)


def depth_of(raw: bytes) -> int:
    """The deepest nesting outside of strings, byte by byte; a quote that nothing closes opens no string."""
    depth = deepest = at = 0
    while at < len(raw):
        if raw[at : at + 1] == b'"':
            end = at + 1
            while end < len(raw) and raw[end : end + 1] != b'"':
                end += 2 if raw[end : end + 1] == b"\\" else 1
            if end < len(raw):
                at = end
        elif raw[at] in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif raw[at] in b"]}":
            depth -= 1
        at += 1
    return deepest


@given(st.lists(st.sampled_from(['"', "[", "{", "[[[[[[[[[[", "]", "}", "a", ",", "é", '["x"', "\\"]), max_size=60))
def test_depth_is_what_counting_byte_by_byte_gives(parts: list[str]) -> None:
    """With and without escapes: without, the count leaves out everything but quotes and brackets."""
    raw = "".join(parts).encode()

    with pytest.raises(BadEvent) as refused:
        decode(Transaction, raw)

    assert (refused.value.reason is Reason.TOO_DEEP) == (depth_of(raw) > MAX_DEPTH)


def test_escaped_backslash_before_u0000_is_text() -> None:
    """Only a real NUL is refused, not the six characters that spell its escape."""
    raw = _raw(user_agent="\\u0000")

    assert decode(Transaction, raw).user_agent == "\\u0000"


def test_event_too_large_to_be_read_is_not_written() -> None:
    """A producer learns at once, instead of every consumer later."""
    event = EVENTS[5]

    with pytest.raises(BadEvent, match="oversized"):
        encode(event, max_bytes=100)


@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_random_bytes_raise_bad_event_and_nothing_else(raw: bytes) -> None:
    """No input reaches the caller as any other exception."""
    with pytest.raises(BadEvent):
        decode(Transaction, raw)


@settings(max_examples=500)
@given(st.data())
def test_mutated_event_is_an_event_or_a_bad_event(data: st.DataObject) -> None:
    """Flipped, dropped and inserted bytes never crash the worker."""
    raw = bytearray(_raw())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))

    with contextlib.suppress(BadEvent):
        assert isinstance(decode(Transaction, bytes(raw)), Transaction)


@given(
    st.lists(st.sampled_from(["[", '{"a":', '{"[":']), min_size=MAX_DEPTH - 4, max_size=MAX_DEPTH + 2),
    st.recursive(st.sampled_from(["", "a", "}", "[{"]), lambda of: st.lists(of) | st.dictionaries(st.text("[}a"), of)),
)
def test_depth_of_json_is_what_counting_byte_by_byte_gives(opened: list[str], inner: object) -> None:
    """Of whole documents about as deep as allowed, with many shallow values beside."""
    closed = "".join("]" if part == "[" else "}" for part in reversed(opened))
    raw = f"[{'[],' * MAX_DEPTH}{''.join(opened)}{json.dumps(inner)}{closed}]".encode()

    with pytest.raises(BadEvent) as refused:
        decode(Transaction, raw)

    assert (refused.value.reason is Reason.TOO_DEEP) == (depth_of(raw) > MAX_DEPTH)
