"""What a learning loop is tried with: a history that ends at the rate of a live run, a fraud that was never there, labels told to an API."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from api.labels import parse_labels
from fraud_assets.contracts.events import Label, Transaction
from fraud_assets.stores.lake import Lake
from simulator.history import write_history
from simulator.http_client import HttpFailure
from simulator.kinds import Kind
from simulator.labels import Pace
from simulator.live import LiveRun, RunSettings
from simulator.live_plan import LivePlan, plan_live
from simulator.ports import AT_ONCE, ApiLabels, NoScorer
from simulator.results import RunResult
from simulator.rush import Rush
from simulator.scenarios.scenario import GhostSale, Scenario
from simulator.script import script_of
from simulator.spec import DAY_MS
from tests.simulator.test_live import START_MS, Recorded
from tests.simulator.worlds import KEY, SPEC, Made

SMALL = msgspec.structs.replace(SPEC, days=1, rate_per_day=300)
RUSH = Rush(minutes=10, rate_per_s=2.0)
SHIFT = Scenario("shift", "", ghosts=(GhostSale(after_s=20.0, share=0.3),), regulars=True)


@pytest.fixture(scope="module")
def shifted(made: Made) -> LivePlan:
    return plan_live(made.world, SHIFT, 50.0, 60.0, 7, START_MS, Pace.of_week(10_000))


def ghosts(plan: LivePlan) -> npt.NDArray[np.bool_]:
    kinds = np.array([one.kind is Kind.GHOST_EVENTS for one in plan.campaigns] + [False])
    return np.asarray(kinds[plan.rows.origin])


def test_the_new_fraud_begins_when_it_is_said_and_goes_on_to_the_end(shifted: LivePlan) -> None:
    at_s = (shifted.rows.time_ms[ghosts(shifted)] - START_MS) / 1000

    assert 20.0 <= at_s.min() < 22.0
    assert 58.0 < at_s.max() < 60.0
    after = shifted.rows.time_ms >= START_MS + 20_000
    assert 0.25 < ghosts(shifted)[after].mean() < 0.35
    assert shifted.truth.is_fraud[ghosts(shifted)].all()


def test_the_new_fraud_buys_from_one_promoter_with_real_accounts_and_strange_devices(
    made: Made, shifted: LivePlan
) -> None:
    rows = shifted.rows.take(np.flatnonzero(ghosts(shifted)))
    people = made.world.accounts

    assert len(np.unique(made.world.events.promoter[rows.event])) == 1
    assert (rows.card == people.cards[rows.account, 0]).all()
    assert (rows.ip == people.household[rows.account]).all()
    assert not (rows.device == people.devices[rows.account, 0]).any()


def test_regulars_come_again_as_often_as_they_buy(made: Made) -> None:
    """Where everybody comes once before anybody comes again, who bought lately says how long a run has lasted."""
    plan = {
        again: plan_live(made.world, Scenario("x", "", regulars=again), 50.0, 60.0, 7, START_MS)
        for again in (True, False)
    }
    most = {again: np.bincount(one.rows.account[one.rows.origin < 0]).max() for again, one in plan.items()}

    assert most[True] > most[False]


def test_a_week_in_ten_seconds_has_most_chargebacks_within_them(shifted: LivePlan) -> None:
    early = shifted.labels.known_ms - shifted.rows.time_ms[shifted.label_row]
    charged = early[(shifted.labels.source == 0) & (shifted.labels.revision == 0)]

    assert len(charged) > 50
    assert 0.8 < (charged <= 10_000).mean() < 0.97


def test_nearly_all_of_the_new_fraud_is_found_out_by_reviewers_who_speak_of_refused_purchases_too(
    shifted: LivePlan,
) -> None:
    reviewed = shifted.labels.source == 1
    ids, times = np.unique(shifted.labels.number, return_counts=True)

    found = np.isin(np.flatnonzero(ghosts(shifted)), shifted.label_row[reviewed & shifted.labels.is_fraud])
    assert found.mean() > 0.93
    assert len(ids) and times.max() == 1


@pytest.fixture(scope="module")
def rushed(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    folder = tmp_path_factory.mktemp("rush")
    summary = write_history(SMALL, folder / "lake", KEY, pace=Pace.of_week(30_000), rush=RUSH)
    assert summary.transactions > 10 * 60 * 2 * 0.8
    return Lake(folder / "lake")


def test_a_history_ends_with_its_rush(rushed: Lake) -> None:
    end_ms = SPEC.start_ms + DAY_MS
    before = rushed.scan("transactions", from_ms=end_ms - RUSH.duration_ms, to_ms=end_ms)
    rush = rushed.scan("transactions", from_ms=end_ms, to_ms=end_ms + RUSH.duration_ms)

    assert len(before) < 30
    assert 0.8 < len(rush) / (RUSH.rate_per_s * RUSH.minutes * 60) < 1.2
    assert not len(rushed.scan("transactions", from_ms=end_ms + RUSH.duration_ms))


@pytest.mark.parametrize("table", ["transactions", "activity", "profiles", "labels"])
def test_a_rush_goes_on_in_the_log_where_the_days_end(rushed: Lake, table: str) -> None:
    rows = rushed.scan(table, columns=["event_time_ms", "source_offset"]).sort_by("source_offset")

    assert rows["source_offset"].to_pylist() == list(range(len(rows)))
    assert np.all(np.diff(rows["event_time_ms"].to_numpy()) >= 0)


# ------------------------------------------------------------------------------------------- the run itself


def run_of(made: Made, plan: LivePlan, source: Recorded, case_system: ApiLabels | None = None) -> LiveRun:
    settings = RunSettings(50.0, 60.0, 7, ("kafka",))
    sold = made.world.events.sold_before
    return LiveRun(
        made.world,
        made.names,
        script_of(made.world, made.names, plan),
        settings,
        NoScorer(),
        source,
        sold,
        case_system=case_system,
    )


def test_a_run_that_is_stopped_accounts_for_what_it_did(made: Made, shifted: LivePlan) -> None:
    """An hour was planned; who stops it wants the minutes that there were."""
    source = Recorded()
    live = run_of(made, shifted, source)
    began = time.perf_counter()

    async def drive() -> RunResult:
        asyncio.get_running_loop().call_later(1.0, live.stop)
        return await live.run()

    result = asyncio.run(drive())

    assert time.perf_counter() - began < 30
    assert 0 < len(result.purchases) < len(shifted.rows)
    assert len(source.of(Transaction)) == len(result.purchases)
    assert source.closed


@dataclass
class CaseSystem:
    """Takes labels, or refuses the first so many requests."""

    refuses: int = 0
    bodies: list[bytes] = field(default_factory=list)

    async def post(self, path: str, body: bytes, headers: str = "") -> bytes:
        assert path == "/labels"
        if self.refuses:
            self.refuses -= 1
            raise HttpFailure("status_503")
        self.bodies.append(body)
        return b"{}"


def test_labels_are_told_as_the_api_takes_them_and_again_if_it_refused(made: Made, shifted: LivePlan) -> None:
    taken, source = CaseSystem(refuses=1), Recorded()
    case_system = ApiLabels(taken)  # type: ignore[arg-type]
    live = run_of(made, plan_live(made.world, SHIFT, 50.0, 4.0, 7, START_MS, Pace.of_week(500)), source, case_system)

    asyncio.run(live.run())

    batches = [parse_labels(body, START_MS + DAY_MS) for body in taken.bodies]
    told = [label for batch in batches for label in batch]
    assert told
    assert case_system.accepted == len(told) == len({label.label_id for label in told})
    assert case_system.refused == Counter({"status_503": 1})
    assert max(map(len, batches)) <= AT_ONCE
    assert not source.of(Label)
