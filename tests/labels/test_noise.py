"""What the noise report measures, counted by hand."""

import polars as pl
import pytest

from fraud_assets.contracts.events import Label, LabelFact, LabelSource
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.labels.facts import Case, settle, subject_of, with_label, with_subject
from fraud_assets.labels.noise import MIN_JUDGED, Measure, Noise, noise_of
from fraud_assets.labels.statements import frame
from fraud_assets.stores.schemas import LogPosition, from_events
from tests.streaming.events import T0, label, transaction

DELAY_DAYS = 7
AS_OF = T0 + 60 * DAY_MS
REVIEW, CHARGEBACK, OPERATOR = LabelSource.MANUAL_REVIEW, LabelSource.CHARGEBACK, LabelSource.OPERATOR


def one(number: int, source: LabelSource, *, is_fraud: bool, days: float = 1, revision: int = 0) -> Label:
    return label(
        label_id=f"{source}-{number}-{revision}", transaction_id=f"t{number}", source=source, is_fraud=is_fraud,
        revision=revision, event_time_ms=T0 + int(days * DAY_MS),
    )  # fmt: skip


def report(labels: list[Label], payments: int) -> Noise:
    """Of payments t0, t1, … made at T0, with the facts that the label stage makes of them as time passes."""
    at = [LogPosition(said.event_time_ms, "labels.v1", 0, place) for place, said in enumerate(labels)]
    copies = frame(from_events(Label, labels, at))
    return noise_of(copies, facts_of(labels, payments), paid(payments), AS_OF, DELAY_DAYS)


def paid(payments: int) -> pl.DataFrame:
    ids = [f"t{n}" for n in range(payments)]
    return pl.DataFrame({"account_id": ["a1"] * payments, "transaction_id": ids, "event_time_ms": [T0] * payments})


def facts_of(labels: list[Label], payments: int) -> pl.DataFrame:
    found: list[tuple[int, LabelFact]] = []
    for number in range(payments):
        case = with_subject(Case(), subject_of(transaction(transaction_id=f"t{number}")))
        ours = [(said.event_time_ms, said) for said in labels if said.transaction_id == f"t{number}"]
        for at, said in sorted([*ours, (T0 + DELAY_DAYS * DAY_MS, None)], key=lambda step: step[0]):
            case, made = settle(with_label(case, said) if said else case, DELAY_DAYS * DAY_MS, at)
            found += [(at, fact) for fact in made]
    found.sort(key=lambda arrived: arrived[0])
    positions = [LogPosition(when, "label_facts.v1", 0, place) for place, (when, _) in enumerate(found)]
    return frame(from_events(LabelFact, [fact for _, fact in found], positions))


def measured(found: Noise) -> dict[str, Measure]:
    return {measure.name: measure for measure in found.measures}


def test_two_sources_are_compared_where_both_have_spoken() -> None:
    """Of 40 that both judged they agree on 30; by chance they would on 20."""
    chargebacks = [one(n, CHARGEBACK, is_fraud=n < 20) for n in range(45)]
    reviews = [one(n, REVIEW, is_fraud=5 <= n < 25) for n in range(40)]

    found = report(chargebacks + reviews, 45)

    pairs = {(pair.first, pair.second): pair for pair in found.pairs}
    both = pairs["chargeback", "manual_review"]
    assert (both.both, both.agreement) == (40, 0.75)
    assert both.kappa == pytest.approx(0.5)
    assert pairs["chargeback", "operator"].both == 0
    assert measured(found)["disagreement_chargeback_manual_review"].value == pytest.approx(0.25)
    assert "disagreement_chargeback_manual_review" in found.out_of_bounds


def test_sources_that_always_say_the_same_word_have_no_kappa() -> None:
    found = report([one(n, source, is_fraud=True) for n in range(40) for source in (CHARGEBACK, OPERATOR)], 40)

    pair = next(pair for pair in found.pairs if pair.both)
    assert (pair.agreement, pair.kappa) == (1.0, None)


def test_a_verdict_that_turns_is_counted_with_how_long_it_took() -> None:
    charged = [one(n, CHARGEBACK, is_fraud=True, days=2) for n in range(40)]
    won = [one(n, CHARGEBACK, is_fraud=False, days=2 + 1 + n, revision=1) for n in range(3)]

    found = measured(report(charged + won, 40))

    assert (found["frauds_taken_back"].value, found["frauds_taken_back"].of) == (3 / 40, 40)
    assert found["median_days_until_taken_back"].value == 2.0
    assert not found["frauds_taken_back"].is_within


def test_a_verdict_that_is_only_dated_anew_has_not_turned() -> None:
    """A bank's word of Monday arrives on Thursday, behind the operator's of Tuesday: the fact is taken back and made again."""
    case = with_subject(Case(), subject_of(transaction(transaction_id="t0")))
    case, tuesday = settle(with_label(case, one(0, OPERATOR, is_fraud=True, days=2)), DELAY_DAYS * DAY_MS, T0)
    _, thursday = settle(with_label(case, one(0, CHARGEBACK, is_fraud=True, days=1)), DELAY_DAYS * DAY_MS, T0)
    facts = [*tuesday, *thursday]
    at = [LogPosition(T0 + place * DAY_MS, "label_facts.v1", 0, place) for place in range(len(facts))]
    nothing = frame(from_events(Label, [], []))

    found = measured(noise_of(nothing, frame(from_events(LabelFact, facts, at)), paid(1), AS_OF, DELAY_DAYS))

    assert [fact.sign for fact in facts] == [1, -1, 1]
    assert found["frauds_taken_back"].value == found["verdicts_turned"].value == 0.0


def test_frauds_that_come_after_the_label_delay_are_late() -> None:
    labels = [one(n, CHARGEBACK, is_fraud=True, days=20 if n < 10 else 5) for n in range(40)]

    found = report(labels, 50)

    late = measured(found)["frauds_known_too_late"]
    assert (late.value, late.of) == (0.25, 40)
    assert measured(found)["verdicts_turned"].value == 10 / 50  # legitimate first, fraud then
    assert {"frauds_known_too_late", "verdicts_turned"} <= set(found.out_of_bounds)


def test_of_a_young_payment_no_fraud_is_late_yet() -> None:
    labels = [one(n, CHARGEBACK, is_fraud=True, days=5) for n in range(40)]
    at = [LogPosition(said.event_time_ms, "labels.v1", 0, place) for place, said in enumerate(labels)]
    copies = frame(from_events(Label, labels, at))

    found = noise_of(copies, facts_of(labels, 40), paid(40), T0 + 6 * DAY_MS, DELAY_DAYS)

    assert measured(found)["frauds_known_too_late"].of == 0


def test_labels_of_payments_that_nobody_knows_are_counted() -> None:
    found = report([one(n, OPERATOR, is_fraud=True) for n in range(40)], 38)

    unknown = measured(found)["of_unknown_transactions"]
    assert (unknown.value, unknown.of) == (2 / 40, 40)
    assert "of_unknown_transactions" in found.out_of_bounds


def test_one_label_id_with_two_contents_is_one_too_many() -> None:
    said = one(0, OPERATOR, is_fraud=True)
    other = one(0, OPERATOR, is_fraud=False)

    assert report([said, said], 1).out_of_bounds == []
    found = report([said, other], 1)
    assert found.out_of_bounds == ["label_ids_with_two_contents"]
    assert found.labels == 1


def test_good_labels_are_within_bounds_and_none_are_too() -> None:
    good = [one(n, source, is_fraud=n < 30) for n in range(60) for source in (REVIEW, OPERATOR)]

    assert report(good, 70).out_of_bounds == []
    assert report([], 5).out_of_bounds == []


def test_a_share_of_few_is_not_judged() -> None:
    assert Measure("late", 0.9, MIN_JUDGED - 1, 0.2).is_within
    assert not Measure("late", 0.9, MIN_JUDGED, 0.2).is_within
