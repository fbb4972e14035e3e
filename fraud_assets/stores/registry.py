"""The model registry on MLflow: which versions exist, where they came from, and which is champion.

MLflow keeps the account; scorers never ask it. They read the model folder, where `publish_champion`
puts the pointer, so that a registry that is down delays a promotion and nothing else.

MLflow is imported when a client is made: an asset that is given a registry names its type without it.
"""

import contextlib
import fcntl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

MODEL_NAME = "fraud"
CHAMPION = "champion"
ARTIFACT_PATH = "model"
SQLITE = "sqlite:///"


class NoChampion(LookupError):
    """Nothing has been promoted yet."""


class Registered(NamedTuple):
    """number: MLflow's own, ascending. model_version: ours, which names the bytes."""

    number: int
    model_version: str
    run_id: str


def prepare_store(tracking_uri: str, experiment: str, artifacts: Path) -> None:
    """Make the SQLite file's folder and an experiment that keeps its artifacts beside it.

    MLflow would put them under the working directory, wherever a run happens to be started.
    """
    client = _client(tracking_uri)
    with _alone(tracking_uri):
        if client.get_experiment_by_name(experiment) is None:
            local = tracking_uri.startswith(SQLITE)
            client.create_experiment(experiment, artifacts.resolve().as_uri() if local else None)


def _client(tracking_uri: str) -> "MlflowClient":
    from mlflow.tracking import MlflowClient

    with _alone(tracking_uri):
        return MlflowClient(tracking_uri)


@contextlib.contextmanager
def _alone(tracking_uri: str) -> Iterator[None]:
    """One process at a time makes what is not there yet; a server sees to that itself.

    A client migrates the SQLite file it opens, and two that migrate a new one at once break each other: so
    did the first two days of a backfill.
    """
    if not tracking_uri.startswith(SQLITE):
        yield
        return
    database = Path(tracking_uri.removeprefix(SQLITE))
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # closing it lets go
        yield


class ModelRegistry:
    """Versions of one registered model."""

    def __init__(self, tracking_uri: str, name: str = MODEL_NAME) -> None:
        self._client = _client(tracking_uri)
        self.name = name

    def register(self, run_id: str, model_version: str, tags: Mapping[str, str]) -> Registered:
        """Add a version whose artifact the run has logged; the same one again is that one."""
        found = self._find(model_version)
        if found is None:
            self._ensure_model()
            source = f"{self._client.get_run(run_id).info.artifact_uri}/{ARTIFACT_PATH}"
            found = self._client.create_model_version(
                self.name, source, run_id=run_id, tags={**tags, "model_version": model_version}
            )
        return _registered(found)

    def set_champion(self, model_version: str) -> Registered:
        """Move the alias. Raises NoChampion if the version is not registered."""
        found = self._find(model_version)
        if found is None:
            raise NoChampion(
                f"NoChampion: {model_version} is not registered as {self.name}. Materialize fraud_model first."
            )
        self._client.set_registered_model_alias(self.name, CHAMPION, str(found.version))
        return _registered(found)

    def champion(self) -> Registered:
        """Raises NoChampion."""
        from mlflow.exceptions import MlflowException

        try:
            return _registered(self._client.get_model_version_by_alias(self.name, CHAMPION))
        except MlflowException as error:
            raise NoChampion(f"NoChampion: no version of {self.name} has the alias {CHAMPION!r}.") from error

    def download(self, number: int, folder: Path) -> Path:
        """The artifact's folder, copied into `folder`; verify it before use (`models/artifact.py`)."""
        from mlflow.artifacts import download_artifacts

        folder.mkdir(parents=True, exist_ok=True)
        uri = self._client.get_model_version_download_uri(self.name, str(number))
        return Path(download_artifacts(artifact_uri=uri, dst_path=str(folder)))

    def _find(self, model_version: str) -> "ModelVersion | None":
        found = self._client.search_model_versions(f"name='{self.name}' and tags.model_version='{model_version}'")
        return found[0] if found else None

    def _ensure_model(self) -> None:
        """Also where several runs register their first versions at one moment, as the days of a backfill do."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.get_registered_model(self.name)
        except MlflowException:
            try:
                self._client.create_registered_model(self.name)
            except MlflowException:
                self._client.get_registered_model(self.name)  # raises unless another has made it meanwhile


def _registered(version: "ModelVersion") -> Registered:
    return Registered(int(version.version), version.tags.get("model_version", ""), version.run_id or "")
