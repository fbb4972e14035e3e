"""Figures of matured labels, by hand: what is known of denied payments, bounds, and what chance allows."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.models.manifest import Thresholds
from fraud_assets.training.live import by_day, calibrated_of, good_refused, judged, performance_of, recall_lost
from fraud_assets.training.matured import MIN_ROWS, NOBODY, Payments, State, matures_ms, state_of
from fraud_assets.training.threshold import CostTable

AT = Thresholds(review=0.5, deny=0.8)
HOUR_MS = 3_600_000


def payments(*rows: tuple[float, str, str], times: int = 1) -> Payments:
    """(score, "denied" or "let", "fraud", "good" or "silent") over a week, ten euros each."""
    score, action, said = (list(column) * times for column in zip(*rows, strict=True))
    n = len(score)
    return Payments(
        np.arange(n, dtype=np.int64) % 7 * DAY_MS,
        np.array(score),
        np.array([one == "denied" for one in action]),
        np.array([one == "fraud" for one in said]),
        np.array([one != "silent" for one in said]),
        np.full(n, 1_000.0),
    )


SIX = payments(
    (0.9, "denied", "fraud"),
    (0.9, "denied", "silent"),
    (0.95, "denied", "silent"),
    (0.85, "denied", "good"),
    (0.3, "let", "fraud"),
    (0.1, "let", "good"),
)


def test_a_payment_denied_in_silence_is_neither_fraud_nor_good_and_bounds_say_so() -> None:
    found = performance_of(SIX, AT, CostTable())

    assert (found.rows, found.frauds, found.denied_in_silence) == (4, 2, 2)
    assert (found.recall, found.precision, found.f1, found.fpr) == (0.5, 0.5, 0.5, 0.5)
    assert (found.recall_at_least, found.recall_at_most) == (0.5, 0.75)
    assert (found.precision_at_least, found.precision_at_most) == (0.25, 0.75)


def test_a_denial_in_silence_that_was_a_rules_is_a_miss_at_worst() -> None:
    found = performance_of(payments((0.9, "let", "fraud"), (0.2, "denied", "silent")), AT, CostTable())

    assert (found.recall_at_least, found.recall_at_most) == (0.5, 1.0)


def test_cost_and_average_precision_are_of_known_payments() -> None:
    costs = CostTable(chargeback_fee_minor=500, false_decline_minor=2_500, review_minor=300)
    known = SIX.spoken_of

    found = performance_of(SIX, AT, costs)

    assert found.cost_minor == 1_000 + 500 + 2_500  # one fraud let through, one good customer refused
    assert found.average_precision == pytest.approx(average_precision_score(known.is_fraud, known.score))


def test_a_share_of_nothing_is_not_zero() -> None:
    found = performance_of(payments((0.1, "let", "good")), AT, CostTable())

    assert (found.recall, found.precision, found.f1, found.average_precision) == (None, None, None, None)


def test_recall_is_lost_where_it_is_even_if_every_silent_denial_was_fraud() -> None:
    silent = [(0.9, "denied", "silent")] * 3
    missed = payments((0.9, "denied", "fraud"), (0.1, "let", "fraud"), times=50)
    saved = payments((0.9, "denied", "fraud"), (0.1, "let", "fraud"), *silent, times=50)

    lost, kept = (recall_lost(performance_of(one, AT, CostTable()), 0.9, 0.1) for one in (missed, saved))

    assert lost is not None and not lost.within and lost.value == pytest.approx(0.4)
    assert lost.severe
    assert kept is not None and kept.within and kept.value == pytest.approx(0.1)


def test_of_few_frauds_nothing_is_said_about_recall() -> None:
    found = performance_of(payments((0.1, "let", "fraud"), times=19), AT, CostTable())

    assert recall_lost(found, 0.9, 0.1) is None
    assert recall_lost(performance_of(payments((0.1, "let", "fraud"), times=20), AT, CostTable()), None, 0.1) is None


def test_good_customers_that_complained_are_counted_against_the_gates_bound() -> None:
    few = payments(*[(0.1, "let", "good")] * 98, (0.9, "denied", "good"), (0.9, "denied", "fraud"))
    many = payments(*[(0.1, "let", "good")] * 90, *[(0.9, "denied", "good")] * 10)

    within, beyond = (good_refused(performance_of(one, AT, CostTable())) for one in (few, many))

    assert within is not None and within.within
    assert beyond is not None and beyond.severe and beyond.value == pytest.approx(0.1)


def test_calibration_is_of_what_was_let_through() -> None:
    """A score of 0.2 of which a fifth is fraud; what was denied, and spoken of because it was fraud, is not in it."""
    right = payments((0.2, "let", "fraud"), *[(0.2, "let", "good")] * 4, (0.99, "denied", "fraud"), times=200)
    wrong = payments((0.4, "let", "fraud"), *[(0.4, "let", "good")] * 4, times=200)

    found, off = calibrated_of(right, 0.25), calibrated_of(wrong, 0.25)

    assert found is not None and found.gap.within
    assert (found.rows, found.frauds, found.share_of_fraud) == (1_000, 200, 0.2)
    assert off is not None and off.gap.value == pytest.approx(0.2) and not off.gap.within


def test_a_week_without_fraud_is_no_gap_where_hardly_any_was_to_be_expected() -> None:
    quiet = calibrated_of(payments((0.001, "let", "good"), times=500), 0.25)
    silent = calibrated_of(payments((0.05, "let", "good"), times=2_000), 0.25)

    assert quiet is not None and quiet.gap.within
    assert silent is not None and not silent.gap.within
    assert calibrated_of(NOBODY, 0.25) is None


def test_an_attack_of_one_day_is_chance_to_calibration_and_a_gap_of_every_day_is_not() -> None:
    """As many unexpected frauds in either; the gate of a training counts days too."""
    n = 7_000
    number, day = np.arange(n) // 7, np.arange(n) % 7
    attack, always = (
        calibrated_of(
            Payments(day * DAY_MS, np.full(n, 0.01), np.zeros(n, bool), frauds, np.ones(n, bool), np.zeros(n)), 0.25
        )
        for frauds in ((day == 3) & (number % 2 == 0), number % 14 == 0)
    )

    assert attack is not None and always is not None
    assert attack.frauds == pytest.approx(always.frauds, rel=0.01)
    assert attack.gap.within
    assert not always.gap.within


def test_a_day_is_judged_when_its_labels_are_in_and_not_an_instant_before() -> None:
    found, due = payments((0.1, "let", "good"), times=MIN_ROWS), matures_ms(DAY_MS, 7)

    states = [state_of(found, DAY_MS, 7, at) for at in (due - 1, due)]

    assert due == 8 * DAY_MS + HOUR_MS
    assert states == [State.LABELS_YOUNG, State.JUDGED]


def test_a_label_stage_that_is_behind_is_no_bad_model() -> None:
    behind = payments((0.1, "let", "good"), (0.1, "let", "silent"), times=MIN_ROWS)
    due = matures_ms(DAY_MS, 7)

    assert state_of(behind, DAY_MS, 7, due) is State.LABELS_MISSING
    assert state_of(payments((0.1, "let", "good")), DAY_MS, 7, due) is State.TOO_FEW
    assert state_of(NOBODY, DAY_MS, 7, due) is State.NOTHING_DECIDED


def test_bounds_that_are_exceeded_fail_a_judged_day_alone() -> None:
    lost = recall_lost(performance_of(payments((0.1, "let", "fraud"), times=50), AT, CostTable()), 0.9, 0.1)

    assert judged(State.JUDGED, [lost, None]) == (False, True)
    assert judged(State.LABELS_YOUNG, [lost]) == (True, False)
    assert judged(State.JUDGED, [None]) == (True, False)


def test_days_are_of_utc() -> None:
    two = payments((0.1, "let", "good"), (0.2, "let", "good"))
    split = Payments(np.array([DAY_MS - 1, DAY_MS]), *(getattr(two, name) for name in list(vars(two))[1:]))

    assert [(day, one.score.tolist()) for day, one in by_day(split)] == [(0, [0.1]), (DAY_MS, [0.2])]
