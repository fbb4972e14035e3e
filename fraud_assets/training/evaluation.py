"""What a model did on rows that the model which scored them had not seen: written once, beside the model.

Gates, pages and the next candidate read it from there; nobody has to score anything again. Scores are those of
`Fitted.unseen_scores`: each fifth of the window by a model of the other four. Made in judging.py; apart from it, for
who only reads must not wait for scikit-learn.
"""

from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from fraud_assets.models.artifact import read_beside
from fraud_assets.models.manifest import Manifest, Thresholds

EVALUATION_FILE = "evaluation.json"
FORMAT = 2

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


class Confusion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Counts at the deny threshold. A share of nothing is null, not zero."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @classmethod
    def at(cls, threshold: float, score: Floats, is_fraud: Flags) -> "Confusion":
        denied = score >= threshold
        return cls(
            int((denied & is_fraud).sum()),
            int((denied & ~is_fraud).sum()),
            int((~denied & is_fraud).sum()),
            int((~denied & ~is_fraud).sum()),
        )

    @property
    def frauds(self) -> int:
        return self.true_positives + self.false_negatives

    @property
    def accuracy(self) -> float | None:
        """Share told right. Of rare fraud it says little: a model that denies nobody has all but the share of fraud."""
        right = self.true_positives + self.true_negatives
        return share(right, right + self.false_positives + self.false_negatives)

    @property
    def recall(self) -> float | None:
        return share(self.true_positives, self.frauds)

    @property
    def precision(self) -> float | None:
        return share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def fpr(self) -> float | None:
        return share(self.false_positives, self.false_positives + self.true_negatives)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; 0 where frauds were there and none was found."""
        return share(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)


class SliceMetrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """rows: of the slice. average_precision: null where it holds one kind of payment only."""

    rows: int
    confusion: Confusion
    average_precision: float | None


class Curve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Precision over recall, recall ascending; threshold: the score from which on payments are denied there."""

    recall: list[float]
    precision: list[float]
    threshold: list[float]


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Are scores probabilities? gap: |mean score − share of fraud|. rows, predicted, observed: of each quantile bin.

    gap_error: standard error of the gap, days as clusters; null of one day, and before format 2.
    """

    ece: float
    brier: float
    slope: float
    mean_score: float
    share_of_fraud: float
    rows: list[int]
    predicted: list[float]
    observed: list[float]
    gap_error: float | None = None

    @property
    def gap(self) -> float:
        return abs(self.mean_score - self.share_of_fraud)


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """slices: by name, `all` first. cost_minor: in euro cents, what these thresholds would have cost.
    reviews_per_day: payments between them. importances: total gain by feature, the most first.
    """

    format: int = FORMAT
    thresholds: Thresholds
    slices: dict[str, SliceMetrics]
    curve: Curve
    calibration: Calibration
    cost_minor: float
    reviews_per_day: float
    importances: dict[str, float]

    @property
    def overall(self) -> SliceMetrics:
        return self.slices["all"]

    def metrics(self) -> dict[str, float]:
        """What a manifest and MLflow list beside the ranking of the validation days."""
        said, cal = self.overall.confusion, self.calibration
        shares = {
            "recall": said.recall,
            "precision": said.precision,
            "fpr": said.fpr,
            "f1": said.f1,
            "unseen_average_precision": self.overall.average_precision,
        }
        return {
            **{name: value for name, value in shares.items() if value is not None},
            "cost_minor": self.cost_minor,
            "reviews_per_day": self.reviews_per_day,
            "review_threshold": self.thresholds.review,
            "calibration_gap": cal.gap,
            "calibration_error": cal.ece,
            "calibration_slope": cal.slope,
            "brier": cal.brier,
        }


def read_evaluation(model_dir: Path, manifest: Manifest) -> Evaluation | None:
    """What training wrote beside the model; None of a model made before there were any. Raises RefusedModel."""
    return read_beside(model_dir, manifest, EVALUATION_FILE, Evaluation)


def share(part: int, whole: int) -> float | None:
    """None of nothing, which is not 0."""
    return part / whole if whole else None
