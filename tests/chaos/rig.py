"""A scorer as a process, with a Valkey that can be stopped, a proxy before it, and a broker."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import redis

from deploy.local.fault_proxy import FaultProxy
from deploy.local.ports import free_port
from deploy.local.probes import http_answers, wait_until
from deploy.local.scorer_key import ensure_key, keys_path
from deploy.local.stack import running
from deploy.local.topics import ensure_platform_topics
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.models.artifact import publish_champion, write_artifact
from fraud_assets.stores.online import OnlineStore
from simulator.http_client import HttpClient
from tests.api.world import request
from tests.models.made import Trained, train

READY_WITHIN_S = 180.0


@dataclass(frozen=True)
class Rig:
    """store: the Valkey itself, past the proxy. models: versions v1 and v2, of which v1 is published at first."""

    folder: Path
    port: int
    credential: str
    process: subprocess.Popen[bytes]
    store_url: str
    proxy: FaultProxy
    models: dict[str, Trained]

    @property
    def model_dir(self) -> Path:
        return self.folder / "models"

    def client(self, **changes: Any) -> HttpClient:
        return HttpClient(f"http://127.0.0.1:{self.port}", credential=self.credential, **changes)

    def alive(self) -> None:
        """Raises if the scorer has died."""
        if self.process.poll() is not None:
            raise RuntimeError(f"the scorer ended with {self.process.returncode}: {self.log_tail()}")

    def log_tail(self) -> str:
        return (self.folder / "scorer.log").read_text()[-2_000:]

    def reload(self) -> str:
        """The version served after `POST /admin/reload`."""
        answer = json.loads(self._call("POST", "/admin/reload"))
        return str(answer["model_version"])

    def metric(self, line: str) -> float:
        """A sample of /metrics by its name and labels; 0 before it first moves."""
        for found in self._call("GET", "/metrics").decode().splitlines():
            name, _, value = found.rpartition(" ")
            if name == line:
                return float(value)
        return 0.0

    def publish(self, version: str) -> None:
        publish_champion(self.model_dir, version)

    @contextmanager
    def store_stopped(self) -> Iterator[None]:
        """SIGSTOP: connections stay open and nobody answers."""
        with redis.Redis.from_url(self.store_url) as client:
            pid = int(client.info("server")["process_id"])
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def _call(self, method: str, path: str) -> bytes:
        call = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            headers={"Authorization": f"Bearer {self.credential}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(call, timeout=60) as response:
            return bytes(response.read())


@contextmanager
def rig(**env: str) -> Iterator[Rig]:
    """Everything real, on free ports, in a folder of its own; stopped by pid at the end."""
    names = ServicePlan(EnginePlan(registry()), FRAUD_SCORING).names
    models = {"v1": train(names, seed=1), "v2": train(names, seed=2)}
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as made,
        running(["valkey", "broker"], Path(made) / "stack") as stack,
    ):
        folder, store_url = Path(made), stack.env["REDIS_URL"]
        ensure_platform_topics(stack.env["KAFKA_BOOTSTRAP_SERVERS"])
        store = OnlineStore.connect(store_url, registry())
        store.publish_epoch("chaos", log="chaos", resume={}, now_ms=time.time_ns() // 1_000_000)
        for version, trained in models.items():
            write_artifact(folder / "models" / version, trained.booster_json, trained.manifest(version))
        publish_champion(folder / "models", "v1")
        address = urlsplit(store_url)
        assert address.hostname is not None and address.port is not None
        with FaultProxy(address.hostname, address.port) as proxy:
            credential, port = ensure_key(folder), free_port()
            given = {
                "FRAUD_MODEL_DIR": str(folder / "models"),
                "FRAUD_API_KEYS_FILE": str(keys_path(folder)),
                "REDIS_URL": f"redis://127.0.0.1:{proxy.port}/0",
                "KAFKA_BOOTSTRAP_SERVERS": stack.env["KAFKA_BOOTSTRAP_SERVERS"],
            }
            with (folder / "scorer.log").open("wb") as sink:
                command = [sys.executable, "-m", "api", "--port", str(port)]
                process = subprocess.Popen(command, env={**os.environ, **given, **env}, stdout=sink, stderr=sink)
            found = Rig(folder, port, credential, process, store_url, proxy, models)
            try:
                wait_until(http_answers(f"http://127.0.0.1:{port}/health/ready"), READY_WITHIN_S, found.alive)
                yield found
            finally:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def payment(**changes: object) -> bytes:
    """A body of `POST /predict`."""
    return msgspec.json.encode(request(**changes))
