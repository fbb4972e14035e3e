"""The Fraud Detection Handbook's validation protocol: train, wait for the labels, test; week by week.

Source: Le Borgne et al., Reproducible Machine Learning for Credit Card Fraud Detection, ch. 5.
Written from its description.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fraud_assets.contracts.topics import DAY_MS

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

STEP_DAYS = 7  # prequential folds advance by a week, whatever their lengths


class EmptyFold(ValueError):
    """A fold without training or test rows, or without both classes in one of them."""


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One train, delay and test period. All lengths in days; `train_start_ms` is midnight UTC.

    history_days: training days, ending where the protocol's `train_days` end. More of them reach
    further back and leave the test set as it is, so configurations stay comparable.
    """

    train_start_ms: int
    train_days: int = 7
    delay_days: int = 7
    test_days: int = 7
    history_days: int | None = None

    def __post_init__(self) -> None:
        if self.train_start_ms % DAY_MS:
            raise ValueError("Fold: train_start_ms must be a midnight in UTC; the protocol counts whole days.")
        if min(self.train_days, self.test_days, self.history_days or 1) < 1 or self.delay_days < 0:
            raise ValueError("Fold: train, test and history take at least one day, the delay none or more.")

    @property
    def train_end_ms(self) -> int:
        return self.train_start_ms + self.train_days * DAY_MS

    @property
    def history_start_ms(self) -> int:
        """First instant of the training rows."""
        return self.train_end_ms - (self.history_days or self.train_days) * DAY_MS

    @property
    def test_start_ms(self) -> int:
        """First instant of the test rows; every label of a training row is known by then."""
        return self.train_end_ms + self.delay_days * DAY_MS

    @property
    def test_end_ms(self) -> int:
        return self.test_start_ms + self.test_days * DAY_MS

    def prequential(self, count: int) -> Iterator["Fold"]:
        """The fold itself, then those of the following weeks."""
        for week in range(count):
            yield replace(self, train_start_ms=self.train_start_ms + week * STEP_DAYS * DAY_MS)


@dataclass(frozen=True)
class Split:
    """train, test: (n,) masks. test_day: (n,) days since the test began, meaningful where `test`."""

    train: Bools
    test: Bools
    test_day: Ints


def split(fold: Fold, time_ms: Ints, card: Ints, is_fraud: Bools) -> Split:
    """Training rows, and test rows without the cards already known compromised.

    time_ms, card (any code), is_fraud: (n,) of every transaction, in any order.
    Raises EmptyFold where nothing can be learnt or measured.
    """
    train = (time_ms >= fold.history_start_ms) & (time_ms < fold.train_end_ms)
    in_test = (time_ms >= fold.test_start_ms) & (time_ms < fold.test_end_ms)
    test_day = (time_ms - fold.test_start_ms) // DAY_MS
    test = in_test & ~_known_compromised(fold, time_ms, card, is_fraud, test_day)
    for name, rows in (("training", train), ("test", test)):
        if not is_fraud[rows].any() or is_fraud[rows].all():
            raise EmptyFold(
                f"EmptyFold: the {name} period holds {rows.sum()} rows and not both classes; choose other dates."
            )
    return Split(train, test, test_day)


def _known_compromised(fold: Fold, time_ms: Ints, card: Ints, is_fraud: Bools, test_day: Ints) -> Bools:
    """(n,) whether the row's card had a fraud whose label was known before the row's test day began.

    Counted from the protocol's training week on: an older compromise is over and forgotten. As the
    test advances by a day, so does the edge of what is known.
    """
    codes, code = np.unique(card, return_inverse=True)
    first_known_day = np.full(len(codes), np.iinfo(np.int64).max)
    counted = is_fraud & (time_ms >= fold.train_start_ms)
    # A fraud of day d is known when day d + delay is over.
    known_day = (time_ms - fold.test_start_ms) // DAY_MS + fold.delay_days + 1
    np.minimum.at(first_known_day, code[counted], known_day[counted])
    return first_known_day[code] <= test_day
