"""The snapshot equals folding, event by event; and catching up equals a fresh snapshot."""

import numpy as np
import pytest

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.engine.prepare import rows_of
from fraud_assets.engine.state import StateEngine
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_memory import MemoryStore
from fraud_assets.stores.online_port import MARKER_KEY
from fraud_assets.stores.publish import catch_up, snapshot
from fraud_assets.stores.snapshot import (
    Events,
    GroupReport,
    entity_rows,
    events_until,
    publish_behind,
    publish_snapshot,
)
from tests.history import END_MS, Past


def states_of(store: MemoryStore) -> dict[str, bytes]:
    """Packed states by group and entity, whatever the epoch; envelopes' versions left out."""
    return {":".join(key.split(":")[3:]): value[8:] for key, value in store.server.items() if key != MARKER_KEY}


Published = tuple[MemoryStore, dict[str, GroupReport], list[Events]]


@pytest.fixture(scope="module")
def published(past: Past) -> Published:
    store = MemoryStore(past.plan.registry)
    events = events_until(past.lake, past.plan, END_MS)
    _, reports = publish_snapshot(store, past.plan, events, epoch="e1", log="test", resume={}, now_ms=END_MS)
    return store, reports, events


def test_every_entity_that_an_event_names_has_a_state(past: Past, published: Published) -> None:
    store, reports, _ = published
    accounts = set(past.lake.scan("transactions", columns=["account_id"])["account_id"].to_pylist())

    held = {key.removeprefix("account:") for key in states_of(store) if key.startswith("account:")}

    assert accounts <= held
    assert reports["account"].applied == reports["account"].rows


@pytest.mark.parametrize("name", ["account", "card", "event", "category", "account_device"])
def test_a_state_of_the_snapshot_equals_its_events_folded_one_by_one(
    past: Past, published: Published, name: str
) -> None:
    store, _, events = published
    group = past.plan.group(name)
    engine = StateEngine(past.plan, group)
    found = entity_rows(past.plan, group, events)
    busiest = np.argsort(-np.diff(found.starts))[:5]
    for place in [*busiest, 0, len(found.keys) - 1]:
        rows = found.rows[found.starts[place] : found.starts[place + 1]]

        folded = None
        for row in rows[:400]:
            folded = engine.fold(folded, row[None, :]).packed[0]
        for first in range(400, len(rows), 50):
            folded = engine.fold(folded, rows[first : first + 50]).packed[0]

        held = store.read_many(name, [found.keys[place]])[0]
        assert held is not None
        assert folded is not None
        assert engine.at_rest(held.packed) == engine.at_rest(folded)
        assert engine.position(held.packed) == engine.position(folded)


def test_rows_of_an_entity_are_those_of_its_own_events(past: Past, published: Published) -> None:
    _, _, events = published
    group = past.plan.group("account_device")
    found = entity_rows(past.plan, group, events)
    transactions = next(item for item in events if item.columns.source.name == "transactions")
    key = found.keys[10]
    mine = [
        place
        for place, (account, device) in enumerate(
            zip(transactions.text["account_id"].to_pylist(), transactions.text["device_id"].to_pylist(), strict=True)
        )
        if f"{account}|{device}" == key
    ]

    expected = rows_of(past.plan, group, transactions.columns.take(np.array(mine, np.int64)))

    assert np.array_equal(found.rows[found.starts[10] : found.starts[11]], expected)


def test_catching_up_an_older_snapshot_gives_the_newer_one(past: Past, published: Published) -> None:
    store, _, _ = published
    behind = MemoryStore(past.plan.registry)
    earlier = events_until(past.lake, past.plan, END_MS - DAY_MS)
    publish_snapshot(behind, past.plan, earlier, epoch="e0", log="test", resume={}, now_ms=END_MS - DAY_MS)

    reports = catch_up(past.lake, past.plan, behind)

    assert sum(report.applied for report in reports.values()) > 0
    for name in ("account", "event", "category", "account_card"):
        engine = StateEngine(past.plan, past.plan.group(name))
        now, then = states_of(store), states_of(behind)
        for key in [key for key in now if key.startswith(f"{name}:")]:
            assert engine.at_rest(then[key]) == engine.at_rest(now[key])
            assert engine.position(then[key]) == engine.position(now[key])


def test_states_that_are_current_are_not_written_again(past: Past, published: Published) -> None:
    store, _, events = published
    before = dict(store.server)

    reports = publish_behind(store, past.plan, events)

    assert store.server == before
    assert all(report.applied == 0 and report.changed == 0 for report in reports.values())


def test_repeating_a_snapshot_publishes_the_same_states_and_drops_the_former(
    past: Past, valkey_server: str, no_broker: str
) -> None:
    store = OnlineStore.connect(valkey_server, past.plan.registry, timeout_s=30)

    one = snapshot(past.lake, past.plan, store, no_broker, END_MS, END_MS)
    keys = past.lake.scan("transactions", columns=["account_id"]).slice(0, 50)["account_id"].to_pylist()
    first = store.read_many("account", keys)
    other = snapshot(past.lake, past.plan, store, no_broker, END_MS, END_MS)

    assert one.marker.epoch != other.marker.epoch
    assert store.read_many("account", keys) == first
    assert other.dropped == sum(report.entities for report in one.groups.values())
    assert store.current_epoch() == other.marker
