"""One place reads what a decision was made from, whichever way its event says it."""

import base64
import struct
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.contracts import codec
from fraud_assets.contracts.events import Decision, StateRead, StatesRead
from fraud_assets.stores.compaction import compact
from fraud_assets.stores.lake import Lake, append_name
from fraud_assets.stores.positions import STATE_COLUMNS, positions_of
from fraud_assets.stores.schemas import LogPosition, from_events, to_events
from fraud_assets.stores.served import BadStates, BadStatuses, BadVector, served_states, served_statuses, served_vector
from tests.contracts.test_chain import decision

FEATURES = st.lists(st.floats(width=32, allow_infinity=False) | st.none(), min_size=1)


# As it was before `view_codes` and `states_read`; and the columns that files of before have not.
NAMED = StateRead(group="account", entity_key="a1", version=1, position={"t/0": 1})
NAMES: dict[str, Any] = {
    "view_codes": None,
    "view_status": {"v@account": "PRESENT"},
    "states_read": None,
    "states": [NAMED],
}
LATER = ("vector", "view_codes", "states_read")


def packed(features: list[float | None]) -> bytes:
    return struct.pack(f"<{len(features)}f", *(float("nan") if value is None else value for value in features))


@given(FEATURES)
def test_numbers_and_bytes_give_the_same_vector(features: list[float | None]) -> None:
    numbers = served_vector(decision(1, vector=None, features=features))
    bits = served_vector(decision(1, vector=packed(features)))

    assert numbers.dtype == bits.dtype == np.float32
    assert numbers.shape == bits.shape == (len(features),)
    assert np.array_equal(numbers, bits, equal_nan=True)
    assert np.array_equal(np.signbit(numbers[~np.isnan(numbers)]), np.signbit(bits[~np.isnan(bits)]))


@pytest.mark.parametrize(
    ("says", "given"),
    [
        ("7 bytes are no float32 numbers", {"vector": bytes(7)}),
        ("an infinite number among 1", {"vector": struct.pack("<f", float("inf"))}),
        ("an infinite number among 2", {"features": [1.0, 1e300]}),
        ("and not both", {"features": [1.0], "vector": bytes(4)}),
        ("must be given", {}),
    ],
)
def test_what_is_no_vector_is_refused_and_says_why(says: str, given: dict[str, object]) -> None:
    with pytest.raises(BadVector, match=says):
        served_vector(decision(1, **{"features": [], "vector": None, **given}))


def test_a_notebook_reads_vectors_by_sql_and_a_line_of_numpy(root: Path, tmp_path: Path) -> None:
    """The lines of the documentation, as they are, over files of before and of today."""
    page = (root / "docs" / "scorer.md").read_text().splitlines()
    lines = [line.strip() for line in page if line.startswith(("    rows = duckdb", "    vectors = np."))]
    rows = np.array([[1.5, np.nan, -0.0], [1 / 3, 7, 1e-40]], np.float32)
    made = [decision(place, vector=row.tobytes()) for place, row in enumerate(rows)]
    before = msgspec.structs.replace(made[0], vector=None, features=[1.0], **NAMES)
    lake, at = Lake(tmp_path), [LogPosition(5, "decisions.v1", 0, place) for place in range(2)]
    lake.append("decisions", from_events(Decision, made, at), "made")
    old = from_events(Decision, [before], at[:1]).drop_columns([*LATER])
    Lake(tmp_path, {"decisions": old.schema}).append("decisions", old, "before")

    known = {"duckdb": duckdb, "np": np}
    exec("\n".join(lines).replace("var/lake", str(tmp_path)), known)

    assert len(lines) == 2
    assert np.asarray(known["vectors"]).tobytes() == rows.tobytes()


def read(**changed: Any) -> StatesRead:
    pairs = struct.pack("<4q", 3, 7, 1 << 20 | 2, 2**62) + struct.pack("<2q", 5 << 20, 1)
    usual = StatesRead(
        groups=["account", "card", "ip"], keys=["a1", None, "i1"], versions=[4, 0, 0], positions=[pairs, b"", b""], topics=["t", "u.v1"],
        partition_bits=20,
    )  # fmt: skip
    return msgspec.structs.replace(usual, **changed)


def test_states_are_named_whichever_way_their_decision_says_them() -> None:
    """A topic that has no name there is called by its number, which equals no recomputation's."""
    account, address = served_states(decision(1, states_read=read()))

    assert (account.group, account.entity_key, account.version) == ("account", "a1", 4)
    assert account.position == {"t/3": 7, "u.v1/2": 2**62, "5/0": 1}
    assert (address.group, address.entity_key, address.version, address.position) == ("ip", "i1", 0, {})
    assert served_states(decision(1, **NAMES)) == [NAMED]


def test_the_lakes_positions_are_those_of_the_decision_whichever_way_it_says_them(tmp_path: Path) -> None:
    """On a day that has files of both versions, and after they are merged into one."""
    today, before = decision(1, states_read=read()), decision(2, **NAMES)
    degraded = decision(3, states_read=None)
    old = from_events(Decision, [before], [LogPosition(5, "decisions.v1", 0, 0)]).drop_columns([*LATER[1:]])
    lake = Lake(tmp_path)
    Lake(tmp_path, {"decisions": old.schema}).append("decisions", old, append_name("decisions.v1", 0, 0, "w"))
    for place, one in enumerate([today, degraded], start=1):
        rows = from_events(Decision, [one], [LogPosition(5, "decisions.v1", 0, place)])
        lake.append("decisions", rows, append_name("decisions.v1", 0, place, "w"))
    wanted = [
        {"account": {("t", 0): 1}},
        {"account": {("t", 3): 7, ("u.v1", 2): 2**62, ("5", 0): 1}, "ip": {}},
        {},
    ]

    for files in (3, 2):
        rows = lake.scan("decisions").sort_by("source_offset")
        columns = (rows[name].to_pylist(maps_as_pydicts="strict") for name in STATE_COLUMNS)
        assert list(map(positions_of, *columns)) == wanted
        assert to_events(Decision, rows) == [before, today, degraded]
        assert len(lake.files("decisions")) == files
        compact(lake, "decisions", "2026-09-21")


@pytest.mark.parametrize(
    ("says", "given"),
    [
        ("15 bytes are no pairs", {"states_read": read(positions=[bytes(15), b"", b""])}),
        ("each group's key", {"states_read": read(keys=["a1"])}),
        ("one of states and states_read", {"states_read": read(), "states": [NAMED]}),
    ],
)
def test_what_are_no_states_is_refused_and_says_why(says: str, given: dict[str, object]) -> None:
    with pytest.raises(BadStates, match=says):
        served_states(decision(1, **given))


def test_both_ways_at_once_give_the_lake_no_positions() -> None:
    with pytest.raises(BadStates, match="not both"):
        positions_of([msgspec.to_builtins(NAMED)], msgspec.to_builtins(read()))


def test_statuses_are_named_by_whoever_knows_the_service_whichever_way_their_decision_says_them() -> None:
    units = ("v@account", "v@card", "w@card")

    assert served_statuses(decision(1, view_codes=b"\0\2\1"), "sd", units) == dict(
        zip(units, ("PRESENT", "MISSING", "STALE"), strict=True)
    )
    assert served_statuses(decision(1, **NAMES), "another", ()) == {"v@account": "PRESENT"}


@pytest.mark.parametrize(
    ("says", "digest", "given"),
    [
        ("made by s sd, whose units are not known here", "other", {}),
        ("2 codes up to 0, for 1 units", "sd", {"view_codes": bytes(2)}),
        ("1 codes up to 3, for 1 units", "sd", {"view_codes": b"\3"}),
        ("1 codes up to 0, for 1 units", "sd", {"view_status": {"v@account": "PRESENT"}}),
    ],
)
def test_what_are_no_statuses_is_refused_and_says_why(says: str, digest: str, given: dict[str, object]) -> None:
    with pytest.raises(BadStatuses, match=says):
        served_statuses(decision(1, **given), digest, ["v@account"])


def test_an_auditor_reads_states_from_the_json_and_the_documentation_alone(root: Path) -> None:
    """The lines of the page, as they are."""
    page = (root / "docs" / "scorer.md").read_text().splitlines()
    lines = [
        line.strip() for line in page if line.startswith(("    read = ", "    raws = ", "    named = ", "    known = "))
    ]
    positions = [read().positions[0][:32], b"", b""]
    record = msgspec.json.decode(codec.encode(decision(1, states_read=read(positions=positions))))

    known: dict[str, Any] = {"record": record, "np": np, "base64": base64}
    exec("\n".join(lines), known)

    assert len(lines) == 4
    assert known["known"] == {"account": ("a1", {"t/3": 7, "u.v1/2": 2**62}), "ip": ("i1", {})}
