"""Parity as served: zero mismatches on honest decisions, and every kind of finding when there is one."""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from fraud_assets.contracts.events import Decision, StateRead
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.erasure.erase import Asked, erase
from fraud_assets.monitoring.skew import SkewReport, _may_have_read_erased, skew_report
from fraud_assets.stores.lake import Lake, append_name
from fraud_assets.stores.receipts import Receipts, Record, Stage
from fraud_assets.stores.schemas import LogPosition, from_events, to_events
from fraud_assets.stores.served import served_vector
from tests.erasure.world import places
from tests.history import END_MS, START_MS, Past
from tests.monitoring.decisions import decided_at, in_codes, other_value, with_value
from tests.streaming.decided import before

CUT_MS = END_MS - DAY_MS // 2
N = 60
STATE = StateRead(group="account", entity_key="a1", version=1, position={"transactions.v1/0": 1})

World = tuple[pa.Table, list[Decision]]
Report = Callable[[Sequence[Decision]], SkewReport]


@pytest.fixture(scope="module")
def world(past: Past) -> World:
    """Decisions on the transactions that follow a snapshot, none of which it has seen."""
    return decided_at(past, CUT_MS, END_MS, N)


@pytest.fixture
def report(past: Past, world: World, tmp_path: Path) -> Report:
    """Report on the given decisions over the past's lake; `hide` drops what arrived from a time on."""
    shutil.copytree(past.folder / "lake", tmp_path / "lake")
    lake = Lake(tmp_path / "lake")

    def make(decisions: Sequence[Decision]) -> SkewReport:
        at = [LogPosition(END_MS, "decisions.v1", 0, place) for place in range(len(decisions))]
        lake.append("decisions", from_events(Decision, decisions, at), "decided")
        return skew_report(lake, past.service, START_MS, END_MS)

    return make


def test_honest_decisions_recompute_bit_for_bit(world: World, report: Report) -> None:
    found = report(world[1])

    assert (found.decisions, found.checked, found.mismatches, found.pending) == (N, N, 0, 0)
    assert found.stale_reads == 0


def test_one_changed_value_is_one_mismatch_and_names_its_feature(past: Past, world: World, report: Report) -> None:
    decisions = list(world[1])
    decisions[7] = other_value(past, decisions[7], "account_txn_count_30d")

    found = report(decisions)

    assert (found.mismatches, found.mismatched_values) == (1, 1)
    assert found.by_feature == {"account_txn_count_30d": 1}
    assert found.examples == ["dec-7"]


def test_any_nan_is_null_and_records_in_numbers_and_names_are_as_good(world: World, report: Report) -> None:
    """A day on which the scorers were upgraded, and one whose nulls are other bits than ours."""
    decisions = [before(one) if place % 2 else one for place, one in enumerate(world[1])]
    bits = served_vector(decisions[4]).view(np.uint32)
    assert bits.max() != 0xFFC0_0001
    odd = np.where(np.isnan(bits.view(np.float32)), np.uint32(0xFFC0_0001), bits)
    decisions[4] = msgspec.structs.replace(decisions[4], vector=odd.tobytes())
    decisions[7] = before(with_value(world[1][7], 5, 1e9))

    found = report(decisions)

    assert (found.checked, found.mismatches, found.mismatched_values, found.examples) == (N, 1, 1, ["dec-7"])


@pytest.mark.parametrize(
    "bad", [{"vector": b""}, {"vector": bytes(4)}, {"vector": bytes(3)}, {}, {"features": [1.0]}, {"features": [1.0], "vector": b""}]
)  # fmt: skip
def test_what_is_no_vector_of_the_service_is_a_mismatch_of_its_own_kind(
    world: World, report: Report, bad: dict[str, Any]
) -> None:
    """Named, and no other decision's values are moved by it."""
    decisions = list(world[1])
    decisions[3] = msgspec.structs.replace(decisions[3], **{"features": [], "vector": None, **bad})

    found = report(decisions)

    assert (found.mismatches, found.other_vectors, found.mismatched_values) == (1, 1, 0)
    assert (found.examples, found.by_feature) == (["dec-3"], {})


def test_files_of_before_vectors_were_bytes_are_compared_beside_those_of_today(
    past: Past, world: World, tmp_path: Path
) -> None:
    """They lack the column. A day may have both, and compaction makes one file of them."""
    shutil.copytree(past.folder / "lake", tmp_path / "lake")
    lake, half = Lake(tmp_path / "lake"), N // 2
    at = [LogPosition(END_MS, "decisions.v1", 0, place) for place in range(N)]
    old = from_events(Decision, list(map(before, world[1][:half])), at[:half]).drop_columns(["vector"])
    Lake(lake.uri, {"decisions": old.schema}).append("decisions", old, append_name("decisions.v1", 0, 0, "worker-0"))
    lake.append(
        "decisions", from_events(Decision, world[1][half:], at[half:]), append_name("decisions.v1", 0, half, "worker-0")
    )

    (day,) = lake.days("decisions")
    found = skew_report(lake, past.service, START_MS, END_MS)
    merged = lake.merge("decisions", day, [info for _, info in lake.files("decisions")], "merged")
    again = skew_report(lake, past.service, START_MS, END_MS)

    assert (found.checked, found.mismatches) == (N, 0)
    assert (merged, again) == (N, found)
    assert to_events(Decision, lake.scan("decisions")) == [*map(before, world[1][:half]), *world[1][half:]]


def test_null_served_as_zero_is_a_mismatch(world: World, report: Report) -> None:
    decisions = list(world[1])
    place = int(np.isnan(served_vector(decisions[0])).argmax())
    decisions[0] = with_value(decisions[0], place, 0.0)

    assert report(decisions).mismatches == 1


def test_a_state_without_an_event_that_had_arrived_is_a_stale_read_and_no_mismatch(
    world: World, report: Report
) -> None:
    _, decisions = world
    # The same reads, claimed to be made half a day later: by then busy promoters had sold more.
    late = [msgspec.structs.replace(decision, decided_at_ms=END_MS) for decision in decisions]

    found = report(late)

    assert found.mismatches == 0
    assert found.stale_reads == N


def test_an_event_younger_than_the_promise_is_no_stale_read(world: World, report: Report) -> None:
    # The states hold what arrived before the cut; one second later, what came at the cut may still be on its way.
    prompt = [msgspec.structs.replace(decision, decided_at_ms=CUT_MS + 1_000) for decision in world[1]]

    assert report(prompt).stale_reads == 0


def test_a_brokers_clock_that_is_ahead_is_accounted_for(world: World, report: Report) -> None:
    ahead = [
        msgspec.structs.replace(item, decided_at_ms=CUT_MS, broker_clock_offset_ms=END_MS - CUT_MS) for item in world[1]
    ]

    assert report(ahead).stale_reads == N


def test_a_decision_that_saw_more_than_the_lake_holds_is_pending(past: Past, world: World, report: Report) -> None:
    decisions = list(world[1])
    read = decisions[0].states_read
    assert read is not None
    beyond = [read.positions[0] + in_codes(past, {"transactions.v1/3": 10}), *read.positions[1:]]
    decisions[0] = msgspec.structs.replace(decisions[0], states_read=msgspec.structs.replace(read, positions=beyond))

    found = report(decisions)

    assert (found.pending, found.checked, found.mismatches) == (1, N - 1, 0)


@pytest.mark.parametrize(
    "torn",
    [
        {"positions": [b"\0" * 15]},
        {"positions": [b"\xff" * 7 + b"\x7f" + bytes(8)]},  # of a topic that there is not
        {"positions": [bytes(8) + b"\xff" * 7 + b"\x7f"]},  # further than any log goes
        {"partition_bits": 99},
        {"groups": []},
        {"states": [STATE]},
    ],
)
def test_a_decision_whose_states_are_none_is_counted_and_costs_no_other_its_check(
    world: World, report: Report, torn: dict[str, Any]
) -> None:
    decisions = list(world[1])
    read = decisions[0].states_read
    assert read is not None
    states = torn.get("states", [])
    changed = {name: value for name, value in torn.items() if name != "states"}
    changed["positions"] = changed.get("positions", []) + read.positions[len(changed.get("positions", [])) :]
    decisions[0] = msgspec.structs.replace(
        decisions[0], states=states, states_read=msgspec.structs.replace(read, **changed)
    )

    found = report(decisions)

    assert (found.unreadable, found.checked, found.mismatches, found.pending) == (1, N - 1, 0, 0)


def test_a_position_of_no_partition_is_none_in_decisions_of_before_too(world: World, report: Report) -> None:
    decisions = list(world[1])
    odd = msgspec.structs.replace(STATE, position={"transactions.v1/x": 1})
    decisions[0] = msgspec.structs.replace(decisions[0], states=[odd], states_read=None)

    assert (report(decisions).unreadable) == 1


def test_degraded_and_foreign_decisions_are_counted_and_not_compared(world: World, report: Report) -> None:
    decisions = list(world[1])
    decisions[0] = msgspec.structs.replace(decisions[0], degraded_reasons=["online_store_timeout"], states_read=None)
    decisions[1] = msgspec.structs.replace(decisions[1], service_digest="0" * 64)

    found = report(decisions)

    assert (found.degraded, found.other_definitions, found.checked) == (1, 1, N - 2)


def test_a_live_transaction_without_a_decision_is_missing_and_a_decision_without_one_is_extra(
    past: Past, world: World, tmp_path: Path
) -> None:
    shutil.copytree(past.folder / "lake", tmp_path / "lake")
    lake = Lake(tmp_path / "lake")
    rows, decisions = world
    live = rows.set_column(rows.schema.names.index("source_topic"), "source_topic", pa.array(["transactions.v1"] * N))
    ids = [f"live-{place}" for place in range(N)]
    live = live.set_column(live.schema.names.index("transaction_id"), "transaction_id", pa.array(ids))
    lake.append("transactions", live, "live")
    renamed = [msgspec.structs.replace(item, transaction_id=ids[place]) for place, item in enumerate(decisions)]
    renamed[0] = msgspec.structs.replace(renamed[0], transaction_id="nobody's")
    at = [
        LogPosition(int(when), "decisions.v1", 0, place)
        for place, when in enumerate(rows["ingested_at_ms"].to_pylist())
    ]
    lake.append("decisions", from_events(Decision, renamed, at), "decided")

    found = skew_report(lake, past.service, CUT_MS, END_MS)

    assert (found.missing, found.extra) == (1, 1)


def test_events_of_an_erased_person_are_no_mismatch_and_count_apart(
    past: Past, world: World, report: Report, tmp_path: Path
) -> None:
    """Others' decisions had read states that counted his; a receipt says so. Without one, the same lake is a mismatch."""
    rows = past.lake.scan("transactions", START_MS, CUT_MS, columns=["account_id"])
    account = max(counted := Counter(rows["account_id"].to_pylist()), key=counted.__getitem__)
    uri = str(tmp_path / "lake")

    assert erase(places(uri), Asked(account, "asked for", "the test"), lambda: END_MS) is not None
    found = report([one for one in world[1] if one.account_id != account])

    assert found.mismatches == 0 and found.erased > 0 and found.by_feature == {}
    shutil.rmtree(tmp_path / "lake" / "_erasures")
    again = skew_report(Lake(uri), past.service, START_MS, END_MS)
    assert (again.mismatches, again.erased) == (found.erased, 0)


def test_only_a_state_that_others_share_can_have_read_an_erased_event(past: Past, tmp_path: Path) -> None:
    """However far an account's own states had read, and those of its pairs, no other's event was among them."""
    uri = str(tmp_path / "lake")
    told = Record(receipt="", stage=Stage.BEGUN, at_ms=END_MS, subject="s", by="b", reason="r", counts={}, first_offsets={"transactions.v1/0": 5})  # fmt: skip
    Receipts(uri).append(told)
    at = ("transactions.v1", 0)
    rows = pa.table({"decided_at_ms": [CUT_MS] * 4, "epoch": ["e"] * 4})
    positions = [{"account": {at: 9}}, {"account_device": {at: 9}}, {"device": {at: 9}}, {"device": {at: 4}}]

    found = _may_have_read_erased(Lake(uri), past.service, rows, positions)

    assert found.tolist() == [False, False, True, False]
