"""A scorer as a process, with a Valkey that can be stopped, a proxy before it, and a broker."""

import json
import os
import signal
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
import psutil
import redis

from api.recording import RECORDER
from deploy.local.fault_proxy import FaultProxy
from deploy.local.stack import Stack, running
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.models.artifact import publish_champion, write_artifact
from fraud_assets.stores.online import OnlineStore
from simulator.http_client import HttpClient
from tests.api.processes import Running, scorers
from tests.api.world import ALL, MADE, bearer, request
from tests.chaos.brokers import own_broker
from tests.models.made import train

VERSIONS = ("v1", "v2")


@dataclass(frozen=True)
class Rig:
    """store_url: the Valkey itself, past the proxy. Of VERSIONS the first is published at the start."""

    folder: Path
    scorer: Running
    store_url: str
    proxy: FaultProxy
    stack: Stack

    @property
    def model_dir(self) -> Path:
        return self.folder / "models"

    def client(self, **changes: Any) -> HttpClient:
        return HttpClient(self.scorer.url, credential=MADE[ALL].credential, **changes)

    def reload(self) -> str:
        """The version served after `POST /admin/reload`; raises if nobody answers any more."""
        return str(self.reload_answer()["model_version"])

    def reload_answer(self) -> dict[str, Any]:
        call = urllib.request.Request(f"{self.scorer.url}/admin/reload", method="POST", headers=bearer(ALL))
        with urllib.request.urlopen(call, timeout=60) as response:
            return dict(json.load(response))

    def processes(self) -> dict[str, psutil.Process]:
        """The scorer and what is beside it, by name: of an outage the recorder, which holds journal and producer, has the burden."""
        scorer = psutil.Process(self.scorer.process.pid)
        return {"scorer": scorer} | {_name(child): child for child in scorer.children(recursive=True)}

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


def _name(child: psutil.Process) -> str:
    return "recorder" if RECORDER[-1] in child.cmdline() else f"child {child.pid}"


@contextmanager
def rig(**env: str) -> Iterator[Rig]:
    """Everything real, on free ports, in a folder of its own; stopped by pid at the end."""
    names = ServicePlan(EnginePlan(registry()), FRAUD_SCORING).names
    first, others = (
        train(names),
        [train(names, seed=seed) for seed in range(1, len(VERSIONS))],
    )  # the first is everybody's
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as made,
        running(["valkey", own_broker()], Path(made) / "stack") as stack,
    ):
        folder, store_url, broker = Path(made), stack.env["REDIS_URL"], stack.env["KAFKA_BOOTSTRAP_SERVERS"]
        store = OnlineStore.connect(store_url, registry())
        store.publish_epoch("chaos", log="chaos", resume={}, now_ms=time.time_ns() // 1_000_000)
        address = urlsplit(store_url)
        assert address.hostname is not None and address.port is not None
        with FaultProxy(address.hostname, address.port) as proxy:
            before = f"redis://127.0.0.1:{proxy.port}/0"
            with scorers(1, folder, first, before, broker, **env) as (scorer,):
                found = Rig(folder, scorer, store_url, proxy, stack)
                for version, trained in zip(VERSIONS[1:], others, strict=True):
                    write_artifact(found.model_dir / version, trained.booster_json, trained.manifest(version))
                publish_champion(found.model_dir, VERSIONS[0])
                yield found


def payment(**changes: object) -> bytes:
    """A body of `POST /predict`."""
    return msgspec.json.encode(request(**changes))


def batch(payments: int) -> bytes:
    """The same, of so many payments of as many accounts."""
    made = [request(transaction_id=f"t{number}", account_id=f"a{number}") for number in range(payments)]
    return msgspec.json.encode({"transactions": made})
