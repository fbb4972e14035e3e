"""MLflow's store: several runs may be the first that need it."""

import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from fraud_assets.stores.registry import _client, prepare_store

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
