"""What a scenario breaks is broken when it says, and whole again in the end, however the run ends."""

import asyncio
import time
from dataclasses import dataclass, field

import pytest

from simulator.faults import HttpFaults, NobodyBreaks, NoFaults, play
from simulator.http_client import HttpClient
from simulator.live import LiveRun, RunSettings
from simulator.live_plan import plan_live
from simulator.ports import NoScorer, NoSource
from simulator.results import RunResult
from simulator.scenarios.registry import SCENARIOS
from simulator.scenarios.scenario import Outage
from simulator.script import script_of
from tests.simulator.worlds import SPEC, Made

OUTAGES = (Outage("store", "hung", start=0.5, length=0.2), Outage("store", "slow", start=0.1, length=0.2, delay_ms=50))


@dataclass
class Told:
    """Faults that remember when they were told."""

    orders: list[tuple[str, str, float]] = field(default_factory=list)
    first: asyncio.Event = field(default_factory=asyncio.Event)

    async def set(self, dependency: str, fault: str, delay_ms: float = 0.0) -> None:
        self.orders.append((dependency, fault, delay_ms))
        self.first.set()


def test_each_outage_comes_at_its_time_and_ends() -> None:
    told, began = Told(), time.perf_counter()

    bands = asyncio.run(play(OUTAGES, 1.0, told, lambda: time.perf_counter() - began))

    assert told.orders == [
        ("store", "slow", 50),
        ("store", "none", 0.0),
        ("store", "hung", 0.0),
        ("store", "none", 0.0),
    ]
    assert [one.fault for one in bands] == ["slow", "hung"]
    for band, start in zip(bands, (0.1, 0.5), strict=True):
        # A loop may wake a tick of its clock early.
        assert band.start_s > start - 0.01 and band.end_s > start + 0.19


def test_a_run_that_is_stopped_leaves_nothing_broken() -> None:
    async def cut(told: Told) -> None:
        playing = asyncio.create_task(play(OUTAGES, 1_000.0, told, lambda: 100.0))
        await told.first.wait()
        playing.cancel()
        await asyncio.wait([playing])

    told = Told()
    asyncio.run(cut(told))

    assert told.orders == [("store", "slow", 50), ("store", "none", 0.0)]


def run(made: Made, faults: Told | NobodyBreaks) -> RunResult:
    plan = plan_live(made.world, SCENARIOS["system-degradation"], 30.0, 3.0, 7, SPEC.end_ms)
    script = script_of(made.world, made.names, plan)
    settings = RunSettings(30.0, 3.0, 7, ("kafka",))
    live = LiveRun(
        made.world, made.names, script, settings, NoScorer(), NoSource(), made.world.events.sold_before, faults=faults
    )
    return asyncio.run(live.run())


def test_a_run_breaks_what_its_scenario_says_and_shows_when(made: Made) -> None:
    told = Told()

    result = run(made, told)

    broken = [(one.dependency, one.fault) for one in SCENARIOS["system-degradation"].outages]
    assert [order[:2] for order in told.orders[::2]] == broken
    assert [order[:2] for order in told.orders[1::2]] == [(dependency, "none") for dependency, _ in broken]
    assert [(one.dependency, one.fault) for one in result.outages] == broken


def test_a_run_whose_faults_cannot_be_had_is_none(made: Made) -> None:
    """Else it would pass as one in which everything was kept."""
    with pytest.raises(NoFaults, match="--faults"):
        run(made, NobodyBreaks())


def test_a_proxy_that_does_not_answer_is_named(free_port: int) -> None:
    async def ask() -> None:
        async with HttpClient(f"http://127.0.0.1:{free_port}", timeout_s=1) as client:
            await HttpFaults(client).set("store", "hung")

    with pytest.raises(NoFaults, match="'hung' to 'store': refused"):
        asyncio.run(ask())
