"""MLflow's store: several runs may be the first that need it."""

import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from fraud_assets.stores.registry import ModelRegistry, _client, prepare_store

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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has looked and found no model; before it makes one the other has."""
    uri = f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}"
    prepare_store(uri, "fraud", tmp_path / "artifacts")
    one, other = ModelRegistry(uri), ModelRegistry(uri)
    runs = [_client(uri).create_run("0").info.run_id for _ in range(2)]
    looked = one._client.get_registered_model

    def look_and_be_overtaken(name: str) -> Any:
        monkeypatch.setattr(one._client, "get_registered_model", looked)
        try:
            return looked(name)
        finally:
            other.register(runs[1], "b", {})

    monkeypatch.setattr(one._client, "get_registered_model", look_and_be_overtaken)
    one.register(runs[0], "a", {})

    assert sorted(version.tags["model_version"] for version in _client(uri).search_model_versions()) == ["a", "b"]
