"""Events and records for tests: one valid transaction, and what is changed of it."""

import json
from typing import Any, TypeVar

import msgspec

from fraud_assets.contracts import topics
from fraud_assets.contracts.codec import MAX_EVENT_BYTES, encode
from fraud_assets.contracts.events import Activity, Event, Label, LabelSource, Profile, Transaction
from fraud_assets.contracts.tokens import TokenKey
from streaming.core.dedupe import First, Firsts, Mark, pack_firsts, unpack_firsts
from streaming.core.records import Record

T0 = 1_767_225_600_000  # 2026-01-01
MINUTE = 60_000
DAY = 86_400_000
KEY = TokenKey.of("dev", "a-secret-that-only-tests-know")

Made = TypeVar("Made", bound=Event)


def transaction(**changed: Any) -> Transaction:
    given: dict[str, Any] = {
        "event_time_ms": T0,
        "transaction_id": "t1",
        "account_id": "a1",
        "event_id": "e1",
        "promoter_id": "p1",
        "device_id": "d1",
        "ip_token": "dev:00",
        "ip_country": "DE",
        "card_token": "dev:c1",
        "payment_method": "card",
        "amount_minor": 4200,
        "currency": "EUR",
        "ticket_count": 2,
        "tier": "standard",
        "category": "concert",
        "billing_country": "DE",
        "outcome": "approved",
    }
    return _made(Transaction, given | changed)


def activity(**changed: Any) -> Activity:
    given = {
        "event_time_ms": T0,
        "activity_id": "v1",
        "kind": "view",
        "event_id": "e1",
        "promoter_id": "p1",
        "account_id": "a1",
    }
    return _made(Activity, given | changed)


def profile(**changed: Any) -> Profile:
    given = {
        "event_time_ms": T0,
        "profile_id": "f1",
        "account_id": "a1",
        "created_at_ms": T0 - DAY,
        "address_changed_at_ms": T0 - DAY,
        "email_changed_at_ms": T0 - DAY,
        "phone_changed_at_ms": T0 - DAY,
        "home_country": "DE",
    }
    return _made(Profile, given | changed)


def label(**changed: Any) -> Label:
    given = {
        "event_time_ms": T0 + DAY,
        "label_id": "l1",
        "transaction_id": "t1",
        "account_id": "a1",
        "source": LabelSource.CHARGEBACK,
        "is_fraud": True,
    }
    return _made(Label, given | changed)


def _made(contract: type[Made], values: dict[str, Any]) -> Made:
    return msgspec.convert(values, contract)


TOPIC_OF = {topic.contract: topic for topic in (*topics.RAW_TOPICS, *topics.DECIDED_TOPICS)}


def record(event: Event | bytes, offset: int = 0, arrival_ms: int = T0 + 1000, **changed: Any) -> Record:
    """The record of an event in its topic, or of raw bytes in `transactions.v1` under account a1."""
    if isinstance(event, bytes):
        made = Record(topics.TRANSACTIONS.name, 0, offset, arrival_ms, b"a1", event)
    else:
        topic = TOPIC_OF[type(event)]
        key = getattr(event, topic.key).encode()
        made = Record(topic.name, 0, offset, arrival_ms, key, encode(event))
    return made._replace(**changed)


class FakeSeen:
    """The dedupe store in memory. `ttl`: nothing expires unless a test forgets it."""

    def __init__(self) -> None:
        self.marks: dict[tuple[str, int], Mark] = {}
        self.packed: dict[bytes, bytes] = {}

    def read(self, at: Any, identities: Any) -> tuple[list[Mark | None], list[Firsts]]:
        return [self.marks.get(one) for one in at], [unpack_firsts(self.packed.get(one)) for one in identities]

    def write(self, marks: Any, firsts: Any) -> None:
        self.marks.update(marks)
        self.packed.update({key: pack_firsts(value) for key, value in firsts.items()})


class FakeHistory:
    """A lake that remembers what it was told."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, int], tuple[dict[bytes, First], int | None]] = {}
        self.asked: list[tuple[str, int]] = []

    def firsts(self, at: Any, before_offset: int, horizon_ms: int) -> tuple[dict[bytes, First], int | None]:
        self.asked.append(at)
        return self.found.get(at, ({}, None))


def as_json(**changed: object) -> bytes:
    return json.dumps(json.loads(encode(transaction())) | changed).encode()


# Bytes that are no transaction, by the reason that their dead letter gives.
POISON = {
    "oversized": b" " * (MAX_EVENT_BYTES + 1),
    "malformed_json": b'{"event_time_ms": 1',
    "invalid_utf8": as_json().replace(b"a1", b"\xff\xfe"),
    "too_deep": b"[" * 40 + b"]" * 40,
    "nul_character": as_json().replace(b"t1", b"t\\u00001"),
    "unknown_schema_version": as_json(schema_version=2),
    "unknown_field": as_json(loyalty_points=3),
    "missing_field": json.dumps({"event_time_ms": T0}).encode(),
    "invalid_value": as_json(amount_minor=-1),
}
