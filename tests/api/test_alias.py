"""MLflow's alias moves the scorers, and nothing that MLflow does or fails to do stops them. Against a real MLflow server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from api.alias import SEEN_FILE, AliasFollower, Look
from api.metrics import Metrics
from api.runtime import Runtime
from api.settings import ApiSettings
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.models.artifact import champion_of, publish_champion, read_champion, write_artifact
from fraud_assets.models.manifest import Definitions
from fraud_assets.rollout.log import PromotionLog
from fraud_assets.rollout.machine import Appoint, Rollback
from fraud_assets.stores.registry import ModelRegistry
from tests.api.mlflow_server import MlflowServer, mlflow_server
from tests.api.world import Producer, runtime, served, until, with_champion
from tests.models.made import Trained, train

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow") / "server") as made:
        yield made


@pytest.fixture(scope="module")
def mlflow(server: MlflowServer, trained: Trained) -> ModelRegistry:
    """Sound versions v1 and v2; `broken`, whose model is not the one its manifest names."""
    other = train(trained.names, seed=1)
    server.register(trained, "v1")
    server.register(other, "broken", broken=True)
    return server.register(other, "v2")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def follower(uri: str, models: Path) -> AliasFollower:
    models.mkdir(exist_ok=True)
    settings = ApiSettings(mlflow_tracking_uri=uri, model_dir=models, api_keys_file=models / "keys.json")
    return AliasFollower(settings, Definitions.of(registry(), FRAUD_SCORING), Metrics())


def champion(models: Path) -> str:
    found = read_champion(models)
    return found.version if found else ""


def version(client: TestClient[Litestar]) -> str:
    return str(client.get("/admin/model").json()["model_version"])


def following(server: MlflowServer, models: Path, valkey_server: str) -> Runtime:
    models.mkdir(exist_ok=True)
    return runtime(models, valkey_server, Producer(), mlflow_tracking_uri=server.url, registry_watch_s=0.2)


def test_a_scorer_serves_what_the_alias_names_soon_after_it_is_moved(
    server: MlflowServer, mlflow: ModelRegistry, models: Path, valkey_server: str
) -> None:
    """It starts with an empty folder, and nobody touches it but through MLflow; a version that is unsound changes nothing."""
    server.name_champion("v1")
    with served(following(server, models, valkey_server)) as client:
        until(lambda: version(client) == "v1")
        server.name_champion("v2")
        until(lambda: version(client) == "v2")
        server.name_champion("broken")
        until(lambda: b'fraud_model_registry_reads_total{result="refused"} 1.0' in client.get("/metrics").content)
        assert (version(client), champion(models)) == ("v2", "v2")
        server.name_champion("v1")
        until(lambda: version(client) == "v1")


def test_mlflow_that_hangs_costs_no_decision_and_no_start(
    mlflow: ModelRegistry, server: MlflowServer, models: Path, valkey_server: str
) -> None:
    """The folder serves; when MLflow answers again it is followed again."""
    server.name_champion("v1")
    assert follower(server.url, models).look() is Look.BROUGHT
    with server.stopped(), served(following(server, models, valkey_server)) as client:
        until(lambda: b'reads_total{result="unreachable"}' in client.get("/metrics").content)
        assert version(client) == "v1"
    with served(following(server, models, valkey_server)) as client:
        server.name_champion("v2")
        until(lambda: version(client) == "v2")


def test_a_champion_put_back_while_mlflow_was_away_stays(
    server: MlflowServer, mlflow: ModelRegistry, models: Path
) -> None:
    """MLflow still names the newer one, as it did before: only a move counts."""
    server.name_champion("v1")
    made = follower(server.url, models)
    made.look()
    server.name_champion("v2")
    assert made.look() is Look.BROUGHT
    publish_champion(models, "v1")

    assert (made.look(), champion(models)) == (Look.UNCHANGED, "v1")
    assert (follower(server.url, models).look(), champion(models)) == (Look.UNCHANGED, "v1")


def test_what_was_rolled_back_last_is_not_followed(server: MlflowServer, mlflow: ModelRegistry, models: Path) -> None:
    """A scorer that had not yet seen the promotion sees its alias after the rollback, of which MLflow has not heard."""
    server.name_champion("v1")
    made = follower(server.url, models)
    made.look()
    log = PromotionLog(models)
    said: dict[str, Any] = {"at_ms": 1, "who": "anna", "why": "denies Oslo", "evidence": {"seen": 1}}
    write_artifact(
        models / "v2",
        (other := train(registry().feature_names(FRAUD_SCORING), seed=1)).booster_json,
        other.manifest("v2"),
    )
    log.move(log.settle(1), Appoint(**said, champion=champion_of(models, "v2")))
    log.move(log.settle(1), Rollback(**said))
    server.name_champion("v2")

    assert (made.look(), champion(models)) == (Look.UNCHANGED, "v1")
    assert (follower(server.url, models).look(), champion(models)) == (Look.UNCHANGED, "v1")


def test_what_training_has_put_there_itself_is_not_brought_again(
    server: MlflowServer, mlflow: ModelRegistry, models: Path, trained: Trained
) -> None:
    with_champion(models, trained, "v1")
    before = (models / "v1" / "model.json").stat()
    server.name_champion("v1")

    assert follower(server.url, models).look() is Look.BROUGHT
    after = (models / "v1" / "model.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert (models / SEEN_FILE).read_text() == "1"


def test_an_unsound_version_never_becomes_the_folders_champion(
    server: MlflowServer, mlflow: ModelRegistry, models: Path, trained: Trained
) -> None:
    """So a cold start after it still finds the last one that was verified; and it is refused once, not at each look."""
    with_champion(models, trained, "v1")
    server.name_champion("broken")
    made = follower(server.url, models)

    assert [made.look(), made.look(), champion(models)] == [Look.REFUSED, Look.UNCHANGED, "v1"]
    assert not (models / "broken").exists()


def test_a_model_of_other_definitions_is_not_made_champion(
    server: MlflowServer, mlflow: ModelRegistry, models: Path, trained: Trained
) -> None:
    """Its bytes are what they should be; this process computes other features."""
    with_champion(models, trained, "v1")
    server.register(trained, "v3")
    server.name_champion("v3")
    made = follower(server.url, models)
    made._definitions = Definitions("fraud_scoring", "e" * 64, {}, trained.names)

    assert (made.look(), champion(models)) == (Look.REFUSED, "v1")


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "http://127.0.0.1:9/nowhere"])
def test_a_server_that_is_none_is_said_and_nothing_else(uri: str, models: Path, trained: Trained) -> None:
    with_champion(models, trained, "v1")
    assert (follower(uri, models).look(), champion(models)) == (Look.UNREACHABLE, "v1")
