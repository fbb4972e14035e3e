"""A record is made in a hurry, and is to the byte what the contract says it is."""

import struct
from array import array
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.decided import Decider, Facts, Part, Row, as_request
from api.records import DecisionRecords
from api.scorer import WARM_UP
from fraud_assets.contracts import codec
from fraud_assets.contracts.chain import Head, canonical, digest, linked
from fraud_assets.contracts.events import Decision, StatesRead
from fraud_assets.stores.served import served_states, served_statuses

STATUSES = ("PRESENT", "STALE", "MISSING")
UNITS = ("v@card", "v@account", "w@account")
FACTS = Facts("s", "sd", ("account", "card"), UNITS, STATUSES, ("transactions.v1", "activity.v1"), 20)
RECORDS = DecisionRecords(FACTS)
NAMES = st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), min_size=1, max_size=20)


def row(number: int = 1, places: Sequence[int] = (0, 1), **changes: object) -> Row:
    name = f"t{number}"
    request = {"event_time_ms": number, "transaction_id": name, "account_id": "a1", "tier": "vip"}
    made = Row(
        f"d{number}", number, name, "a1", as_request(request), 1.5, 0, 0, list(places), 0.25, {"v2": 0.5}, "approve", "deny", ["R"], [], True
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def part(
    features: Sequence[float] = (), status: bytes = bytes(3), positions: Sequence[bytes] = (b"", b""), rows: Sequence[Row] = ()
) -> Part:  # fmt: skip
    """Of one decision, unless there are other rows."""
    return Part(
        list(rows) or [row()], 1, "e", [Decider("pd", "v1", "m")], [[]], ["a1", "c1"], [1, 2], list(positions), array("f", features).tobytes(),
        status, {"v1": 0.011, "v2": 0.25},
    )  # fmt: skip


def all_written(of: Part, records: DecisionRecords = RECORDS) -> list[Decision]:
    """As whoever reads the topic has them; that each is to the byte what the contract writes, its digest says."""
    found = [codec.decode(Decision, linked(one.said, Head("c"))[0], max_bytes=2**20) for one in records.of(of, 7)]
    assert [digest(one) for one in found] == [one.sha256 for one in found]
    return found


def written(of: Part, records: DecisionRecords = RECORDS) -> Decision:
    (found,) = all_written(of, records)
    return found


def test_a_request_has_its_names_sorted_as_the_digest_wants_them() -> None:
    """It is written by the scorer, and not looked at again."""
    request = as_request(WARM_UP)

    assert request == msgspec.json.encode(msgspec.to_builtins(WARM_UP), order="sorted")
    assert written(part(rows=[row(request=request)])).request == msgspec.to_builtins(WARM_UP)


@given(st.lists(st.floats(width=32)), st.lists(st.sampled_from(range(3)), min_size=3, max_size=3))
def test_a_record_says_every_feature_and_status_exactly(features: list[float], codes: list[int]) -> None:
    """Features by their bits, in the order of bytes that the contract names, whatever the machine's."""
    made = written(part(features, bytes(codes)))

    assert (made.vector, made.features) == (struct.pack(f"<{len(features)}f", *features), [])
    assert (made.view_codes, made.view_status) == (bytes(codes), {})
    assert (made.shadow_scores, made.scored_ms, made.ruled) == ({"v2": 0.5}, {"v1": 0.011, "v2": 0.25}, "deny")
    assert served_statuses(made, "sd", UNITS) == {unit: STATUSES[code] for unit, code in zip(UNITS, codes, strict=True)}


def test_positions_are_named_and_of_an_unknown_topic_have_its_number() -> None:
    codes = (3, 0, 2 << 20 | 1, 1 << 20 | 10, 1 << 20 | 9)
    pairs = [struct.pack("qq", code, 100 + code) for code in codes]

    made = written(part(positions=[b"".join(pairs), b""]))

    states, names = (
        served_states(made),
        ["transactions.v1/3", "transactions.v1/0", "2/1", "activity.v1/10", "activity.v1/9"],
    )
    assert states[0].position == dict(zip(names, [100 + code for code in codes], strict=True))
    assert (states[1].entity_key, states[1].version, states[1].position) == ("c1", 2, {})
    assert made.states == []


def test_states_are_in_the_record_as_they_were_handed_over_and_with_what_names_them() -> None:
    pair = struct.pack("<qq", 1 << 20 | 3, 7)

    made = written(part(positions=[pair, b""]))

    assert made.states_read == StatesRead(
        groups=["account", "card"], keys=["a1", "c1"], versions=[1, 2], positions=[pair, b""],
        topics=["transactions.v1", "activity.v1"], partition_bits=20,
    )  # fmt: skip


def test_an_entity_that_the_payment_does_not_name_was_not_read() -> None:
    made = written(part(rows=[row(places=(0, -1))]))

    assert [state.group for state in served_states(made)] == ["account"]
    assert made.states_read is not None and made.states_read.versions == [1, 0]


def test_a_degraded_decision_read_no_states() -> None:
    """Nor is it of an epoch, whatever those of the same moment read."""
    without = row(2, places=(-1, -1), degraded_reasons=["online_state_unreadable"])

    whole, made = all_written(part(status=bytes(6), rows=[row(), without]))

    assert (made.states, made.states_read, served_states(made), made.epoch) == ([], None, [], "")
    assert whole.epoch == "e"


def test_codes_of_a_scorer_that_counts_its_statuses_otherwise_are_the_contracts() -> None:
    turned = DecisionRecords(Facts("s", "sd", ("account", "card"), UNITS, STATUSES[::-1], (), 20))

    assert written(part(status=bytes([0, 1, 2])), turned).view_codes == bytes([2, 1, 0])


@given(
    st.lists(
        st.tuples(
            NAMES, st.floats(allow_nan=False, allow_infinity=False), st.dictionaries(NAMES, st.floats(0, 1), max_size=2),
            st.sampled_from(["", "deny"]), st.booleans(), st.sampled_from([(0, 1), (1, 1), (-1, 0)]), st.integers(0, 1),
        ),
        min_size=1, max_size=4,
    )
)  # fmt: skip
def test_what_a_moment_decided_together_is_as_many_records_each_as_if_it_had_been_alone(
    said: list[tuple[Any, ...]],
) -> None:
    """Written in pieces, and to the byte what the contract's own encoder makes of the whole."""
    rows = [
        row(
            number, transaction_id=name, account_id=name[::-1], fraud_score=score, shadow=shadow, ruled=ruled, self_included=included, places=list(places),
            decider=decider, latency_ms=score,
        )
        for number, (name, score, shadow, ruled, included, places, decider) in enumerate(said)
    ]  # fmt: skip
    vectors = np.arange(2 * len(rows), dtype=np.float32)
    whole = part(vectors.tolist(), bytes(range(3)) * len(rows), [bytes(16), b""], rows)
    whole.deciders.append(Decider("pd2", "v2", "m2"))

    for number, made in enumerate(all_written(whole)):
        assert (made.transaction_id, made.account_id, made.fraud_score) == (
            said[number][0],
            said[number][0][::-1],
            said[number][1],
        )
        assert made.vector == vectors[2 * number : 2 * number + 2].tobytes()
        assert made.model_version == whole.deciders[rows[number].decider].model_version
        alone = msgspec.structs.replace(whole, rows=[rows[number]], features=made.vector, status=bytes(range(3)))
        assert RECORDS.of(alone, 7) == [RECORDS.of(whole, 7)[number]]
        assert (
            canonical(msgspec.structs.replace(made, chain_id="", chain_position=0, sha256=""))
            == RECORDS.of(whole, 7)[number].said
        )


@pytest.mark.parametrize(
    "one",
    [
        part(status=bytes(2)),
        part(rows=[row(places=(0,))]),
        part(positions=[b""]),
        part(features=[1.0], status=bytes(9), rows=[row(1), row(2), row(3)]),
        part(positions=[bytes(15), bytes(17)]),
    ],
    ids=["a unit less", "a group less", "a position less", "no whole vectors", "positions cut"],
)
def test_what_its_scorers_facts_do_not_fit_is_no_record(one: Part) -> None:
    with pytest.raises(ValueError, match=r"than its scorer said|no pairs|unequal"):
        RECORDS.of(one, 7)
