"""A database's changes of profile rows, as Debezium tells them: each is the version that the row then is, or has a reason."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.contracts.codec import BadEvent, decode
from fraud_assets.contracts.events import Profile
from fraud_assets.contracts.topics import PROFILES
from fraud_assets.features.catalogue.ticketing import registry
from streaming.core.changes import change_of
from streaming.core.records import Record
from streaming.core.rekey import ReKeyer
from streaming.core.route import Routed, Router
from tests.streaming.events import DAY, KEY, T0, FakeHistory, FakeSeen, profile

ROW = {
    name: value for name, value in msgspec.to_builtins(profile()).items() if name not in ("profile_id", "event_time_ms")
}
CHANGED, SEEN = T0 - 5_000, T0 - 1_000
# As connectors have it: what we do not read is there too.
SOURCE = {
    "version": "3.0.0.Final",
    "connector": "postgresql",
    "ts_ms": CHANGED,
    "db": "shop",
    "table": "profiles",
    "lsn": 24023128,
}


def envelope(op: str, after: Any, **more: Any) -> dict[str, Any]:
    told = {
        "op": op,
        "before": None,
        "after": after,
        "source": SOURCE,
        "ts_ms": SEEN,
        "ts_us": SEEN * 1_000,
        "transaction": None,
    }
    return {name: value for name, value in (told | more).items() if value is not ...}


def changed(value: Any, offset: int = 0, key: bytes = b"a1") -> Record:
    raw = value if value is None or isinstance(value, bytes) else msgspec.json.encode(value)
    return Record(PROFILES.name, 0, offset, T0, key, raw)


def route(*records: Record) -> Routed:
    return Router(ReKeyer(registry()), FakeSeen(), FakeHistory(), DAY, KEY).route(records)


@pytest.mark.parametrize("op", ["c", "u", "r"])
@pytest.mark.parametrize("is_wrapped", [False, True], ids=["bare", "with a schema"])
def test_a_changed_row_is_a_version_of_its_profile(op: str, is_wrapped: bool) -> None:
    """Created, updated or read in a snapshot; the entity record and the lake have the version, and no row of before."""
    told = envelope(op, ROW, before=ROW | {"home_country": "FR"})
    routed = route(changed({"schema": {"type": "struct", "fields": []}, "payload": told} if is_wrapped else told))

    (accepted,) = routed.accepted
    assert isinstance(accepted.event, Profile)
    assert msgspec.structs.replace(accepted.event, profile_id="f1") == profile(event_time_ms=CHANGED)
    assert routed.sends and not accepted.was_raw
    assert {decode(Profile, sent.value or b"") for sent in routed.sends} == {accepted.event}


@pytest.mark.parametrize(
    ("after", "more", "valid_from"),
    [
        (ROW | {"event_time_ms": T0 - DAY}, {}, T0 - DAY),
        (ROW | {"event_time_ms": T0 + 30 * DAY}, {}, T0 + 30 * DAY),
        (ROW, {}, CHANGED),
        (ROW, {"source": ...}, SEEN),
        (ROW, {"source": None}, SEEN),
        (ROW, {"source": {}}, SEEN),
    ],
)
def test_a_version_is_valid_from_its_own_time_else_from_its_change(after: Any, more: Any, valid_from: int) -> None:
    """The row's, also one that lies ahead; else the database's; else when the connector saw it."""
    (accepted,) = route(changed(envelope("u", after, **more))).accepted

    assert accepted.event.event_time_ms == valid_from


def test_each_version_of_a_row_is_one_event_and_a_change_told_again_is_a_copy() -> None:
    """A row keeps its id when it is updated; a connector that starts anew has another time of its own."""
    first = envelope("c", ROW | {"profile_id": "row-1"})
    moved = envelope("u", ROW | {"profile_id": "row-1", "home_country": "FR"})
    again = envelope("r", ROW | {"profile_id": "row-1"}, ts_ms=SEEN + 60_000)

    routed = route(*(changed(value, offset) for offset, value in enumerate((first, moved, again))))

    assert [one.is_duplicate for one in routed.accepted] == [False, False, True]
    ids = [one.event.profile_id for one in routed.accepted]  # type: ignore[attr-defined]
    assert ids[0] == ids[2] != ids[1]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (envelope("d", None, before=ROW), "deleted_row"),
        ({"schema": None, "payload": envelope("d", None, before=ROW)}, "deleted_row"),
        (envelope("d", ..., ts_ms=...), "deleted_row"),
        (None, "tombstone"),
    ],
)
def test_a_row_that_is_gone_is_dropped_and_is_no_poison(value: Any, reason: str) -> None:
    """What was so at its time stays so; the next record goes on."""
    routed = route(changed(value, 0, b"\x00any key"), changed(envelope("c", ROW), 1))

    assert [(one.record.offset, one.reason) for one in routed.dropped] == [(0, reason)]
    assert [one.record.offset for one in routed.accepted] == [1]
    assert routed.dead_letters == []


@pytest.mark.parametrize(
    ("value", "reason", "field"),
    [
        (envelope("x", ROW), "invalid_value", "op"),
        (envelope("u", None), "invalid_value", "after"),
        (envelope("u", ...), "invalid_value", "after"),
        (envelope("c", [ROW]), "invalid_value", "after"),
        (envelope("c", ROW | {"home_country": "germany"}), "invalid_value", "after.home_country"),
        (envelope("c", ROW | {"loyalty_points": 3}), "unknown_field", "after.loyalty_points"),
        (
            envelope("c", {name: value for name, value in ROW.items() if name != "created_at_ms"}),
            "missing_field",
            "after.created_at_ms",
        ),
        (envelope("c", ROW, ts_ms=..., source=...), "missing_field", "after.event_time_ms"),
        (envelope("c", ROW, ts_ms="soon"), "invalid_value", "ts_ms"),
        (envelope("c", ROW | {"event_time_ms": T0 * 1_000}), "invalid_value", "after.event_time_ms"),
        (envelope("c", ROW | {"schema_version": 2}), "unknown_schema_version", "after.schema_version"),
        (envelope("c", ROW | {"account_id": "a\0"}), "nul_character", ""),
        (envelope("c", ROW | {"account_id": "a2"}), "wrong_key", "account_id"),
        (envelope("c", ROW | {"account_id": "4111 1111 1111 1111"}), "card_number", "account_id"),
        (envelope("c", ROW | {"home_country": "x" * 20_000}), "oversized", "after"),
        (envelope("c", ROW, before="x" * 200_000), "oversized", ""),
        (b'{"op": "c", "after": {"account_id": "\xff"}}', "invalid_utf8", "after"),
        (b'{"op": "c", "after": {"account_id": ', "malformed_json", ""),
        (b'{"op": "c", "after": ' + b"[" * 40 + b"]" * 40 + b"}", "too_deep", ""),
        ({"payload": {"after": ROW}, "note": "op"}, "missing_field", "payload.op"),
        ({"payload": None, "note": "op"}, "invalid_value", "payload"),
    ],
)
def test_an_envelope_that_cannot_be_read_is_poison_with_its_bytes(value: Any, reason: str, field: str) -> None:
    """The reason, and the field by its path in the envelope; never a value."""
    poison = changed(value)

    (letter,) = route(poison).dead_letters

    assert (letter.reason, letter.field) == (reason, field)
    assert letter.record == poison
    assert "germany" not in letter.detail


def test_a_profile_that_is_no_change_is_read_as_before() -> None:
    """Also one with a value that looks like the envelope's field."""
    plain = profile(profile_id="op")

    routed = route(changed(msgspec.json.encode(plain)))

    (accepted,) = routed.accepted
    assert (accepted.event, accepted.was_change) == (plain, False)


def test_other_topics_take_no_changes() -> None:
    poison = Record("transactions.v1", 0, 0, T0, b"a1", msgspec.json.encode(envelope("c", ROW)))

    assert [letter.reason for letter in route(poison).dead_letters] == ["unknown_field"]


@given(st.binary(max_size=200), st.sampled_from([b"", b'"op"', b'{"op":"c","after":', b'{"payload":{"op":"u"']))
def test_any_bytes_are_a_change_or_none_or_a_bad_event(tail: bytes, head: bytes) -> None:
    try:
        found = change_of(head + tail)
    except BadEvent:
        return
    assert found is None or found.after is None or isinstance(found.after, bytes)
