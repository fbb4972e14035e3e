"""A proof about a model registry that does not answer."""

import tempfile
from pathlib import Path

import msgspec

from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.models.artifact import CHAMPION_FILE, Champion
from tests.api.mlflow_server import mlflow_server
from tests.api.world import until
from tests.chaos.proof import Outcome, Scale
from tests.chaos.rig import VERSIONS, Rig, payment, rig
from tests.chaos.scorer import ask_once
from tests.models.made import train

WATCH_S = 0.5


def gone(_: Scale) -> Outcome:
    """A scorer follows MLflow's alias; then MLflow accepts and never answers, also at a cold start: the verified files on this
    machine serve, and a reload says what it did. When MLflow answers again, it is followed again.
    """
    names = registry().feature_names(FRAUD_SCORING)
    with (
        tempfile.TemporaryDirectory(prefix="mlflow-") as folder,
        mlflow_server(Path(folder) / "server") as mlflow,
        rig(MLFLOW_TRACKING_URI=mlflow.url, FRAUD_REGISTRY_WATCH_S=str(WATCH_S)) as made,
    ):
        for seed, version in enumerate(VERSIONS):
            mlflow.register(train(names, seed=seed), version)
        mlflow.name_champion("v2")
        followed = _when(made, "v2")
        with mlflow.stopped():
            stopped = _version(made)
            made.scorer.kill_and_start()
            after_cold_start = _version(made)
            pointer = Champion("v9", "0" * 64)
            (made.model_dir / CHAMPION_FILE).write_bytes(msgspec.json.encode(pointer))
            answer = made.reload_answer()
            still = _version(made)
        mlflow.name_champion("v1")
        again = _when(made, "v1")
    figure = {
        "followed": followed, "stopped": stopped, "after_cold_start": after_cold_start, "still": still, "again": again,
        "reload_says": str(answer.get("refused", "")).partition(":")[0],
    }  # fmt: skip
    served = (followed, stopped, after_cold_start, still, again)
    named = "v9" in str(answer.get("refused", "")) and answer["model_version"] == "v2"
    return Outcome(served == ("v2", "v2", "v2", "v2", "v1") and named, figure)


def _when(made: Rig, version: str) -> str:
    until(lambda: _version(made) == version)
    return version


def _version(made: Rig) -> str:
    return str(ask_once(made, payment())["model_version"])
