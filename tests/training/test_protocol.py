"""Protocol: which payments train, which test, and which cards are already known."""

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraud_assets.training.metrics import average_precision, card_precision_at_k, roc_auc
from fraud_assets.training.protocol import EmptyFold, Fold, split

DAY_MS = 86_400_000
START = int(dt.datetime(2018, 7, 25, tzinfo=dt.UTC).timestamp() * 1000)
FOLD = Fold(train_start_ms=START)


def _split(fold: Fold, *payments: tuple[float, int, bool]) -> list[str]:
    """Split payments of (day since the training start, card, is fraud), with both classes everywhere."""
    padding = [(0.0, 90, True), (0.0, 91, False), (14.0, 92, True), (14.0, 93, False)]
    day, card, fraud = zip(*payments, *padding, strict=True)
    time = START + (np.array(day) * DAY_MS).astype(np.int64)
    found = split(fold, time, np.array(card, np.int64), np.array(fraud))
    return [
        "train" if train else f"test {test_day}" if test else "-"
        for train, test, test_day in zip(found.train, found.test, found.test_day, strict=True)
    ][: len(payments)]


def test_periods_are_half_open_days() -> None:
    """Seven days train, seven wait, seven test; a payment at midnight belongs to the day it begins."""
    days = [-0.001, 0, 6.999, 7, 13.999, 14, 20.999, 21]

    found = _split(FOLD, *((day, 1, False) for day in days))

    assert found == ["-", "train", "train", "-", "-", "test 0", "test 6", "-"]


def test_card_with_a_fraud_in_the_training_week_is_not_tested() -> None:
    """Its compromise is known, so finding it again proves nothing."""
    assert _split(FOLD, (3, 1, True), (15, 1, False), (15, 2, False)) == ["train", "-", "test 1"]


@pytest.mark.parametrize(("fraud_day", "last_tested"), [(7, 0), (8, 1), (12, 5), (13, 6)])
def test_card_leaves_the_test_when_a_label_of_the_delay_becomes_known(fraud_day: int, last_tested: int) -> None:
    """A fraud of day d is known after day d + 7: until then its card is still tested."""
    payments = [(fraud_day + 0.5, 1, True), *((14 + day, 1, False) for day in range(7))]

    found = _split(FOLD, *payments)

    assert found[1:] == [f"test {day}" if day <= last_tested else "-" for day in range(7)]


def test_fraud_before_the_training_week_or_in_the_test_removes_nothing() -> None:
    """An old compromise is over; a new one is what the test is about."""
    assert _split(FOLD, (-1, 1, True), (14, 1, True), (15, 1, False))[1:] == ["test 0", "test 1"]


def test_longer_history_reaches_back_and_keeps_the_test_set() -> None:
    """More training days end on the same day, so two configurations are measured on the same rows."""
    longer = Fold(train_start_ms=START, history_days=30)
    payments = [(-23, 1, True), (-24, 2, False), (14, 1, False)]

    assert _split(FOLD, *payments) == ["-", "-", "test 0"]
    assert _split(longer, *payments) == ["train", "-", "test 0"]
    assert longer.test_start_ms == FOLD.test_start_ms


def test_prequential_folds_step_by_a_week() -> None:
    """Four folds: training weeks that follow one another, tests likewise."""
    starts = [fold.train_start_ms for fold in FOLD.prequential(4)]

    assert starts == [START + week * 7 * DAY_MS for week in range(4)]


@pytest.mark.parametrize(
    "lengths", [{"train_days": 0}, {"delay_days": -1}, {"test_days": 0}, {"train_start_ms": START + 1}]
)
def test_impossible_fold_is_refused(lengths: dict[str, int]) -> None:
    """Days are whole and periods exist."""
    with pytest.raises(ValueError, match="Fold: "):
        Fold(**({"train_start_ms": START} | lengths))


def test_fold_without_both_classes_says_which_period() -> None:
    """Dates outside the data are a message, not a metric."""
    time = np.array([START, START + 1], np.int64)

    with pytest.raises(EmptyFold, match="the test period holds 0 rows"):
        split(FOLD, time, np.array([1, 2], np.int64), np.array([True, False]))


def test_book_splits_and_scores_of_a_known_score(handbook_dir: Path) -> None:
    """The real file: split sizes as the book's, and the amount as a score, fold by fold.

    The same code gives the book's published .862/.639/.273 (XGBoost, its features, first fold) and
    .871/.694/.304 (four folds); those take minutes, the amount takes seconds and pins the same rows.
    """
    rows = pl.read_parquet(handbook_dir / "transactions.parquet")
    time = rows["TX_DATETIME"].dt.epoch("ms").to_numpy()
    card = rows["CUSTOMER_ID"].to_numpy().astype(np.int64)
    fraud = rows["TX_FRAUD"].to_numpy().astype(bool)
    amount = rows["TX_AMOUNT"].to_numpy()

    sizes, scores = [], []
    for fold in FOLD.prequential(4):
        part = split(fold, time, card, fraud)
        test = part.test
        sizes.append((part.train.sum(), test.sum(), fraud[test].sum()))
        scores.append(
            (
                roc_auc(fraud[test], amount[test]),
                average_precision(fraud[test], amount[test]),
                card_precision_at_k(part.test_day[test], card[test], fraud[test], amount[test]),
            )
        )

    assert sizes == [(67240, 58264, 385), (66975, 57937, 387), (67080, 58337, 408), (67049, 57604, 422)]
    assert scores[0] == pytest.approx((0.57973, 0.13791, 47 / 700), abs=1e-5)
