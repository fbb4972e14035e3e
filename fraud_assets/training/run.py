"""A training run: split, fit, package, and a note of which model an as-of day gave (see as_of.py)."""

import contextlib
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.engine.plan import ServicePlan
from fraud_assets.models.manifest import Manifest, Thresholds
from fraud_assets.stores.identity import identities
from fraud_assets.training.as_of import note_model
from fraud_assets.training.dataset import TrainingSet
from fraud_assets.training.evaluation import EVALUATION_FILE, Evaluation
from fraud_assets.training.fit import MAX_LEGITIMATE_PER_FRAUD, Fitted, fit
from fraud_assets.training.holdout import Holdout
from fraud_assets.training.judging import evaluate
from fraud_assets.training.money import euro_cents
from fraud_assets.training.package import code_revision, package
from fraud_assets.training.recipe import RECIPE_FILE, Recipe, libraries
from fraud_assets.training.slices import slices_of
from fraud_assets.training.space import SPACE
from fraud_assets.training.split import Split, SplitKind, folds, stratified_split, temporal_split
from fraud_assets.training.studies import kept
from fraud_assets.training.threshold import CostTable, cost_minor, review_threshold
from fraud_assets.training.tune import Budget

# Of fewer, a standard error is itself hardly known.
MIN_CLUSTERS = 8
Amounts = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Trained:
    fitted: Fitted
    manifest: Manifest
    evaluation: Evaluation
    holdout: Holdout


def train(
    found: TrainingSet,
    service: ServicePlan,
    model_dir: Path,
    as_of: str,
    label_delay_days: float,
    budget: Budget | None = None,
    exchange_rates: Mapping[str, float] | None = None,
    costs: CostTable | None = None,
    study_dir: Path | None = None,
    split_kind: SplitKind = SplitKind.TEMPORAL,
) -> Trained:
    """Search within the budget, fit, choose thresholds, judge, and write `<model_dir>/<version>/`.

    study_dir: where a study is kept until its model is written, so that a run that was killed is gone on with.
    Raises TooShort, UnknownCurrency, NoTrialCompleted.
    """
    budget, costs = budget or Budget(), costs or CostTable()
    time_ms = found.rows["event_time_ms"].to_numpy()
    split = _split(found, time_ms, split_kind, label_delay_days, budget.seed)
    amount = euro_cents(found.rows["amount_minor"].to_numpy(), found.rows["currency"].to_pylist(), exchange_rates)
    parts = folds(time_ms, found.is_fraud)
    slices = slices_of(found.names, found.features, amount, service.service.scored)
    name = _study_name(found, as_of, label_delay_days, budget, split_kind)
    with kept(study_dir, name) if study_dir else contextlib.nullcontext() as journal:
        fitted = fit(
            found.features,
            found.is_fraud,
            amount,
            split,
            found.names,
            folds=parts,
            weight=found.weight,
            costs=costs,
            budget=budget,
            journal=journal,
        )
        evaluation = _judged(found, fitted, amount, slices, costs)
        recipe = _recipe(found, fitted, as_of, label_delay_days, costs, split_kind)
        manifest = package(
            model_dir,
            service,
            fitted,
            found.features,
            found.is_fraud,
            evaluation=evaluation,
            beside={EVALUATION_FILE: msgspec.json.encode(evaluation), RECIPE_FILE: msgspec.json.encode(recipe)},
            training_set_digest=found.digest,
            now_ms=time.time_ns() // 1_000_000,
        )
    note_model(model_dir, as_of, manifest.model_version)
    return Trained(fitted, manifest, evaluation, _holdout(found, fitted, amount, slices, parts[-1].validate))


def _split(
    found: TrainingSet, time_ms: npt.NDArray[np.int64], kind: SplitKind, label_delay_days: float, seed: int
) -> Split:
    if kind is SplitKind.STRATIFIED:
        return stratified_split(found.is_fraud, seed)
    return temporal_split(time_ms, found.is_fraud, found.window.from_ms, found.window.to_ms, label_delay_days)


def _study_name(found: TrainingSet, as_of: str, label_delay_days: float, budget: Budget, kind: SplitKind) -> str:
    """Another set, split, seed, space or commit is another study; more trials of the same one are not."""
    said = [found.digest, kind, label_delay_days, budget.seed, repr(SPACE), code_revision(), libraries()]
    return f"{as_of}-{hashlib.sha256(msgspec.json.encode(said)).hexdigest()[:12]}"


def _judged(
    found: TrainingSet, fitted: Fitted, amount: Amounts, slices: Mapping[str, Flags], costs: CostTable
) -> Evaluation:
    """By unseen scores; the review threshold too is chosen there."""
    score, deny = fitted.unseen_scores.astype(np.float64), fitted.threshold.value
    review = review_threshold(score, found.is_fraud, amount, deny, costs, found.days)
    return evaluate(
        score,
        found.is_fraud,
        slices,
        Thresholds(review=review, deny=deny),
        cost_minor=cost_minor(score, found.is_fraud, amount, (review, deny), costs),
        day=clusters(found.rows["event_time_ms"].to_numpy()),
        days=found.days,
        importances=dict(fitted.importances),
    )


def clusters(time_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(n,) the day of each row; of less than MIN_CLUSTERS days, the part of the time that they span: of one day nothing could be told."""
    span_ms = int(time_ms.max() - time_ms.min())
    found: npt.NDArray[np.int64] = time_ms // max(min(DAY_MS, span_ms // MIN_CLUSTERS), 1)
    return found


def _recipe(
    found: TrainingSet, fitted: Fitted, as_of: str, label_delay_days: float, costs: CostTable, kind: SplitKind
) -> Recipe:
    return Recipe(
        as_of=as_of,
        from_ms=found.window.from_ms,
        to_ms=found.window.to_ms,
        label_delay_days=label_delay_days,
        split=kind,
        params=msgspec.convert(fitted.params, dict[str, int | float | str | list[str]]),
        rounds=fitted.best.rounds,
        seed=fitted.seed,
        per_fraud=MAX_LEGITIMATE_PER_FRAUD,
        propagation_weights=found.weight is not None,
        costs=costs,
        libraries=libraries(),
    )


def _holdout(
    found: TrainingSet, fitted: Fitted, amount: Amounts, slices: Mapping[str, Flags], rows: npt.NDArray[np.int64]
) -> Holdout:
    """rows: the newest part, which is scored by a model of what is older."""
    return Holdout(
        found.names,
        identities(found.rows.take(pa.array(rows))).to_pylist(),
        found.rows["event_time_ms"].to_numpy()[rows],
        found.is_fraud[rows],
        amount[rows],
        fitted.unseen_scores[rows],
        {name: member[rows] for name, member in slices.items()},
        found.features[rows],
    )
