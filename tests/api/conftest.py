"""One running scorer for most tests, and the world it reads, emptied before each."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from fraud_assets.stores.online import OnlineStore
from tests.api.world import Producer, runtime, served, until, with_champion
from tests.models.made import Trained


@pytest.fixture(scope="session")
def shared_producer() -> Producer:
    return Producer()


@pytest.fixture
def producer(shared_producer: Producer) -> Producer:
    """What the scorer has produced since the test began."""
    shared_producer.reset()
    return shared_producer


@pytest.fixture(scope="session")
def shared_models(tmp_path_factory: pytest.TempPathFactory, trained: Trained) -> Path:
    return with_champion(tmp_path_factory.mktemp("models"), trained)


@pytest.fixture(scope="session")
def sturdy(valkey_server: str, shared_models: Path, shared_producer: Producer) -> Iterator[TestClient[Litestar]]:
    """One scorer for the session: no test may break it for the next."""
    with served(runtime(shared_models, valkey_server, shared_producer)) as client:
        yield client


@pytest.fixture
def client(sturdy: TestClient[Litestar], store: OnlineStore, producer: Producer) -> TestClient[Litestar]:
    """The session's scorer, ready, with an empty world."""
    until(lambda: sturdy.get("/health/ready").status_code == 200)
    # What the test before decided may still be on its way to the broker.
    until(lambda: b"fraud_decision_events_pending 0.0" in sturdy.get("/metrics").content)
    producer.reset()
    return sturdy


@pytest.fixture
def own_models(tmp_path: Path, trained: Trained) -> Path:
    """A model folder that the test may change."""
    return with_champion(tmp_path, trained)
