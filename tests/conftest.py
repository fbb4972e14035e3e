"""Fixtures that every folder of tests may use. Those that start servers are in deploy/local/testing.py."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from fraud_assets.ingest.mapping import Mapping
    from fraud_assets.stores.online import OnlineStore
    from tests.history import Past
    from tests.models.made import Trained

# Fixtures that start real servers, each only when a test asks for it; and the counts of what the
# parity suite compared, in every worker, printed at the end.
pytest_plugins = ["deploy.local.testing", "tests.parity.tally"]

ROOT = Path(__file__).resolve().parent.parent

IN_CI = os.environ.get("CI", "").lower() == "true"

# No deadline: the first example of a kernel pays for its compilation. CI replays the same examples
# each time, so that a red run is about the change; a developer's run explores new ones.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("house"), derandomize=True, print_blob=True)
# For a night: the parity suite raises its examples with this one (tests/parity/tally.py).
settings.register_profile("long", parent=settings.get_profile("house"))
settings.load_profile("ci" if IN_CI else "house")


def pytest_collection_finish() -> None:
    """Hypothesis imports what draws these when it first does, and pytest then parses it anew: in the middle of a test, and in a new
    environment in every worker. There CPython 3.11's parser has failed once ("AST constructor recursion depth mismatch").
    """
    st.randoms().validate()


# Of the rest's way, when the last of the long files begins: what is left then is short, and fills every worker to the end.
LONG_BEGUN_BY = 0.75


@pytest.hookimpl(trylast=True)  # of what is not deselected
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Beside other workers, the longest files begin first, and those that wait for servers beside those that compute.

    A worker that begins a long file last works on alone; and one after the other, they would first all wait and then all compute.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    usual_s = float(items[0].config.getini("timeout")) if items else 0.0
    rank: dict[Path, tuple[float, bool, int]] = {}
    for item in items:
        marker = item.get_closest_marker("timeout")
        limit_s = float(marker.args[0]) if marker else usual_s
        known_s, is_e2e, tests = rank.get(item.path, (0.0, False, 0))
        rank[item.path] = (max(limit_s, known_s), is_e2e or item.get_closest_marker("e2e") is not None, tests + 1)
    longest = sorted(rank, key=lambda path: rank[path], reverse=True)
    long = [path for path in longest if rank[path][:2] > (usual_s, False)]
    rest = [path for path in longest if rank[path][:2] <= (usual_s, False)]
    place = {path: LONG_BEGUN_BY * n / len(long) for n, path in enumerate(long)}
    place |= {path: n / len(rest) for n, path in enumerate(rest)}
    items.sort(key=lambda item: (place[item.path], str(item.path)))  # stable: a file stays whole and in its order


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of external data sets: FRAUD_DATA_DIR, else `../shared/data` beside the repository."""
    return Path(os.environ.get("FRAUD_DATA_DIR") or ROOT.parent / "shared" / "data")


def _there(folder: Path) -> Path:
    """Skips the test where the data is missing, and fails it with CI=true: a CI that skips its data proves nothing about it."""
    if not folder.is_dir():
        (pytest.fail if IN_CI else pytest.skip)(f"no data set at {folder}; set FRAUD_DATA_DIR")
    return folder


@pytest.fixture(scope="session")
def handbook_dir(data_dir: Path) -> Path:
    """The Fraud Detection Handbook's data: transactions, customers, terminals (Parquet)."""
    return _there(data_dir / "handbook")


@pytest.fixture(scope="session")
def sparkov_dir(data_dir: Path) -> Path:
    """Sparkov's data: transactions (Parquet)."""
    return _there(data_dir / "sparkov")


# What follows imports in its body: most tests need neither, and every worker reads this file.


@pytest.fixture(scope="session")
def past(tmp_path_factory: pytest.TempPathFactory) -> "Past":
    """Two simulated weeks in a lake. Read it, do not write to it: many tests share it."""
    from tests.history import make_past

    return make_past(tmp_path_factory.mktemp("past"))


@pytest.fixture(scope="session")
def trained() -> "Trained":
    """A small real model of the ticketing service."""
    from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
    from tests.models.made import train

    return train(registry().feature_names(FRAUD_SCORING))


@pytest.fixture
def model_dir(tmp_path: Path, trained: "Trained") -> Path:
    """A model folder with version `v1` and no champion yet."""
    from fraud_assets.models.artifact import write_artifact

    write_artifact(tmp_path / "v1", trained.booster_json, trained.manifest())
    return tmp_path


@pytest.fixture(scope="session")
def migrated_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's SQLite file as its own migrations make it, which takes two seconds of a core. To be copied."""
    from fraud_assets.stores.registry import SQLITE, _client

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    _client(f"{SQLITE}{file}")
    return file


@pytest.fixture
def mlflow_uri(migrated_mlflow: Path, tmp_path: Path) -> str:
    """A store of MLflow with the platform's experiment, and nothing in it."""
    from fraud_assets.stores.registry import SQLITE, prepare_store

    file = tmp_path / "mlflow" / "mlflow.db"
    file.parent.mkdir()
    shutil.copy(migrated_mlflow, file)
    prepare_store(f"{SQLITE}{file}", "fraud", tmp_path / "artifacts")
    return f"{SQLITE}{file}"


@pytest.fixture
def store(valkey_server: str) -> "Iterator[OnlineStore]":
    """An empty online store whose epoch `e1` is published."""
    import redis

    from fraud_assets.features.catalogue.ticketing import registry
    from fraud_assets.stores.online import OnlineStore

    client = redis.Redis.from_url(valkey_server)
    client.flushall()
    client.close()
    joined = OnlineStore.connect(valkey_server, registry())
    joined.publish_epoch("e1", log="log-1", resume={}, now_ms=1)
    yield joined
    joined.close()


@pytest.fixture
def handbook() -> "Mapping":
    """The built-in mapping of the Fraud Detection Handbook."""
    from fraud_assets.ingest.mapping_file import load_mapping

    return load_mapping("handbook")[1]


@pytest.fixture
def free_port() -> Iterator[int]:
    """A loopback port on which nobody listens, and nobody will but a server that this test starts there."""
    from deploy.local.ports import held_ports

    with held_ports(1) as [port]:
        yield port


@pytest.fixture
def no_broker(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address at which nobody answers, and no patience: a snapshot waits seconds for a broker that may come back."""
    monkeypatch.setattr("fraud_assets.stores.log_ends.ANSWER_WITHIN_S", 0.1)
    return "127.0.0.1:1"


@pytest.fixture
def var_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of this test's own; Settings() inside the test follows it."""
    for name in ("FRAUD_LAKE_URI", "FRAUD_MODEL_DIR", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "var"
    folder.mkdir()
    monkeypatch.setenv("FRAUD_VAR_DIR", str(folder))
    return folder
