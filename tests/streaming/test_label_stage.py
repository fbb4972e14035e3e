"""The label stage: labels and transactions in any order, time that passes, and processes that die."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest
import redis

from fraud_assets.contracts.events import Event, Label, LabelFact, Transaction
from fraud_assets.labels.facts import Case
from fraud_assets.labels.history import facts_from_labels
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import LogPosition, from_events
from streaming.core.records import Accepted
from streaming.edges.cases import Identity, LakeCases, RedisCases
from streaming.label_stage import LabelStage, fill
from tests.streaming.events import DAY, T0, label, record, transaction

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


class DiesBeforeSaving(RedisCases):
    def write(self, cases: Mapping[Identity, Case], partitions: Mapping[Identity, int], delay_ms: int) -> None:
        raise redis.ConnectionError


def test_dying_between_emitting_and_saving_repeats_the_same_fact(store: RedisCases, clock: Clock) -> None:
    """Same id and same bytes, so the dedupe stage drops the second."""
    emitted: list[LabelFact] = []
    dying = DiesBeforeSaving(store._client, 2 * DELAY)
    with pytest.raises(redis.ConnectionError):
        stage(dying, clock, emitted).apply(arrived(transaction(), label()))

    stage(store, clock, emitted).apply(arrived(transaction(), label()))

    assert len(emitted) == 2
    assert emitted[0] == emitted[1]


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

    live = {fact.fact_id: fact for fact in emitted}.values()
    assert standing((f.transaction_id, f.is_fraud, f.event_time_ms, f.sign) for f in live) == standing(
        (row["transaction_id"], row["is_fraud"], row["event_time_ms"], row["sign"]) for row in batch
    )


def standing(facts: Iterable[tuple[str, bool, int, int]]) -> Counter[tuple[str, bool, int]]:
    found: Counter[tuple[str, bool, int]] = Counter()
    for name, is_fraud, at, sign in facts:
        found[name, is_fraud, at] += sign
    return +found
