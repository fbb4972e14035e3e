"""The code location loads, its graph is the reviewed one, and a backfill works from the command line."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fraud_assets.definitions import defs
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.lake import Lake
from fraud_assets.training.gates import GATES
from tests.defs.commands import Place, make_place
from tests.defs.graph import asset_graph
from tests.history import FIRST_DAY

SNAPSHOT = Path(__file__).parent / "asset_graph.json"


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return defs()


@pytest.fixture(scope="module")
def graph(definitions: dg.Definitions) -> dict[str, Any]:
    return asset_graph(definitions)


def test_a_process_loads_the_definitions_once() -> None:
    """Each run of a command asks for them again and again."""
    assert defs() is defs()


def test_the_asset_graph_is_the_one_that_was_reviewed(graph: dict[str, Any]) -> None:
    assert graph == json.loads(SNAPSHOT.read_text()), (
        "the graph changed; look at the diff of `python -m tests.defs.graph > tests/defs/asset_graph.json`"
    )


def test_every_view_of_the_registry_is_an_asset(graph: dict[str, Any]) -> None:
    views = {name for name, asset in graph["assets"].items() if asset["group"] == "features"}

    assert views == set(registry().views)


def test_every_asset_says_what_it_is_and_who_owns_it(definitions: dg.Definitions) -> None:
    for spec in definitions.resolve_all_asset_specs():
        assert spec.description, f"{spec.key} has no description"
        assert spec.owners, f"{spec.key} has no owner"
        assert spec.kinds, f"{spec.key} has no kind"
        if spec.group_name != "live":  # what is materialized here; tests/defs/test_learning.py looks at what that shows
            assert spec.metadata["dagster/column_schema"].columns, f"{spec.key} has no columns"


def test_every_materialized_asset_has_a_freshness_policy(definitions: dg.Definitions) -> None:
    nodes = definitions.get_repository_def().asset_graph
    late = [key for key in nodes.materializable_asset_keys if nodes.get(key).freshness_policy_or_from_metadata is None]

    assert late == []


def test_nothing_reaches_the_scorers_past_a_failed_gate(graph: dict[str, Any]) -> None:
    assert "champion_model" in graph["assets"]["fraud_scorer"]["deps"]
    blocking = {name for name in graph["assets"]["fraud_model"]["checks"] if name.endswith("(blocking)")}
    assert blocking == {f"{name} (blocking)" for name in GATES}


def test_the_live_path_is_in_the_lineage(graph: dict[str, Any]) -> None:
    assets = graph["assets"]

    assert "kafka/transactions_v1" in assets["kafka/entity_account_v1"]["deps"]
    assert "kafka/entity_account_v1" in assets["online_store"]["deps"]
    assert "online_store" in assets["fraud_scorer"]["deps"]
    assert "fraud_scorer" in assets["kafka/decisions_v1"]["deps"]
    assert "kafka/decisions_v1" in assets["decisions"]["deps"]


@pytest.mark.parametrize(
    ("name", "day"), [("nightly_history", "2026-10-14"), ("nightly_learning", "2026-10-15"), ("nightly_audit", None)]
)
def test_a_nightly_schedule_asks_for_its_day(definitions: dg.Definitions, name: str, day: str | None) -> None:
    repository = definitions.get_repository_def()
    context = dg.build_schedule_context(
        scheduled_execution_time=datetime(2026, 10, 15, 2, tzinfo=UTC), repository_def=repository
    )

    requested = repository.get_schedule_def(name).evaluate_tick(context)

    assert requested.run_requests is not None
    assert [request.partition_key for request in requested.run_requests] == [day]


@pytest.fixture
def place(tmp_path: Path, root: Path) -> Place:
    return make_place(tmp_path, root)


@pytest.mark.timeout(600)  # a command line, which imports everything
def test_a_range_of_days_is_one_run_from_the_command_line_and_repeating_it_changes_nothing(
    place: Place,
) -> None:
    past = place.past
    command = [
        "asset", "materialize", "-m", "fraud_assets.definitions", "--select", "transactions,labels,label_facts,account_recency",
        "--partition-range", f"{FIRST_DAY}...2026-10-04",
    ]  # fmt: skip

    with place.dagster() as dagster:
        dagster(command)
        facts = past.lake.scan("label_facts")
        table = past.folder / "features" / "account_recency"
        first = {path.parent.name: path.read_bytes() for path in table.glob("*/*.parquet")}
        dagster(command)

    assert facts.num_rows > 0
    assert Lake(past.folder / "lake").scan("label_facts").equals(facts)
    assert {path.parent.name: path.read_bytes() for path in table.glob("*/*.parquet")} == first
    with dg.DagsterInstance.from_config(str(place.home)) as instance:
        assert len(instance.get_runs()) == 2
        made = instance.get_materialized_partitions(dg.AssetKey("account_recency"))
    assert len(made) == len(first) == 4
