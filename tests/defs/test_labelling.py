"""The assets on labels as of a day, in a Dagster instance on a simulated lake, and their checks."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fraud_assets.defs.labels.graph import identity_graph, label_confidence
from fraud_assets.defs.labels.maturity import label_maturity
from fraud_assets.defs.labels.noise import label_noise
from fraud_assets.defs.partitions import DAY_MS
from fraud_assets.defs.resources import LakeResource, resources_of
from fraud_assets.defs.training.assets import training_set
from fraud_assets.labels.confidence import confidences_as_of
from fraud_assets.labels.shapes import CONFIDENCE, EDGES
from fraud_assets.settings import Settings
from fraud_assets.stores.keyed_tables import get_table, of_day
from fraud_assets.stores.lake import Lake, start_ms
from fraud_assets.training import store
from tests.history import LABEL_DELAY_DAYS, LAST_DAY, WARM_UP_DAYS, Past

ASSETS = (label_maturity, label_noise, identity_graph, label_confidence)
EARLY = "2026-09-20"  # before the history begins
CHECKS = {"label_delay_covers_frauds", "label_noise_within_bounds", "propagation_stays_small"}


def settings_of(past: Past, var_dir: Path, **changed: Any) -> Settings:
    """The lake is shared, and what is made beside it must not be: a folder of this test's own."""
    shutil.copytree(past.folder / "lake", var_dir / "lake", dirs_exist_ok=True)
    return Settings(var_dir=var_dir, **{"label_delay_days": LABEL_DELAY_DAYS, **changed})


def materialized(settings: Settings, folder: Path, day: str) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral(str(folder)) as instance:
        return dg.materialize(ASSETS, resources=resources_of(settings), instance=instance, partition_key=day)


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> Mapping[str, Any]:
    return result.asset_materializations_for_node(asset)[0].metadata


@pytest.fixture(scope="module")
def labelled(past: Past, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, dg.ExecuteInProcessResult]:
    folder = tmp_path_factory.mktemp("labelled")
    settings = settings_of(past, folder / "var")
    return settings, materialized(settings, folder, LAST_DAY)


def checks_of(result: dg.ExecuteInProcessResult) -> Mapping[str, dg.AssetCheckEvaluation]:
    return {check.check_name: check for check in result.get_asset_check_evaluations()}


def test_each_asset_says_rows_and_columns_and_shows_a_plot(
    labelled: tuple[Settings, dg.ExecuteInProcessResult],
) -> None:
    for asset in ASSETS:
        metadata = metadata_of(labelled[1], asset.key.to_user_string())
        assert metadata["dagster/row_count"].value > 0
        assert metadata["dagster/column_schema"].schema.columns
        assert any("data:image/png" in (getattr(value, "md_str", None) or "") for value in metadata.values())
    assert set(checks_of(labelled[1])) == CHECKS
    assert all(check.severity is dg.AssetCheckSeverity.WARN for check in checks_of(labelled[1]).values())


def test_a_label_delay_that_is_too_short_is_told_with_the_days_that_would_do(
    labelled: tuple[Settings, dg.ExecuteInProcessResult], past: Past, tmp_path: Path
) -> None:
    """Two days are too few where a chargeback takes three and a half in the median."""
    short = checks_of(labelled[1])["label_delay_covers_frauds"]
    enough = int(short.metadata["enough_days"].value)  # type: ignore[arg-type]  # a number, among Dagster's many kinds

    longer = settings_of(past, tmp_path / "var", label_delay_days=enough)
    again = checks_of(materialized(longer, tmp_path, LAST_DAY))["label_delay_covers_frauds"]

    assert not short.passed
    assert short.metadata["label_delay_days"].value == LABEL_DELAY_DAYS < enough
    assert again.passed
    assert again.metadata["covered"].value >= 0.8  # type: ignore[operator]


def test_the_curve_is_there_by_source(labelled: tuple[Settings, dg.ExecuteInProcessResult]) -> None:
    metadata = metadata_of(labelled[1], "label_maturity")

    records = {record.data["source"]: record.data for record in metadata["by_source"].records}
    assert set(records) >= {"any", "chargeback", "operator"}
    assert records["any"]["days_until_50%"] <= records["any"]["days_until_80%"] <= records["any"]["days_until_95%"]
    assert metadata["days_until_50_percent"].value == records["any"]["days_until_50%"]


def test_the_graph_holds_every_payment_that_was_known_and_names_who_is_most_shared(
    labelled: tuple[Settings, dg.ExecuteInProcessResult],
) -> None:
    settings, result = labelled
    root = LakeResource(uri=settings.lake_uri).labels_uri
    edges = get_table(root, EDGES.table, of_day(LAST_DAY))
    known = Lake(settings.lake_uri).scan("transactions", as_known_at_ms=start_ms(LAST_DAY), columns=["event_time_ms"])
    metadata = metadata_of(result, "identity_graph")

    by_device = edges.filter([kind == "device" for kind in edges["kind"].to_pylist()])
    assert sum(by_device["transactions"].to_pylist()) == known.num_rows
    assert max(edges["last_seen_ms"].to_pylist()) < start_ms(LAST_DAY) + DAY_MS
    assert [record.data["kind"] for record in metadata["degrees"].records] == ["device", "card", "ip"]
    shared = [record.data["accounts"] for record in metadata["most_shared"].records]
    assert shared == sorted(shared, reverse=True)
    assert shared[0] > 1


def test_confidences_are_read_for_the_payments_of_a_training_set_of_the_same_day(
    labelled: tuple[Settings, dg.ExecuteInProcessResult],
) -> None:
    settings, result = labelled
    root = LakeResource(uri=settings.lake_uri).labels_uri
    known = Lake(settings.lake_uri).scan("transactions", as_known_at_ms=start_ms(LAST_DAY))
    ids = [known[name].to_pylist() for name in ("account_id", "transaction_id")]

    confidence = confidences_as_of(root, LAST_DAY, *ids)

    metadata = metadata_of(result, "label_confidence")
    assert (confidence == 1).sum() == metadata["confirmed"].value > 50
    assert ((confidence > 0) & (confidence < 1)).sum() == metadata["linked"].value > 50
    assert sum(metadata["by_what"].value.values()) == metadata["linked"].value
    assert get_table(root, CONFIDENCE.table, of_day(LAST_DAY)).schema.names == CONFIDENCE.schema.names


def test_a_training_set_of_the_same_day_weighs_its_rows_where_that_is_switched_on(
    labelled: tuple[Settings, dg.ExecuteInProcessResult], tmp_path: Path
) -> None:
    settings, result = labelled
    settings = settings.model_copy(update={"propagation_weights": True, "warm_up_days": WARM_UP_DAYS})
    with dg.DagsterInstance.ephemeral(str(tmp_path)) as instance:
        made = dg.materialize(
            [training_set], resources=resources_of(settings), instance=instance, partition_key=LAST_DAY
        )

    metadata = metadata_of(made, "training_set")
    found = store.load(LakeResource(uri=settings.lake_uri).training_uri, LAST_DAY)
    assert found.weight is not None
    assert 0 < metadata["weighted_down"].value <= metadata_of(result, "label_confidence")["linked"].value
    assert metadata["weight_taken"].value == pytest.approx(float((1 - found.weight).sum()), abs=0.01)
    assert metadata["digest"].value == found.digest
    assert "row_weight" in {column.name for column in metadata["dagster/column_schema"].schema.columns}


def test_a_day_before_anything_happened_has_empty_tables_and_warns_of_nothing(past: Past, tmp_path: Path) -> None:
    result = materialized(settings_of(past, tmp_path / "var"), tmp_path, EARLY)

    assert result.success
    assert all(check.passed for check in checks_of(result).values())
    assert checks_of(result)["label_delay_covers_frauds"].metadata["judged"].value is False
    assert metadata_of(result, "label_confidence")["dagster/row_count"].value == 0


def test_the_same_day_again_gives_the_same_bytes(
    labelled: tuple[Settings, dg.ExecuteInProcessResult], tmp_path: Path
) -> None:
    settings, _ = labelled
    root = Path(LakeResource(uri=settings.lake_uri).labels_uri)
    before = {path.relative_to(root): path.read_bytes() for path in root.rglob("*.parquet")}

    assert materialized(settings, tmp_path, LAST_DAY).success

    assert len(before) == 3
    assert {path.relative_to(root): path.read_bytes() for path in root.rglob("*.parquet")} == before
