"""A small real XGBoost model, trained on random vectors that carry the service's names."""

import functools
from dataclasses import dataclass

import msgspec
import numpy as np

from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.models.manifest import Definitions, Golden, Manifest, Thresholds


@dataclass(frozen=True)
class Trained:
    """booster_json with the rows it was trained on and the scores XGBoost itself gives them."""

    booster_json: bytes
    rows: np.ndarray
    scores: np.ndarray
    names: tuple[str, ...]

    def manifest(self, version: str = "v1", **changes: object) -> Manifest:
        definitions = Definitions.of(registry(), FRAUD_SCORING)
        usual = Manifest(
            model_version=version,
            created_at_ms=1_700_000_000_000,
            service=definitions.service,
            service_digest=definitions.service_digest,
            view_digests=definitions.view_digests,
            feature_names=self.names,
            thresholds=Thresholds(review=0.5, deny=0.8),
            training_set_digest="0" * 64,
            code_revision="test",
            golden=Golden.of(self.rows[:32], self.scores[:32]),
        )
        return msgspec.structs.replace(usual, **changes)


@functools.cache  # seconds for one as wide as a service, and many tests ask for the same
def train(names: tuple[str, ...], trees: int = 40, depth: int = 5, seed: int = 0, n: int = 2_000) -> Trained:
    """Rows of several magnitudes with a fifth of the values null; the label depends on some of them."""
    import xgboost as xgb

    rng = np.random.default_rng(seed)
    rows = (rng.lognormal(0, 2, (n, len(names))) * rng.choice([-1, 1], len(names))).astype(np.float32)
    rows[rng.random(rows.shape) < 0.2] = np.nan
    signal = np.nan_to_num(rows[:, :10] / np.nanstd(rows[:, :10], axis=0)).sum(1) + rng.normal(0, 0.2, n)
    matrix = xgb.DMatrix(rows, (signal > np.quantile(signal, 0.9)).astype(int), feature_names=list(names))
    params = {"objective": "binary:logistic", "max_depth": depth, "eta": 0.2, "nthread": 1, "seed": seed}
    booster = xgb.train(params, matrix, trees)
    return Trained(bytes(booster.save_raw("json")), rows, booster.predict(matrix), names)
