"""What people later say about purchases: chargebacks after days, reviews after hours, often nothing.

Labels are made from the truth, late, incompletely and sometimes wrongly. They are the only thing the
platform sees that is.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulator.kinds import NATURES, Kind, Source, Telling
from simulator.purchases import APPROVED, BANK, DECLINED_BY_ISSUER, Purchases
from simulator.spec import DAY_MS, HOUR_MS
from simulator.truth import Truth
from simulator.world import Flags, Index, Ints, Small

_SMALL_MINOR = 1_500
_REGRET = 0.0004  # honest purchases charged back: buyer's remorse, a teenager, a forgotten order
_REPRESENTED = 0.5  # of those, the shop later proves right: a second revision says "legitimate"
_REVIEWED_ODDITIES = 0.06
_REVIEWED_ANYHOW = 0.004
_REVIEWER_ERROR = 0.07
# A burst of declines is noticed as a burst: somebody marks what belongs to it, and a little besides.
_SWEPT = 0.6
_SWEPT_ANYHOW = 0.004
# By place in `Kind`; the last cell answers for -1, nobody's campaign.
_SEEN = np.array([*(NATURES[kind].seen for kind in Kind), True])


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

    def median_ms(self, told: Telling) -> float:
        """As much sooner than the kind's own delay as all else of that source is."""
        usual, ours = (
            (pace.chargeback_median_ms, pace.review_median_ms, pace.sweep_median_ms)[told.source]
            for pace in (Pace(), self)
        )
        return told.median_days * DAY_MS * ours / usual


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


def labels_of(rows: Purchases, truth: Truth, pace: Pace, rng: np.random.Generator) -> Labels:
    """Everything that will be said about these purchases, whenever it becomes known."""
    told = _joined([_regrets(rows, truth, pace, rng), *_tellings(rows, truth, pace, rng)])
    charged = told.take(told.source == Source.CHARGEBACK)
    # Of a friendly fraud nobody but the cardholder could know.
    seen = truth.is_fraud & _SEEN[truth.kind]
    routine = [_reviews(rows, seen, pace, rng), _sweeps(rows, seen, pace, rng)]
    return _once(_joined([told, _representments(charged, truth.is_fraud, pace, rng), *routine]))


def _once(labels: Labels) -> Labels:
    """One statement for each purchase, source and revision: the first."""
    slot = (labels.row * len(Source) + labels.source) * 2 + labels.revision
    return labels.take(np.sort(np.unique(slot, return_index=True)[1]))


def _tellings(rows: Purchases, truth: Truth, pace: Pace, rng: np.random.Generator) -> list[Labels]:
    """How each kind comes to light, and what is mistaken for it by the way."""
    found = []
    for place, kind in enumerate(Kind):
        mine = np.flatnonzero(truth.is_fraud & (truth.kind == place))
        if not len(mine):
            continue
        for told in NATURES[kind].told:
            row = _told(rows, mine, told, rng)
            found.append(_said(rows, row, told.source, pace.median_ms(told), told.spread, rng))
            cause = row[rng.random(len(row)) < told.mistaken]
            other = _look_alikes(rows, truth.is_fraud, cause, told)
            found.append(_said(rows, other, told.source, pace.median_ms(told), told.spread, rng))
    return found


def _told(rows: Purchases, mine: Ints, told: Telling, rng: np.random.Generator) -> Ints:
    """Which of a kind's purchases somebody speaks of."""
    small = rows.amount_minor[mine] < _SMALL_MINOR
    missed = np.where(small, told.missed if told.missed_small is None else told.missed_small, told.missed)
    spoken = (rng.random(len(mine)) >= missed) & (told.refused | _speakable(rows, told.source)[mine])
    return mine[spoken]


def _speakable(rows: Purchases, source: Source) -> Flags:
    """Only money that moved comes back, and only cards and wallets have chargebacks."""
    return (rows.outcome == APPROVED) & ((source != Source.CHARGEBACK) | (rows.method < BANK))


def _look_alikes(rows: Purchases, is_fraud: Flags, cause: Ints, told: Telling) -> Ints:
    """For each fraud that is told of the next honest purchase of the same account, event or address, if there is one."""
    key = getattr(rows, told.alike.value)
    honest = np.flatnonzero(~is_fraud & _speakable(rows, told.source) & np.isin(key, key[cause]))
    found = [honest[(key[honest] == key[row]) & (honest > row)][:1] for row in cause.tolist()]
    return np.unique(np.concatenate([np.empty(0, dtype=np.int64), *found]))


def _said(
    rows: Purchases, row: Ints, source: Source, median_ms: float, spread: float, rng: np.random.Generator
) -> Labels:
    """That each of these purchases was fraud."""
    n = len(row)
    return Labels(
        known_ms=rows.time_ms[row] + _delay(median_ms, spread, n, rng),
        row=row,
        source=np.full(n, source, dtype=np.int8),
        is_fraud=np.ones(n, dtype=bool),
        revision=np.zeros(n, dtype=np.int8),
    )


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


def _regrets(rows: Purchases, truth: Truth, pace: Pace, rng: np.random.Generator) -> Labels:
    """Honest purchases that are charged back."""
    honest = ~truth.is_fraud & _speakable(rows, Source.CHARGEBACK)
    row = np.flatnonzero(honest & (rng.random(len(rows)) < _REGRET))
    return _said(rows, row, Source.CHARGEBACK, pace.chargeback_median_ms, 0.6, rng)


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
    return _said(rows, row, Source.OPERATOR, pace.sweep_median_ms, 0.6, rng)


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
