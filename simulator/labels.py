"""What people later say about purchases: chargebacks after days, reviews after hours, often nothing.

Labels are made from the truth, late, incompletely and sometimes wrongly. They are the only thing the
platform sees that is.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from simulator.purchases import APPROVED, BANK, DECLINED_BY_ISSUER, Purchases
from simulator.spec import DAY_MS, HOUR_MS
from simulator.world import Flags, Index, Ints, Small

_NOTICED = 0.85  # of large frauds; the rest is never reported
_NOTICED_SMALL = 0.6  # few people read a statement for the price of a coffee
_SMALL_MINOR = 1_500
_REGRET = 0.0004  # honest purchases charged back: buyer's remorse, a teenager, a forgotten order
_REPRESENTED = 0.5  # of those, the shop later proves right: a second revision says "legitimate"
_REVIEWED_ODDITIES = 0.06
_REVIEWED_ANYHOW = 0.004
_REVIEWER_ERROR = 0.07
# A burst of declines is noticed as a burst: somebody marks what belongs to it, and a little besides.
_SWEPT = 0.6
_SWEPT_ANYHOW = 0.004
_AUDITED = 0.97


class Source(IntEnum):
    """Index into `LABEL_SOURCES`."""

    CHARGEBACK = 0
    MANUAL_REVIEW = 1
    OPERATOR = 2


@dataclass(frozen=True)
class Pace:
    """How long the world takes to notice. A live run shortens it."""

    chargeback_median_ms: float = 3.4 * DAY_MS
    review_median_ms: float = 7.0 * HOUR_MS
    sweep_median_ms: float = 15.0 * HOUR_MS

    @classmethod
    def of_week(cls, week_ms: float) -> "Pace":
        """As many chargebacks within `week_ms` as the world has within a week; everything that is said is as much sooner."""
        usual, sooner = cls(), week_ms / (7 * DAY_MS)
        return cls(usual.chargeback_median_ms * sooner, usual.review_median_ms * sooner, usual.sweep_median_ms * sooner)


@dataclass(frozen=True)
class Labels:
    """One row per statement; `row` is the purchase it speaks of."""

    known_ms: Ints
    row: Ints
    source: Small
    is_fraud: Flags
    revision: Small

    def __len__(self) -> int:
        return len(self.known_ms)

    def take(self, rows: Ints | Flags) -> "Labels":
        """The chosen rows, in that order."""
        return Labels(self.known_ms[rows], self.row[rows], self.source[rows], self.is_fraud[rows], self.revision[rows])


def labels_of(rows: Purchases, is_fraud: Flags, pace: Pace, rng: np.random.Generator) -> Labels:
    """Everything that will be said about these purchases, whenever it becomes known."""
    charged = _chargebacks(rows, is_fraud, pace, rng)
    swept = _sweeps(rows, is_fraud, pace, rng)
    return _joined([charged, _representments(charged, is_fraud, pace, rng), _reviews(rows, is_fraud, pace, rng), swept])


def with_audit(said: Labels, rows: Purchases, audited: Flags, pace: Pace, rng: np.random.Generator) -> Labels:
    """Reviewers go through all `audited` purchases, nearly, and know what they see: of a show that nobody holds every sale is fraud.

    They speak of purchases that were refused too. What reviewers said of these otherwise is left out.
    """
    row = np.flatnonzero(audited & (rng.random(len(rows)) < _AUDITED))
    n = len(row)
    audit = Labels(
        known_ms=rows.time_ms[row] + _delay(pace.review_median_ms, 0.7, n, rng),
        row=row,
        source=np.full(n, Source.MANUAL_REVIEW, dtype=np.int8),
        is_fraud=np.ones(n, dtype=bool),
        revision=np.zeros(n, dtype=np.int8),
    )
    return _joined([said.take(~(audited[said.row] & (said.source == Source.MANUAL_REVIEW))), audit])


def _joined(parts: list[Labels]) -> Labels:
    return Labels(
        known_ms=np.concatenate([part.known_ms for part in parts]),
        row=np.concatenate([part.row for part in parts]),
        source=np.concatenate([part.source for part in parts]),
        is_fraud=np.concatenate([part.is_fraud for part in parts]),
        revision=np.concatenate([part.revision for part in parts]),
    )


def _delay(median_ms: float, spread: float, n: int, rng: np.random.Generator) -> Ints:
    return np.maximum(1_000, rng.lognormal(np.log(median_ms), spread, n)).astype(np.int64)


def _chargebacks(rows: Purchases, is_fraud: Flags, pace: Pace, rng: np.random.Generator) -> Labels:
    """Only money that moved comes back, and only cards and wallets have chargebacks."""
    moved = (rows.outcome == APPROVED) & (rows.method < BANK)
    noticed = np.where(rows.amount_minor < _SMALL_MINOR, _NOTICED_SMALL, _NOTICED)
    chance = np.where(is_fraud, noticed, _REGRET)
    row = np.flatnonzero(moved & (rng.random(len(rows)) < chance))
    n = len(row)
    return Labels(
        known_ms=rows.time_ms[row] + _delay(pace.chargeback_median_ms, 0.6, n, rng),
        row=row,
        source=np.full(n, Source.CHARGEBACK, dtype=np.int8),
        is_fraud=np.ones(n, dtype=bool),
        revision=np.zeros(n, dtype=np.int8),
    )


def _representments(charged: Labels, is_fraud: Flags, pace: Pace, rng: np.random.Generator) -> Labels:
    """The shop contests unfounded chargebacks and sometimes wins, about as much later again."""
    wrong = ~is_fraud[charged.row] & (rng.random(len(charged)) < _REPRESENTED)
    won = charged.take(wrong)
    n = len(won)
    return Labels(
        known_ms=won.known_ms + _delay(0.6 * pace.chargeback_median_ms, 0.5, n, rng),
        row=won.row,
        source=won.source,
        is_fraud=np.zeros(n, dtype=bool),
        revision=np.ones(n, dtype=np.int8),
    )


def _reviews(rows: Purchases, is_fraud: Flags, pace: Pace, rng: np.random.Generator) -> Labels:
    """People look at what looks odd (dear, or declined by the issuer), and at a few others; they err."""
    odd = _oddity(rows)
    row = np.flatnonzero(rng.random(len(rows)) < np.where(odd, _REVIEWED_ODDITIES, _REVIEWED_ANYHOW))
    n = len(row)
    mistaken = rng.random(n) < _REVIEWER_ERROR
    return Labels(
        known_ms=rows.time_ms[row] + _delay(pace.review_median_ms, 0.7, n, rng),
        row=row,
        source=np.full(n, Source.MANUAL_REVIEW, dtype=np.int8),
        is_fraud=is_fraud[row] ^ (mistaken & (is_fraud[row] | (rng.random(n) < 0.25))),
        revision=np.zeros(n, dtype=np.int8),
    )


def _sweeps(rows: Purchases, is_fraud: Flags, pace: Pace, rng: np.random.Generator) -> Labels:
    """Operators go through declined payments a day later; no chargeback would ever speak of these."""
    declined = rows.outcome == DECLINED_BY_ISSUER
    row = np.flatnonzero(declined & (rng.random(len(rows)) < np.where(is_fraud, _SWEPT, _SWEPT_ANYHOW)))
    n = len(row)
    return Labels(
        known_ms=rows.time_ms[row] + _delay(pace.sweep_median_ms, 0.6, n, rng),
        row=row,
        source=np.full(n, Source.OPERATOR, dtype=np.int8),
        is_fraud=np.ones(n, dtype=bool),
        revision=np.zeros(n, dtype=np.int8),
    )


def _oddity(rows: Purchases) -> Flags:
    """What a reviewer's queue is filled by: observables only."""
    return (rows.amount_minor > 80_000) | (rows.outcome == DECLINED_BY_ISSUER)


@dataclass(frozen=True)
class StatedLabels:
    """Labels that name their purchase by its number in the world, so that days can be joined.

    `transaction`, `number`: what `ids.hex_ids` makes the transaction's and the label's id from.
    """

    known_ms: Ints
    transaction: npt.NDArray[np.uint64]
    number: npt.NDArray[np.uint64]
    account: Index
    source: Small
    is_fraud: Flags
    revision: Small

    def __len__(self) -> int:
        return len(self.known_ms)

    def take(self, rows: Ints | Flags) -> "StatedLabels":
        """The chosen rows, in that order."""
        return StatedLabels(**{name: column[rows] for name, column in vars(self).items()})


def stated(labels: Labels, rows: Purchases, transaction: npt.NDArray[np.uint64]) -> StatedLabels:
    """The labels of these purchases, whose numbers are `transaction`."""
    # A purchase can be spoken of by each source and revision once: eight slots beside its number.
    slot = labels.source.astype(np.uint64) * np.uint64(2) + labels.revision.astype(np.uint64)
    return StatedLabels(
        known_ms=labels.known_ms,
        transaction=transaction[labels.row],
        number=transaction[labels.row] * np.uint64(8) + slot,
        account=rows.account[labels.row],
        source=labels.source,
        is_fraud=labels.is_fraud,
        revision=labels.revision,
    )


def by_known_time(parts: list[StatedLabels]) -> StatedLabels:
    """All labels in the order they become known."""
    whole = StatedLabels(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])})
    return whole.take(np.lexsort((whole.number, whole.known_ms)))
