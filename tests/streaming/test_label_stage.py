"""The label stage: labels and transactions in any order, time that passes, and processes that die."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from fraud_assets.contracts.events import Event, Label, LabelFact, Transaction
from fraud_assets.contracts.topics import TRANSACTIONS
from fraud_assets.labels.facts import Case
from fraud_assets.labels.history import facts_from_labels
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import LogPosition, from_events
from streaming.core.records import Accepted
from streaming.edges.cases import Identity, LakeCases, RedisCases
from streaming.edges.recent import KEPT_S, Recent
from streaming.label_stage import LabelSink, LabelStage, fill
from tests.streaming.events import DAY, KEY, T0, label, record, transaction

DELAY = 7 * DAY


class Clock:
    def __init__(self, now: int = T0) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(valkey_server: str) -> RedisCases:
    client = redis.Redis.from_url(valkey_server, db=11)
    client.flushdb()
    return RedisCases(client, 2 * DELAY)


class NoArchive:
    def find(self, identities: Iterable[Identity]) -> dict[Identity, tuple[Case, int]]:
        return {}


def stage(store: RedisCases, clock: Clock, emitted: list[LabelFact], archive: object = None) -> LabelStage:
    return LabelStage(store, archive or NoArchive(), emitted.extend, DELAY, clock)  # type: ignore[arg-type]  # a fake of a class that connects


def arrived(*events: Event) -> list[Accepted]:
    return [Accepted(record(event), event, event.event_time_ms) for event in events]


def shape(facts: Sequence[LabelFact]) -> list[tuple[int, bool]]:
    return [(fact.sign, fact.is_fraud) for fact in facts]


def test_a_payment_and_a_label_of_the_next_version_are_joined_by_what_this_one_knows(
    store: RedisCases, clock: Clock
) -> None:
    """A router that was upgraded before us has accepted them; what is wrong otherwise stays refused."""
    emitted = list[LabelFact]()
    sink = LabelSink(stage(store, clock, emitted), lambda: {(TRANSACTIONS.name, 0)}, KEY)
    more = b',"loyalty_tier":{"level":"gold"}}'
    wrong = record(transaction(transaction_id="t3"), 3)
    told = [record(transaction(), 0), record(transaction(transaction_id="t2"), 1), record(label(event_time_ms=T0), 2)]
    told.append(wrong._replace(value=(wrong.value or b"").replace(b'"EUR"', b'"euros"')))
    for one in told:
        sink.take(one._replace(value=(one.value or b"")[:-1] + more))

    sink.flush()
    clock.now += DELAY
    sink.tick()

    assert [(fact.transaction_id, fact.is_fraud) for fact in emitted] == [("t1", True), ("t2", False)]


def test_a_label_finds_the_transaction_that_arrived_before_it(store: RedisCases, clock: Clock) -> None:
    emitted: list[LabelFact] = []
    under_test = stage(store, clock, emitted)
    under_test.apply(arrived(transaction()))
    assert emitted == []

    under_test.apply(arrived(label()))

    assert shape(emitted) == [(1, True)]
    assert (emitted[0].device_id, emitted[0].amount_minor) == ("d1", 4200)


def test_a_label_waits_for_a_transaction_that_arrives_later(store: RedisCases, clock: Clock) -> None:
    emitted: list[LabelFact] = []
    under_test = stage(store, clock, emitted)
    under_test.apply(arrived(label()))
    assert emitted == []

    under_test.apply(arrived(transaction()))

    assert shape(emitted) == [(1, True)]


def test_silence_matures_in_its_partition_and_once(store: RedisCases, clock: Clock) -> None:
    emitted: list[LabelFact] = []
    under_test = stage(store, clock, emitted)
    under_test.apply(arrived(transaction()))
    clock.now = T0 + DELAY

    under_test.sweep([1, 2])
    assert emitted == []
    under_test.sweep([0])
    under_test.sweep([0])

    assert shape(emitted) == [(1, False)]
    assert emitted[0].event_time_ms == T0 + DELAY


def test_a_replayed_label_emits_nothing_once_its_case_is_saved(store: RedisCases, clock: Clock) -> None:
    emitted: list[LabelFact] = []
    under_test = stage(store, clock, emitted)
    under_test.apply(arrived(transaction(), label()))

    under_test.apply(arrived(transaction(), label()))

    assert len(emitted) == 1


class Crash(RuntimeError):
    pass


class Doomed(RedisCases):
    """A store, and a topic, of a process that dies at a step of its settling."""

    def __init__(self, store: RedisCases, log: list[LabelFact], dies: str) -> None:
        super().__init__(store._client, 2 * DELAY)
        self.log, self.dies, self.has_sent = log, dies, False

    def write(self, cases: Mapping[Identity, Case], partitions: Mapping[Identity, int], delay_ms: int) -> None:
        self._die_at("before the clear" if self.has_sent else "before the save")
        super().write(cases, partitions, delay_ms)

    def emit(self, facts: list[LabelFact]) -> None:
        self._die_at("before the send")
        self.log += facts[: len(facts) // 2]
        self._die_at("while sending")
        self.log += facts[len(facts) // 2 :]
        self.has_sent = True

    def _die_at(self, step: str) -> None:
        if self.dies == step:
            raise Crash


STEPS = ["before the save", "before the send", "while sending", "before the clear", "before the commit"]
LATER = DAY + 60_000


def dying(store: RedisCases, clock: Clock, log: list[LabelFact], step: str) -> LabelStage:
    doomed = Doomed(store, log, step)
    return LabelStage(doomed, NoArchive(), doomed.emit, DELAY, clock)


def accepted(log: Iterable[LabelFact]) -> list[LabelFact]:
    """The log as the dedupe stage leaves it. Another payload of the same id would be a dead letter."""
    first: dict[str, LabelFact] = {}
    for fact in log:
        assert first.setdefault(fact.fact_id, fact) == fact
    return list(first.values())


@pytest.mark.parametrize("step", STEPS)
def test_dying_at_any_step_repeats_what_was_sent_even_if_more_is_known_by_then(
    store: RedisCases, clock: Clock, step: str
) -> None:
    """Two purchases are called fraud, the process dies, and an operator's denial is in the replayed batch."""
    log: list[LabelFact] = []
    purchases = [transaction(), transaction(transaction_id="t2")]
    charged = [label(), label(label_id="l2", transaction_id="t2")]
    cleared = label(label_id="l3", source="operator", is_fraud=False, event_time_ms=T0 + LATER)
    with contextlib.suppress(Crash):
        dying(store, clock, log, step).apply(arrived(*purchases, *charged))

    stage(store, clock, log).apply(arrived(*purchases, *charged, cleared))

    expected = Counter({("t1", False, T0 + LATER): 1, ("t2", True, T0 + DAY): 1})
    assert remaining(accepted(log)) == expected


@pytest.mark.parametrize("step", STEPS)
def test_what_matured_in_a_process_that_died_is_sent_by_the_next_sweep(
    store: RedisCases, clock: Clock, step: str
) -> None:
    """No record will be read again for it. A chargeback follows, and takes back what stands."""
    log: list[LabelFact] = []
    stage(store, clock, log).apply(arrived(transaction(), transaction(transaction_id="t2")))
    clock.now = T0 + DELAY
    with contextlib.suppress(Crash):
        dying(store, clock, log, step).sweep([0])

    stage(store, clock, log).sweep([0])
    matured = accepted(log)
    stage(store, clock, log).apply(arrived(label(event_time_ms=T0 + 2 * DELAY)))

    assert remaining(matured) == Counter({("t1", False, T0 + DELAY): 1, ("t2", False, T0 + DELAY): 1})
    assert remaining(accepted(log)) == Counter({("t1", True, T0 + 2 * DELAY): 1, ("t2", False, T0 + DELAY): 1})


@pytest.mark.parametrize("step", STEPS)
def test_a_sweep_before_the_replay_does_not_change_what_a_dead_process_had_sent(
    store: RedisCases, clock: Clock, step: str
) -> None:
    """The label's delay passes while the process is away; the sweep comes first when it is back."""
    log: list[LabelFact] = []
    stage(store, clock, log).apply(arrived(transaction()))
    charged = arrived(label(event_time_ms=T0 + DAY))
    with contextlib.suppress(Crash):
        dying(store, clock, log, step).apply(charged)
    clock.now = T0 + 2 * DELAY

    again = stage(store, clock, log)
    again.sweep([0])
    again.apply(charged)
    again.sweep([0])

    assert remaining(accepted(log)) == Counter({("t1", True, T0 + DAY): 1})


def test_a_case_that_owes_a_fact_does_not_expire_and_one_that_owes_nothing_does(
    store: RedisCases, clock: Clock
) -> None:
    log: list[LabelFact] = []
    with contextlib.suppress(Crash):
        dying(store, clock, log, "before the send").apply(arrived(transaction(), label()))
    (key,) = store._client.keys("lf:*")
    assert store._client.pttl(key) == -1

    stage(store, clock, log).sweep([0])

    assert 0 < store._client.pttl(key) <= 2 * DELAY
    assert store.due(0, T0 + 10 * DELAY, 10) == []


def lake_of(path: Path, transactions: list[Transaction], labels: list[Label], as_of: int = T0) -> Lake:
    """A lake with imported history and the facts that the batch twin made of it."""
    lake = Lake(path)
    tables = {
        "transactions": from_events(Transaction, transactions, positions(transactions)),
        "labels": from_events(Label, labels, positions(labels)),
    }
    facts = facts_from_labels(tables["transactions"], tables["labels"], as_of, 7)
    for name, rows in (tables | {"label_facts": facts}).items():
        if rows.num_rows:
            lake.append(name, rows, "history")
    return lake


def positions(events: Sequence[Event]) -> list[LogPosition]:
    return [LogPosition(event.event_time_ms, "import", 0, n) for n, event in enumerate(events)]


def test_a_label_of_imported_history_takes_back_the_fact_of_the_import(
    store: RedisCases, clock: Clock, tmp_path: Path
) -> None:
    """The batch twin said legitimate; a chargeback arrives live; what remains is one fraud."""
    emitted: list[LabelFact] = []
    lake = lake_of(tmp_path, [transaction()], [], as_of=T0 + 30 * DAY)
    clock.now = T0 + 40 * DAY

    stage(store, clock, emitted, LakeCases(lake)).apply(arrived(label(event_time_ms=T0 + 39 * DAY)))

    assert shape(emitted) == [(-1, False), (1, True)]
    assert emitted[0].event_time_ms == T0 + DELAY


@pytest.fixture
def going_back(store: RedisCases, valkey_server: str) -> Iterator[Callable[[], Callable[[], None]]]:
    """Remembers what the store holds; then makes it hold that again, as a replica that is promoted without the last writes does."""
    client: Any = redis.Redis.from_url(valkey_server, db=11)

    def remember() -> Callable[[], None]:
        kept = {key: client.dump(key) for key in client.scan_iter()}

        def go_back() -> None:
            client.flushdb()
            for key, value in kept.items():
                client.restore(key, 0, value)

        return go_back

    yield remember
    client.close()


def test_a_purchase_that_a_failover_has_lost_matures_all_the_same(
    store: RedisCases, clock: Clock, going_back: Callable[[], Callable[[], None]]
) -> None:
    """Its offset is committed, so nobody would bring it again, and the lake is asked only for who is spoken of."""
    emitted: list[LabelFact] = []
    running = stage(store, clock, emitted)
    running.apply(arrived(transaction()))
    go_back = going_back()
    running.apply(arrived(transaction(transaction_id="t2")))
    go_back()
    clock.now = T0 + DELAY

    running.sweep([0])

    assert sorted(fact.transaction_id for fact in emitted) == ["t1", "t2"]
    running.sweep([0])
    assert len(emitted) == 2


@pytest.mark.parametrize("is_busy", [False, True], ids=["idle", "others come"])
def test_a_label_that_a_failover_has_lost_still_stands(
    store: RedisCases, clock: Clock, going_back: Callable[[], Callable[[], None]], is_busy: bool
) -> None:
    """Its fact is in the log: silence would make another of the same id, and say that the fraud is none."""
    emitted: list[LabelFact] = []
    running = stage(store, clock, emitted)
    running.apply(arrived(transaction()))
    go_back = going_back()
    running.apply(arrived(label(event_time_ms=T0 + 1)))
    go_back()
    if is_busy:  # its own write comes before anybody has looked
        store.write({("a9", "t9"): Case()}, {("a9", "t9"): 0}, DELAY)
    clock.now = T0 + DELAY

    running.sweep([0])

    assert shape(emitted) == [(1, True)]
    (case,) = store.read([("a1", "t1")])
    assert case is not None and len(case.statements) == 1


def test_what_another_process_has_said_since_is_not_taken_back(
    store: RedisCases, clock: Clock, going_back: Callable[[], Callable[[], None]], valkey_server: str
) -> None:
    """The partition went to it: what we wrote there and was lost is older than what it has written."""
    go_back = going_back()
    stage(store, clock, []).apply(arrived(transaction()))
    go_back()
    other = RedisCases(redis.Redis.from_url(valkey_server, db=11), 2 * DELAY)
    stage(other, clock, []).apply(arrived(transaction(), label(event_time_ms=T0 + 1)))

    (case,) = store.read([("a1", "t1")])

    assert case is not None and len(case.statements) == 1


def test_what_was_written_of_late_is_remembered_and_no_more() -> None:
    clock = [0.0]
    recent = Recent[str, int](lambda: clock[0])
    recent.add(1, {"a": 1, "b": 1})
    clock[0] = KEPT_S
    recent.add(2, {"a": 2})

    assert (recent.since(0), recent.since(1), recent.since(2)) == ({"a": 2, "b": 1}, {"a": 2}, {})
    clock[0] += 1.0
    recent.add(3, {"c": 3})
    assert recent.since(0) == {"a": 2, "c": 3}


def test_an_emptied_store_is_filled_from_the_lake(store: RedisCases, clock: Clock, tmp_path: Path) -> None:
    """Transactions that wait for their delay mature after a loss too, and those spoken of do not."""
    emitted: list[LabelFact] = []
    history = [transaction(), transaction(transaction_id="t2")]
    lake = lake_of(tmp_path, history, [label(transaction_id="t2", event_time_ms=T0 + 1)], as_of=T0 + DAY)
    clock.now = T0 + 2 * DAY

    fill(store, LakeCases(lake), DELAY, clock.now)
    clock.now = T0 + DELAY
    stage(store, clock, emitted, LakeCases(lake)).sweep([0])

    assert [(fact.transaction_id, fact.is_fraud) for fact in emitted] == [("t1", False)]
    assert store.is_filled()


def test_a_purchase_matures_though_nobody_swept_for_longer_than_its_case_is_kept(
    store: RedisCases, clock: Clock, tmp_path: Path
) -> None:
    emitted: list[LabelFact] = []
    under_test = stage(store, clock, emitted, LakeCases(lake_of(tmp_path, [transaction()], [])))
    under_test.apply(arrived(transaction()))
    store._client.delete(*store._client.keys("lf:*"))  # as Redis does when their time is up
    clock.now = T0 + 3 * DELAY

    under_test.sweep([0])
    under_test.sweep([0])

    assert shape(emitted) == [(1, False)]
    assert store.due(0, clock.now, 10) == []


def test_a_label_that_waits_for_its_purchase_waits_on_in_a_store_that_was_emptied(
    store: RedisCases, clock: Clock, tmp_path: Path
) -> None:
    """The bank was faster than the shop's own events; then Redis was lost. One too old to wait for is not asked for."""
    emitted: list[LabelFact] = []
    said = [label(event_time_ms=T0 - 1), label(label_id="l2", transaction_id="t9", event_time_ms=T0 - 15 * DAY)]
    lake = lake_of(tmp_path, [transaction(transaction_id="t2")], said)

    fill(store, LakeCases(lake), DELAY, clock.now)
    assert store.read([("a1", "t9")]) == [None]
    stage(store, clock, emitted, LakeCases(lake)).apply(arrived(transaction()))

    assert [(fact.transaction_id, fact.is_fraud) for fact in emitted] == [("t1", True)]


def test_the_stream_ends_where_the_batch_twin_ends(store: RedisCases, clock: Clock, tmp_path: Path) -> None:
    """Micro-batches, sweeps between them, and everything twice: the same facts stand."""
    emitted: list[LabelFact] = []
    purchases = [transaction(transaction_id=f"t{n}", event_time_ms=T0 + n * DAY) for n in range(12)]
    labels = [
        label(transaction_id=f"t{n}", label_id=f"l{n}", event_time_ms=T0 + (n + 3 * (n % 4)) * DAY, is_fraud=n % 3 > 0)
        for n in range(0, 12, 2)
    ]
    under_test = stage(store, clock, emitted)
    events = sorted([*purchases, *labels], key=lambda one: one.event_time_ms)
    for n, event in enumerate(events):
        clock.now = event.event_time_ms
        under_test.sweep([0])
        under_test.apply(arrived(*events[max(0, n - 2) : n + 1]))
    clock.now = T0 + 40 * DAY
    under_test.sweep([0])

    batch = facts_from_labels(
        from_events(Transaction, purchases, positions(purchases)),
        from_events(Label, labels, positions(labels)),
        clock.now,
        7,
    ).to_pylist()

    assert remaining(accepted(emitted)) == standing(
        (row["transaction_id"], row["is_fraud"], row["event_time_ms"], row["sign"]) for row in batch
    )


def remaining(facts: Iterable[LabelFact]) -> Counter[tuple[str, bool, int]]:
    return standing((fact.transaction_id, fact.is_fraud, fact.event_time_ms, fact.sign) for fact in facts)


def standing(facts: Iterable[tuple[str, bool, int, int]]) -> Counter[tuple[str, bool, int]]:
    found: Counter[tuple[str, bool, int]] = Counter()
    for name, is_fraud, at, sign in facts:
        found[name, is_fraud, at] += sign
    return +found
