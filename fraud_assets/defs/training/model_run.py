"""One training as one MLflow run."""

from pathlib import Path
from typing import Any

from fraud_assets.stores.registry import ARTIFACT_PATH, ModelRegistry
from fraud_assets.training.run import Trained


def log_model(mlflow: Any, registry: ModelRegistry, trained: Trained, model_dir: Path) -> int:
    """Parameters, metrics, every trial and the artifact; then the registered version's number."""
    manifest, fitted = trained.manifest, trained.fitted
    mlflow.log_params(
        {**fitted.best.params, "rounds": fitted.best.rounds, "training_set_digest": manifest.training_set_digest}
    )
    mlflow.log_metrics(dict(manifest.metrics))
    for step, trial in enumerate(fitted.trials):
        mlflow.log_metric("trial_average_precision", trial.average_precision, step=step)
    mlflow.set_tags({"model_version": manifest.model_version, "service_digest": manifest.service_digest})
    mlflow.log_artifacts(str(model_dir / manifest.model_version), ARTIFACT_PATH)
    tags = {"service_digest": manifest.service_digest, "code_revision": manifest.code_revision, "stage": "Staging"}
    return registry.register(mlflow.active_run().info.run_id, manifest.model_version, tags).number
