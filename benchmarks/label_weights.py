"""Do weights from label propagation make a better model? One history a seed, fitted with and without, judged by the truth.

`python -m benchmarks.label_weights [SEEDS]`: for each world and fit a JSON line of what either reached: on the newest fifth of the window
by the labels that training saw and by the truth, and on the fortnight after it by the truth, which labels have not told yet.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.worlds import (
    AS_OF_MS,
    DAYS,
    DELAY_DAYS,
    Flags,
    Floats,
    after_window,
    as_of_day,
    cents,
    world,
)
from fraud_assets.evaluate.across import truth_beside
from fraud_assets.labels.confidence import confidence_as_of
from fraud_assets.labels.graph import identity_edges, transactions_as_known
from fraud_assets.labels.shapes import CONFIDENCE, Caps
from fraud_assets.stores.keyed_tables import of_day, put_table
from fraud_assets.training.dataset import TrainingSet
from fraud_assets.training.fit import Fitted, fit
from fraud_assets.training.metrics import average_precision, recall_at_fpr
from fraud_assets.training.split import folds, temporal_split
from fraud_assets.training.threshold import CostTable, cost_minor
from fraud_assets.training.tune import Budget
from fraud_assets.training.weights import propagation_weights

FITS = 3  # seeds of thinning and of XGBoost: what a difference has to exceed
FPR = 0.01
CAPS = Caps(device=10, card=5, ip=20)  # as settings have them


def sets(folder: Path, seed: int, per_day: int) -> tuple[TrainingSet, TrainingSet]:
    """As of a day with its weights, and the fortnight after its window."""
    lake = world(folder, seed, per_day)
    edges = identity_edges(transactions_as_known(lake, AS_OF_MS, DAYS))
    found = confidence_as_of(lake, edges, AS_OF_MS, DAYS, CAPS)
    put_table(str(folder), CONFIDENCE.table, of_day("then"), found.rows)
    then = as_of_day(lake, propagation_weights(str(folder), "then"))
    return then, after_window(lake)


def fitted(found: TrainingSet, weight: npt.NDArray[np.float32] | None, seed: int) -> Fitted:
    time_ms = found.rows["event_time_ms"].to_numpy()
    return fit(
        found.features, found.is_fraud, cents(found),
        temporal_split(time_ms, found.is_fraud, found.window.from_ms, found.window.to_ms, DELAY_DAYS),
        found.names, folds=folds(time_ms, found.is_fraud), weight=weight, budget=Budget(0, seed=seed),
    )  # fmt: skip


def measured(name: str, score: Floats, truth: Flags, amount: Floats, deny: float) -> dict[str, float]:
    denied = score >= deny
    return {
        f"{name}_ap": average_precision(truth, score),
        f"{name}_recall_at_1pct_fpr": recall_at_fpr(truth, score, FPR),
        f"{name}_recall": float(denied[truth].mean()),
        f"{name}_fpr": float(denied[~truth].mean()),
        f"{name}_cost_eur": cost_minor(score, truth, amount, (deny, deny), CostTable()) / 100,
        f"{name}_mean_over_share": float(score.mean() / truth.mean()),
    }


def compared(folder: Path, seed: int, per_day: int) -> Iterator[Mapping[str, Any]]:
    then, after = sets(folder, seed, per_day)
    (truth, _), (later, _) = (truth_beside(folder / "lake", one) for one in (then, after))
    assert then.weight is not None
    less = then.weight < 1
    about = {
        "world": seed, "rows": len(then), "frauds": int(truth.sum()), "unnoticed": int((truth & ~then.is_fraud).sum()),
        "weighted_down": int(less.sum()), "of_them_fraud": int(truth[less].sum()),
        "weight_taken_of_unnoticed": float((1 - then.weight)[truth & ~then.is_fraud].sum()),
    }  # fmt: skip
    time_ms = then.rows["event_time_ms"].to_numpy()
    newest = folds(time_ms, then.is_fraud)[-1].validate
    for fit_seed in range(7, 7 + FITS):
        for arm, weight in (("hard", None), ("weighted", then.weight)):
            model = fitted(then, weight, fit_seed)
            deny, unseen = model.threshold.value, model.unseen_scores[newest].astype(np.float64)
            yield {
                **about, "fit": fit_seed, "arm": arm,
                **measured("holdout_by_labels", unseen, then.is_fraud[newest], cents(then)[newest], deny),
                **measured("holdout_by_truth", unseen, truth[newest], cents(then)[newest], deny),
                **measured("after", model.booster.inplace_predict(after.features).astype(np.float64), later, cents(after), deny),
            }  # fmt: skip


def main(seeds: int = 1, per_day: int = 2_000) -> None:
    for seed in range(1, seeds + 1):
        with tempfile.TemporaryDirectory() as folder:
            for line in compared(Path(folder), seed, per_day):
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
