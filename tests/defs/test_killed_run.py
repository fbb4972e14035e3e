"""R17: a run that is killed while it writes leaves the partition as it was, and its retry makes what was to be made."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from fraud_assets.defs.resources import resources_of
from fraud_assets.defs.training.assets import training_set
from fraud_assets.settings import Settings
from fraud_assets.training import store
from tests.defs.killed import POINTS
from tests.history import LABEL_DELAY_DAYS, WARM_UP_DAYS, Past, make_past

pytestmark = pytest.mark.timeout(600)  # kernels may have to be compiled first

AS_OF = "2026-10-15"


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return make_past(tmp_path / "var", rate_per_day=60)


@pytest.fixture
def environment(past: Past, no_broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this process and of those that are killed: one Dagster instance on the disk, one lake."""
    (tmp_path / "home").mkdir()
    for name, value in {
        "DAGSTER_HOME": tmp_path / "home",
        "FRAUD_VAR_DIR": past.folder,
        "FRAUD_LABEL_DELAY_DAYS": LABEL_DELAY_DAYS,
        "FRAUD_WARM_UP_DAYS": WARM_UP_DAYS,
        "KAFKA_BOOTSTRAP_SERVERS": no_broker,
    }.items():
        monkeypatch.setenv(name, str(value))


@pytest.fixture
def instance(environment: None) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as found:
        yield found


def make(instance: dg.DagsterInstance) -> Path:
    """By a run that nobody kills; the file."""
    done = dg.materialize([training_set], resources=resources_of(Settings()), instance=instance, partition_key=AS_OF)
    assert done.success
    return Path(done.asset_materializations_for_node("training_set")[0].metadata["path"].value)  # type: ignore[arg-type]


def killed(point: str) -> int:
    return subprocess.run([sys.executable, "-m", "tests.defs.killed", point, AS_OF], check=False).returncode


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def learn_more(past: Past) -> None:
    """A hundred verdicts arrive that had not been known: the day's set is another one from now on."""
    facts = past.lake.scan("label_facts")
    rows = facts.filter(pa.array(~facts["is_fraud"].to_numpy(zero_copy_only=False))).slice(0, 100)
    for name, values in {"is_fraud": [True] * 100, "fact_id": [f"more-{n}" for n in range(100)],
                         "source_offset": np.arange(100) + (1 << 60)}.items():  # fmt: skip
        rows = rows.set_column(
            rows.schema.names.index(name), rows.schema.field(name), pa.array(values, rows.schema.field(name).type)
        )
    past.lake.append("label_facts", rows, "more")


def test_a_killed_run_leaves_the_old_partition_and_its_retry_has_the_hash_of_one_that_was_not_killed(
    past: Past, instance: dg.DagsterInstance
) -> None:
    root = resources_of(Settings())["lake"].training_uri
    file = make(instance)
    old, runs = sha256(file), len(instance.get_runs())
    learn_more(past)

    for point in POINTS:
        assert killed(point) == -9
        assert sha256(file) == old
        assert (store.days(root), [one.name for one in file.parent.iterdir()]) == ([AS_OF], [file.name])
    killed_runs = instance.get_runs()[: len(instance.get_runs()) - runs]
    latest = instance.get_latest_materialization_event(training_set.key)
    assert len(killed_runs) == len(POINTS)
    assert latest is not None and latest.run_id not in {run.run_id for run in killed_runs}

    retried = sha256(make(instance))
    file.unlink()
    assert retried == sha256(make(instance)) != old
