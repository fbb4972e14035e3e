"""Figures of live payments whose labels are in: what the model found, what it cost, and whether its scores were probabilities."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.models.manifest import Thresholds
from fraud_assets.training import metrics
from fraud_assets.training.evaluation import Confusion, share
from fraud_assets.training.gates import CHANCE, MAX_FPR
from fraud_assets.training.matured import MIN_FRAUDS, Payments, State
from fraud_assets.training.threshold import CostTable, cost_minor

SEVERE = 2.0  # times what is allowed: nobody should wait for a person to look


@dataclass(frozen=True)
class Performance:
    """Of the payments of which something is known, by the score and its threshold. A share of nothing is None, not 0.

    denied_in_silence: denied payments that nobody spoke of. recall, precision: without them; the bounds call all of them what they would
    have to be. cost_minor: in euro cents, looks and good customers refused included.
    """

    rows: int
    frauds: int
    denied_in_silence: int
    recall: float | None
    recall_at_least: float | None
    recall_at_most: float | None
    precision: float | None
    precision_at_least: float | None
    precision_at_most: float | None
    f1: float | None
    fpr: float | None
    average_precision: float | None
    cost_minor: float


def performance_of(found: Payments, thresholds: Thresholds, costs: CostTable) -> Performance:
    known, silent = found.spoken_of, found.of(~found.known & found.denied)
    said = Confusion.at(thresholds.deny, known.score, known.is_fraud)
    above = int((silent.score >= thresholds.deny).sum())
    below, hits = len(silent) - above, said.true_positives
    both = known.is_fraud.any() and not known.is_fraud.all()
    return Performance(
        len(known),
        said.frauds,
        len(silent),
        said.recall,
        share(hits, said.frauds + below),
        share(hits + above, said.frauds + above),
        said.precision,
        share(hits, hits + said.false_positives + above),
        share(hits + above, hits + said.false_positives + above),
        said.f1,
        said.fpr,
        metrics.average_precision(known.is_fraud, known.score) if both else None,
        cost_minor(known.score, known.is_fraud, known.euro_cents, (thresholds.review, thresholds.deny), costs),
    )


@dataclass(frozen=True)
class Bound:
    """A figure, what it may be at most, and whether it says anything."""

    value: float
    at_most: float

    @property
    def within(self) -> bool:
        return self.value <= self.at_most

    @property
    def severe(self) -> bool:
        return self.value > SEVERE * self.at_most


def recall_lost(found: Performance, expected: float | None, allowed: float) -> Bound | None:
    """Against what training measured on unseen payments, if all that were denied in silence are fraud: what is lost even then.

    None where too few frauds are known, or training measured nothing.
    """
    if expected is None or found.recall_at_most is None or found.frauds < MIN_FRAUDS:
        return None
    chance = CHANCE * (expected * (1 - expected) / found.frauds) ** 0.5
    return Bound(expected - found.recall_at_most, allowed + chance)


def good_refused(found: Performance) -> Bound | None:
    """Share of good customers that are known to have been refused, as the gate bounds it. Some complain; who does not is not in it."""
    return None if found.fpr is None else Bound(found.fpr, MAX_FPR)


@dataclass(frozen=True)
class Calibrated:
    """Of the payments that were let through: mean score and share of fraud among payments of any score must agree, so leaving out
    the highest scores takes nothing away.
    """

    rows: int
    frauds: int
    mean_score: float
    share_of_fraud: float
    at_most: float

    @property
    def gap(self) -> Bound:
        return Bound(abs(self.mean_score - self.share_of_fraud), self.at_most)


def calibrated_of(found: Payments, part: float) -> Calibrated | None:
    """None where fewer than two days of what was let through have verdicts. part: FRAUD_MAX_CALIBRATION_GAP."""
    known = found.let_through.spoken_of
    if not len(known):
        return None
    error = metrics.calibration_gap_error(known.is_fraud, known.score, known.time_ms // DAY_MS)
    if error is None:
        return None
    share, mean = float(known.is_fraud.mean()), float(known.score.mean())
    # Days without fraud are all alike, and their error says nothing: the score says what to expect, and how far chance may be from it.
    likely = max(share, mean)
    chance = CHANCE * max(error, (likely * (1 - likely) / len(known)) ** 0.5)
    return Calibrated(len(known), int(known.is_fraud.sum()), mean, share, part * likely + chance)


def by_day(found: Payments) -> list[tuple[int, Payments]]:
    """(midnight that begins it, its payments) of each day that has any, ascending."""
    day: npt.NDArray[np.int64] = found.time_ms // DAY_MS
    return [(int(one) * DAY_MS, found.of(day == one)) for one in np.unique(day)]


def judged(state: State, bounds: list[Bound | None]) -> tuple[bool, bool]:
    """Whether all bounds hold, and whether one is far exceeded; both harmless where nothing can be judged."""
    if state is not State.JUDGED:
        return True, False
    told = [bound for bound in bounds if bound is not None]
    return all(bound.within for bound in told), any(bound.severe for bound in told)
