"""A real MLflow server, with versions that training would have registered."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from deploy.local.ports import held_ports
from fraud_assets.models.artifact import write_artifact
from fraud_assets.rollout.standing import CHAMPION
from fraud_assets.stores.registry import ARTIFACT_PATH, ModelRegistry, prepare_store
from tests.api.world import until
from tests.models.made import Trained

UP_WITHIN_S = 120.0


class MlflowServer:
    """Its process may be another one after a while; what it keeps stays."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self.start()

    def start(self) -> None:
        """Returns when it answers."""
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}", "--artifacts-destination", str(self.folder / "artifacts"),
        ]  # fmt: skip
        env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "mlflow.log").open("ab") as out:
            self._process = subprocess.Popen(
                command, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        until(self._answers, within_s=UP_WITHIN_S)

    def stop(self) -> None:
        """Killed, it and its workers."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """SIGSTOP: it accepts and never answers, which is worse than to refuse."""
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def register(self, trained: Trained, version: str, *, broken: bool = False) -> ModelRegistry:
        """A version with its artifact, as a training run logs it; broken: one byte of the model is another."""
        return register_version(self.url, self.folder, trained, version, broken=broken)

    def name_champion(self, version: str) -> None:
        """Move the alias, as a person does on MLflow's page."""
        name_champion(self.url, version)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2).is_success
        except httpx.HTTPError:
            return False


def register_version(url: str, folder: Path, trained: Trained, version: str, *, broken: bool = False) -> ModelRegistry:
    """See MlflowServer.register; of any server."""
    kept = folder / "made" / version
    write_artifact(kept, trained.booster_json, trained.manifest(version))
    if broken:
        raw = (kept / "model.json").read_bytes()
        (kept / "model.json").write_bytes(raw.replace(b"1", b"2", 1))
    prepare_store(url, "fraud", folder)
    registry = ModelRegistry(url)
    client = registry._client
    experiment = client.get_experiment_by_name("fraud")
    assert experiment is not None
    run = client.create_run(experiment.experiment_id).info.run_id
    client.log_artifacts(run, str(kept), ARTIFACT_PATH)
    registry.register(run, version, {})
    return registry


def name_champion(url: str, version: str) -> None:
    """See MlflowServer.name_champion; of any server."""
    registry = ModelRegistry(url)
    number = str(registry.registered(version).number)
    registry._client.set_registered_model_alias(registry.name, CHAMPION, number)


@contextmanager
def mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """One on a free port."""
    folder.mkdir(parents=True)
    with held_ports(1) as (port,):
        server = MlflowServer(folder, port)
        try:
            yield server
        finally:
            server.stop()
