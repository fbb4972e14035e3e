"""The process around the decision: what it loads, says and shows."""

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import cast

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from numba.core.registry import CPUDispatcher

from api.keys import write_keys
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.engine.request_features import compiled_answers
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.models import kernels as model_kernels
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.reply_kernels import take_replies
from tests.api.world import (
    ALL,
    CARDS,
    MADE,
    Producer,
    bearer,
    fold_into,
    published,
    request,
    runtime,
    served,
    until,
    with_champion,
)
from tests.models.made import Trained

FORBIDDEN = {"dagster", "polars", "duckdb", "mlflow", "pandas", "xgboost", "sklearn", "pyarrow", "quixstreams"}


def test_the_process_loads_nothing_it_does_not_serve_with() -> None:
    """Dagster alone would triple its start and its memory."""
    code = f"import sys, api.__main__; print(sorted({FORBIDDEN!r} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_schema_is_whole_and_loads_nothing_from_elsewhere(client: TestClient[Litestar]) -> None:
    """Every reference leads somewhere, every route is there, and no script is."""
    raw = client.get("/schema")
    document = raw.json()

    assert set(document["paths"]) == {
        "/predict",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/schema",
        "/labels",
        "/admin/model",
        "/admin/reload",
    }
    assert b"http://" not in raw.content and b"https://" not in raw.content and b"<script" not in raw.content
    for name in [part.split('"')[0] for part in raw.text.split("#/components/schemas/")[1:]]:
        assert name in document["components"]["schemas"]
    assert document["components"]["schemas"]["ScoringRequest"]["additionalProperties"] is False


def test_the_schema_lists_exactly_the_routes_there_are(client: TestClient[Litestar]) -> None:
    """A route without documentation, or the reverse, fails here."""
    document = client.get("/schema").json()

    assert {route.path for route in client.app.routes} == set(document["paths"])


def test_metrics_count_decisions_and_name_the_model(client: TestClient[Litestar]) -> None:
    """What the dashboards are drawn from."""
    before = client.get("/metrics").text

    client.post("/predict", json=request())
    client.post("/predict", json={"transactions": [request()]})
    client.post("/predict", json={"transactions": [request(), request()]})
    client.post("/predict", json=request(amount_minor=-1))

    text = client.get("/metrics").text
    assert 'fraud_model_info{policy_digest="' in text and 'version="v1"' in text
    assert 'fraud_refused_requests_total{type="invalid_value"}' in text
    assert asked(text, "card") - asked(before, "card") == 2
    assert asked(text, "batch") - asked(before, "batch") == 1
    assert "fraud_scorer_ready 1.0" in text


def asked(text: str, kind: str) -> float:
    """Requests of this type so far: the scorer is the whole session's."""
    [count] = re.findall(rf'^fraud_decision_seconds_count{{transaction_type="{kind}"}} ([\d.]+)$', text, re.MULTILINE)
    return float(count)


def test_no_payment_waits_for_a_kernel(
    store: OnlineStore, valkey_server: str, producer: Producer, shared_models: Path
) -> None:
    """Ready is warm: payments of known and of unknown entities find machine code for exactly their types."""
    kernels: tuple[CPUDispatcher, ...] = (
        cast(CPUDispatcher, compiled_answers(ServicePlan(EnginePlan(registry()), FRAUD_SCORING))),
        model_kernels.margin,
        model_kernels.margins,
        model_kernels.margins_by_feature,
        cast(CPUDispatcher, take_replies),
    )
    for kernel in kernels:
        kernel._reset_overloads()  # other tests' payments have warmed this process
    fold_into(store, published(6))

    with served(runtime(shared_models, valkey_server, producer)) as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        warm = [list(kernel.signatures) for kernel in kernels]
        known = client.post("/predict", json=request()).json()
        unknown = dict.fromkeys(("account_id", "event_id", "promoter_id", "device_id"), "nobody")
        client.post("/predict", json=request(**unknown, ip="1.1.1.1", card_number=..., email=...))
        client.post("/predict", json={"transactions": [request(), request(**unknown)]})

    assert known["decision"] == "deny"  # so its reasons were computed too
    assert [list(kernel.signatures) for kernel in kernels] == warm


def mapped_packages(pid: int) -> set[str]:
    """Packages of which a process has mapped a file, such as a shared object; the compiled core of one starts with `_`."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return {name.lstrip("_") for name in re.findall(r"/site-packages/([a-zA-Z0-9_]+)", maps)}


@pytest.mark.e2e
def test_the_command_serves_and_drains(
    store: OnlineStore, valkey_server: str, bootstrap_servers: str, tmp_path: Path, trained: Trained, free_port: int
) -> None:
    """`python -m api` against real servers: ready, decides, publishes its decision, reloads, ends cleanly on SIGTERM;
    and no work of it maps what it does not serve with.

    On the development broker, and with -m kafka on Apache Kafka 4.
    """
    from confluent_kafka import Consumer

    from deploy.local.topics import ensure_platform_topics

    ensure_platform_topics(bootstrap_servers)
    with_champion(tmp_path, trained)
    write_keys(tmp_path / "keys.json", [MADE[ALL].key])
    env = {
        "FRAUD_MODEL_DIR": str(tmp_path),
        "FRAUD_API_KEYS_FILE": str(tmp_path / "keys.json"),
        "FRAUD_DECISION_JOURNAL_DIR": str(tmp_path / "decisions"),
        "REDIS_URL": valkey_server,
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
    }
    command = [sys.executable, "-m", "api", "--port", str(free_port)]
    log = tmp_path / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(command, env=env, stdout=sink, stderr=subprocess.STDOUT)
    try:
        until(lambda: _status(free_port, "/health/ready") == 200 or process.poll(), within_s=120)
        assert process.poll() is None, log.read_text()
        body = msgspec.json.encode(request())
        call = urllib.request.Request(
            f"http://127.0.0.1:{free_port}/predict", body, {"Content-Type": "application/json", **bearer(ALL)}
        )
        with urllib.request.urlopen(call, timeout=30) as response:
            answer = json.load(response)
        reload = urllib.request.Request(f"http://127.0.0.1:{free_port}/admin/reload", b"", bearer(ALL))
        with urllib.request.urlopen(reload, timeout=60) as response:
            reloaded = json.load(response)
        mapped = mapped_packages(process.pid)
        process.terminate()
        process.wait(20)
    finally:
        process.kill()
        process.wait()
    said = log.read_text()

    assert process.returncode in (0, -15)
    assert reloaded["model_version"] == "v1"
    assert {"numba", "msgspec"} <= mapped  # what it serves with is seen
    assert not [name for name in mapped if name.startswith(tuple(FORBIDDEN))]
    assert "decision_events_left" not in said
    assert '"event":"request"' in said and not [card for card in CARDS if card in said]
    consumer = Consumer(
        {"bootstrap.servers": bootstrap_servers, "group.id": "test-api", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe(["decisions.v1"])

    def published() -> bool:
        """Among the decisions of whoever else uses this broker: thousands, where a storm was before."""
        found = consumer.consume(1_000, timeout=0.5)
        return any(answer["decision_id"].encode() in (record.value() or b"") for record in found)

    assert until(published)
    consumer.close()


def _status(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as response:
            return int(response.status)
    except OSError:
        return 0
