"""The chain of decisions: what is changed, gone, doubled or moved is named, and nothing else is."""

import struct
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.contracts import codec
from fraud_assets.contracts.chain import Fault, Finding, Head, Link, canonical, digest, seal, verify
from fraud_assets.contracts.events import Decision, StatesRead


def decision(number: int, **changes: object) -> Decision:
    fields: dict[str, object] = {
        "event_time_ms": 1_790_000_000_000 + number,
        "decision_id": f"d{number}",
        "transaction_id": f"t{number}",
        "account_id": "a1",
        "request": {"tier": "vip", "amount_minor": 5},
        "decided_at_ms": 1_790_000_000_001,
        "service": "s",
        "service_digest": "sd",
        "policy_digest": "pd",
        "model_version": "v1",
        "model_sha256": "m",
        "epoch": "e",
        "vector": b"\0\0\x80?\0\0\xc0\x7f",
        "view_codes": b"\0",
        "states": [],
        "states_read": StatesRead(
            groups=["account"],
            keys=["a1"],
            versions=[1],
            positions=[struct.pack("<qq", 0, number)],
            topics=["t"],
            partition_bits=20,
        ),
        "fraud_score": 0.25,
        "action": "approve",
        "reason_codes": [],
        "degraded_reasons": [],
        "latency_ms": 1.5,
    }
    return msgspec.convert(fields | changes, Decision)


def chain(count: int) -> list[Decision]:
    head, made = Head("c"), []
    for number in range(1, count + 1):
        raw, head = seal(decision(number), head)
        made.append(codec.decode(Decision, raw, max_bytes=2**20))
    return made


def links(decisions: list[Decision]) -> list[Link]:
    """Two partitions of the log, in the chain's order."""
    return [Link.of(one, one.chain_position % 2, offset) for offset, one in enumerate(decisions)]


def found(decisions: list[Decision], heads: dict[int, str] | None = None) -> list[tuple[Fault, int, int]]:
    return [(f.fault, f.position, f.last) for f in verify("c", links(decisions), heads)[0]]


def test_a_link_is_the_decision_with_its_place_and_its_digest() -> None:
    first, second = chain(2)

    assert (first.chain_id, first.chain_position, first.previous_sha256) == ("c", 1, "")
    assert (second.chain_position, second.previous_sha256) == (2, first.sha256)
    assert first.sha256 == digest(first)
    assert msgspec.structs.replace(
        first, chain_id="", chain_position=0, previous_sha256="", sha256=""
    ) == decision(1)  # fmt: skip


# Sealed, and their digests taken, before there was `vector`,
OF_NUMBERS = b"""{"event_time_ms":1790000000001,"decision_id":"d1","transaction_id":"t1","account_id":"a1","request":{"amount_minor":5,\
"tier":"vip"},"decided_at_ms":1790000000001,"service":"s","service_digest":"sd","policy_digest":"pd","model_version":"v1",\
"model_sha256":"m","epoch":"e","features":[1.0,null,0.1],"view_status":{"v@account":"PRESENT"},"states":[{"group":"account",\
"entity_key":"a1","version":1,"position":{"t:0":1}}],"fraud_score":0.25,"action":"approve","reason_codes":[],\
"degraded_reasons":[],"latency_ms":1.5,"chain_id":"c","chain_position":1,\
"sha256":"14288547c21a287e24e7b81aefb603c89b69123d025ed29a9c1aaa4aec265452"}"""

# and before there were `view_codes` and `states_read`; the last of these read no states.
OF_NAMES = b"""{"event_time_ms":1790000000001,"decision_id":"d1","transaction_id":"t1","account_id":"a1","request":{"amount_minor":5,\
"tier":"vip"},"decided_at_ms":1790000000001,"service":"s","service_digest":"sd","policy_digest":"pd","model_version":"v1",\
"model_sha256":"m","epoch":"e","vector":"AACAPwAAwH8=","view_status":{"v@account":"PRESENT"},"states":[{"group":"account",\
"entity_key":"a1","version":1,"position":{"t:0":1}}],"fraud_score":0.25,"action":"approve","reason_codes":[],\
"degraded_reasons":[],"latency_ms":1.5,"chain_id":"c","chain_position":1,\
"sha256":"fb45e284fbe8ebbc6b31ecdfc3c8dd649f0665865ecba54a9d357b36e809dcb2"}"""
DEGRADED = b"""{"event_time_ms":1790000000001,"decision_id":"d1","transaction_id":"t1","account_id":"a1","request":{"amount_minor":5,\
"tier":"vip"},"decided_at_ms":1790000000001,"service":"s","service_digest":"sd","policy_digest":"pd","model_version":"v1",\
"model_sha256":"m","epoch":"e","vector":"AACAPwAAwH8=","view_status":{"v@account":"PRESENT"},"states":[],"fraud_score":0.25,\
"action":"approve","reason_codes":[],"degraded_reasons":["online_store_timeout"],"latency_ms":1.5,"chain_id":"c",\
"chain_position":1,"sha256":"d2735374f8dd58ea115696233e6166a0700cc3ee7d92e6aa515f1a202ce794cd"}"""


@pytest.mark.parametrize("before", [OF_NUMBERS, OF_NAMES, DEGRADED], ids=["of numbers", "of names", "degraded"])
def test_links_of_before_verify_in_one_chain_with_those_of_today(before: bytes) -> None:
    old = codec.decode(Decision, before, max_bytes=2**20)
    raw, head = seal(decision(2), Head("c", 1, old.sha256))
    new = codec.decode(Decision, raw, max_bytes=2**20)

    assert verify("c", links([old, new])) == ([], head)
    assert found([msgspec.structs.replace(old, features=[2.0]), new]) == [(Fault.ALTERED, 1, 1)]


def test_a_link_is_to_the_byte_what_the_contract_writes() -> None:
    """Though its place is written behind the decision, which is not made anew for it; the first has nothing before it."""
    for head in (Head("c"), Head('c"\n', 7, "d" * 64)):
        raw, after = seal(decision(1), head)
        linked = msgspec.structs.replace(
            decision(1), chain_id=head.chain_id, chain_position=after.position, previous_sha256=head.sha256
        )

        assert raw == canonical(msgspec.structs.replace(linked, sha256=digest(linked)))


def test_a_link_is_not_sealed_again() -> None:
    """Its place would be written twice."""
    (link,) = chain(1)

    with pytest.raises(ValueError, match="d1 is link 1 of c already"):
        seal(link, Head("other"))


def test_the_digest_does_not_turn_on_the_order_of_names() -> None:
    """The lake keeps free-form values as sorted JSON and gives maps back as it likes."""
    one = chain(1)[0]
    turned = msgspec.structs.replace(one, request=dict(reversed(one.request.items())))

    assert digest(turned) == one.sha256


def test_a_whole_chain_in_any_order_has_no_finding_and_a_head() -> None:
    made = chain(5)

    findings, head = verify("c", reversed(links(made)), {3: made[2].sha256, 5: made[4].sha256})

    assert (findings, head) == ([], Head("c", 5, made[4].sha256))
    assert Head.parse(str(head)) == head


@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        (lambda made: [made[0], msgspec.structs.replace(made[1], action="deny"), *made[2:]], [(Fault.ALTERED, 2, 2)]),
        (lambda made: [*made[:4], msgspec.structs.replace(made[4], latency_ms=9.0)], [(Fault.ALTERED, 5, 5)]),
        (lambda made: [made[0], *made[2:]], [(Fault.DROPPED, 2, 2)]),
        (lambda made: made[2:], [(Fault.DROPPED, 1, 2)]),
        (lambda made: [made[0], made[3], made[2], made[1], made[4]], [(Fault.REORDERED, 4, 4)]),
        (lambda made: [*made, msgspec.structs.replace(made[1], decision_id="other")], [(Fault.ALTERED, 2, 2), (Fault.FORKED, 2, 2), (Fault.REORDERED, 4, 4)]),
    ],
    ids=["altered", "the last altered", "one dropped", "the first dropped", "moved", "doubled"],
)  # fmt: skip
def test_what_is_wrong_is_named_and_nothing_else(
    tamper: Callable[[list[Decision]], list[Decision]], expected: list[tuple[Fault, int, int]]
) -> None:
    assert found(tamper(chain(5))) == expected


def test_who_alters_a_record_and_its_digest_breaks_the_next_link() -> None:
    made = chain(3)
    changed = msgspec.structs.replace(made[1], action="deny")
    forged = msgspec.structs.replace(changed, sha256=digest(changed))

    assert found([made[0], forged, made[2]]) == [(Fault.REPLACED, 2, 2)]


def test_who_rewrites_the_whole_chain_or_cuts_its_end_is_found_by_a_head_kept_elsewhere() -> None:
    made = chain(4)
    kept = {3: made[2].sha256}

    assert found(made[:2]) == [] and found(made[:2], kept) == [(Fault.CUT, 3, 3)]
    head, rewritten = Head("c"), []
    for number in range(1, 5):
        raw, head = seal(decision(number, action="approve", fraud_score=0.0), head)
        rewritten.append(codec.decode(Decision, raw, max_bytes=2**20))
    assert found(rewritten) == [] and found(rewritten, kept) == [(Fault.REPLACED, 3, 3)]


@given(st.data())
def test_any_one_removal_change_or_doubling_is_found(data: st.DataObject) -> None:
    """But for the end: only a head that was kept knows that there was more."""
    made = chain(data.draw(st.integers(2, 8)))
    at = data.draw(st.integers(0, len(made) - 2))
    what = data.draw(st.sampled_from(["remove", "change", "double"]))
    if what == "remove":
        changed = made[:at] + made[at + 1 :]
    else:
        other = msgspec.structs.replace(made[at], fraud_score=data.draw(st.floats(0.5, 1)))
        changed = made[:at] + ([other] if what == "change" else [made[at], other]) + made[at + 1 :]

    assert any(position == at + 1 for _, position, _ in found(changed))


def test_a_finding_reads_as_one_line() -> None:
    assert str(Finding(Fault.DROPPED, "c", 4, 6)) == "dropped: c 4-6"
    assert str(Finding(Fault.ALTERED, "c", 4, 4, "d4")) == "altered: c 4 (decision d4)"
