"""XGBoost on a training set: a small study on one temporal validation, a threshold from every row, one refit.

Deterministic: the same rows, budget and thread count give the same bytes, unless time cut the study.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xgboost as xgb
from sklearn.metrics import average_precision_score, roc_auc_score

from fraud_assets.training.space import SPACE, Params, SearchSpace
from fraud_assets.training.split import Split
from fraud_assets.training.studies import Journal
from fraud_assets.training.threshold import CostTable, Threshold, cheapest_threshold
from fraud_assets.training.tune import Budget, Measured, Report, Study, Trial, TrialFailed, tune

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
EvalsLog = xgb.callback.TrainingCallback.EvalsLog

MAX_ROUNDS = 300  # what the scorer's latency budget is measured with
PATIENCE = 25  # rounds without a better log loss on the validation days before a candidate stops
# Legitimate rows kept per fraud; those kept weigh for those left out, so scores stay probabilities.
# At one fraud in two hundred the rest repeats itself and would quintuple the time.
MAX_LEGITIMATE_PER_FRAUD = 40
# Two threads wait for each other at every node; below this many values one is faster on a busy machine.
PARALLEL_FROM = 40_000_000
FOLD_THREADS = 2  # folds are fitted side by side, each on one thread

# base_score is fixed because XGBoost 3 estimates it, and a comparison with older results would shift.
# Frauds get no extra weight: scores stay probabilities, and the threshold carries the costs.
# The last metric says when to stop. Average precision ranks candidates, but as a signal to stop it jumps with each of a
# hundred frauds: on one world it peaks after 27 rounds, on its neighbour after 208. Log loss heeds every row.
FIXED: Mapping[str, object] = {
    "objective": "binary:logistic",
    "eval_metric": ["aucpr", "logloss"],
    "tree_method": "hist",
    "base_score": 0.5,
    "max_bin": 128,
}


@dataclass(frozen=True)
class Fitted:
    """booster: refit on all rows with the best candidate. No metric is of rows that its model had seen: ranking
    is measured on the validation days, as the candidate scored them; the threshold, and what it does, on all
    rows, each scored by a model of the other folds (unseen_scores: (n,)). validation_scores: of the candidate.
    params, seed: what XGBoost and the choice of rows were given for the refit.
    """

    booster: xgb.Booster
    names: tuple[str, ...]
    study: Study
    validation_scores: Floats
    unseen_scores: Floats
    threshold: Threshold
    metrics: Mapping[str, float]
    importances: tuple[tuple[str, float], ...]
    params: Mapping[str, object]
    seed: int

    @property
    def best(self) -> Trial:
        return self.study.best

    def model_json(self) -> bytes:
        """XGBoost's own JSON; nothing on the serving path unpickles."""
        return bytes(self.booster.save_raw("json"))


def fit(
    features: Floats,
    is_fraud: Flags,
    amount_minor: npt.NDArray[np.number],
    split: Split,
    names: Sequence[str],
    *,
    folds: Sequence[Split],
    weight: Floats | None = None,
    costs: CostTable | None = None,
    budget: Budget | None = None,
    space: SearchSpace = SPACE,
    journal: Journal | None = None,
) -> Fitted:
    """Search on `split` within the budget, keep the best by average precision, refit it on every row.

    Average precision and not the cost of the threshold: a few dozen frauds make that jump with every
    one. The costs choose the threshold of the winner, on its scores of all folds: the validation days alone
    hold too few frauds, and their candidate, fitted to half as much, scores otherwise than the final model.
    amount_minor: (n,) in the cost table's currency. weight: (n,) how much a row counts where something is learnt from it; every
    measure, early stopping's too, counts rows and hard labels. journal: of a study that may have begun. Raises NoTrialCompleted.
    """
    budget = budget or Budget()
    seed = budget.seed
    train = _matrix(features, is_fraud, thinned(split.train, is_fraud, seed, weight=weight), names)
    # Not a quantile matrix: predicting from one costs ten times the boosting round it evaluates.
    held = xgb.DMatrix(
        features[split.validate], is_fraud[split.validate].astype(np.float32), feature_names=list(names), nthread=1
    )
    candidates = Candidates(train, held, seed)
    study = tune(candidates.measure, budget, space, journal=journal)
    best, score = study.best, candidates.scores_of(study.best)
    refit = Refit(features, is_fraud, names, best, seed, weight)
    everything = np.arange(len(is_fraud), dtype=np.int64)
    unseen = refit.scores_of(folds)
    threshold = cheapest_threshold(unseen.astype(np.float64), is_fraud, amount_minor, costs or CostTable())
    booster = refit.on(everything)
    return Fitted(
        booster,
        tuple(names),
        study,
        score,
        unseen,
        threshold,
        {
            **_ranking(score, is_fraud[split.validate], len(split.train)),
            **_at_threshold(unseen, is_fraud, threshold),
        },
        _importances(booster),
        refit.params(refit.sample(everything)),
        seed,
    )


@dataclass(frozen=True)
class Refit:
    """The winner's parameters and rounds on other rows of the same set."""

    features: Floats
    is_fraud: Flags
    names: Sequence[str]
    best: Trial
    seed: int
    weight: Floats | None

    def sample(self, rows: npt.NDArray[np.int64]) -> "Sample":
        return thinned(rows, self.is_fraud, self.seed, weight=self.weight)

    def on(self, rows: npt.NDArray[np.int64]) -> xgb.Booster:
        sample = self.sample(rows)
        return boosted(self.features, self.is_fraud, sample, self.names, self.params(sample), self.best.rounds)

    def params(self, sample: "Sample") -> dict[str, object]:
        return _params(self.best.params, self.seed, len(sample) * len(self.names))

    def scores_of(self, folds: Sequence[Split]) -> Floats:
        """(n,) each fold's `validate` scored by a model of its `train`."""
        found = np.full(len(self.is_fraud), np.nan, np.float32)

        def score(fold: Split) -> None:
            found[fold.validate] = self.on(fold.train).inplace_predict(self.features[fold.validate])

        with ThreadPoolExecutor(FOLD_THREADS) as pool:
            list(pool.map(score, folds))
        return found


@dataclass(frozen=True)
class Sample:
    """rows: row numbers, ascending. weight: (n,) how many rows each stands for, times how much it counts itself."""

    rows: npt.NDArray[np.int64]
    weight: Floats

    def __len__(self) -> int:
        return len(self.rows)


def thinned(
    rows: npt.NDArray[np.int64],
    is_fraud: Flags,
    seed: int,
    per_fraud: int = MAX_LEGITIMATE_PER_FRAUD,
    weight: Floats | None = None,
) -> Sample:
    """Every fraud and at most `per_fraud` legitimate rows each, weighted so that the base rate stays.

    weight: of every row of the set; the choice of rows does not depend on it.
    """
    fraud, legitimate = rows[is_fraud[rows]], rows[~is_fraud[rows]]
    count = min(len(legitimate), max(per_fraud * len(fraud), 1))
    kept = np.random.default_rng(seed).choice(legitimate, count, replace=False)
    chosen = np.sort(np.concatenate([fraud, kept]))
    stands_for = np.where(is_fraud[chosen], 1.0, len(legitimate) / count).astype(np.float32)
    return Sample(chosen, stands_for if weight is None else stands_for * weight[chosen])


def boosted(
    features: Floats,
    is_fraud: Flags,
    sample: Sample,
    names: Sequence[str],
    params: Mapping[str, object],
    rounds: int,
) -> xgb.Booster:
    """The same rows, parameters (seed and threads among them) and rounds give the same bytes."""
    return xgb.train(dict(params), _matrix(features, is_fraud, sample, names), num_boost_round=rounds)


def _threads(values: int) -> int:
    return 2 if values >= PARALLEL_FROM else 1


def _matrix(features: Floats, is_fraud: Flags, sample: Sample, names: Sequence[str]) -> xgb.DMatrix:
    return xgb.QuantileDMatrix(
        features[sample.rows],
        is_fraud[sample.rows].astype(np.float32),
        weight=sample.weight,
        feature_names=list(names),
        max_bin=int(str(FIXED["max_bin"])),
        nthread=_threads(len(sample) * len(names)),
    )


def _params(params: Mapping[str, float], seed: int, values: int) -> dict[str, object]:
    return {**FIXED, **params, "seed": seed, "nthread": _threads(values)}


class Candidates:
    """Fits candidates on the training rows."""

    def __init__(self, train: xgb.DMatrix, held: xgb.DMatrix, seed: int) -> None:
        self._train, self._held, self._seed = train, held, seed
        self._scores: dict[int, Floats] = {}

    def scores_of(self, trial: Trial) -> Floats:
        """(n,) of the validation rows. A trial of a process before is fitted again: its rounds give the same trees."""
        if trial.number not in self._scores:
            booster = xgb.train(self._params(trial.params), self._train, num_boost_round=trial.rounds)
            self._scores[trial.number] = booster.predict(self._held)
        return self._scores[trial.number]

    def _params(self, params: Params) -> dict[str, object]:
        return _params(params, self._seed, self._train.num_row() * self._train.num_col())

    def measure(self, number: int, params: Params, report: Report) -> Measured:
        """Raises TrialFailed, and whatever the report raises."""
        try:
            booster = xgb.train(
                self._params(params),
                self._train,
                num_boost_round=MAX_ROUNDS,
                evals=[(self._held, "validation")],
                early_stopping_rounds=PATIENCE,
                verbose_eval=False,
                callbacks=[_Watch(report)],
            )
        except xgb.core.XGBoostError as error:
            raise TrialFailed(f"XGBoost: {str(error).splitlines()[0]}") from error
        rounds = booster.best_iteration + 1
        score = booster.predict(self._held, iteration_range=(0, rounds))
        self._scores[number] = score
        return Measured(rounds, float(average_precision_score(self._held.get_label(), score)))


class _Watch(xgb.callback.TrainingCallback):
    """Tells the study the best value so far after every round, as early stopping keeps it."""

    def __init__(self, report: Report) -> None:
        self._report, self._best = report, 0.0

    def after_iteration(self, model: xgb.Booster, epoch: int, evals_log: EvalsLog) -> bool:  # noqa: ARG002  # XGBoost's signature
        now = {name: values[-1] for name, values in evals_log["validation"].items()}
        value, loss = now["aucpr"], now["logloss"]
        assert isinstance(value, float) and isinstance(loss, float)  # pairs only in cross-validation
        self._best = max(self._best, value)
        self._report(epoch + 1, self._best, validation_aucpr=value, validation_logloss=loss)
        return False


def _ranking(score: Floats, truth: Flags, train_rows: int) -> dict[str, float]:
    """Of the validation days."""
    return {
        "average_precision": float(average_precision_score(truth, score)),
        "roc_auc": float(roc_auc_score(truth, score)),
        "prior": float(truth.mean()),
        "train_rows": float(train_rows),
        "validate_rows": float(len(truth)),
        "validate_frauds": float(truth.sum()),
    }


def _at_threshold(score: Floats, truth: Flags, threshold: Threshold) -> dict[str, float]:
    """Of every row, by models that had not seen it."""
    refused = score >= threshold.value
    return {
        "threshold": threshold.value,
        "recall": threshold.recall,
        "precision": float(truth[refused].mean()) if refused.any() else float("nan"),
        "fpr": threshold.fpr,
        "cost_minor": threshold.cost_minor,
        "threshold_frauds": float(truth.sum()),
    }


def _importances(booster: xgb.Booster, count: int = 20) -> tuple[tuple[str, float], ...]:
    gain = booster.get_score(importance_type="total_gain")
    ranked = sorted(((name, float(str(value))) for name, value in gain.items()), key=lambda item: (-item[1], item[0]))
    return tuple(ranked[:count])
