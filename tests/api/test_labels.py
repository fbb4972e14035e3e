"""Labels are accepted when the broker has them, and not before."""

import time

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from api import labels as module
from fraud_assets.contracts import codec
from fraud_assets.contracts.events import Label
from tests.api.world import CARDS, Producer


def label(**changes: object) -> dict[str, object]:
    fields: dict[str, object] = {
        "label_id": "l1",
        "event_time_ms": time.time_ns() // 1_000_000 - 1_000,
        "transaction_id": "t1",
        "account_id": "a1",
        "source": "chargeback",
        "is_fraud": True,
    }
    return {name: value for name, value in (fields | changes).items() if value is not ...}


def test_labels_reach_the_log_as_the_contract_has_them(client: TestClient[Litestar], producer: Producer) -> None:
    """In order, keyed by account, so that a label meets its transaction."""
    sources = ["chargeback", "manual_review", "operator"]
    sent = [label(label_id=f"l{n}", account_id=f"a{n}", source=source) for n, source in enumerate(sources)]

    answer = client.post("/labels", json={"labels": sent})

    assert (answer.status_code, answer.json()) == (202, {"accepted": 3})
    assert [(topic, key) for topic, key, _ in producer.sent] == [("labels.v1", f"a{n}".encode()) for n in range(3)]
    assert [codec.decode(Label, raw).source.value for _, _, raw in producer.sent] == sources


@pytest.mark.parametrize("fault", ["silent", "error", "full"])
def test_what_the_broker_does_not_have_is_not_accepted(
    client: TestClient[Litestar], producer: Producer, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The answer says to send it again: what arrives twice counts once."""
    monkeypatch.setattr("api.labels.CONFIRMED_WITHIN_S", 0.2)
    setattr(producer, fault, True)

    answer = client.post("/labels", json={"labels": [label()]})

    assert (answer.status_code, answer.json()["type"]) == (503, "not_confirmed")
    assert answer.headers["retry-after"] == "1"
    assert "again" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (label(), "label_id"),
        ({"labels": []}, "labels"),
        ({"labels": [label()] * 1_001}, "labels"),
        ({"labels": [label(source="rumour")]}, "labels[0].source"),
        ({"labels": [label(is_fraud=1)]}, "labels[0].is_fraud"),
        ({"labels": [label(is_fraud=...)]}, "labels[0].is_fraud"),
        ({"labels": [label(card_number=CARDS[0])]}, "labels[0].card_number"),
        ({"labels": [label(), label(label_id=f"case {CARDS[1]}")]}, "labels[1].label_id"),
        ({"labels": [label(transaction_id=CARDS[0])]}, "labels[0].transaction_id"),
        ({"labels": [label(account_id=CARDS[0])]}, "labels[0].account_id"),
        (
            {"labels": [label(), label(event_time_ms=time.time_ns() // 1_000_000 + 3_600_000)]},
            "labels[1].event_time_ms",
        ),
    ],
)
def test_a_label_outside_the_contract_is_refused_and_none_of_its_batch_is_sent(
    client: TestClient[Litestar], producer: Producer, body: dict[str, object], field: str
) -> None:
    """It names the field, and not what was in it."""
    answer = client.post("/labels", json=body)

    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert CARDS[0] not in answer.text
    assert producer.sent == []


def test_a_body_that_no_batch_needs_is_refused(client: TestClient[Litestar]) -> None:
    raw = msgspec.json.encode({"labels": [label()]}) + b" " * module.MAX_BYTES

    assert client.post("/labels", content=raw, headers={"Content-Type": "application/json"}).status_code == 413
