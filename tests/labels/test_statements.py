"""Verdicts by columns are those that the label stage comes to, one case at a time."""

from itertools import permutations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.contracts.events import Label, LabelFact, LabelSource
from fraud_assets.labels.facts import Case, Statement, settle, subject_of, verdict_of, with_label, with_subject
from fraud_assets.labels.statements import by_source, cleared, frame, standing_frauds, verdicts
from fraud_assets.stores.schemas import LogPosition, from_events
from tests.streaming.events import DAY, T0, label, transaction

LABELS = st.lists(
    st.builds(
        lambda number, source, is_fraud, revision, days: label(
            label_id=f"l{number}", source=source, is_fraud=is_fraud, revision=revision, event_time_ms=T0 + days * DAY
        ),
        st.integers(0, 30), st.sampled_from(list(LabelSource)), st.booleans(), st.integers(0, 2), st.integers(0, 4),
    ),
    min_size=1, max_size=8,
)  # fmt: skip


def rows_of(labels: list[Label]) -> pl.DataFrame:
    at = [LogPosition(one.event_time_ms, "labels.v1", 0, place) for place, one in enumerate(labels)]
    return frame(from_events(Label, labels, at))


@given(LABELS)
@settings(max_examples=150, deadline=None)
def test_the_verdict_is_that_of_the_label_stage(labels: list[Label]) -> None:
    labels = sorted({one.label_id: one for one in reversed(labels)}.values(), key=lambda one: one.event_time_ms)
    case = tuple(Statement(one.event_time_ms, one.source, one.revision, one.is_fraud, one.label_id) for one in labels)

    found = verdicts(rows_of(labels))

    expected = verdict_of(T0, case, 90 * DAY, T0 + 5 * DAY)
    assert expected is not None
    assert found.select("account_id", "transaction_id", "is_fraud").rows() == [("a1", "t1", expected.is_fraud)]


def test_a_copy_of_a_label_id_speaks_once_whatever_it_says() -> None:
    first, copy = label(is_fraud=False), label(is_fraud=True, revision=5, event_time_ms=T0 + 9 * DAY)

    assert verdicts(rows_of([first, copy]))["is_fraud"].to_list() == [False]


def test_one_statement_of_each_source_stands() -> None:
    said = [
        label(label_id=f"l{place}", source=source, revision=revision)
        for place, (source, revision) in enumerate((source, revision) for source in LabelSource for revision in (0, 1))
    ]

    assert all(by_source(rows_of(list(order)))["revision"].to_list() == [1, 1, 1] for order in permutations(said, 6))


@pytest.mark.parametrize("is_fraud", [True, False])
def test_cleared_is_who_was_looked_at_and_not_who_was_left_in_silence(is_fraud: bool) -> None:
    spoken = rows_of([label(is_fraud=is_fraud)])

    assert cleared(spoken).rows() == ([] if is_fraud else [("a1", "t1")])
    assert cleared(rows_of([])).rows() == []


@given(LABELS)
@settings(max_examples=60, deadline=None)
def test_a_fraud_stands_where_facts_add_up_to_one(labels: list[Label]) -> None:
    case, facts = with_subject(Case(), subject_of(transaction())), list[LabelFact]()
    for one in labels:
        case, made = settle(with_label(case, one), 90 * DAY, T0 + 5 * DAY)
        facts += made
    at = [LogPosition(T0, "label_facts.v1", 0, place) for place in range(len(facts))]

    found = standing_frauds(frame(from_events(LabelFact, facts, at)))

    assert case.standing is not None
    assert found.rows() == ([("a1", "t1")] if case.standing.is_fraud else [])
