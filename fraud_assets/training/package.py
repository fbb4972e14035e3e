"""From a fitted booster to an artifact that any process can verify."""

import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import xgboost as xgb

from fraud_assets.engine.plan import ServicePlan
from fraud_assets.models.artifact import write_artifact
from fraud_assets.models.manifest import Definitions, Golden, Manifest, Thresholds, sha256
from fraud_assets.training.evaluation import Evaluation
from fraud_assets.training.fit import Fitted

Floats = npt.NDArray[np.float32]

GOLDEN_ROWS = 64  # enough to visit most trees' branches, few enough to check at every load


def package(
    model_dir: Path,
    service: ServicePlan,
    fitted: Fitted,
    features: Floats,
    is_fraud: npt.NDArray[np.bool_],
    *,
    evaluation: Evaluation,
    beside: Mapping[str, bytes],
    training_set_digest: str,
    now_ms: int,
) -> Manifest:
    """Write `<model_dir>/<version>/`; the version names its bytes and thresholds, so the same model has the same one.

    beside: further files of the folder, by name.
    """
    model_json = fitted.model_json()
    definitions = Definitions.of(service.engine.registry, service.service)
    revision = code_revision()
    metrics = {**fitted.metrics, **evaluation.metrics()}
    version = _version(training_set_digest, revision, evaluation.thresholds, model_json, beside)
    manifest = Manifest(
        model_version=version,
        created_at_ms=now_ms,
        service=definitions.service,
        service_digest=definitions.service_digest,
        view_digests=definitions.view_digests,
        feature_names=definitions.feature_names,
        thresholds=evaluation.thresholds,
        training_set_digest=training_set_digest,
        code_revision=revision,
        metrics={name: value for name, value in metrics.items() if np.isfinite(value)},
        golden=golden_of(fitted.booster, fitted.names, features, is_fraud),
    )
    return write_artifact(model_dir / version, model_json, manifest, beside)


def _version(digest: str, revision: str, thresholds: Thresholds, model_json: bytes, beside: Mapping[str, bytes]) -> str:
    """Other costs make another version of the same trees: decisions name it, and its thresholds are part of them."""
    said = [digest, revision, thresholds, sha256(model_json), {name: sha256(raw) for name, raw in beside.items()}]
    return f"fraud-{hashlib.sha256(msgspec.json.encode(said)).hexdigest()[:12]}"


def golden_of(
    booster: xgb.Booster, names: tuple[str, ...], features: Floats, is_fraud: npt.NDArray[np.bool_]
) -> Golden:
    """Rows spread over the set, half of them frauds where there are enough, with XGBoost's own scores."""
    frauds, others = np.flatnonzero(is_fraud), np.flatnonzero(~is_fraud)
    rows = np.concatenate([_spread(frauds, GOLDEN_ROWS // 2), _spread(others, GOLDEN_ROWS // 2)])
    vectors = np.ascontiguousarray(features[rows])
    scores = booster.predict(xgb.DMatrix(vectors, feature_names=list(names), nthread=1))
    return Golden.of(vectors, scores)


def _spread(rows: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64))]


def code_revision() -> str:
    """The commit of the working tree, `-dirty` where it differs; "unknown" outside a repository."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty"],
            cwd=here,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return "unknown"
    return found.stdout.strip() or "unknown"
