"""What a decision was made from as bytes: what scorers and workers of versions before, and of today, make of each other's events."""

import struct
from collections.abc import Set
from typing import Any, get_type_hints

import msgspec
import pytest
from msgspec.structs import FieldInfo

from fraud_assets.contracts import codec
from fraud_assets.contracts.codec import BadEvent, Reason
from fraud_assets.contracts.events import Decision, Event, StateRead, ViewStatus
from fraud_assets.contracts.shapes import recorded, shape_of
from tests.contracts.test_chain import decision

MIB = 2**20
VECTOR = struct.pack("<2f", 1.0, float("nan"))


# What each version of before had not, and what it had to be given.
OF_ROLLOUTS = {"scored_ms", "ruled"}
LATER = [
    ({"vector", "view_codes", "states_read"} | OF_ROLLOUTS, {"features", "view_status"}),
    ({"view_codes", "states_read"} | OF_ROLLOUTS, {"view_status"}),
    (OF_ROLLOUTS, set[str]()),
]


def before(later: Set[str], had_to_be_given: Set[str]) -> type[Event]:
    hints, fields = get_type_hints(Decision, include_extras=True), list[tuple[Any, ...]]()
    for one in msgspec.structs.fields(Decision):
        if one.name in {*later, "schema_version", "event_time_ms"}:
            continue
        usual = () if one.required or one.name in had_to_be_given else (_default(one),)
        fields.append((one.name, hints[one.name], *usual))
    made = msgspec.defstruct("Before", fields, bases=(Event,), frozen=True, kw_only=True, omit_defaults=True)
    assert issubclass(made, Event)
    return made


def _default(field: FieldInfo) -> object:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


BEFORE = [before(*one) for one in LATER]
NUMBERS: dict[str, object] = {"vector": None, "features": [1.0, None]}
NAMES: dict[str, object] = {
    "view_codes": None, "view_status": {"v": ViewStatus.STALE}, "states_read": None,
    "states": [StateRead(group="account", entity_key="a1", version=1, position={"t/0": 1})],
}  # fmt: skip
TRIED: dict[str, object] = {"scored_ms": {"m": 0.5}, "ruled": "deny"}
WRITTEN = [decision(1, **NUMBERS, **NAMES), decision(1, **NAMES), decision(1, vector=VECTOR)]


def test_the_versions_before_are_the_recorded_ones() -> None:
    """Else nothing below says anything of them."""
    assert [*map(shape_of, BEFORE), shape_of(Decision)] == recorded("decisions.v1")[1:]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_what_a_scorer_of_a_version_before_wrote_is_read(number: int) -> None:
    written = msgspec.structs.asdict(WRITTEN[number])
    kept = {name: value for name, value in written.items() if name not in LATER[number][0]}
    raw = codec.encode(msgspec.convert(kept, BEFORE[number]))

    read = codec.decode(Decision, raw)

    assert read == WRITTEN[number]
    assert codec.encode(read) == raw


@pytest.mark.parametrize(("number", "field"), [(0, "vector"), (1, "view_codes"), (2, "scored_ms")])
def test_a_worker_of_a_version_before_refuses_by_name_what_a_scorer_of_today_writes(number: int, field: str) -> None:
    """It makes a dead letter of it, to be replayed when it is upgraded; so workers are upgraded first."""
    with pytest.raises(BadEvent) as refused:
        codec.decode(BEFORE[number], codec.encode(decision(1, vector=VECTOR, **TRIED)))

    assert (refused.value.reason, refused.value.field) == (Reason.UNKNOWN_FIELD, field)


def test_a_vector_is_written_as_base64_and_its_numbers_are_not() -> None:
    written = msgspec.json.decode(codec.encode(decision(1, vector=VECTOR)))

    assert written["vector"] == "AACAPwAAwH8="
    assert "features" not in written


def test_a_vector_that_is_no_base64_is_no_event() -> None:
    raw = codec.encode(decision(1, vector=VECTOR)).replace(b"AACAPwAAwH8=", b"AACAPwAAwH8")

    with pytest.raises(BadEvent) as refused:
        codec.decode(Decision, raw, max_bytes=MIB)

    assert (refused.value.reason, refused.value.field) == (Reason.INVALID_VALUE, "vector")
