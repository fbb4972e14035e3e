"""A raw day that fails its checks stops what would be made of it: in the run that judged it, and in any other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from fraud_assets.defs.features.assets import view_asset
from fraud_assets.defs.ingestion.assets import RAW, raw_asset
from fraud_assets.defs.labels.assets import label_facts
from fraud_assets.defs.resources import resources_of
from fraud_assets.defs.serving.assets import hourly_online_views, online_store_snapshot
from fraud_assets.defs.training.assets import training_set
from fraud_assets.monitoring import quality
from fraud_assets.monitoring.quality import BadRawDay
from fraud_assets.settings import Settings
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_port import EpochMarker
from fraud_assets.stores.state_files import StateFiles
from fraud_assets.training import store
from tests.history import FIRST_DAY, LABEL_DELAY_DAYS, LAST_DAY, WARM_UP_DAYS, Past, make_past

pytestmark = pytest.mark.timeout(600)  # kernels may have to be compiled first

AS_OF = "2026-10-15"
REFUSED_DAY = r"transactions of {} fails no_duplicates \(\d+ rows\).*When a raw day is bad"
REFUSED = REFUSED_DAY.format(FIRST_DAY)


@pytest.fixture
def past(tmp_path: Path) -> Past:
    """A lake of this test's own, to be spoilt."""
    return make_past(tmp_path / "var", rate_per_day=60)


@pytest.fixture
def resources(past: Past, valkey_server: str, no_broker: str) -> dict[str, Any]:
    return resources_of(
        Settings(
            var_dir=past.folder,
            redis_url=valkey_server,
            label_delay_days=LABEL_DELAY_DAYS,
            warm_up_days=WARM_UP_DAYS,
            kafka_bootstrap_servers=no_broker,
        )
    )


def with_column(rows: pa.Table, name: str, values: object) -> pa.Table:
    return rows.set_column(rows.schema.names.index(name), rows.schema.field(name), pa.array(values))


def double(lake: Lake) -> None:
    """Fifty payments of the first day a second time, at positions of another topic and not marked as copies."""
    rows = lake.scan("transactions").slice(0, 50)
    lake.append("transactions", with_column(rows, "source_topic", ["transactions.v1"] * 50), "doubled")


def mend(lake: Lake) -> None:
    """What the page says: the day again, without the rows that are wrong."""
    lake.mend("transactions", FIRST_DAY, lambda rows: rows["source_topic"].to_numpy() != "transactions.v1")


def materialize(asset: dg.AssetsDefinition, resources: Mapping[str, Any], day: str | None) -> bool:
    """A run of this asset alone, in an instance that knows of no check."""
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize([asset], resources=resources, instance=instance, partition_key=day).success


def published(past: Past, url: str) -> EpochMarker:
    joined = OnlineStore.connect(url, past.plan.registry)
    marker = joined.current_epoch()
    joined.close()
    return marker


def test_in_the_run_that_judges_it_nothing_is_made_of_it(tmp_path: Path) -> None:
    bad = make_past(tmp_path / "var", rate_per_day=60, facts=False)
    double(bad.lake)
    raw = [raw_asset(name, *what) for name, what in RAW.items()]
    resources = resources_of(Settings(var_dir=bad.folder, label_delay_days=LABEL_DELAY_DAYS))

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [*raw, label_facts], resources=resources, instance=instance, partition_key=FIRST_DAY, raise_on_error=False
        )

    assert not result.success
    assert result.asset_materializations_for_node("label_facts") == []
    assert bad.lake.days("label_facts") == []


def test_no_training_set_is_made_of_it_by_another_run_until_it_is_mended(past: Past, resources: dict[str, Any]) -> None:
    root = resources["lake"].training_uri
    double(past.lake)

    with pytest.raises(BadRawDay, match=REFUSED):
        materialize(training_set, resources, AS_OF)
    assert store.days(root) == []

    mend(past.lake)
    assert materialize(training_set, resources, AS_OF)
    assert store.days(root) == [AS_OF]


def test_a_training_set_is_made_again_whatever_arrived_after_its_day(past: Past, resources: dict[str, Any]) -> None:
    rows = past.lake.scan("transactions")
    rows = rows.slice(rows.num_rows - 1, 1)  # within the dedupe horizon of its copy
    late = with_column(rows, "ingested_at_ms", [int(np.datetime64(AS_OF, "ms").astype(np.int64))])
    past.lake.append("transactions", with_column(late, "source_topic", ["transactions.v1"]), "late")

    assert materialize(training_set, resources, AS_OF)
    with pytest.raises(BadRawDay, match=REFUSED_DAY.format(LAST_DAY)):
        materialize(training_set, resources, "2026-10-16")


def view_of(past: Past, name: str) -> dg.AssetsDefinition:
    return view_asset(past.plan, past.plan.registry.view(name))


def test_no_features_are_made_of_it_by_another_run_until_it_is_mended(past: Past, resources: dict[str, Any]) -> None:
    """Of that day, and of later ones, whose windows hold it."""
    view = view_of(past, "account_recency")
    made = Lake(resources["lake"].features_uri, {"account_recency": pa.schema([])})
    double(past.lake)

    for day in (FIRST_DAY, LAST_DAY):
        with pytest.raises(BadRawDay, match=REFUSED):
            materialize(view, resources, day)
    assert made.days("account_recency") == []

    mend(past.lake)
    assert materialize(view, resources, LAST_DAY)
    assert made.days("account_recency") == [LAST_DAY]


def test_features_of_the_days_before_it_are_made(past: Past, resources: dict[str, Any]) -> None:
    rows = past.lake.scan("transactions")
    last = rows.slice(rows.num_rows - 1, 1)
    past.lake.append("transactions", with_column(last, "source_topic", ["transactions.v1"]), "doubled")
    view = view_of(past, "account_recency")

    assert materialize(view, resources, "2026-10-13")
    with pytest.raises(BadRawDay, match=REFUSED_DAY.format(LAST_DAY)):
        materialize(view, resources, LAST_DAY)


def test_features_of_verdicts_need_the_labels_that_these_are_made_of(past: Past, resources: dict[str, Any]) -> None:
    label = past.lake.scan("labels").slice(0, 1)
    past.lake.append("labels", with_column(with_column(label, "revision", [-1]), "source_offset", [10**9]), "bad")

    with pytest.raises(BadRawDay, match=r"labels of .* fails values_in_range"):
        materialize(view_of(past, "category_risk"), resources, LAST_DAY)
    assert materialize(view_of(past, "account_recency"), resources, LAST_DAY)


def test_no_label_facts_are_made_of_it_by_another_run_until_it_is_mended(tmp_path: Path, valkey_server: str) -> None:
    bad = make_past(tmp_path / "var", rate_per_day=60, facts=False)
    resources = resources_of(Settings(var_dir=bad.folder, redis_url=valkey_server, label_delay_days=LABEL_DELAY_DAYS))
    double(bad.lake)

    with pytest.raises(BadRawDay, match=REFUSED):
        materialize(label_facts, resources, "2026-10-05")
    assert bad.lake.days("label_facts") == []

    mend(bad.lake)
    assert materialize(label_facts, resources, "2026-10-05")
    assert bad.lake.days("label_facts") != []


def test_views_of_one_run_judge_a_table_once(
    past: Past, resources: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are forty of them, and each reads all history before its day."""
    judged: list[str] = []
    judge = quality.quality_by_day

    def counted(connection: Any, lake: Lake, horizon_ms: int, table: str, **bounds: Any) -> Any:
        judged.append(table)
        return judge(connection, lake, horizon_ms, table, **bounds)

    monkeypatch.setattr(quality, "quality_by_day", counted)
    views = [view_of(past, name) for name in ("account_recency", "account_amounts", "account_declines")]
    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize(views, resources=resources, instance=instance, partition_key=LAST_DAY).success

    assert judged == ["transactions"]


def test_no_states_of_it_are_published_by_another_run(
    past: Past, resources: dict[str, Any], valkey_server: str
) -> None:
    assert materialize(online_store_snapshot, resources, LAST_DAY)
    before = published(past, valkey_server), StateFiles(past.lake.uri).markers()
    double(past.lake)

    with pytest.raises(BadRawDay, match=REFUSED):
        materialize(online_store_snapshot, resources, LAST_DAY)

    assert (published(past, valkey_server), StateFiles(past.lake.uri).markers()) == before


def test_no_bad_arrival_is_folded_into_published_states_and_days_without_arrivals_are_not_its_business(
    past: Past, resources: dict[str, Any], valkey_server: str
) -> None:
    assert materialize(online_store_snapshot, resources, LAST_DAY)
    marker = published(past, valkey_server)
    double(past.lake)
    assert materialize(hourly_online_views, resources, None)
    rows = past.lake.scan("transactions").slice(100, 1)
    bad = with_column(with_column(rows, "source_topic", ["transactions.v1"]), "ticket_count", [0])
    key = rows["account_id"].to_pylist()
    joined = OnlineStore.connect(valkey_server, past.plan.registry)
    states = joined.read_many("account", key)

    past.lake.append("transactions", with_column(bad, "ingested_at_ms", [marker.published_at_ms]), "bad")
    with pytest.raises(BadRawDay, match="values_in_range"):
        materialize(hourly_online_views, resources, None)

    assert joined.read_many("account", key) == states
    joined.close()
