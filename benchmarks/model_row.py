"""One row through 300 trees of depth 6 over the service's features: ours against XGBoost's own in-place predict."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from benchmarks.measure import report
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.models.artifact import load_champion, publish_champion, write_artifact
from fraud_assets.models.manifest import Definitions, Golden, Manifest, Thresholds

TREES, DEPTH, TRAINED_ON, ROWS = 300, 6, 3_000, 3_000
VERSION = "bench"

Rows = npt.NDArray[np.float32]


def train() -> tuple[xgb.Booster, Rows]:
    """A booster whose trees are full, and the rows it learned; a tenth of the values is null."""
    names = list(registry().feature_names(FRAUD_SCORING))
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(TRAINED_ON, len(names))).astype(np.float32)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    label = (np.nan_to_num(rows[:, :40]).sum(1) + rng.normal(0, 3, TRAINED_ON) > 8).astype(int)
    params = {
        "objective": "binary:logistic",
        "max_depth": DEPTH,
        "eta": 0.1,
        "max_bin": 32,
        "min_child_weight": 0,
        "nthread": 2,
    }
    return xgb.train(params, xgb.DMatrix(rows, label, feature_names=names), TREES), rows


def publish(model_dir: Path, booster: xgb.Booster, rows: Rows) -> None:
    """As training does it."""
    definitions = Definitions.of(registry(), FRAUD_SCORING)
    golden = rows[:64]
    scores = booster.inplace_predict(golden)
    manifest = Manifest(
        model_version=VERSION, created_at_ms=0, service=definitions.service, service_digest=definitions.service_digest,
        view_digests=definitions.view_digests, feature_names=definitions.feature_names,
        thresholds=Thresholds(review=0.5, deny=0.9), training_set_digest="-", code_revision="-",
        golden=Golden.of(golden, scores),
    )  # fmt: skip
    write_artifact(model_dir / VERSION, bytes(booster.save_raw("json")), manifest)
    publish_champion(model_dir, VERSION)


def per_row_us(score: Callable[[Rows], object], rows: Rows) -> list[float]:
    """µs of each row, one call a row, after the first thousand."""
    taken = []
    for row in rows:
        started = time.perf_counter_ns()
        score(row)
        taken.append((time.perf_counter_ns() - started) / 1e3)
    return taken[1_000:]


def main() -> None:
    booster, rows = train()
    booster.set_param({"nthread": 1})
    with tempfile.TemporaryDirectory() as folder:
        publish(Path(folder), booster, rows)
        champion = publish_champion(Path(folder), VERSION)
        model = load_champion(Path(folder), champion, Definitions.of(registry(), FRAUD_SCORING))
    ours = per_row_us(model.score, rows[:ROWS])
    explained = per_row_us(lambda row: model.explain(row[None, :]), rows[:ROWS])
    peer = statistics.median(per_row_us(lambda row: booster.inplace_predict(row[None, :]), rows[:ROWS]))
    worst = float(np.abs(model.trees.score_many(rows) - booster.inplace_predict(rows)).max())
    median = statistics.median(ours)
    report(
        "model.row", median, peer, peer / median, "µs", len(ours), p99=round(float(np.percentile(ours, 99)), 1),
        with_reasons=round(statistics.median(explained), 1), nodes=len(model.trees.nodes), largest_difference=worst,
    )  # fmt: skip


if __name__ == "__main__":
    main()
