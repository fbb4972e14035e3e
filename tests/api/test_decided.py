"""A record is made in a hurry, and is to the byte what the contract says it is."""

import struct
from array import array
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.decided import Decided, DecisionRecord, Facts, as_request
from api.scorer import WARM_UP
from fraud_assets.contracts import codec
from fraud_assets.contracts.chain import Head, digest, seal
from fraud_assets.contracts.events import Decision, StatesRead
from fraud_assets.stores.served import served_states, served_statuses

STATUSES = ("PRESENT", "STALE", "MISSING")
UNITS = ("v@card", "v@account", "w@account")
FACTS = Facts("s", "sd", ("account", "card"), UNITS, STATUSES, ("transactions.v1", "activity.v1"), 20)
RECORD = DecisionRecord(FACTS)


def decided(
    features: Sequence[float] = (), status: bytes = bytes(3), positions: Sequence[bytes] = (b"", b"")
) -> Decided:
    request = {"event_time_ms": 1, "transaction_id": "t1", "account_id": "a1", "tier": "vip"}
    return Decided(
        "d1", 1, "t1", "a1", as_request(request), 1, 1.5, "e", "pd", "v1", "m", array("f", features).tobytes(), status, ["a1", "c1"], [1, 2], list(positions),
        0.25, "approve", ["R"], [], True, [], {"v2": 0.5}, {"v1": 0.011, "v2": 0.25}, "deny",
    )  # fmt: skip


def written(one: Decided, record: DecisionRecord = RECORD) -> Decision:
    """As whoever reads the topic has it; that it is to the byte what the contract writes, its digest says."""
    made = codec.decode(Decision, seal(record.of(one, 7), Head("c"))[0], max_bytes=2**20)
    assert digest(made) == made.sha256
    return made


def test_a_request_has_its_names_sorted_as_the_digest_wants_them() -> None:
    """It is written by the scorer, and not looked at again."""
    one = decided()
    one.request = as_request(WARM_UP)

    assert one.request == msgspec.json.encode(msgspec.to_builtins(WARM_UP), order="sorted")
    assert written(one).request == msgspec.to_builtins(WARM_UP)


@given(st.lists(st.floats(width=32)), st.lists(st.sampled_from(range(3)), min_size=3, max_size=3))
def test_a_record_says_every_feature_and_status_exactly(features: list[float], codes: list[int]) -> None:
    """Features by their bits, in the order of bytes that the contract names, whatever the machine's."""
    made = written(decided(features, bytes(codes)))

    assert (made.vector, made.features) == (struct.pack(f"<{len(features)}f", *features), [])
    assert (made.view_codes, made.view_status) == (bytes(codes), {})
    assert (made.shadow_scores, made.scored_ms, made.ruled) == ({"v2": 0.5}, {"v1": 0.011, "v2": 0.25}, "deny")
    assert served_statuses(made, "sd", UNITS) == {unit: STATUSES[code] for unit, code in zip(UNITS, codes, strict=True)}


def test_positions_are_named_and_of_an_unknown_topic_have_its_number() -> None:
    codes = (3, 0, 2 << 20 | 1, 1 << 20 | 10, 1 << 20 | 9)
    pairs = [struct.pack("qq", code, 100 + code) for code in codes]

    made = written(decided(positions=[b"".join(pairs), b""]))

    states, names = (
        served_states(made),
        ["transactions.v1/3", "transactions.v1/0", "2/1", "activity.v1/10", "activity.v1/9"],
    )
    assert states[0].position == dict(zip(names, [100 + code for code in codes], strict=True))
    assert (states[1].entity_key, states[1].version, states[1].position) == ("c1", 2, {})
    assert made.states == []


def test_states_are_in_the_record_as_they_were_handed_over_and_with_what_names_them() -> None:
    pair = struct.pack("<qq", 1 << 20 | 3, 7)

    made = written(decided(positions=[pair, b""]))

    assert made.states_read == StatesRead(
        groups=["account", "card"], keys=["a1", "c1"], versions=[1, 2], positions=[pair, b""],
        topics=["transactions.v1", "activity.v1"], partition_bits=20,
    )  # fmt: skip


def test_an_entity_that_the_payment_does_not_name_was_not_read() -> None:
    one = decided()
    one.keys[1], one.versions[1] = None, 0

    assert [state.group for state in served_states(written(one))] == ["account"]


def test_a_degraded_decision_read_no_states() -> None:
    one = decided()
    one.degraded_reasons.append("online_store_timeout")

    made = written(one)

    assert (made.states, made.states_read, served_states(made)) == ([], None, [])


def test_codes_of_a_scorer_that_counts_its_statuses_otherwise_are_the_contracts() -> None:
    turned = DecisionRecord(Facts("s", "sd", ("account", "card"), UNITS, STATUSES[::-1], (), 20))

    assert written(decided(status=bytes([0, 1, 2])), turned).view_codes == bytes([2, 1, 0])


@pytest.mark.parametrize(
    "one",
    [decided(status=bytes(2)), decided(positions=[b""]), decided(positions=[bytes(15), bytes(17)])],
    ids=["a unit less", "a group less", "positions cut"],
)
def test_what_its_scorers_facts_do_not_fit_is_no_record(one: Decided) -> None:
    with pytest.raises(ValueError, match=r"than its scorer said|no pairs"):
        RECORD.of(one, 7)
