"""The asset graph over a lake behind an S3-compatible server: the same rows as over a folder."""

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from fraud_assets.defs.features.assets import view_asset
from fraud_assets.defs.ingestion.assets import RAW, raw_asset
from fraud_assets.defs.labels.assets import label_facts
from fraud_assets.defs.resources import resources_of
from fraud_assets.defs.serving.assets import online_store_snapshot
from fraud_assets.defs.training.assets import training_set
from fraud_assets.settings import Settings
from fraud_assets.stores.feature_tables import feature_lake
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.state_files import StateFiles
from fraud_assets.training import store
from tests.history import FIRST_DAY, LABEL_DELAY_DAYS, LAST_DAY, Past, make_past

pytestmark = pytest.mark.timeout(600)  # kernels may have to be compiled first

AS_OF = "2026-10-15"
VIEW = "account_recency"
RANGE = {"dagster/asset_partition_range_start": FIRST_DAY, "dagster/asset_partition_range_end": LAST_DAY}


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return make_past(tmp_path / "var", rate_per_day=60, facts=False)


def resources_over(past: Past, lake_uri: str, redis_url: str, broker: str) -> dict[str, Any]:
    settings = Settings(
        var_dir=past.folder, lake_uri=lake_uri, redis_url=redis_url, label_delay_days=LABEL_DELAY_DAYS,
        kafka_bootstrap_servers=broker,
    )  # fmt: skip
    return resources_of(settings)


def make(past: Past, resources: dict[str, Any]) -> None:
    """Raw tables judged, label facts, a view, a training set and a snapshot, as the schedules make them."""
    raw = [raw_asset(name, *what) for name, what in RAW.items()]
    view = view_asset(past.plan, past.plan.registry.view(VIEW))
    with dg.DagsterInstance.ephemeral() as instance:
        for assets, asked in (
            ([*raw, label_facts, view], {"tags": RANGE}),
            ([training_set], {"partition_key": AS_OF}),
            ([online_store_snapshot], {"partition_key": LAST_DAY}),
        ):
            assert dg.materialize(assets, resources=resources, instance=instance, **asked).success


def test_everything_is_made_of_objects_as_it_is_of_files(
    past: Past, valkey_server: str, s3_uri: str, no_broker: str
) -> None:
    objects = Lake(f"{s3_uri}/lake")
    for table in ("transactions", "activity", "profiles", "labels"):
        objects.append(table, past.lake.scan(table, duplicates=True), "history")
    local, remote = (resources_over(past, uri, valkey_server, no_broker) for uri in (past.lake.uri, objects.uri))

    for resources in (local, remote):
        make(past, resources)

    assert objects.scan("label_facts").equals(past.lake.scan("label_facts"))
    view = past.plan.registry.view(VIEW)
    of_folder, of_objects = (
        pl.DataFrame(
            feature_lake(resources["lake"].features_uri, past.service, view).scan(VIEW)
        )  # whose NaN equals NaN
        for resources in (local, remote)
    )
    assert len(of_objects) > 0
    assert of_objects.equals(of_folder)
    assert remote["lake"].training_uri == f"{s3_uri}/training"
    assert store.load(remote["lake"].training_uri, AS_OF).digest == store.load(local["lake"].training_uri, AS_OF).digest
    assert len(StateFiles(objects.uri).markers()) == 1
