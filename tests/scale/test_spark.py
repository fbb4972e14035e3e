"""Feature views on a Spark cluster of two executors: the rows and the bits are those of one machine."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.defs.features.assets import view_asset
from fraud_assets.defs.resources import resources_of
from fraud_assets.features.catalogue.sources import TRANSACTIONS
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.settings import Settings
from fraud_assets.stores.feature_tables import Execution, feature_lake, here, write_view
from fraud_assets.stores.history import HistoryReader, view_service
from fraud_assets.stores.lake import start_ms
from tests.history import FIRST_DAY, Past, make_past

pytestmark = [pytest.mark.scale, pytest.mark.timeout(600)]

# Processes of their own, as on a cluster: threads of one JVM would share what executors do not.
MASTER = "local-cluster[2,1,1024]"
DAYS = ("2026-10-05", "2026-10-06")
# One of each kind: one key; a pair; two entities over two sources; label facts; profiles; a source that is not scored.
VIEWS = (
    "account_amounts",
    "account_device_habit",
    "event_historical_metrics",
    "user_purchase_behavior",
    "account_profile",
    "category_risk",
)


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    return make_past(tmp_path_factory.mktemp("past"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Execution]:
    from fraud_assets.stores.spark_views import SparkExecution, session

    yield SparkExecution(MASTER, registry)
    session(MASTER).stop()
    session.cache_clear()


@pytest.mark.parametrize("name", VIEWS)
def test_a_cluster_gives_a_view_the_bits_of_one_machine(
    past: Past, cluster: Execution, tmp_path: Path, name: str
) -> None:
    view = past.plan.registry.view(name)
    lakes = {engine: feature_lake(tmp_path / engine, past.service, view) for engine in ("local", "spark")}
    reader = HistoryReader(past.lake, past.plan)

    counts = {
        engine: write_view(lakes[engine], reader, view, TRANSACTIONS, DAYS, execution)
        for engine, execution in (("local", here), ("spark", cluster))
    }

    ours, theirs = lakes["local"].scan(name), lakes["spark"].scan(name)
    assert counts["local"] == counts["spark"]
    assert ours.num_rows == theirs.num_rows > 500
    assert all(same_bits(ours[column], theirs[column]) for column in ours.column_names)
    assert counts["local"].null_share < 1


def test_rows_that_a_crash_left_in_two_files_are_one(past: Past, cluster: Execution, tmp_path: Path) -> None:
    torn = make_past(tmp_path / "torn", facts=False)
    rows = torn.lake.scan("transactions", duplicates=True).slice(0, 300)
    torn.lake.append("transactions", rows, "again")
    view = past.plan.registry.view("account_amounts")
    features = feature_lake(tmp_path / "features", past.service, view)

    found = write_view(features, HistoryReader(torn.lake, past.plan), view, TRANSACTIONS, (FIRST_DAY,), cluster)

    [expected] = here(HistoryReader(torn.lake, past.plan), view_service(past.plan, view, TRANSACTIONS), (FIRST_DAY,))
    assert found.rows == found.transactions == expected.rows.num_rows > 300
    stored = features.scan("account_amounts")
    assert all(same_bits(expected.rows[column], stored[column]) for column in stored.column_names)


def test_the_asset_takes_its_engine_from_the_settings(past: Past, cluster: Execution) -> None:
    settings = Settings(var_dir=past.folder, feature_engine="spark", spark_master=MASTER)

    done = dg.materialize(
        [view_asset(past.plan, past.plan.registry.view("account_recency"))],
        resources=resources_of(settings),
        partition_key=DAYS[0],
    )

    [made] = done.asset_materializations_for_node("account_recency")
    assert made.metadata["engine"].value == "spark"
    assert (
        made.metadata["dagster/row_count"].value
        == past.lake.scan("transactions", start_ms(DAYS[0]), start_ms(DAYS[0]) + DAY_MS).num_rows
    )


def same_bits(ours: pa.ChunkedArray, theirs: pa.ChunkedArray) -> bool:
    if not pa.types.is_floating(ours.type):
        return bool(ours.equals(theirs))
    return bool(ours.to_numpy().tobytes() == theirs.to_numpy().tobytes())
