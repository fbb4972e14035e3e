"""A training run: split, fit, package, and a note of which model an as-of day gave (see as_of.py)."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from fraud_assets.engine.plan import ServicePlan
from fraud_assets.models.manifest import Manifest, Thresholds
from fraud_assets.training.as_of import note_model
from fraud_assets.training.dataset import TrainingSet
from fraud_assets.training.evaluation import EVALUATION_FILE, Evaluation
from fraud_assets.training.fit import Fitted, fit
from fraud_assets.training.judging import evaluate
from fraud_assets.training.money import euro_cents
from fraud_assets.training.package import package
from fraud_assets.training.slices import slices_of
from fraud_assets.training.split import folds, temporal_split
from fraud_assets.training.threshold import CostTable, cost_minor, review_threshold
from fraud_assets.training.tune import Budget


@dataclass(frozen=True)
class Trained:
    fitted: Fitted
    manifest: Manifest
    evaluation: Evaluation


def train(
    found: TrainingSet,
    service: ServicePlan,
    model_dir: Path,
    as_of: str,
    label_delay_days: int,
    budget: Budget | None = None,
    exchange_rates: Mapping[str, float] | None = None,
    costs: CostTable | None = None,
) -> Trained:
    """Search within the budget, fit, choose thresholds, judge, and write `<model_dir>/<version>/`.

    Raises TooShort, UnknownCurrency, NoTrialCompleted.
    """
    time_ms = found.rows["event_time_ms"].to_numpy()
    split = temporal_split(time_ms, found.is_fraud, found.window.from_ms, found.window.to_ms, label_delay_days)
    amount = euro_cents(found.rows["amount_minor"].to_numpy(), found.rows["currency"].to_pylist(), exchange_rates)
    fitted = fit(
        found.features,
        found.is_fraud,
        amount,
        split,
        found.names,
        folds=folds(time_ms, found.is_fraud),
        costs=costs,
        budget=budget,
    )
    evaluation = _judged(found, service, fitted, amount, costs or CostTable())
    manifest = package(
        model_dir,
        service,
        fitted,
        found.features,
        found.is_fraud,
        evaluation=evaluation,
        beside={EVALUATION_FILE: msgspec.json.encode(evaluation)},
        training_set_digest=found.digest,
        now_ms=time.time_ns() // 1_000_000,
    )
    note_model(model_dir, as_of, manifest.model_version)
    return Trained(fitted, manifest, evaluation)


def _judged(
    found: TrainingSet, service: ServicePlan, fitted: Fitted, amount: npt.NDArray[np.float64], costs: CostTable
) -> Evaluation:
    """By unseen scores; the review threshold too is chosen there."""
    score, days = fitted.unseen_scores.astype(np.float64), found.days
    deny = fitted.threshold.value
    review = review_threshold(score, found.is_fraud, amount, deny, costs, days)
    return evaluate(
        score,
        found.is_fraud,
        slices_of(found.names, found.features, amount, service.service.scored),
        Thresholds(review=review, deny=deny),
        cost_minor=cost_minor(score, found.is_fraud, amount, (review, deny), costs),
        days=days,
        importances=dict(fitted.importances),
    )
