"""The services of the embedded stack: one declarative entry each.

An entry says how to start a service, what others must know to use it, and how to see that it is
ready. It starts nothing itself: `stack.py` does, for the whole stack or for the few that a test names.
"""

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from deploy.local import probes
from deploy.local.ports import LOOPBACK
from deploy.local.s3 import BUCKET, CREDENTIALS, s3_command
from deploy.local.scorer_key import ensure_key, keys_path
from deploy.local.topics import ensure_platform_topics
from deploy.local.valkey import debian_redis_executable, valkey_command

ROOT = Path(__file__).resolve().parents[2]
WORKER_GROUPS = ("fraud-worker", "fraud-worker-labels")
"""Consumer groups of `python -m streaming`; its readiness is that they have their assignments."""

DEFINITIONS = "fraud_assets.definitions"
CODE_LOCATION = "fraud_assets"

# Elsewhere Dagster has machines of its own. Here it shares the scorer's, and what nobody waits for makes
# way for what somebody does.
_IN_THE_BACKGROUND = ("nice", "-n", "10")


@dataclass(frozen=True)
class Context:
    """Where one stack runs.

    env: what all services have told so far (see Service.provides). launched_s: when each was last started by us.
    """

    var_dir: Path
    ports: Mapping[str, int]
    env: dict[str, str]
    launched_s: dict[str, float] = field(default_factory=dict)

    def port(self, service: str) -> int:
        return self.ports[service]

    def dir(self, name: str) -> Path:
        """A directory of one service under var, made if missing."""
        directory = self.var_dir / name
        directory.mkdir(parents=True, exist_ok=True)
        return directory


@dataclass(frozen=True)
class Service:
    """One process.

    probe: how to see that it is ready; None for one without a door to knock at, which must stay up.
    preferred_port: taken if free, else another; 0 for a service that listens nowhere.
    provides: environment variables for everybody. prepare: what must exist before it starts.
    """

    name: str
    argv: Callable[[Context], list[str]]
    probe: Callable[[Context], probes.Probe] | None
    needs: tuple[str, ...] = ()
    preferred_port: int = 0
    provides: Callable[[Context], dict[str, str]] = lambda _: {}
    prepare: Callable[[Context], None] = lambda _: None
    url: Callable[[Context], str] = lambda _: ""
    ready_within_s: float = 30.0


def base_env(var_dir: Path) -> dict[str, str]:
    """What every service of a stack is told: absolute paths of its own state, and not to phone home."""
    return {
        "ENVIRONMENT": "local",
        "FRAUD_VAR_DIR": str(var_dir),
        "FRAUD_LAKE_URI": str(var_dir / "lake"),
        "FRAUD_MODEL_DIR": str(var_dir / "models"),
        "FRAUD_API_KEYS_FILE": str(keys_path(var_dir)),
        # One machine for everything pauses now and then; that is no overload, and nobody should be refused for it.
        "FRAUD_MAX_IN_FLIGHT": "128",
        # MLflow is a library on SQLite here; nobody needs its server to log or to load a model.
        "MLFLOW_TRACKING_URI": f"sqlite:///{var_dir / 'mlflow' / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DAGSTER_HOME": str(var_dir / "dagster"),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",  # the last line of a log is the one that says why it died
    }


def _python(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]


def _local(port: int, path: str = "") -> str:
    return f"http://{LOOPBACK}:{port}{path}"


def prepare_home(context: Context) -> Path:
    """Dagster reads its settings from DAGSTER_HOME; the repository's file is the truth, so it is copied each time."""
    context.dir("mlflow")
    home = context.dir("dagster")
    shutil.copyfile(ROOT / "dagster.yaml", home / "dagster.yaml")
    return home


def prepare_dagster(context: Context) -> None:
    """DAGSTER_HOME with the databases in it, and what webserver and daemon load."""
    home = prepare_home(context)
    if not (home / "schedules" / "schedules.db").exists():
        _create_storage(home)
    if "dagster-code" in context.ports:
        server = {"host": LOOPBACK, "port": context.port("dagster-code"), "location_name": CODE_LOCATION}
        # JSON is YAML.
        _workspace(context).write_text(json.dumps({"load_from": [{"grpc_server": server}]}))


def _create_storage(home: Path) -> None:
    """Dagster's databases, by one process. Two that find none both make them, and stamp them with their version
    twice: alembic then refuses them (`more than one head present`), for ever.
    """
    import dagster as dg  # takes two seconds, and only a new folder needs it

    with dg.DagsterInstance.from_config(str(home)):
        pass


def _workspace(context: Context) -> Path:
    """What webserver and daemon load: the code server of this stack."""
    return context.dir("dagster") / "workspace.yaml"


def _prepare_topics(context: Context) -> None:
    ensure_platform_topics(context.env["KAFKA_BOOTSTRAP_SERVERS"])


def _prepare_api(context: Context) -> None:
    _prepare_topics(context)
    ensure_key(context.var_dir)


VALKEY = Service(
    name="valkey",
    preferred_port=6379,
    argv=lambda c: valkey_command(c.port("valkey"), c.dir("valkey")),
    provides=lambda c: {"REDIS_URL": f"redis://{LOOPBACK}:{c.port('valkey')}/0"},
    probe=lambda c: probes.redis_answers(c.env["REDIS_URL"]),
    url=lambda c: c.env["REDIS_URL"],
)

DEBIAN_REDIS = replace(
    VALKEY,
    argv=lambda c: valkey_command(c.port("valkey"), c.dir("redis"), executable=debian_redis_executable()),
)
"""In Valkey's place: the distribution's Redis 7.0, the oldest server we support."""

S3 = Service(
    name="s3",
    argv=lambda c: s3_command(c.port("s3"), c.dir("s3")),
    # The variables of every S3 client: Arrow's, Polars', DuckDB's and the aws command's.
    provides=lambda c: {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": _local(c.port("s3")),
        "AWS_REGION": "us-east-1",  # any: it is what signatures are made for
        "FRAUD_LAKE_URI": f"s3://{BUCKET}/lake",
    },
    probe=lambda c: probes.s3_has_bucket(c.env, BUCKET),
    url=lambda c: c.env["FRAUD_LAKE_URI"],
)
"""In a local folder's place: the lake behind an S3-compatible server. Not in the catalogue, for nobody needs it on a laptop."""

BEHIND_PORT, PROXY_PORT = "FAULT_BROKER_BEHIND", "FAULT_BROKER_PORT"
"""Where both are set, a broker listens on the first too, and tells its clients there the second: that of the proxy before it."""


def _broker_command(context: Context) -> list[str]:
    port, data = context.port("broker"), context.dir("broker")
    command = _python("deploy.local.broker", "--port", str(port), "--data", str(data))
    if BEHIND_PORT in context.env:
        command += ["--behind", f"{context.env[BEHIND_PORT]}:{context.env[PROXY_PORT]}"]
    return command


BROKER = Service(
    name="broker",
    preferred_port=9092,
    argv=_broker_command,
    provides=lambda c: {"KAFKA_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{c.port('broker')}"},
    probe=lambda c: probes.kafka_answers(c.env["KAFKA_BOOTSTRAP_SERVERS"]),
    url=lambda c: f"kafka://{c.env['KAFKA_BOOTSTRAP_SERVERS']}",
)

WORKER = Service(
    name="worker",
    needs=("valkey", "broker"),
    argv=lambda _: _python("streaming"),
    prepare=_prepare_topics,
    probe=lambda c: probes.groups_are_consuming(c.env["KAFKA_BOOTSTRAP_SERVERS"], *WORKER_GROUPS),
    ready_within_s=240.0,  # kernels are compiled on the first start, by several processes at once
)

SCORER = Service(
    name="scorer",
    needs=("valkey", "broker"),
    preferred_port=8000,
    argv=lambda c: _python("api", "--host", LOOPBACK, "--port", str(c.port("scorer"))),
    prepare=_prepare_api,
    provides=lambda c: {"FRAUD_SCORER_URL": _local(c.port("scorer"))},
    probe=lambda c: probes.http_answers(_local(c.port("scorer"), "/health/ready")),
    url=lambda c: _local(c.port("scorer"), "/schema"),
    ready_within_s=240.0,  # as the worker; and the champion is loaded and verified
)

PRICING = Service(
    name="pricing",
    needs=("valkey", "broker"),
    preferred_port=8001,
    argv=lambda c: _python("api.pricing", "--host", LOOPBACK, "--port", str(c.port("pricing"))),
    prepare=_prepare_api,
    provides=lambda c: {"FRAUD_PRICING_URL": _local(c.port("pricing"))},
    probe=lambda c: probes.http_answers(_local(c.port("pricing"), "/health/ready")),
    url=lambda c: _local(c.port("pricing"), "/schema"),
    ready_within_s=240.0,  # as the scorer
)

DAGSTER_CODE = Service(
    name="dagster-code",
    argv=lambda c: [
        *_IN_THE_BACKGROUND,
        *_python("dagster", "code-server", "start", "-h", LOOPBACK, "-p", str(c.port("dagster-code"))),
        *("-m", DEFINITIONS, "--location-name", CODE_LOCATION),
        # Runs are started with this Python, not with whatever `dagster` is on PATH.
        "--use-python-environment-entry-point",
    ],
    prepare=prepare_dagster,
    probe=lambda c: probes.port_is_open(LOOPBACK, c.port("dagster-code")),
    ready_within_s=240.0,  # it imports every asset, cold, on a busy machine
)
"""The asset graph, imported once. Without it webserver and daemon each import it, and the daemon anew each minute."""

DAGSTER_WEBSERVER = Service(
    name="dagster-webserver",
    needs=("dagster-code",),
    preferred_port=3000,
    argv=lambda c: [
        *_IN_THE_BACKGROUND,
        *_python("dagster_webserver", "-h", LOOPBACK, "-p", str(c.port("dagster-webserver")), "-w", str(_workspace(c))),
    ],
    prepare=prepare_dagster,
    provides=lambda c: {"FRAUD_DAGSTER_URL": _local(c.port("dagster-webserver"))},
    probe=lambda c: probes.dagster_has_loaded(c.env["FRAUD_DAGSTER_URL"]),
    url=lambda c: _local(c.port("dagster-webserver")),
    ready_within_s=240.0,  # it shows what the code server has imported
)

DAGSTER_DAEMON = Service(
    name="dagster-daemon",
    needs=("dagster-code", "dagster-webserver"),
    argv=lambda c: [*_IN_THE_BACKGROUND, *_python("dagster._daemon", "run", "-w", str(_workspace(c)))],
    prepare=prepare_dagster,
    probe=lambda c: probes.dagster_daemon_beats(c.env["FRAUD_DAGSTER_URL"], c.launched_s.get("dagster-daemon", 0.0)),
    ready_within_s=120.0,
)

CATALOGUE: Mapping[str, Service] = {
    service.name: service
    for service in (VALKEY, BROKER, WORKER, SCORER, PRICING, DAGSTER_CODE, DAGSTER_WEBSERVER, DAGSTER_DAEMON)
}
"""Every service by name, in the order in which people expect to read them."""

ADDRESSES: Mapping[str, str] = {"broker": "KAFKA_BOOTSTRAP_SERVERS", "valkey": "REDIS_URL"}
"""Services that may be somebody else's, and the variable that then names them."""
