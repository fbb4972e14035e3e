"""Bytes to scored events, many at once and one by one."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.contract import Scored, ScoringBatch, ScoringRequest
from api.intake import MAX_BODY_BYTES, BadField, decode, parse
from fraud_assets.contracts import codec
from fraud_assets.contracts.tokens import country_of, tokenise
from tests.api.world import KEY, request

NOW_MS = 1_800_000_000_000

payments = st.builds(
    request,
    event_time_ms=st.integers(NOW_MS - 10**9, NOW_MS),
    transaction_id=st.text("abc|%", min_size=1, max_size=4),
    ip=st.sampled_from(["203.0.113.7", "2001:db8::1", "8.8.8.8"]),
    card_number=st.sampled_from([None, "4111111111111111", "4111 1111 1111 1112"]),
    email=st.sampled_from([None, "a@b.example", "Ä@b.example"]),
    lat_e6=st.none() | st.integers(-90_000_000, 90_000_000),
    user_agent=st.text(max_size=8).filter(lambda text: "\0" not in text),
)


def batch(bodies: list[dict[str, object]]) -> bytes:
    return msgspec.json.encode({"transactions": bodies})


def refusal(read: Callable[[], object]) -> tuple[codec.Reason, str, str] | None:
    """Why the bytes are not in order; a field of theirs may be a wrong address all the same."""
    try:
        read()
    except codec.BadEvent as refused:
        return refused.reason, refused.field, refused.detail
    except BadField:
        pass
    return None


@given(payments)
def test_an_event_has_the_requests_fields_and_tokens_for_what_is_raw(body: dict[str, object]) -> None:
    """Each under its own name: they are put together by their places."""
    event = parse(msgspec.json.encode(body), KEY, NOW_MS).events[0]

    sent = msgspec.structs.asdict(msgspec.convert(body, ScoringRequest))
    ip, card, email = sent.pop("ip"), sent.pop("card_number"), sent.pop("email")
    made = {
        "ip_token": tokenise("ip", ip, KEY),
        "ip_country": country_of(ip),
        "card_token": card and tokenise("card", card, KEY),
        "email_token": email and tokenise("email", email, KEY),
    }
    assert msgspec.structs.asdict(event) == sent | made
    assert event == Scored(**sent, **made)


@given(st.lists(payments, min_size=1, max_size=5))
def test_a_batch_is_what_its_payments_are_one_by_one(bodies: list[dict[str, object]]) -> None:
    """In the order sent."""
    assert parse(batch(bodies), KEY, NOW_MS).events == [
        parse(msgspec.json.encode(body), KEY, NOW_MS).events[0] for body in bodies
    ]


CARD_LIKE = "4111 1111 1111 1111"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"device_id": CARD_LIKE}, "device_id"), ({"ip": "300.1.1.1"}, "ip"), ({"email": "nobody"}, "email"),
     ({"card_number": "1234567890ab"}, "card_number"), ({"event_time_ms": NOW_MS + 10**6}, "event_time_ms")],
)  # fmt: skip
@pytest.mark.parametrize("later", [{}, {"ip": "300.1.1.1"}, {"account_id": CARD_LIKE}])
def test_the_first_payment_that_is_refused_is_named(
    wrong: dict[str, object], field: str, later: dict[str, object]
) -> None:
    """Whatever is wrong with one after it."""
    good = request(event_time_ms=NOW_MS)

    with pytest.raises(BadField) as refused:
        parse(batch([good, good, good | wrong, good, good | later]), KEY, NOW_MS)

    assert refused.value.field == f"transactions[2].{field}"


def test_of_a_batch_an_id_like_a_card_is_counted_once_and_free_text_is_redacted() -> None:
    found = list[str]()
    raw = batch([request(), request(device_id=CARD_LIKE), request(user_agent=f"pays by {CARD_LIKE}")])

    events = parse(raw, KEY, NOW_MS, found.append).events

    assert found == ["device_id"]
    assert [CARD_LIKE in event.user_agent for event in events] == [False] * 3
    assert [event.device_id == CARD_LIKE for event in events] == [False, True, False]


@given(st.data())
def test_a_batch_is_taken_and_refused_as_the_contracts_codec_does(data: st.DataObject) -> None:
    """Whatever is in its bytes: the same batch, or the same reason, field and fix."""
    good = batch([request(), request(user_agent='\\ [{ "')])
    at = data.draw(st.integers(len(b'{"transactions"'), len(good)))
    odd = st.sampled_from([b"", b"[" * 17, b'{"a":' * 17, b"\\u0000", b"\\\\u0000", b"\xff", b'"', b"\\", b"]}", b" "])
    raw = (
        good[:at] + data.draw(odd | st.binary(max_size=3)) + data.draw(odd) + good[at + data.draw(st.integers(0, 4)) :]
    )

    assert refusal(lambda: parse(raw, KEY, 2**62)) == refusal(lambda: decode(ScoringBatch, raw, MAX_BODY_BYTES))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"ip": "nowhere"}, "ip"),
        ({"card_number": "4111-not-digits"}, "card_number"),
        ({"email": "no at sign"}, "email"),
        ({"event_time_ms": NOW_MS + 10**6}, "event_time_ms"),
    ],
)
def test_a_field_that_cannot_be_is_named_with_its_payments_place(changes: dict[str, object], field: str) -> None:
    """And without one where the payment comes alone."""
    good, bad = request(event_time_ms=NOW_MS), request(event_time_ms=NOW_MS) | changes

    with pytest.raises(BadField) as one:
        parse(msgspec.json.encode(bad), KEY, NOW_MS)
    with pytest.raises(BadField) as third:
        parse(batch([good, good, bad, bad]), KEY, NOW_MS)

    assert (one.value.field, third.value.field) == (field, f"transactions[2].{field}")
    assert one.value.fix == third.value.fix
