"""The platform of docker-compose.yml as processes: Apache Kafka 4, Valkey, PostgreSQL, an S3-compatible server, and everything of ours."""

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import psutil

from deploy.local import probes
from deploy.local.kafka import format_log, java_command
from deploy.local.postgres import running_server
from deploy.local.probes import NotReady, Probe
from deploy.local.s3 import s3_command
from deploy.local.services import ROOT
from deploy.local.tether import tethered
from deploy.local.valkey import valkey_executable
from deploy.make_secrets import Places, drawn
from tests.stack.translate import Compose, Process, as_properties

# Not run: three have no package here (their files are tested by themselves), one is a container's trick, one is for who wants traffic.
LEFT_OUT = ("prometheus", "node-exporter", "alertmanager", "grafana", "minio-volume", "simulator")
STOP_WITHIN_S = 30.0
CHECK_WITHIN_S = 60.0


class Failed(RuntimeError):
    """A process did not come up; the message ends with the last lines of its log."""


@dataclass
class Platform:
    """compose: where each service is. secrets: what was drawn for this run. ready_s: seconds from its start, by service."""

    compose: Compose
    secrets: Mapping[str, str]
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    ready_s: dict[str, float] = field(default_factory=dict)

    def url(self, name: str, port: int) -> str:
        return f"http://{self.compose.address[name]}:{port}"

    def log(self, name: str) -> Path:
        return self.compose.root / "logs" / f"{name}.log"

    def run(self, name: str, command: list[str], within_s: float = 300.0) -> str:
        """As `docker compose exec`: a command where a service runs. Raises Failed."""
        words = self.compose.command(name, command)
        done = subprocess.run(
            words,
            env=self.compose.env_of(name),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
        if done.returncode:
            raise Failed(
                f"{name}: {' '.join(command)} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}"
            )
        return done.stdout

    def spawn(self, name: str, argv: list[str], env: Mapping[str, str]) -> None:
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                tethered(argv), env=dict(env), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait(self, name: str, probe: Probe, within_s: float) -> None:
        """Raises Failed."""
        try:
            probes.wait_until(probe, within_s, lambda: self._check_alive(name))
        except NotReady as reason:
            raise Failed(f"{name} was not healthy within {within_s:g} s: {reason}\n{self._tail(name)}") from reason

    def _check_alive(self, name: str) -> None:
        if (code := self.processes[name].poll()) is not None:
            raise Failed(f"{name} ended with {code}\n{self._tail(name)}")

    def _tail(self, name: str) -> str:
        return "\n".join(f"  | {line}" for line in self.log(name).read_text(errors="replace").splitlines()[-25:])

    def stop(self) -> None:
        """Those that were started last first, and whatever they have left."""
        for process in reversed(self.processes.values()):
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        process.terminate()
        for left in psutil.wait_procs(family, timeout=STOP_WITHIN_S)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
    process.wait()


@contextlib.contextmanager
def running_platform(root: Path, tell: Callable[[str], None] = lambda _: None) -> Iterator[Platform]:
    """All of it, healthy; gone when the block ends. Raises Failed."""
    # A network of this process's own, so that two of them do not meet.
    compose = Compose(root, f"127.{os.getpid() // 250 % 250 + 1}.{os.getpid() % 250 + 1}")
    (root / "logs").mkdir()
    with running_server() as postgres:
        socket = re.search(r"host=(.+)$", postgres.get_uri())
        assert socket is not None
        secrets = drawn(Places(socket[1], f"{compose.address['valkey']}:6379"))
        compose.give_secrets(secrets)
        _prepare_postgres(postgres, compose)
        platform = Platform(compose, secrets)
        try:
            _start_all(platform, tell)
            yield platform
        finally:
            platform.stop()


def _start_all(platform: Platform, tell: Callable[[str], None]) -> None:
    names = [name for name in platform.compose.services if name not in LEFT_OUT]
    needs = {name: platform.compose.services[name].get("depends_on", {}) for name in names}
    order = TopologicalSorter({name: [need for need in needs[name] if need in names] for name in names})
    order.prepare()
    while order.is_active():
        batch = order.get_ready()
        began = time.monotonic()
        for name in batch:
            _launch(platform, name)
        for name in batch:
            _await(platform, name)
            platform.ready_s[name] = time.monotonic() - began
            tell(f"{name} ({platform.ready_s[name]:.1f} s)")
        order.done(*batch)


def _launch(platform: Platform, name: str) -> None:
    if name in SERVERS:
        SERVERS[name][0](platform)
    else:
        process = platform.compose.process(name)
        platform.spawn(name, process.argv, process.env)


def _await(platform: Platform, name: str) -> None:
    if name in SERVERS:
        SERVERS[name][1](platform)
        return
    process = platform.compose.process(name)
    if process.is_once:
        if code := platform.processes[name].wait(process.within_s):
            raise Failed(f"{name} ended with {code}\n{platform._tail(name)}")
    else:
        platform.wait(name, _healthy(process), process.within_s)


def _healthy(process: Process) -> Probe:
    """What Compose would run in the container."""

    def probe() -> None:
        try:
            done = subprocess.run(
                process.check,
                env=process.env,
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=CHECK_WITHIN_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise NotReady(str(error)) from error
        if done.returncode:
            time.sleep(0.5)
            raise NotReady((done.stdout + done.stderr)[-500:])

    return probe


# ------------------------------------------------------- servers whose images are not ours: Compose's settings, other packages


def _prepare_postgres(server: Any, compose: Compose) -> None:
    """Compose's own SQL, by psql; then nobody but the superuser comes in without a password, as over the network there."""
    init = ROOT / "deploy" / "postgres" / "init.sql"
    env = {**os.environ, "SECRETS": str(compose.secrets_of("postgres"))}
    command = [str(Path(server.bin_path) / "psql"), "--set=ON_ERROR_STOP=1", f"--file={init}", server.get_uri()]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{init} failed:\n{done.stderr}")
    access = Path(server.pgdata) / "pg_hba.conf"
    access.write_text("local all postgres trust\nlocal all all scram-sha-256\n")
    server.psql("SELECT pg_reload_conf();")


def _start_kafka(platform: Platform) -> None:
    env = platform.compose.env_of("kafka")
    properties = platform.compose.root / "server.properties"
    properties.write_text(as_properties(env))
    format_log(properties, Path(env["KAFKA_LOG_DIRS"]), env["CLUSTER_ID"])
    platform.spawn("kafka", java_command("kafka.Kafka", str(properties)), {"PATH": env["PATH"], "LANG": "C.UTF-8"})


def _await_kafka(platform: Platform) -> None:
    platform.wait("kafka", probes.kafka_answers(f"{platform.compose.address['kafka']}:9092"), 120.0)


def _start_valkey(platform: Platform) -> None:
    """In its container it listens to all addresses there."""
    _, *arguments = platform.compose.command("valkey", platform.compose.services["valkey"]["command"])
    address = platform.compose.address["valkey"]
    platform.spawn("valkey", [str(valkey_executable()), *arguments, "--bind", address], {})


def _await_valkey(platform: Platform) -> None:
    platform.wait("valkey", probes.redis_answers(platform.secrets["redis_url"]), 30.0)


def _start_minio(platform: Platform) -> None:
    """Another server that speaks S3 and asks for the same credentials."""
    secrets, folder = platform.secrets, platform.compose.volume("minio")
    given = {"AWS_ACCESS_KEY_ID": secrets["minio_root_user"], "AWS_SECRET_ACCESS_KEY": secrets["minio_root_password"]}
    command = s3_command(9000, folder, host=platform.compose.address["minio"], credentials=given, bucket="")
    platform.spawn("minio", command, {"PATH": os.defpath, "HOME": str(folder)})


def _await_minio(platform: Platform) -> None:
    platform.wait("minio", probes.port_is_open(platform.compose.address["minio"], 9000), 60.0)


SERVERS: Mapping[str, tuple[Callable[[Platform], None], Callable[[Platform], None]]] = {
    "kafka": (_start_kafka, _await_kafka),
    "valkey": (_start_valkey, _await_valkey),
    "minio": (_start_minio, _await_minio),
    "postgres": (lambda _: None, lambda _: None),  # it runs as a user of its own, and before all others
}
