"""A record is made in a hurry, and is to the byte what the contract says it is."""

import struct
from array import array
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from api.decided import MAX_STATUS_TEXTS, Decided, DecisionRecord, Facts
from fraud_assets.contracts import codec
from fraud_assets.contracts.chain import Head, digest, seal
from fraud_assets.contracts.events import Decision

STATUSES = ("PRESENT", "STALE", "MISSING")
UNITS = ("v@card", "v@account", "w@account")
FACTS = Facts("s", "sd", ("account", "card"), UNITS, STATUSES, ("transactions.v1", "activity.v1"), 20)
RECORD = DecisionRecord(FACTS)


def decided(
    features: Sequence[float] = (), status: bytes = bytes(3), positions: Sequence[bytes] = (b"", b"")
) -> Decided:
    request = {"event_time_ms": 1, "transaction_id": "t1", "account_id": "a1", "tier": "vip"}
    return Decided(
        "d1", request, 1, 1.5, "e", "pd", "v1", "m", array("f", features).tobytes(), status, ["a1", "c1"], [1, 2], list(positions),
        0.25, "approve", ["R"], [], True, [],
    )  # fmt: skip


def written(one: Decided, record: DecisionRecord = RECORD) -> Decision:
    """As whoever reads the topic has it; that it is to the byte what the contract writes, its digest says."""
    made = codec.decode(Decision, seal(record.of(one, 7), Head("c"))[0], max_bytes=2**20)
    assert digest(made) == made.sha256
    return made


@given(st.lists(st.floats(width=32)), st.lists(st.sampled_from(range(3)), min_size=3, max_size=3))
def test_a_record_says_every_feature_and_status_exactly(features: list[float], codes: list[int]) -> None:
    """Features by their bits, in the order of bytes that the contract names, whatever the machine's."""
    made = written(decided(features, bytes(codes)))

    assert (made.vector, made.features) == (struct.pack(f"<{len(features)}f", *features), [])
    assert made.view_status == {unit: STATUSES[code] for unit, code in zip(UNITS, codes, strict=True)}


def test_positions_are_named_and_of_an_unknown_topic_have_its_number() -> None:
    codes = (3, 0, 2 << 20 | 1, 1 << 20 | 10, 1 << 20 | 9)
    pairs = [struct.pack("qq", code, 100 + code) for code in codes]

    states = written(decided(positions=[b"".join(pairs), b""])).states

    names = ["transactions.v1/3", "transactions.v1/0", "2/1", "activity.v1/10", "activity.v1/9"]
    assert states[0].position == dict(zip(names, [100 + code for code in codes], strict=True))
    assert (states[1].entity_key, states[1].version, states[1].position) == ("c1", 2, {})


def test_more_ways_to_be_present_than_are_remembered_are_said_too() -> None:
    units = tuple(f"v{number}@account" for number in range(11))
    record = DecisionRecord(Facts("s", "sd", ("account", "card"), units, STATUSES, (), 20))

    for number in [*range(MAX_STATUS_TEXTS + 5), 0]:
        codes = bytes(number >> bit & 1 for bit in range(11))
        said = {unit: STATUSES[code] for unit, code in zip(units, codes, strict=True)}
        assert written(decided(status=codes), record).view_status == said
