"""The model registry on MLflow: which versions exist, where they came from, and which is what.

MLflow keeps the account; scorers never ask it. They read the model folder, where `publish_champion`
puts the pointer, so that a registry that is down delays nothing that they serve. Who is champion and challenger is
decided by the promotion log (`fraud_assets/rollout/log.py`); aliases and `stage` tags are made to say the same.

MLflow is imported when a client is made: an asset that is given a registry names its type without it.
"""

import contextlib
import fcntl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fraud_assets.rollout.standing import CHALLENGER, CHAMPION, MODEL_NAME, Standing

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

STAGE_TAG = "stage"
ARTIFACT_PATH = "model"
SQLITE = "sqlite:///"


class NoChampion(LookupError):
    """Nothing has been promoted yet."""


class RegistryDown(ConnectionError):
    """MLflow does not answer, or not as it should. Nothing that scorers serve depends on it."""


class Reconciled(NamedTuple):
    """changed: what was made to say something else, in words. missing: versions of the log that MLflow does not have."""

    changed: list[str]
    missing: list[str]


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

    def registered(self, model_version: str) -> Registered:
        """Raises NoChampion if the version is not registered: it can become none."""
        found = self._find(model_version)
        if found is None:
            raise NoChampion(
                f"NoChampion: {model_version} is not registered as {self.name}. Materialize fraud_model first."
            )
        return _registered(found)

    def champion(self) -> Registered:
        """Raises NoChampion."""
        from mlflow.exceptions import MlflowException

        try:
            return _registered(self._client.get_model_version_by_alias(self.name, CHAMPION))
        except MlflowException as error:
            raise NoChampion(f"NoChampion: no version of {self.name} has the alias {CHAMPION!r}.") from error

    def reconcile(self, standing: Standing) -> Reconciled:
        """Make aliases and `stage` tags say what the log says; where they do, nothing is written. Raises RegistryDown.

        Versions that the log does not name keep their tags. An alias whose version MLflow does not have stays where it is.
        """
        with _answering():
            found = {name: version for name in standing.stages if (version := self._find(name)) is not None}
            changed = [self._restage(name, version, standing.stages[name]) for name, version in found.items()]
            numbers = {name: str(version.version) for name, version in found.items()}
            changed += [self._realias(CHAMPION, standing.champion, numbers)]
            changed += [self._realias(CHALLENGER, standing.challenger, numbers)]
        missing = [name for name in standing.stages if name not in numbers]
        return Reconciled([words for words in changed if words], missing)

    def _restage(self, name: str, version: "ModelVersion", stage: str) -> str:
        if version.tags.get(STAGE_TAG) == stage:
            return ""
        self._client.set_model_version_tag(self.name, str(version.version), STAGE_TAG, str(stage))
        return f"{name} is {stage}"

    def _realias(self, alias: str, wanted: str | None, numbers: Mapping[str, str]) -> str:
        if not numbers or (wanted is not None and wanted not in numbers):
            return ""
        there = self._client.get_registered_model(self.name).aliases.get(alias)
        if wanted is None and there is not None:
            self._client.delete_registered_model_alias(self.name, alias)
            return f"nobody is {alias}"
        if wanted is None or str(there) == numbers[wanted]:
            return ""
        self._client.set_registered_model_alias(self.name, alias, numbers[wanted])
        return f"{wanted} is {alias}"

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


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise RegistryDown(f"RegistryDown: {str(error).splitlines()[0]}") from error


IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


@contextlib.contextmanager
def open_for_a_person(tracking_uri: str) -> Iterator[ModelRegistry]:
    """A registry that gives up after seconds, where MLflow's own patience with a server is minutes. Raises RegistryDown.

    MLflow reads its patience from the environment at each question, and processes that are started meanwhile would inherit it.
    """
    from mlflow import environment_variables

    patience: list[Any] = [getattr(environment_variables, name) for name in IMPATIENT]
    before = [variable.get_raw() for variable in patience]
    for variable, value in zip(patience, IMPATIENT.values(), strict=True):
        variable.set(value)
    try:
        with _answering():
            registry = ModelRegistry(tracking_uri)
        yield registry
    finally:
        for variable, value in zip(patience, before, strict=True):
            variable.unset() if value is None else variable.set(value)


def _registered(version: "ModelVersion") -> Registered:
    return Registered(int(version.version), version.tags.get("model_version", ""), version.run_id or "")
