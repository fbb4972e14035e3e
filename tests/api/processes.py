"""Scorers as operators start them: processes, a broker, HTTP."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from api.keys import write_keys
from deploy.local.ports import held_ports
from deploy.local.topics import ensure_platform_topics
from tests.api.world import ALL, MADE, bearer, until
from tests.models.made import Trained


@dataclass
class Running:
    """A scorer on a port; its process may be another one after a while."""

    port: int
    log: Path
    env: dict[str, str]

    def __post_init__(self) -> None:
        self.process = self._started()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill_and_start(self) -> None:
        """SIGKILL, and another process on the same port, ready."""
        self.kill()
        self.start()
        self.wait_ready()

    def kill(self) -> None:
        """SIGKILL, and it is gone."""
        self.process.kill()
        self.process.wait()

    def start(self) -> None:
        """Another process on the same port; not ready yet."""
        self.process = self._started()

    def wait_ready(self) -> None:
        until(lambda: is_ready(self.url), within_s=120)

    def _started(self) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "api", "--port", str(self.port)],
                env=self.env, stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def metric(self, line: str) -> float:
        """A sample by its name and labels; 0 if it is not there yet."""
        call = urllib.request.Request(f"{self.url}/metrics", headers=bearer(ALL))
        with urllib.request.urlopen(call, timeout=30) as response:
            text = response.read().decode()
        found = [float(one.rpartition(" ")[2]) for one in text.splitlines() if one.startswith(line)]
        return sum(found)


@contextmanager
def scorers(
    count: int, folder: Path, trained: Trained, redis_url: str, broker: str, **env: str
) -> Iterator[list[Running]]:
    """Ready, sharing everything but their port."""
    from tests.api.world import with_champion

    ensure_platform_topics(broker)
    with_champion(folder / "models", trained)
    write_keys(folder / "keys.json", [made.key for made in MADE.values()])
    told = {
        **os.environ,
        "FRAUD_MODEL_DIR": str(folder / "models"),
        "FRAUD_API_KEYS_FILE": str(folder / "keys.json"),
        "FRAUD_DECISION_JOURNAL_DIR": str(folder / "decisions"),
        "REDIS_URL": redis_url,
        "KAFKA_BOOTSTRAP_SERVERS": broker,
        **env,
    }
    with ExitStack() as stack:
        ports = stack.enter_context(held_ports(count))
        running = [stack.enter_context(_scorer(port, told, folder)) for port in ports]
        for one in running:
            one.wait_ready()
        yield running


@contextmanager
def _scorer(port: int, env: dict[str, str], folder: Path) -> Iterator[Running]:
    running = Running(port, folder / f"scorer-{port}.log", env)
    try:
        yield running
    finally:
        running.process.terminate()
        try:
            running.process.wait(20)
        finally:
            running.process.kill()
            running.process.wait()


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health/ready", timeout=2) as response:
            return int(response.status) == 200
    except OSError:
        return False
