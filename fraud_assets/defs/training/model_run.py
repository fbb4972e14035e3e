"""One training as one MLflow run, and each trial of its study as a run nested in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fraud_assets.stores.registry import ARTIFACT_PATH, ModelRegistry
from fraud_assets.training.tune import State, Study, Trial

if TYPE_CHECKING:  # Dagster imports every module under defs, and these take seconds
    from mlflow.tracking import MlflowClient

    from fraud_assets.training.run import Trained

# What MLflow's own list shows beside each trial.
_STATUS = {State.COMPLETE: "FINISHED", State.PRUNED: "KILLED", State.FAILED: "FAILED"}


_TAG_CHARACTERS = 1_000  # MLflow refuses tags of more than some thousands


def log_model(
    mlflow: Any, registry: ModelRegistry, trained: "Trained", model_dir: Path, failed: Mapping[str, str]
) -> int:
    """Parameters, metrics, every trial and the artifact; then the registered version's number.

    failed: gates that the model does not pass, with what they measured; tags of the run and of the version.
    """
    manifest, fitted = trained.manifest, trained.fitted
    mlflow.log_params(
        {**fitted.best.params, "rounds": fitted.best.rounds, "training_set_digest": manifest.training_set_digest}
    )
    mlflow.log_metrics({**manifest.metrics, "trials": len(fitted.study.trials), "best_trial": fitted.best.number})
    for step, best in enumerate(fitted.study.best_so_far()):
        mlflow.log_metric("best_average_precision_so_far", best, step=step)
    run = mlflow.active_run().info
    log_trials(mlflow.tracking_client, run.experiment_id, run.run_id, fitted.study)
    said = {"gates": f"failed: {', '.join(failed)}" if failed else "passed"}
    said |= {f"gate.{name}": why[:_TAG_CHARACTERS] for name, why in failed.items()}
    mlflow.set_tags({"model_version": manifest.model_version, "service_digest": manifest.service_digest, **said})
    mlflow.log_artifacts(str(model_dir / manifest.model_version), ARTIFACT_PATH)
    tags = {"service_digest": manifest.service_digest, "code_revision": manifest.code_revision, "stage": "Staging"}
    return registry.register(run.run_id, manifest.model_version, {**tags, **said}).number


def log_trials(client: "MlflowClient", experiment_id: str, parent_run_id: str, study: Study) -> None:
    """One finished run each, its learning curves by round. By the client, so that the parent stays the active run."""
    from mlflow.entities import Metric, Param, RunTag

    for trial in study.trials:
        run = client.create_run(
            experiment_id, run_name=f"trial {trial.number}", tags={"mlflow.parentRunId": parent_run_id}
        )
        at_ms = run.info.start_time
        client.log_batch(
            run.info.run_id,
            metrics=[
                *(Metric(name, value, at_ms, 0) for name, value in _measured(trial).items()),
                *(Metric(name, y, at_ms, x) for name, curve in trial.curves.items() for x, y in enumerate(curve, 1)),
            ],
            params=[Param(name, str(value)) for name, value in trial.params.items()],
            tags=[RunTag("state", str(trial.state)), RunTag("reason", trial.reason)],
        )
        client.set_terminated(run.info.run_id, _STATUS[trial.state])


def _measured(trial: Trial) -> dict[str, float]:
    """A trial that did not complete has no average precision; 0 would be one."""
    if trial.state is not State.COMPLETE:
        return {"seconds": trial.seconds}
    return {
        "seconds": trial.seconds,
        "average_precision": trial.average_precision,
        "rounds": float(trial.rounds),
    }
