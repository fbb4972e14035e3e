"""What a scorer is sent that is no payment: each has a documented answer, and none is a 5xx."""

import time
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import Litestar
from litestar.testing import TestClient

from api.contract import Scored, ScoringRequest
from fraud_assets.contracts.events import Transaction
from tests.api.world import request

JSON = {"Content-Type": "application/json"}


def problem(
    client: TestClient[Litestar], body: bytes | Mapping[str, object], **headers: str
) -> tuple[int, str, str, str]:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    response = client.post("/predict", content=raw, headers=JSON | headers)
    assert response.headers["content-type"] == "application/problem+json"
    found = response.json()
    assert found["status"] == response.status_code
    return response.status_code, found["type"], found.get("field", ""), found.get("detail", "")


@pytest.mark.parametrize(
    ("raw", "status", "kind"),
    [
        (b"", 400, "malformed_json"),
        (b"{", 400, "malformed_json"),
        (b"\xff\xfe{}", 400, "malformed_json"),
        (b'{"transaction_id": "\xff"}', 400, "invalid_utf8"),
        (b"[" * 10_000, 400, "too_deep"),
        (b'{"transactions":' + b"[" * 10_000, 400, "too_deep"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, 413, "oversized"),
        (b"[]", 422, "invalid_value"),
        (b"null", 422, "invalid_value"),
        (b"NaN", 400, "malformed_json"),
        (b'{"transactions": []}', 422, "invalid_value"),
        (b'{"transactions": {}}', 422, "invalid_value"),
        (b'{"transactions": [1]}', 422, "invalid_value"),
        (b" " * 20_000, 413, "oversized"),
    ],
)
def test_bytes_that_are_no_request(sturdy: TestClient[Litestar], raw: bytes, status: int, kind: str) -> None:
    """Not JSON, not UTF-8, too deep, too large, or of another shape."""
    assert problem(sturdy, raw)[:2] == (status, kind)


@pytest.mark.parametrize(
    ("changes", "kind", "field"),
    [
        ({"amount_minor": -1}, "invalid_value", "amount_minor"),
        ({"amount_minor": 1.5}, "invalid_value", "amount_minor"),
        ({"amount_minor": 10**30}, "invalid_value", "amount_minor"),
        ({"amount_minor": "5"}, "invalid_value", "amount_minor"),
        ({"amount_minor": ...}, "missing_field", "amount_minor"),
        ({"amont_minor": 5}, "unknown_field", "amont_minor"),
        ({"outcome": "approved"}, "unknown_field", "outcome"),
        ({"ip_token": "dev:00"}, "unknown_field", "ip_token"),
        ({"ip_country": "DE"}, "unknown_field", "ip_country"),
        ({"schema_version": 2}, "unknown_schema_version", "schema_version"),
        ({"schema_version": True}, "unknown_schema_version", "schema_version"),
        ({"event_time_ms": int(time.time() * 1_000) + 3_600_000}, "invalid_value", "event_time_ms"),
        ({"event_time_ms": int(time.time() * 1_000_000)}, "invalid_value", "event_time_ms"),
        ({"ip": "not an address"}, "invalid_value", "ip"),
        ({"ip": "10.0.0.0/8"}, "invalid_value", "ip"),
        ({"card_number": "4111-not-digits"}, "invalid_value", "card_number"),
        ({"email": "no at sign"}, "invalid_value", "email"),
        ({"category": "4111111111111111"}, "invalid_value", "category"),
        ({"account_id": ""}, "invalid_value", "account_id"),
        ({"account_id": "x" * 129}, "invalid_value", "account_id"),
        ({"account_id": "4111111111111111"}, "invalid_value", "account_id"),
        ({"transaction_id": "order 4111 1111 1111 1111"}, "invalid_value", "transaction_id"),
        ({"event_id": "a4111111111111111"}, "invalid_value", "event_id"),
        ({"promoter_id": "4111-1111-1111-1111"}, "invalid_value", "promoter_id"),
        ({"device_id": "378282246310005"}, "invalid_value", "device_id"),
        ({"account_id": "a\0b"}, "nul_character", ""),
        ({"billing_country": "de"}, "invalid_value", "billing_country"),
    ],
)
def test_a_field_outside_the_contract_is_named(
    sturdy: TestClient[Litestar], changes: dict[str, object], kind: str, field: str
) -> None:
    """With what to do about it, and without its value."""
    status, found, where, detail = problem(sturdy, request(**changes))

    assert (found, where) == (kind, field)
    assert status == (400 if kind == "nul_character" else 422)
    assert detail
    sent = [value for value in changes.values() if isinstance(value, str) and len(value) > 2]
    assert [value for value in sent if value in detail] == []


def test_a_field_that_is_a_card_number_is_not_repeated(sturdy: TestClient[Litestar]) -> None:
    """The name of an unknown field is the sender's text too."""
    _, kind, field, _ = problem(sturdy, request() | {"4111 1111 1111 1111": 1})

    assert (kind, field) == ("unknown_field", "[card number]")


def test_a_bad_payment_in_a_batch_is_named_by_its_place(sturdy: TestClient[Litestar]) -> None:
    """And refuses the batch: half a batch decided is a surprise."""
    batch = {"transactions": [request(), request(amount_minor=-1)]}
    assert problem(sturdy, batch)[2].startswith("transactions[")
    ahead = {"transactions": [request(), request(ip="nowhere")]}
    assert problem(sturdy, ahead)[2] == "transactions[1].ip"
    planted = {"transactions": [request(), request(device_id="4111111111111111")]}
    assert problem(sturdy, planted)[2] == "transactions[1].device_id"


def test_more_than_a_thousand_payments_are_refused(sturdy: TestClient[Litestar]) -> None:
    """Split them; a larger batch would hold the scorer from others."""
    status, kind, field, _ = problem(sturdy, {"transactions": [request()] * 1_001})

    assert (status, kind, field) == (422, "invalid_value", "transactions")


def test_a_body_beyond_any_batch_is_refused_before_it_is_read(sturdy: TestClient[Litestar]) -> None:
    """17 MiB of anything: the server says so, not the codec, which would have to hold it first."""
    assert problem(sturdy, b" " * (17 * 2**20))[:2] == (413, "request_entity_too_large")


def test_padding_does_not_smuggle_size(sturdy: TestClient[Litestar]) -> None:
    """The limit is per payment, whatever the batch's own limit is."""
    raw = msgspec.json.encode({"transactions": [request()]}) + b" " * 20_000

    assert problem(sturdy, raw)[:2] == (413, "oversized")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"])
def test_another_content_type_is_refused(sturdy: TestClient[Litestar], kind: str) -> None:
    """A form post from a browser page is not a request of a shop's server."""
    raw = msgspec.json.encode(request())
    response = sturdy.post("/predict", content=raw, headers={"Content-Type": kind})

    assert (response.status_code, "application/json" in response.json()["detail"]) == (415, True)


def test_a_charset_beside_the_content_type_is_fine(sturdy: TestClient[Litestar]) -> None:
    """Many clients add one."""
    raw = msgspec.json.encode(request())
    headers = {"Content-Type": "application/json; charset=utf-8"}

    assert sturdy.post("/predict", content=raw, headers=headers).status_code == 200


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/predict", 405), ("GET", "/nowhere", 404)])
def test_another_route_is_a_problem_too(sturdy: TestClient[Litestar], method: str, path: str, status: int) -> None:
    """One table for all errors."""
    response = sturdy.request(method, path)

    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


def test_an_escaped_key_is_read_like_any_other(sturdy: TestClient[Litestar]) -> None:
    """JSON may escape any character of a key; at worst the answer names it, never a 500."""
    raw = msgspec.json.encode({"transactions": [request()]}).replace(b'"transactions"', b'"\\u0074ransactions"')

    assert problem(sturdy, raw)[:2] == (422, "unknown_field")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_no_bytes_make_it_fail(sturdy: TestClient[Litestar], data: st.DataObject) -> None:
    """Mutations of a good request, and anything else."""
    good = msgspec.json.encode(request())
    at = data.draw(st.integers(0, len(good)))
    raw = data.draw(
        st.one_of(st.binary(max_size=200), st.binary(max_size=8).map(lambda b: good[:at] + b + good[at + len(b) :]))
    )

    assert sturdy.post("/predict", content=raw, headers=JSON).status_code < 500


def test_a_request_is_the_transactions_contract_before_its_outcome() -> None:
    """Field by field, type by type: the edge cannot drift from what features read."""
    theirs = {field.name: field.type for field in msgspec.structs.fields(Transaction)}
    ours = {field.name: field.type for field in msgspec.structs.fields(ScoringRequest)}
    raw, tokens = {"ip", "card_number", "email"}, {"ip_token", "ip_country", "card_token", "email_token"}

    assert {name: kind for name, kind in ours.items() if name not in raw} == {
        name: kind for name, kind in theirs.items() if name not in tokens | {"outcome"}
    }
    assert {f.name for f in msgspec.structs.fields(Scored)} == set(theirs) - {"outcome"}
