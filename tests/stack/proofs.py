"""What the platform has to do, asked from outside as its users would; each returns what was found, or raises."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

from deploy.local.probes import graphql
from tests.stack.platform import Platform

WITHIN_S = 120.0
PAYMENT = {
    "transaction_id": "order-1", "account_id": "anna", "device_id": "annas-phone", "event_id": "opera-tonight",
    "promoter_id": "opera", "ip": "8.8.8.8", "payment_method": "card", "amount_minor": 24_000, "currency": "EUR",
    "ticket_count": 2, "tier": "vip", "category": "culture", "billing_country": "DE",
}  # fmt: skip
LAUNCH = """
mutation Launch($given: ExecutionParams!) {
  launchRun(executionParams: $given) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on UnauthorizedError { message }
    ... on InvalidSubsetError { message }
  }
}
"""
REGISTER = """
import sys
from pathlib import Path
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from tests.api.mlflow_server import register_version, name_champion
from tests.models.made import train
url, folder = sys.argv[1], Path(sys.argv[2])
register_version(url, folder, train(registry().feature_names(FRAUD_SCORING)), "v1")
name_champion(url, "v1")
"""


class Broken(AssertionError):
    """What was promised did not happen."""


def until(look: Callable[[], Any], what: str, within_s: float = WITHIN_S) -> Any:
    """Its first true answer. Raises Broken."""
    deadline = time.monotonic() + within_s
    while not (found := look()):
        if time.monotonic() > deadline:
            raise Broken(f"{what}: not within {within_s:g} s")
        time.sleep(0.25)
    return found


def _asked(url: str, key: str = "", body: Mapping[str, Any] | None = None) -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    call = urllib.request.Request(url, data=None if body is None else json.dumps(body).encode(), headers=headers)
    try:
        with urllib.request.urlopen(call, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def an_empty_world_begins(platform: Platform) -> str:
    return platform.run("worker", ["python", "-m", "streaming", "init-epoch"]).strip()


def a_model_is_promoted_by_mlflow(platform: Platform) -> str:
    """Its account is in PostgreSQL and its files in the bucket; the scorer gets both from MLflow alone."""
    kept = platform.compose.volume("model")
    platform.run("dagster-code", ["python", "-c", REGISTER, platform.url("mlflow", 5000), str(kept)])
    ready = f"{platform.url('scorer', 8000)}/health/ready"
    until(lambda: _asked(ready)[0] == 200, "the fraud API is ready")
    return "version v1 serves"


def a_purchase_is_decided(platform: Platform) -> str:
    """With the key that is a secret's file, and without a key not."""
    url, now_ms = f"{platform.url('scorer', 8000)}/predict", time.time_ns() // 1_000_000
    payment = {**PAYMENT, "event_time_ms": now_ms}
    if (code := _asked(url, "", payment)[0]) != 401:
        raise Broken(f"without a key: {code}")
    code, raw = _asked(url, platform.secrets["simulator_key"], payment)
    if code not in (200, 201):
        raise Broken(f"{code}: {raw.decode()}")
    said = json.loads(raw)
    return f"{said['decision']} by {said['model_version']}, degraded: {', '.join(said['degraded_reasons']) or 'no'}"


def the_decision_is_in_postgresql(platform: Platform) -> str:
    def look() -> tuple[str, str] | None:
        with _database(platform, "worker", "decisions") as connection:
            named = connection.execute("SELECT to_regclass('fraud.decisions')").fetchone()
            if named is None or named[0] is None:
                return None
            query = "SELECT action, model_version FROM fraud.decisions WHERE transaction_id = %s"
            return connection.execute(query, [PAYMENT["transaction_id"]]).fetchone()

    action, version = until(look, "a row of fraud.decisions")
    return f"{action} by {version}"


def the_decision_is_in_the_lake_on_s3(platform: Platform) -> str:
    """Read as an analyst would, with the credentials file."""
    program = (
        "import sys; from fraud_assets.settings import Settings; from fraud_assets.stores.lake import Lake;"
        "found = Lake(Settings().lake_uri).dataset('decisions').to_table(columns=['transaction_id']);"
        f"sys.exit({PAYMENT['transaction_id']!r} not in found['transaction_id'].to_pylist())"
    )

    def look() -> bool:
        try:
            platform.run("dagster-code", ["python", "-c", program])
        except RuntimeError:
            return False
        return True

    until(look, "the decision in the lake")
    objects = [file for file in platform.compose.volume("minio").rglob("*") if file.is_file()]
    return f"{platform.compose.env_of('worker')['FRAUD_LAKE_URI']}/decisions ({len(objects)} files of the store)"


def the_worker_folds_a_published_payment(platform: Platform) -> str:
    """Purchases of Compose's simulator, asked of the API and published to Kafka, come into the lake."""
    command = ["python", "-m", "simulator", "run", "normal-traffic", "--rate", "20", "--duration", "10", "--no-judge"]
    address = ["--api-url", platform.url("scorer", 8000), "--api-key-file", "/run/secrets/simulator_key"]
    platform.run("simulator", [*command, *address])
    query = "SELECT count(*) FROM fraud.decisions"

    def look() -> int:
        with _database(platform, "worker", "decisions") as connection:
            row = connection.execute(query).fetchone()
            return int(row[0]) if row and row[0] > 1 else 0

    return f"{until(look, 'decisions on the simulator')} decisions in PostgreSQL"


def pricing_is_ready(platform: Platform) -> str:
    url = platform.url("pricing", 8000)
    until(lambda: _asked(f"{url}/health/ready")[0] == 200, "the pricing API is ready")
    code = _asked(f"{url}/price", platform.secrets["simulator_key"], {})[0]
    if code != 403:
        raise Broken(f"a key without the scope `price` gets {code}")
    return "and closed to a key of another scope"


def an_asset_is_materialized_and_its_event_is_in_postgresql(platform: Platform) -> str:
    """Asked for at the webserver, taken up by the daemon, run by the code location, told to PostgreSQL."""
    url, day = platform.url("dagster-admin", 3000), datetime.now(UTC).date().isoformat()
    launched = _launch(url, day)
    if launched["__typename"] != "LaunchRunSuccess":
        raise Broken(str(launched))
    run = launched["run"]["runId"]
    going_on = {"QUEUED", "NOT_STARTED", "STARTING", "STARTED", "MANAGED"}

    def look() -> str:
        status = str(
            graphql(url, f'{{runOrError(runId: "{run}") {{... on Run {{status}}}}}}', 30.0)["runOrError"]["status"]
        )
        return "" if status in going_on else status

    if (status := until(look, f"run {run} ends", 300.0)) != "SUCCESS":
        raise Broken(f"run {run}: {status}")
    with _database(platform, "dagster-code", "dagster") as connection:
        query = "SELECT count(*) FROM event_logs WHERE run_id = %s AND dagster_event_type = 'ASSET_MATERIALIZATION'"
        row = connection.execute(query, [run]).fetchone()
    if row is None or row[0] != 1:
        raise Broken(f"{row} materializations of run {run} in PostgreSQL")
    return f"transactions of {day}"


def the_viewer_only_looks(platform: Platform) -> str:
    url = platform.url("dagster-viewer", 3001)
    shown = graphql(url, "{assetNodes {assetKey {path}}}", 30.0)["assetNodes"]
    launched = _launch(url, "2026-11-01")
    if launched["__typename"] != "UnauthorizedError":
        raise Broken(str(launched))
    return f"{len(shown)} assets shown, a launch refused"


def no_secret_is_where_others_look(platform: Platform) -> str:
    """Of each process and its children: arguments and variables; and every log."""
    words = {name: _words_of(value) for name, value in platform.secrets.items() if name != "minio_root_user"}
    found, looked = [], 0
    for name, process in platform.processes.items():
        if process.poll() is not None:
            continue
        for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
            said = " ".join([*one.cmdline(), *map(str, one.environ().values())])
            looked += 1
            found += [f"{secret} of {name}" for secret, word in words.items() if word in said]
    for log in (platform.compose.root / "logs").glob("*.log"):
        said = log.read_text(errors="replace")
        found += [f"{secret} in {log.name}" for secret, word in words.items() if word in said]
    if found:
        raise Broken(", ".join(found))
    return f"{looked} processes"


def a_known_secret_stops_every_start(platform: Platform) -> str:
    """Each of our services, given a secret that everybody knows."""
    from tests.stack.platform import Failed

    services = ("worker", "scorer", "pricing", "bucket")
    for name in services:
        file = platform.compose.secrets_of(name) / "fraud_token_key"
        kept = file.read_text()
        file.write_text("changeme\n")
        try:
            platform.run(name, platform.compose.services[name]["command"], 60.0)
        except Failed as refused:
            if "FRAUD_TOKEN_KEY: it is a default" not in str(refused):
                raise Broken(f"{name} ended otherwise: {refused}") from refused
        else:
            raise Broken(f"{name} started")
        finally:
            file.write_text(kept)
    return ", ".join(services)


def _words_of(secret: str) -> str:
    """What of a secret's file nobody may see: its last word, without what everybody knows of an address."""
    last = secret.split()[-1].partition("=")[2] or secret.split()[-1]
    return last.partition("://:")[2].partition("@")[0] or last


def _launch(url: str, day: str) -> dict[str, Any]:
    selector = {
        "repositoryLocationName": "fraud_assets", "repositoryName": "__repository__", "jobName": "__ASSET_JOB",
        "assetSelection": [{"path": ["transactions"]}],
    }  # fmt: skip
    tags = [{"key": "dagster/partition", "value": day}]
    given = {"selector": selector, "runConfigData": {}, "mode": "default", "executionMetadata": {"tags": tags}}
    code, raw = _asked(f"{url}/graphql", "", {"query": LAUNCH, "variables": {"given": given}})
    if code != 200:
        raise Broken(f"{code}: {raw.decode()[:500]}")
    return dict(json.loads(raw)["data"]["launchRun"])


def _database(platform: Platform, service: str, name: str) -> "psycopg.Connection[Any]":
    """As that service reaches it."""
    file = Path(platform.compose.env_of(service)["PGSERVICEFILE"])
    given = dict(line.split("=", 1) for line in file.read_text().splitlines() if "=" in line)
    return psycopg.connect(make_conninfo(**given), autocommit=True)


PROOFS: Mapping[str, Callable[[Platform], str]] = {
    proof.__name__.replace("_", " "): proof
    for proof in (
        an_empty_world_begins,
        a_model_is_promoted_by_mlflow,
        a_purchase_is_decided,
        the_decision_is_in_postgresql,
        the_decision_is_in_the_lake_on_s3,
        the_worker_folds_a_published_payment,
        pricing_is_ready,
        an_asset_is_materialized_and_its_event_is_in_postgresql,
        the_viewer_only_looks,
        no_secret_is_where_others_look,
        a_known_secret_stops_every_start,
    )
}
