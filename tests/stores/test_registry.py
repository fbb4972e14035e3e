"""MLflow's store: several runs may be the first that need it, and it says of versions what the promotion log says."""

import multiprocessing
import os
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from fraud_assets.rollout.standing import Stage, Standing
from fraud_assets.stores.registry import (
    IMPATIENT,
    ModelRegistry,
    Reconciled,
    RegistryDown,
    _client,
    open_for_a_person,
    prepare_store,
)

WITHIN_S = 120.0

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def prepare_at_once(at_once: Barrier, uri: str, artifacts: Path) -> None:
    import mlflow.tracking  # noqa: F401  # takes seconds, which must not decide who comes first

    at_once.wait(WITHIN_S)
    prepare_store(uri, "fraud", artifacts)


def test_a_new_store_is_made_once_by_runs_that_start_together(tmp_path: Path) -> None:
    """A backfill's first two days train at the same time."""
    uri = f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}"
    spawn = multiprocessing.get_context("spawn")
    at_once = spawn.Barrier(3)
    runs = [spawn.Process(target=prepare_at_once, args=(at_once, uri, tmp_path / "artifacts")) for _ in range(3)]

    for run in runs:
        run.start()
    for run in runs:
        run.join(WITHIN_S)

    assert [run.exitcode for run in runs] == [0, 0, 0]
    assert sorted(found.name for found in _client(uri).search_experiments()) == ["Default", "fraud"]


def test_two_runs_that_register_the_first_version_at_one_moment_both_do(
    mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has looked and found no model; before it makes one the other has."""
    one, other = ModelRegistry(mlflow_uri), ModelRegistry(mlflow_uri)
    runs = [_client(mlflow_uri).create_run("0").info.run_id for _ in range(2)]
    looked = one._client.get_registered_model

    def look_and_be_overtaken(name: str) -> Any:
        monkeypatch.setattr(one._client, "get_registered_model", looked)
        try:
            return looked(name)
        finally:
            other.register(runs[1], "b", {})

    monkeypatch.setattr(one._client, "get_registered_model", look_and_be_overtaken)
    one.register(runs[0], "a", {})

    registered = _client(mlflow_uri).search_model_versions()
    assert sorted(version.tags["model_version"] for version in registered) == ["a", "b"]


# ------------------------------------------------------------------------------- aliases and stages


@pytest.fixture
def registry(mlflow_uri: str) -> ModelRegistry:
    """With versions v1, v2 and v3."""
    registry = ModelRegistry(mlflow_uri)
    for version in ("v1", "v2", "v3"):
        registry.register(_client(mlflow_uri).create_run("0").info.run_id, version, {})
    return registry


def said(registry: ModelRegistry) -> tuple[dict[str, str], dict[str, str]]:
    """Alias to version and version to stage, as MLflow has them."""
    client = registry._client
    versions = {str(found.version): found for found in client.search_model_versions(f"name='{registry.name}'")}
    names = {number: found.tags["model_version"] for number, found in versions.items()}
    aliases = client.get_registered_model(registry.name).aliases
    stages = {names[number]: found.tags["stage"] for number, found in versions.items() if "stage" in found.tags}
    return {alias: names[str(number)] for alias, number in aliases.items()}, stages


SHADOW = Standing("v1", "v2", {"v1": Stage.PRODUCTION, "v2": Stage.STAGING})
FULL = Standing("v2", None, {"v1": Stage.ARCHIVED, "v2": Stage.PRODUCTION})


def test_aliases_and_stages_follow_each_step(registry: ModelRegistry) -> None:
    """And a version that the log never named keeps to itself."""
    registry.reconcile(SHADOW)
    assert said(registry) == (
        {"champion": "v1", "challenger": "v2"},
        {"v1": "Production", "v2": "Staging"},
    )

    found = registry.reconcile(FULL)

    assert said(registry) == ({"champion": "v2"}, {"v1": "Archived", "v2": "Production"})
    assert found == Reconciled(
        ["v1 is Archived", "v2 is Production", "v2 is champion", "nobody is challenger"], missing=[]
    )


def test_what_is_said_already_is_not_written_again(registry: ModelRegistry) -> None:
    registry.reconcile(SHADOW)

    assert registry.reconcile(SHADOW) == Reconciled([], [])


def test_what_a_crash_left_half_said_is_said_again(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every write of the way from one step to the next is the last one, once."""
    for writes in range(4):
        registry.reconcile(SHADOW)
        with monkeypatch.context() as patched:
            cut_after(registry, writes, patched)
            with pytest.raises(RegistryDown):
                registry.reconcile(FULL)

        registry.reconcile(FULL)

        assert said(registry) == ({"champion": "v2"}, {"v1": "Archived", "v2": "Production"})


def cut_after(registry: ModelRegistry, writes: int, patched: pytest.MonkeyPatch) -> None:
    """The real client, whose server is gone after so many writes."""
    left = [writes]

    def until_gone(write: Any) -> Any:
        def call(*given: Any) -> Any:
            if not left[0]:
                raise ConnectionResetError("gone")
            left[0] -= 1
            return write(*given)

        return call

    for name in ("set_model_version_tag", "set_registered_model_alias", "delete_registered_model_alias"):
        patched.setattr(registry._client, name, until_gone(getattr(registry._client, name)))


def test_a_version_that_mlflow_does_not_have_is_named_and_moves_no_alias(registry: ModelRegistry) -> None:
    registry.reconcile(SHADOW)

    found = registry.reconcile(Standing("v9", None, {"v1": Stage.ARCHIVED, "v9": Stage.PRODUCTION}))

    assert found.missing == ["v9"]
    assert said(registry)[0] == {"champion": "v1"}


def test_a_registry_without_any_model_has_nothing_to_say(mlflow_uri: str) -> None:
    registry = ModelRegistry(mlflow_uri)

    assert registry.reconcile(SHADOW) == Reconciled([], ["v1", "v2"])


def test_a_server_that_is_not_there_is_said_within_seconds(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow itself would try for minutes, with a rollback waiting."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)

    with (
        pytest.raises(RegistryDown, match=str(free_port)),
        open_for_a_person(f"http://127.0.0.1:{free_port}") as registry,
    ):
        registry.reconcile(SHADOW)

    said = {name: os.environ.get(name) for name in IMPATIENT}
    assert said == {"MLFLOW_HTTP_REQUEST_TIMEOUT": "7", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": None}, "it is nobody else's"
