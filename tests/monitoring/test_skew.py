"""Parity as served: zero mismatches on honest decisions, and every kind of finding when there is one."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from fraud_assets.contracts.events import Decision
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.monitoring.skew import SkewReport, skew_report
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import LogPosition, from_events
from tests.history import END_MS, START_MS, Past
from tests.monitoring.decisions import decided_at, other_value

CUT_MS = END_MS - DAY_MS // 2
N = 60

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


def test_null_served_as_zero_is_a_mismatch(world: World, report: Report) -> None:
    decisions = list(world[1])
    features = list(decisions[0].features)
    place = next(place for place, value in enumerate(features) if value is None)
    features[place] = 0.0
    decisions[0] = msgspec.structs.replace(decisions[0], features=features)

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


def test_a_decision_that_saw_more_than_the_lake_holds_is_pending(world: World, report: Report) -> None:
    decisions = list(world[1])
    first = decisions[0].states[0]
    beyond = msgspec.structs.replace(first, position={**first.position, "transactions.v1/3": 10})
    decisions[0] = msgspec.structs.replace(decisions[0], states=[beyond, *decisions[0].states[1:]])

    found = report(decisions)

    assert (found.pending, found.checked, found.mismatches) == (1, N - 1, 0)


def test_degraded_and_foreign_decisions_are_counted_and_not_compared(world: World, report: Report) -> None:
    decisions = list(world[1])
    decisions[0] = msgspec.structs.replace(decisions[0], degraded_reasons=["online_store_timeout"], states=[])
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
