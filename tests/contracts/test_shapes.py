"""A contract reads whatever its recorded versions may have written; the check agrees with what decoding does."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from fraud_assets.contracts.shapes import (
    IncompatibleContract,
    check_compatible,
    differences,
    record,
    recorded,
    shape_of,
)
from fraud_assets.contracts.topics import DECIDED_TOPICS, RAW_TOPICS, Topic

CONTRACTS = (*RAW_TOPICS, *DECIDED_TOPICS)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class More(StrEnum):
    BLUE = "blue"
    GREEN = "green"
    RED = "red"


class Part(msgspec.Struct, forbid_unknown_fields=True):
    size: int


class WiderPart(msgspec.Struct, forbid_unknown_fields=True):
    size: int
    weight: int = 0


class HeavyPart(msgspec.Struct, forbid_unknown_fields=True):
    size: int
    weight: int


def contract(**fields: Any) -> type[msgspec.Struct]:
    """An event of the fields given, (type, default) where there is a default."""
    told = [(name, *given) if isinstance(given, tuple) else (name, given) for name, given in fields.items()]
    return msgspec.defstruct("Event", told, kw_only=True, forbid_unknown_fields=True)


SMALL, LARGE = Annotated[int, Meta(ge=0, le=9)], Annotated[int, Meta(ge=-1, le=99)]
SHORT, LONG = Annotated[str, Meta(max_length=2)], Annotated[str, Meta(max_length=9)]
CAPITAL, ANY_CASE = Annotated[str, Meta(pattern="^[A-Z]$")], Annotated[str, Meta(pattern="^[A-Za-z]$")]

ALLOWED = [
    (contract(a=int), contract(a=int), b'{"a": 1}'),
    (contract(a=int), contract(a=int, b=(str | None, None)), b'{"a": 1}'),
    (contract(a=int), contract(a=(int, 3)), b'{"a": 1}'),
    (contract(a=SMALL), contract(a=LARGE), b'{"a": 9}'),
    (contract(a=SMALL), contract(a=int), b'{"a": 9}'),
    (contract(a=int), contract(a=float), b'{"a": 9}'),
    (contract(a=int), contract(a=int | None), b'{"a": 1}'),
    (contract(a=bytes), contract(a=(bytes | None, None)), b'{"a": "AAA="}'),
    (contract(a=SHORT), contract(a=LONG), b'{"a": "ab"}'),
    (contract(a=Colour), contract(a=More), b'{"a": "red"}'),
    (contract(a=Colour), contract(a=str), b'{"a": "red"}'),
    (contract(a=CAPITAL), contract(a=str), b'{"a": "A"}'),
    (contract(a=list[Part]), contract(a=list[WiderPart]), b'{"a": [{"size": 1}]}'),
    (contract(a=dict[str, int]), contract(a=dict[str, int | None]), b'{"a": {"x": 1}}'),
    (contract(a=dict[str, int]), contract(a=dict[str, object]), b'{"a": {"x": 1}}'),
]

REFUSED = [
    ("a: is gone", contract(a=int, b=(int, 0)), contract(b=(int, 0)), b'{"a": 1}'),
    ("b: must be given, and was not there", contract(a=int), contract(a=int, b=str), b'{"a": 1}'),
    ("a: must be given, and was optional", contract(a=(int, 3)), contract(a=int), b"{}"),
    ("a: string, was integer", contract(a=int), contract(a=str), b'{"a": 1}'),
    ("a: integer, was number", contract(a=float), contract(a=int), b'{"a": 1.5}'),
    ("a: integer, was null", contract(a=int | None), contract(a=int), b'{"a": null}'),
    ("a: maximum 9, was 99", contract(a=LARGE), contract(a=SMALL), b'{"a": 99}'),
    ("a: maximum 9, was none", contract(a=int), contract(a=SMALL), b'{"a": 99}'),
    ("a: maxLength 2, was 9", contract(a=LONG), contract(a=SHORT), b'{"a": "abc"}'),
    ("a: no longer green", contract(a=More), contract(a=Colour), b'{"a": "green"}'),
    ("a: no longer anything", contract(a=str), contract(a=Colour), b'{"a": "green"}'),
    ("a: contentEncoding base64, was none", contract(a=str), contract(a=bytes), b'{"a": "no base64!"}'),
    ("a: string, was integer", contract(a=int), contract(a=bytes), b'{"a": 1}'),
    ("a: pattern", contract(a=ANY_CASE), contract(a=CAPITAL), b'{"a": "b"}'),
    (
        "a[].weight: must be given",
        contract(a=list[Part]),
        contract(a=list[HeavyPart]),
        b'{"a": [{"size": 1}]}',
    ),
    ("a[].weight: is gone", contract(a=list[WiderPart]), contract(a=list[Part]), b'{"a": [{"size": 1, "weight": 2}]}'),
    ("a.*: string, was integer", contract(a=dict[str, int]), contract(a=dict[str, str]), b'{"a": {"x": 1}}'),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "written"), ALLOWED)
def test_what_the_rule_allows_reads_the_old_bytes(old: Any, new: Any, written: bytes) -> None:
    msgspec.json.decode(written, type=old)

    assert differences(shape_of(new), shape_of(old)) == []
    msgspec.json.decode(written, type=new)


@pytest.mark.parametrize(("says", "old", "new", "written"), REFUSED)
def test_what_the_rule_refuses_would_have_refused_old_bytes(says: str, old: Any, new: Any, written: bytes) -> None:
    msgspec.json.decode(written, type=old)

    assert says in "; ".join(differences(shape_of(new), shape_of(old)))
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(written, type=new)


def test_text_that_was_bytes_is_another_meaning_of_the_same_bytes() -> None:
    """Either reads base64; one of them as the text that it is."""
    for text in (str, object):
        (found,) = differences(shape_of(contract(a=text)), shape_of(contract(a=bytes)))
        assert found == "a: contentEncoding none, was base64"


def test_another_default_is_another_meaning_of_the_same_bytes() -> None:
    found = differences(shape_of(contract(a=(int, 2))), shape_of(contract(a=(int, 1))))

    assert found == ["a: default 2, was 1"]


def test_the_rule_is_transitive(tmp_path: Path) -> None:
    """What version 2 made optional may be left out by writers for ever: a third may not depend on it again."""
    record("t.v1", contract(a=int), tmp_path)
    record("t.v1", contract(a=(int, 0)), tmp_path)

    with pytest.raises(IncompatibleContract, match=r"a: must be given.*\(version 2\)"):
        check_compatible("t.v1", contract(a=int), tmp_path)


def test_recording_adds_a_version_and_never_an_incompatible_one(tmp_path: Path) -> None:
    first = contract(a=int)
    assert record("t.v1", first, tmp_path) == tmp_path / "t.v1-1.json"
    assert record("t.v1", first, tmp_path) is None
    assert record("t.v1", contract(a=int, b=(int, 0)), tmp_path) == tmp_path / "t.v1-2.json"

    with pytest.raises(IncompatibleContract):
        record("t.v1", contract(b=(int, 0)), tmp_path)
    assert len(recorded("t.v1", tmp_path)) == 2


@pytest.mark.parametrize("topic", CONTRACTS, ids=lambda topic: topic.name)
def test_every_contract_is_recorded_as_it_is(topic: Topic) -> None:
    """A change that is not recorded would leave the next one unchecked."""
    assert topic.contract is not None
    told = f"{topic.name} has changed; record it: python -m fraud_assets.contracts.shapes"

    assert recorded(topic.name)[-1:] == [shape_of(topic.contract)], told


def test_a_topic_with_an_incompatible_contract_cannot_be_declared() -> None:
    (transactions, *_) = RAW_TOPICS
    with pytest.raises(IncompatibleContract, match=r"transactions\.v1"):
        Topic(name=transactions.name, key="account_id", contract=RAW_TOPICS[1].contract)
