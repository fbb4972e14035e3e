"""Facts add up to the verdict, whatever the order in which labels arrived."""

from collections import Counter
from itertools import pairwise
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.contracts.events import Label, LabelFact, LabelSource, Transaction
from fraud_assets.labels.facts import Case, settle, subject_of, with_label, with_subject
from fraud_assets.labels.history import facts_between, facts_from_labels
from fraud_assets.stores.schemas import LogPosition, from_events, to_events
from tests.streaming.events import DAY, T0, label, transaction

DELAY = 7 * DAY
LATER = T0 + 100 * DAY
OPERATOR, CHARGEBACK, REVIEW = LabelSource.OPERATOR, LabelSource.CHARGEBACK, LabelSource.MANUAL_REVIEW


def opened(**changed: Any) -> Case:
    return with_subject(Case(), subject_of(transaction(**changed)))


def told(case: Case, *labels: Label, now_ms: int = LATER) -> tuple[Case, list[LabelFact]]:
    """Settle after each label at its known-at, then at `now_ms`."""
    facts: list[LabelFact] = []
    for one in labels:
        case, made = settle(with_label(case, one), DELAY, one.event_time_ms)
        facts += made
    case, made = settle(case, DELAY, now_ms)
    return case, facts + made


def shape(facts: list[LabelFact]) -> list[tuple[int, bool, float]]:
    """(sign, is_fraud, days after the transaction) of each fact."""
    return [(fact.sign, fact.is_fraud, (fact.event_time_ms - T0) / DAY) for fact in facts]


def test_silence_becomes_legitimate_when_the_delay_has_passed() -> None:
    """Not a millisecond earlier, and once."""
    case, facts = settle(opened(), DELAY, T0 + DELAY - 1)
    assert facts == []

    case, facts = settle(case, DELAY, T0 + DELAY)
    assert shape(facts) == [(1, False, 7)]

    assert settle(case, DELAY, LATER) == (case, [])


def test_a_fraud_known_early_is_one_fact() -> None:
    _, facts = told(opened(), label(event_time_ms=T0 + 3 * DAY))

    assert shape(facts) == [(1, True, 3)]


def test_a_fraud_known_after_maturity_takes_back_the_legitimate_fact() -> None:
    """The retraction carries the time of the fact it retracts."""
    _, facts = told(settle(opened(), DELAY, T0 + DELAY)[0], label(event_time_ms=T0 + 20 * DAY))

    assert shape(facts) == [(-1, False, 7), (1, True, 20)]


def test_a_second_revision_corrects_the_first() -> None:
    _, facts = told(
        opened(),
        label(event_time_ms=T0 + DAY),
        label(label_id="l2", event_time_ms=T0 + 2 * DAY, is_fraud=False, revision=1),
    )

    assert shape(facts) == [(1, True, 1), (-1, True, 1), (1, False, 2)]


@pytest.mark.parametrize(("weighty", "light"), [(OPERATOR, CHARGEBACK), (CHARGEBACK, REVIEW), (OPERATOR, REVIEW)])
def test_the_weightier_source_decides_whoever_speaks_last(weighty: LabelSource, light: LabelSource) -> None:
    said = label(source=weighty, is_fraud=False, event_time_ms=T0 + DAY)

    _, facts = told(opened(), said, label(label_id="l2", source=light, is_fraud=True, event_time_ms=T0 + 2 * DAY))

    assert shape(facts) == [(1, False, 1)]


def test_a_confirmation_makes_no_new_fact() -> None:
    _, facts = told(
        opened(),
        label(source=REVIEW, event_time_ms=T0 + DAY),
        label(label_id="l2", source=CHARGEBACK, event_time_ms=T0 + 2 * DAY),
    )

    assert shape(facts) == [(1, True, 1)]


def test_a_label_waits_for_its_transaction() -> None:
    """Unknown transactions make no fact; when theirs arrives, the label counts from when it was known."""
    waiting, facts = told(Case(), label())
    assert facts == []

    _, facts = settle(with_subject(waiting, subject_of(transaction())), DELAY, LATER)
    assert shape(facts) == [(1, True, 1)]


def test_a_replayed_label_repeats_the_fact_of_the_same_id() -> None:
    """State is saved after its facts were sent, so a crash between repeats them; the ids do not change."""
    case = opened()

    assert told(case, label())[1] == told(case, label())[1]


def test_ids_of_one_transaction_differ() -> None:
    _, facts = told(
        opened(),
        label(event_time_ms=T0 + DAY),
        label(label_id="l2", event_time_ms=T0 + DAY, is_fraud=False, revision=1),
        label(label_id="l3", event_time_ms=T0 + DAY, is_fraud=True, revision=2),
    )

    assert len({fact.fact_id for fact in facts}) == len(facts) == 5


@st.composite
def some_labels(draw: st.DrawFn) -> list[Label]:
    drawn = draw(
        st.lists(
            st.tuples(st.integers(0, 10), st.sampled_from(LabelSource), st.integers(0, 2), st.booleans()), max_size=5
        )
    )
    return [
        label(label_id=f"l{n}", event_time_ms=T0 + days * DAY, source=source, revision=revision, is_fraud=is_fraud)
        for n, (days, source, revision, is_fraud) in enumerate(drawn)
    ]


@given(some_labels(), st.randoms())
def test_what_remains_does_not_depend_on_the_order_of_arrival(labels: list[Label], random: Any) -> None:
    """Facts minus retractions, in any order of labels, maturity and the transaction itself."""
    _, facts = told(opened(), *sorted(labels, key=lambda one: one.event_time_ms))
    shuffled = list(labels)
    random.shuffle(shuffled)

    case: Case = Case()
    again: list[LabelFact] = []
    arrives = random.randint(0, len(shuffled))
    for place, one in enumerate(shuffled):
        if place == arrives:
            case = with_subject(case, subject_of(transaction()))
        case, made = settle(with_label(case, one), DELAY, LATER)
        again += made
    again += settle(with_subject(case, subject_of(transaction())), DELAY, LATER)[1]

    assert remaining(again) == remaining(facts)
    assert all(count in (0, 1) for count in remaining(again).values())


def remaining(facts: list[LabelFact]) -> Counter[tuple[bool, int]]:
    found: Counter[tuple[bool, int]] = Counter()
    for fact in facts:
        found[fact.is_fraud, fact.event_time_ms] += fact.sign
    return +found


@given(st.lists(some_labels(), min_size=1, max_size=4), st.integers(0, 20))
def test_the_batch_twin_makes_the_facts_the_stream_would_have_made(said: list[list[Label]], days: int) -> None:
    """Same facts, same ids, same arrival; labels arrive when they are known, and the clock ticks between."""
    as_of = T0 + days * DAY + 1
    purchases = [transaction(transaction_id=f"t{n}", event_time_ms=T0 + n) for n in range(len(said))]
    labels = [
        change(one, transaction_id=f"t{n}", label_id=f"{n}-{one.label_id}")
        for n, of_it in enumerate(said)
        for one in of_it
    ]

    batch = facts_from_labels(table(Transaction, purchases), table(Label, labels), as_of, 7)

    assert sorted(
        zip(batch["ingested_at_ms"].to_pylist(), map(repr, to_events(LabelFact, batch)), strict=True)
    ) == sorted((at, repr(fact)) for at, fact in live(purchases, labels, as_of))
    offsets = batch["source_offset"].to_pylist()
    assert offsets == sorted(set(offsets))


@given(st.lists(some_labels(), min_size=1, max_size=3), st.lists(st.integers(0, 20), max_size=3))
def test_history_cut_into_ranges_gives_the_rows_of_one_piece(said: list[list[Label]], cuts: list[int]) -> None:
    """A daily partition is numbered without those before it."""
    purchases = [transaction(transaction_id=f"t{n}") for n in range(len(said))]
    labels = [change(one, transaction_id=f"t{n}") for n, of_it in enumerate(said) for one in of_it]
    given_rows = table(Transaction, purchases), table(Label, labels)
    bounds = [0, *sorted(T0 + days * DAY for days in cuts), LATER]

    pieces = [facts_between(*given_rows, a, b, 7) for a, b in pairwise(bounds)]

    assert pa.concat_tables(pieces).equals(facts_between(*given_rows, 0, LATER, 7))


def live(purchases: list[Transaction], labels: list[Label], as_of: int) -> list[tuple[int, LabelFact]]:
    """The stream's way: one event after the other in order of arrival, and the clock ticks between them."""
    subjects = {one.transaction_id: subject_of(one) for one in purchases}
    steps: list[tuple[int, int, str, Label | None]] = [
        (one.event_time_ms, 1, one.transaction_id, one) for one in labels
    ]
    steps += [
        (one.event_time_ms + delay, 0 if delay == 0 else 2, one.transaction_id, None)
        for one in purchases
        for delay in (0, DELAY)
    ]
    cases: dict[str, Case] = dict.fromkeys(subjects, Case())
    found = []
    for at, kind, name, one in sorted(steps, key=lambda step: step[:2]):
        if at < as_of:
            case = with_label(cases[name], one) if one else cases[name]
            case = with_subject(case, subjects[name]) if kind == 0 else case
            cases[name], facts = settle(case, DELAY, at)
            found += [(at, fact) for fact in facts]
    return found


def change(one: Label, **changed: Any) -> Label:
    return msgspec.structs.replace(one, **changed)


def table(contract: Any, events: list[Any]) -> pa.Table:
    positions = [LogPosition(one.event_time_ms, "import", 0, n) for n, one in enumerate(events)]
    return from_events(contract, events, positions)
