"""A decision's vector as bytes: what scorers and workers of the version before, and of today, make of each other's events."""

import struct
from typing import get_type_hints

import msgspec
import pytest

from fraud_assets.contracts import codec
from fraud_assets.contracts.codec import BadEvent, Reason
from fraud_assets.contracts.events import Decision, Event
from fraud_assets.contracts.shapes import recorded, shape_of
from tests.contracts.test_chain import decision

MIB = 2**20
VECTOR = struct.pack("<2f", 1.0, float("nan"))


def before() -> type[Event]:
    """The contract that had no vector, and whose features had to be given."""
    hints, usual = get_type_hints(Decision, include_extras=True), msgspec.structs.fields(Decision)
    fields = [
        (one.name, list[float | None]) if one.name == "features"
        else (one.name, hints[one.name]) if one.required
        else (one.name, hints[one.name], {} if one.name == "shadow_scores" else one.default)
        for one in usual
        if one.name not in {"vector", "schema_version", "event_time_ms"}
    ]  # fmt: skip
    made = msgspec.defstruct("Before", fields, bases=(Event,), frozen=True, kw_only=True, omit_defaults=True)
    assert issubclass(made, Event)
    return made


BEFORE = before()


def test_the_version_before_is_the_recorded_one() -> None:
    """Else nothing below says anything of it."""
    was = shape_of(BEFORE)

    assert was == recorded("decisions.v1")[1]
    assert recorded("decisions.v1")[2] == shape_of(Decision)


def test_what_a_scorer_of_the_version_before_wrote_is_read() -> None:
    written = msgspec.structs.asdict(decision(1, vector=None, features=[1.0, None]))
    raw = codec.encode(msgspec.convert({name: value for name, value in written.items() if name != "vector"}, BEFORE))

    read = codec.decode(Decision, raw)

    assert (read.features, read.vector) == ([1.0, None], None)
    assert codec.encode(read) == raw


def test_a_worker_of_the_version_before_refuses_by_name_what_a_scorer_of_today_writes() -> None:
    """It makes a dead letter of it, to be replayed when it is upgraded; so workers are upgraded first."""
    with pytest.raises(BadEvent) as refused:
        codec.decode(BEFORE, codec.encode(decision(1, vector=VECTOR)))

    assert (refused.value.reason, refused.value.field) == (Reason.UNKNOWN_FIELD, "vector")


def test_a_vector_is_written_as_base64_and_its_numbers_are_not() -> None:
    written = msgspec.json.decode(codec.encode(decision(1, vector=VECTOR)))

    assert written["vector"] == "AACAPwAAwH8="
    assert "features" not in written


def test_a_vector_that_is_no_base64_is_no_event() -> None:
    raw = codec.encode(decision(1, vector=VECTOR)).replace(b"AACAPwAAwH8=", b"AACAPwAAwH8")

    with pytest.raises(BadEvent) as refused:
        codec.decode(Decision, raw, max_bytes=MIB)

    assert (refused.value.reason, refused.value.field) == (Reason.INVALID_VALUE, "vector")
