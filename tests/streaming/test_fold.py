"""Whatever is delivered how often and wherever we die, a state is that of each event folded once."""

import contextlib
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from fraud_assets.engine.plan import EnginePlan
from fraud_assets.engine.prepare import columns_from_events, entity_key, rows_of
from fraud_assets.engine.state import StateEngine
from fraud_assets.features.catalogue.sources import ACTIVITY, PROFILES, TRANSACTIONS
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.features.layout import PROFILE_VERSIONS
from fraud_assets.stores.online_memory import MemoryStore
from fraud_assets.stores.online_port import NoEpoch, StoreUnavailable, Versioned, Write
from streaming.core.fold import Contended, GroupFolder
from streaming.core.records import Record
from streaming.core.rekey import ReKeyer
from streaming.core.route import Router
from tests.streaming.events import (
    DAY,
    KEY,
    MINUTE,
    T0,
    FakeHistory,
    FakeSeen,
    activity,
    profile,
    record,
    transaction,
)


@pytest.fixture(scope="module")
def plan() -> EnginePlan:
    return EnginePlan(registry())


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore(registry())
    made.publish_epoch("one", log="log", resume={}, now_ms=0)
    return made


def routed(raw: Sequence[Record], group: str) -> list[Record]:
    """What the router sends to one group's topic."""
    router = Router(ReKeyer(registry()), FakeSeen(), FakeHistory(), DAY, KEY)
    sends = [send for send in router.route(raw).sends if send.topic == f"entity.{group}.v1"]
    return [Record(send.topic, 0, n, T0, send.key, send.value, send.headers) for n, send in enumerate(sends)]


def log_of_accounts(n: int = 40) -> list[Record]:
    """Transactions and profiles of three accounts, minutes apart."""
    raw = []
    for i in range(n):
        at = T0 + i * MINUTE
        account = f"a{i % 3}"
        raw.append(record(transaction(transaction_id=f"t{i}", account_id=account, event_time_ms=at), i, at + 1))
        if i % 5 == 0:
            raw.append(record(profile(profile_id=f"f{i}", account_id=account, event_time_ms=at), i, at + 1))
    return raw


def test_an_event_of_the_next_version_is_folded_by_what_this_one_knows(store: MemoryStore) -> None:
    """A router that was upgraded before us has accepted it; anything else that is wrong with a record is still refused."""
    plan = EnginePlan(registry())
    ours = routed([record(transaction())], "account")
    assert ours[0].value
    more = ours[0].value[:-1] + b',"loyalty_tier":{"level":"gold"}}'
    theirs = [one._replace(value=raw, offset=n) for n, one in enumerate(ours) for raw in (more,)]
    theirs.append(ours[0]._replace(value=more.replace(b'"EUR"', b'"euros"'), offset=1))

    report = GroupFolder(plan, plan.group("account"), store).fold(theirs)

    assert (report.applied, [letter.reason for letter in report.dead_letters]) == (1, ["invalid_value"])
    found = store.read_many("account", ["a1"])[0]
    elsewhere = MemoryStore(registry())
    elsewhere.publish_epoch("one", log="log", resume={}, now_ms=0)
    GroupFolder(plan, plan.group("account"), elsewhere).fold(ours)
    wanted = elsewhere.read_many("account", ["a1"])[0]
    engine = StateEngine(plan, plan.group("account"))
    assert found and wanted
    assert [unit.newest for unit in engine.at_rest(found.packed)] == [
        unit.newest for unit in engine.at_rest(wanted.packed)
    ]
    assert engine.position(found.packed) == engine.position(wanted.packed)


def expected(plan: EnginePlan, group: str, raw: Sequence[Record]) -> dict[str, bytes]:
    """Each entity's rows folded at once, in memory, without the worker."""
    chosen = plan.group(group)
    engine = StateEngine(plan, chosen)
    states: dict[str, bytes] = {}
    sources = {"transactions.v1": TRANSACTIONS, "profiles.v1": PROFILES, "activity.v1": ACTIVITY}
    for one in raw:
        source = sources[one.topic]
        event = msgspec.json.decode(one.value or b"", type=source.contract)
        key = entity_key(chosen.group.entity, event)
        if key is not None:
            columns = columns_from_events(plan, source, [event], [one[:3]], [one.timestamp_ms])
            states[key] = engine.fold(states.get(key), rows_of(plan, chosen, columns)).packed[0]
    return states


def read_in_snapshots(**row: object) -> list[Record]:
    """A row that never changes, told by a connector that begins anew every other day, as Debezium tells it; past the dedupe horizon."""
    fields = {name: value for name, value in msgspec.to_builtins(profile()).items() if name != "profile_id"}
    del fields["event_time_ms"]
    told = [T0 + number * 2 * DAY for number in range(2 * PROFILE_VERSIONS)]
    return [
        record(profile(), 1 + place, at)._replace(
            value=msgspec.json.encode({"op": "r", "after": fields | row, "source": {"ts_ms": at - 1}})
        )
        for place, at in enumerate(told)
    ]


def folded_alone(plan: EnginePlan, raw: Sequence[Record]) -> tuple[object, ...]:
    """What a store of its own holds of account a1 at rest, once it has folded what the router makes of some records."""
    states = MemoryStore(registry())
    states.publish_epoch("one", log="log", resume={}, now_ms=0)
    group = plan.group("account")
    GroupFolder(plan, group, states).fold(routed(raw, "account"))
    (found,) = states.read_many("account", ["a1"])
    assert found is not None
    return StateEngine(plan, group).at_rest(found.packed)


def test_a_row_that_says_when_it_changed_is_one_version_however_many_snapshots_read_it(plan: EnginePlan) -> None:
    """Past the dedupe horizon each is an event of its own, but the same version; and the one before it is still known."""
    before = record(profile(profile_id="before", event_time_ms=T0 - 10 * DAY, home_country="FR"), 0, T0 - 10 * DAY)
    read = read_in_snapshots(event_time_ms=T0 - DAY)

    once = folded_alone(plan, [before, read[0]])

    assert len(routed([before, *read], "account")) == 1 + len(read)
    assert folded_alone(plan, [before, *read]) == once
    without_its_time = read_in_snapshots()
    assert folded_alone(plan, [before, *without_its_time]) != folded_alone(plan, [before, without_its_time[0]])


def states_of(store: MemoryStore, plan: EnginePlan, group: str, keys: Sequence[str]) -> dict[str, bytes]:
    read = MemoryStore(registry(), store.server).read_many(group, list(keys))
    return {key: state.packed for key, state in zip(keys, read, strict=True) if state}


def test_a_micro_batch_equals_its_events_folded_one_by_one(plan: EnginePlan, store: MemoryStore) -> None:
    raw = log_of_accounts()
    want = expected(plan, "account", raw)

    report = GroupFolder(plan, plan.group("account"), store).fold(routed(raw, "account"))

    assert states_of(store, plan, "account", list(want)) == want
    assert (report.applied, report.replayed, report.conflicts) == (len(raw), 0, 0)
    assert report.written == len(want)


def test_a_key_is_written_once_per_micro_batch(plan: EnginePlan, store: MemoryStore) -> None:
    raw = [record(transaction(transaction_id=f"t{i}"), i) for i in range(30)]

    GroupFolder(plan, plan.group("account"), store).fold(routed(raw, "account"))

    (state,) = store.read_many("account", ["a1"])
    assert state is not None and state.version == 1


def test_sources_of_one_group_meet_in_one_state(plan: EnginePlan, store: MemoryStore) -> None:
    raw = [record(transaction()), record(activity(account_id=None)), record(activity(activity_id="v2"), 1)]

    GroupFolder(plan, plan.group("event"), store).fold(routed(raw, "event"))

    assert states_of(store, plan, "event", ["e1"]) == expected(plan, "event", raw)


def test_a_replay_changes_nothing_and_writes_nothing(plan: EnginePlan, store: MemoryStore) -> None:
    records = routed(log_of_accounts(), "account")
    folder = GroupFolder(plan, plan.group("account"), store)
    folder.fold(records)
    before = dict(store.server)

    report = folder.fold(records)

    assert store.server == before
    assert (report.applied, report.replayed, report.written) == (0, len(records), 0)


class Rival(MemoryStore):
    """A second writer that folds the same records between our read and our write, `times` times."""

    def __init__(self, inner: MemoryStore, plan: EnginePlan, rival_records: list[list[Record]]) -> None:
        super().__init__(registry(), inner.server)
        self._rival = GroupFolder(plan, plan.group("account"), MemoryStore(registry(), inner.server))
        self._left = rival_records

    def compare_and_set(self, group: str, writes: Sequence[Write]) -> list[bool]:
        if self._left:
            self._rival.fold(self._left.pop(0))
        return super().compare_and_set(group, writes)


def test_a_second_writer_costs_another_round_and_no_event(plan: EnginePlan, store: MemoryStore) -> None:
    """On a mismatch the worker reads again and folds again; rows the rival applied count as replayed."""
    raw = log_of_accounts()
    records = routed(raw, "account")
    want = expected(plan, "account", raw)

    report = GroupFolder(plan, plan.group("account"), Rival(store, plan, [records[:10], records[:25]])).fold(records)

    assert states_of(store, plan, "account", list(want)) == want
    assert report.conflicts > 0
    assert report.applied + report.replayed == len(records)
    assert report.replayed == 25


def test_two_owners_that_never_agree_are_told_apart_from_a_slow_one(plan: EnginePlan, store: MemoryStore) -> None:
    class Refuses(MemoryStore):
        def compare_and_set(self, group: str, writes: Sequence[Write]) -> list[bool]:
            return [False] * len(writes)

    with pytest.raises(Contended, match=r"group\.instance\.id"):
        GroupFolder(plan, plan.group("account"), Refuses(registry(), store.server)).fold(
            routed([record(transaction())], "account")
        )


def test_without_an_epoch_nothing_is_folded(plan: EnginePlan) -> None:
    """A flushed store is no world of new customers."""
    empty = MemoryStore(registry())

    with pytest.raises(NoEpoch):
        GroupFolder(plan, plan.group("account"), empty).fold(routed([record(transaction())], "account"))

    assert empty.server == {}


def test_records_no_router_wrote_become_dead_letters(plan: EnginePlan, store: MemoryStore) -> None:
    good = routed([record(transaction())], "account")
    foreign = Record("entity.account.v1", 0, 8, T0, b"a1", b"{}", [])
    torn = good[0]._replace(value=b"{", offset=9)
    elsewhere = good[0]._replace(headers=[("source_topic", b"labels.v1"), *good[0].headers[1:]])

    report = GroupFolder(plan, plan.group("account"), store).fold([foreign, torn, elsewhere, *good])

    assert [letter.reason for letter in report.dead_letters] == [
        "foreign_entity_record",
        "malformed_json",
        "foreign_entity_record",
    ]
    assert report.applied == 1


class Dies(MemoryStore):
    """The process dies at the n-th call of the store; `after`: once the call has taken effect."""

    def __init__(self, inner: MemoryStore, at: int, after: bool) -> None:
        super().__init__(registry(), inner.server)
        self._left, self._after = at, after

    def _step(self, act: Any) -> Any:
        self._left -= 1
        if self._left < 0 and not self._after:
            raise StoreUnavailable("crash")
        done = act()
        if self._left < 0:
            raise StoreUnavailable("crash")
        return done

    def read_many(self, group: str, keys: Sequence[str]) -> list[Versioned | None]:
        found: list[Versioned | None] = self._step(lambda: MemoryStore.read_many(self, group, keys))
        return found

    def compare_and_set(self, group: str, writes: Sequence[Write]) -> list[bool]:
        made: list[bool] = self._step(lambda: MemoryStore.compare_and_set(self, group, writes))
        return made


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(6))
def test_dying_between_any_two_steps_leaves_an_equal_state(
    plan: EnginePlan, store: MemoryStore, at: int, after: bool
) -> None:
    """Read, fold, write, commit: the next process starts from the committed offset of each checkpoint."""
    raw = log_of_accounts()
    records = routed(raw, "account")
    checkpoints = [records[:11], records[11:30], records[30:]]
    dying = Dies(store, at, after)
    committed = 0
    with contextlib.suppress(StoreUnavailable):
        for batch in checkpoints:
            GroupFolder(plan, plan.group("account"), dying).fold(batch)
            committed += len(batch)

    restarted = GroupFolder(plan, plan.group("account"), MemoryStore(registry(), store.server))
    restarted.fold(records[committed:])

    want = expected(plan, "account", raw)
    assert states_of(store, plan, "account", list(want)) == want
