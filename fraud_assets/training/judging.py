"""A model's evaluation from the scores of rows that what scored them had not seen."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_curve

from fraud_assets.models.manifest import Thresholds
from fraud_assets.training import metrics
from fraud_assets.training.evaluation import Calibration, Confusion, Curve, Evaluation, SliceMetrics

CURVE_POINTS = 101  # a step of recall each: enough to draw, and a page of ten models stays small
BINS = 20

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Days = npt.NDArray[np.int64]


def evaluate(
    score: Floats,
    is_fraud: Flags,
    slices: Mapping[str, Flags],
    thresholds: Thresholds,
    *,
    day: Days,
    cost_minor: float,
    days: float,
    importances: Mapping[str, float],
) -> Evaluation:
    """score, is_fraud: (n,) of rows unseen by what scored them, both kinds among them. day: (n,) that each is of. days: that they span."""
    looked_at = (score >= thresholds.review) & (score < thresholds.deny)
    return Evaluation(
        thresholds=thresholds,
        slices={name: _slice(score[of], is_fraud[of], thresholds.deny) for name, of in slices.items()},
        curve=pr_curve(is_fraud, score),
        calibration=calibration_of(is_fraud, score, day),
        cost_minor=cost_minor,
        reviews_per_day=float(looked_at.sum() / days),
        importances=dict(importances),
    )


def pr_curve(is_fraud: Flags, score: Floats, points: int = CURVE_POINTS) -> Curve:
    """scikit-learn's curve at about `points` recalls of equal distance, its ends among them."""
    precision, recall, threshold = precision_recall_curve(is_fraud, score)
    # Its last point is no threshold: precision 1 at recall 0, where nobody is denied.
    precision, recall = precision[:-1][::-1], recall[:-1][::-1]
    threshold = threshold[::-1]
    wanted = np.linspace(recall[0], recall[-1], points)
    # The first that reaches it: of those with equal recall, the one that denies the fewest.
    at = np.unique(np.searchsorted(recall, wanted).clip(max=len(recall) - 1))
    return Curve(recall[at].tolist(), precision[at].tolist(), threshold[at].tolist())


def calibration_of(is_fraud: Flags, score: Floats, day: Days) -> Calibration:
    """Both kinds must occur."""
    found = metrics.reliability(is_fraud, score, BINS)
    return Calibration(
        metrics.expected_calibration_error(found),
        metrics.brier(is_fraud, score),
        metrics.calibration_slope(is_fraud, score),
        float(score.mean()),
        float(is_fraud.mean()),
        found.rows.tolist(),
        found.predicted.tolist(),
        found.observed.tolist(),
        metrics.calibration_gap_error(is_fraud, score, day),
    )


def _slice(score: Floats, is_fraud: Flags, deny: float) -> SliceMetrics:
    both = is_fraud.any() and not is_fraud.all()
    return SliceMetrics(
        len(score),
        Confusion.at(deny, score, is_fraud),
        metrics.average_precision(is_fraud, score) if both else None,
    )
