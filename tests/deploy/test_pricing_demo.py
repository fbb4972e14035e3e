"""The pricing demo's parts: the feed is what a worker would fold, its tolerances can fail, and the whole runs small."""

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from api.pricing.contract import PriceRequest
from api.pricing.features import EventNow, EventReader
from deploy.local.pricing_demo import Played, PricingSummary, tolerances_of
from deploy.local.pricing_feed import Feed
from fraud_assets.features.catalogue.ticketing import EVENT_PRICING, registry
from fraud_assets.monitoring.off_policy import Estimate, Faults
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_async import OnlineReader
from simulator.pricing_market import HOUR_MS, MarketSpec, Selling, events_of
from simulator.pricing_results import Earned, Learning
from tests.api.world import until

NOON_MS = 1_790_856_000_000


def test_the_feed_says_what_was_sold_what_is_left_and_who_looks(store: OnlineStore, valkey_server: str) -> None:
    (event,) = events_of(MarketSpec(seed=1, events=1, hours=60, selling_hours=(30, 50)))
    feed = Feed(store)
    hours = [Selling(event, hour, 5_000, 500 - 7 * hour, 7 * hour, 7 if hour else 0, 60) for hour in range(3)]

    for hour, selling in enumerate(hours):
        feed.publish([selling], NOON_MS + hour * HOUR_MS)

    request = PriceRequest(
        event_time_ms=NOON_MS + 2 * HOUR_MS, event_id=event.event_id, promoter_id="market", category=event.category,
        currency="EUR", base_price_minor=5_000, current_price_minor=5_000, starts_at_ms=NOON_MS + 50 * HOUR_MS,
    )  # fmt: skip
    now = asyncio.run(_read(valkey_server, request))
    assert (now.missing, now.inventory, now.tickets_sold, now.viewers) == ([], 486, 14, 5)


async def _read(url: str, request: PriceRequest) -> EventNow:
    online = OnlineReader(url, registry(), 1.0)
    online.start()
    try:
        await asyncio.to_thread(until, lambda: online.marker is not None)
        (now,) = await EventReader(online, registry(), EVENT_PRICING).read([request])
        return now
    finally:
        await online.close()


def learnt(*thirds: float) -> Learning:
    """Twenty events that lose so much, each a little more or less."""
    scatter = np.array([[0.5, -0.5, 0.5], [-0.5, 0.5, -0.5]] * 10)
    return Learning(np.array(thirds) + scatter, np.full((20, 3), 100.0))


def market(*thirds: float, markets: int = 3, **shares: float) -> Played:
    played = Played(learning=[learnt(*thirds)] * markets)
    played.markets[1] = [Earned(name, 1.0, 0.5, share, np.zeros(3), {}, []) for name, share in shares.items()]
    return played


ESTIMATE = Estimate(0.05, 0.05, 0.052, 0.001, 0.5, 100, 200)


def test_each_tolerance_can_fail() -> None:
    good = tolerances_of(market(5, 4, 3, fixed=0.8, rule=0.9, service=0.95), ESTIMATE, 0.05, Faults(0, 0))
    worse = market(3, 4, 5, fixed=0.96, rule=0.97, service=0.95)
    worse.markets[1][2] = replace(worse.markets[1][2], broken=["e: from 1 to 9 within an hour"])
    worse.uncounted["no_recommendation"] = 3
    bad = tolerances_of(worse, ESTIMATE, 0.08, Faults(0, 1))

    assert all(one.holds for one in good)
    assert not any(one.holds for one in bad) and len(good) == len(bad) == 7


@pytest.mark.parametrize(
    ("thirds", "markets", "holds"),
    [
        ((5, 4, 3), 3, True),
        ((5, 3, 4), 3, False),
        ((4, 4, 4), 3, False),
        ((4, 4, 4), 1, True),
        ((4, 4, 5), 1, False),
        ((4, 4, 3), 3, False),
    ],
)
def test_many_markets_have_to_show_that_regret_falls_and_one_not_that_it_rises(
    thirds: tuple[int, int, int], markets: int, holds: bool
) -> None:
    found = tolerances_of(
        market(*thirds, markets=markets, fixed=0.8, rule=0.9, service=1.0), ESTIMATE, 0.05, Faults(0, 0)
    )

    (regret,) = [one for one in found if one.claim.startswith("regret")]
    assert regret.holds == holds


@pytest.mark.demo
@pytest.mark.timeout(600)
def test_the_whole_demo_runs_small(tmp_path: Path, root: Path) -> None:
    argv = [sys.executable, "-m", "deploy.local.pricing_demo", "--seeds", "1", "--events", "8", "--hours", "120", "--var", str(tmp_path / "d")]  # fmt: skip

    done = subprocess.run(argv, cwd=root, capture_output=True, text=True, check=False)

    said = (
        msgspec.json.decode(done.stdout.splitlines()[-1].encode(), type=PricingSummary)
        if done.returncode == 0
        else None
    )
    written = msgspec.json.decode((tmp_path / "d" / "summary.json").read_bytes(), type=PricingSummary)
    assert said is None or said == written
    assert written.broken_rails == 0 and written.off_policy["as logged"]["decisions"] > 100
    assert done.returncode == (1 if written.failed else 0), done.stderr
    assert "<polyline" in (tmp_path / "d" / "report.html").read_text()
