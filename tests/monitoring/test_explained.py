"""A decision without its explanation is found, by the function and by the asset check."""

from collections.abc import Callable, Sequence
from pathlib import Path

import dagster as dg
import pytest

from fraud_assets.contracts.events import Decision, Explanation
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.defs.ingestion.assets import EVERY_DECISION, RAW, raw_asset
from fraud_assets.defs.resources import resources_of
from fraud_assets.monitoring.explained import GRACE_MS, unexplained
from fraud_assets.settings import Settings
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import LogPosition, from_events
from tests.models.made import train
from tests.monitoring.decisions import explanation_of
from tests.streaming.decided import decisions
from tests.streaming.events import T0

N = 6
Fill = Callable[[Sequence[int], int], Lake]


@pytest.fixture(scope="module")
def decided() -> list[Decision]:
    """The last one is the newest; what it tells of the others is that time has passed."""
    made = train(("a", "b"), trees=2, depth=1, n=50)
    return decisions(made.booster_json, made.rows[:N])


@pytest.fixture
def fill(tmp_path: Path, decided: list[Decision]) -> Fill:
    def filled(explained: Sequence[int], last_after_ms: int) -> Lake:
        """A lake of all decisions, the last arrived so much later, and the explanations of some."""
        lake = Lake(tmp_path / "lake")
        arrivals = [T0 + 1000] * (N - 1) + [T0 + 1000 + last_after_ms]
        at = [LogPosition(arrival, "decisions.v1", 0, place) for place, arrival in enumerate(arrivals)]
        lake.append("decisions", from_events(Decision, decided, at), "rows")
        told = [explanation_of(decided[place]) for place in explained]
        where = [LogPosition(T0 + 2000, "explanations.v1", 0, place) for place in range(len(told))]
        lake.append("explanations", from_events(Explanation, told, where), "rows")
        return lake

    return filled


def test_a_decision_that_nobody_explained_is_named(fill: Fill) -> None:
    lake = fill([0, 2, 4], GRACE_MS + 1)

    assert unexplained(lake, T0, T0 + DAY_MS) == ["dec-1", "dec-3"]
    assert unexplained(lake, T0 + DAY_MS, T0 + 2 * DAY_MS) == []


def test_an_explainer_that_does_not_run_is_found_too(fill: Fill) -> None:
    assert len(unexplained(fill([], GRACE_MS + 1), T0, T0 + DAY_MS)) == N - 1


def test_what_has_just_arrived_may_still_be_on_its_way(fill: Fill) -> None:
    assert unexplained(fill([0], GRACE_MS), T0, T0 + DAY_MS) == []


@pytest.mark.parametrize(("explained", "passes"), [(range(N), True), ([0, 1, 2, 4], False)])
def test_the_assets_check_warns_and_names_them(
    fill: Fill, tmp_path: Path, explained: Sequence[int], passes: bool
) -> None:
    fill(explained, GRACE_MS + 1)

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [raw_asset("explanations", *RAW["explanations"])],
            resources=resources_of(Settings(var_dir=tmp_path)),
            instance=instance,
            partition_key="2026-01-01",
        )

    found = {item.check_name: item for item in result.get_asset_check_evaluations()}
    assert {name: item.passed for name, item in found.items()} == {
        name: name != EVERY_DECISION.name or passes for name in found
    }
    assert found[EVERY_DECISION.name].severity is dg.AssetCheckSeverity.WARN
    assert found[EVERY_DECISION.name].metadata["decisions"].value == ([] if passes else ["dec-3"])
