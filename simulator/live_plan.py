"""Everything a live run will do, decided before its first second.

The plan holds who buys what and when, how each purchase would end were nobody to refuse it, and what
would be said of it later. Same world, seed and start, same plan; only the platform's decisions and
the machine's speed make two runs differ.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from simulator.activity import ActivityRows, joined, views_before, window_shopping
from simulator.arrivals import Arrivals
from simulator.build import World
from simulator.campaigns import Attack, Campaign, merged
from simulator.labels import Pace, StatedLabels, by_known_time, labels_of, stated
from simulator.live_attacks import Window, planned_attacks
from simulator.market import Market
from simulator.ordinary import ordinary_purchases
from simulator.pace import crowd_visits, rate_shape, together, visits, visits_of_the_hour
from simulator.plan import plan_attacks
from simulator.profiles import ProfileRows, current_versions
from simulator.purchases import Purchases, concat
from simulator.results import AttackBand
from simulator.scenarios.scenario import Scenario
from simulator.shift import shifted
from simulator.spec import stream
from simulator.truth import Truth, truth_of
from simulator.world import Ints

_PROFILE_CHANGES_PER_PURCHASE = 0.01
_LIVE_BLOCK_BIT = 1 << 23  # no day of a history has so high a number


@dataclass(frozen=True)
class LivePlan:
    """A run: purchases in time order with their numbers and truth, and all that happens around them.

    own: by campaign, whether it is the scenario's and not the everyday's. way: by campaign, the way of working of an adversary that it is
    made in, else -1; of one adversary's campaigns, which all last as long, one is at work at a time.
    """

    scenario: Scenario
    start_ms: int
    duration_ms: int
    rows: Purchases
    number: npt.NDArray[np.uint64]
    truth: Truth
    campaigns: tuple[Campaign, ...]
    own: tuple[bool, ...]
    way: tuple[int, ...]
    bands: tuple[AttackBand, ...]
    activity: ActivityRows
    profiles: ProfileRows
    labels: StatedLabels
    label_row: Ints


def plan_live(
    world: World,
    scenario: Scenario,
    rate: float,
    duration_s: float,
    seed: int,
    start_ms: int,
    pace: Pace | None = None,
    *,
    realtime: bool = False,
) -> LivePlan:
    """rate: purchases per second, all included; arrivals are Poisson. pace: of labels; by default that of the run (`pace_of`).

    realtime: people come at their own hours, and rate is the mean of the world's days; else it is that of any hour.
    """
    rng = stream(world.spec, "live", seed)
    duration_ms = int(duration_s * 1000)
    shape = rate_shape(world, scenario.surges, start_ms, duration_ms, realtime)
    window = Window(start_ms, duration_ms, rate * duration_s * float(shape.mean()))
    market = Market.at(world, start_ms)
    attacks = planned_attacks(world, market, scenario, window, rng)
    whole = merged([one.attack for one in attacks])
    whole = replace(whole, purchases=_within(whole.purchases, window))
    way = tuple(one.way for one in attacks for _ in one.attack.campaigns)
    crowds = _crowds(world, market, scenario, window, rng)
    wanted = max(0, int(rng.poisson(window.expected)) - _expected_rows(whole, way) - sum(map(len, crowds)))
    if realtime:
        base = visits_of_the_hour(world, wanted, start_ms, duration_ms, shape, rng)
    else:
        base = visits(world, wanted, start_ms, duration_ms, shape, scenario.regulars, rng)
    honest = ordinary_purchases(world, market, together([base, *crowds]), world.spec.days, rng)
    rows = _within(concat([honest, whole.purchases]).by_time(), window)
    if scenario.shift is not None and scenario.shift.level:
        rows = shifted(rows, window.at(scenario.shift.start), scenario.shift.level, rng)
    block = _LIVE_BLOCK_BIT | (start_ms // 1000) & (_LIVE_BLOCK_BIT - 1)
    number = np.arange(len(rows), dtype=np.uint64) + np.uint64(block << 40)
    truth = truth_of(world, rows, whole.campaigns)
    said = labels_of(rows, truth, pace or pace_of(duration_ms), rng)
    labels = by_known_time([stated(said, rows, number)])
    return LivePlan(
        scenario=scenario,
        start_ms=start_ms,
        duration_ms=duration_ms,
        rows=rows,
        number=number,
        truth=truth,
        campaigns=whole.campaigns,
        own=tuple(one.is_own for one in attacks for _ in one.attack.campaigns),
        way=way,
        bands=tuple(band for one in attacks if (band := one.band(window)) is not None),
        activity=_activity(world, market, rows, start_ms, duration_ms, rng),
        profiles=_profiles(world, len(rows), start_ms, duration_ms, rng),
        labels=labels,
        label_row=np.searchsorted(number, labels.transaction).astype(np.int64),
    )


def _within(rows: Purchases, window: Window) -> Purchases:
    first, last = np.searchsorted(rows.time_ms, [window.start_ms, window.end_ms])
    return rows.take(slice(int(first), int(last)))


def _expected_rows(whole: Attack, way: tuple[int, ...]) -> int:
    """Purchases that the attacks will make: an adversary works in one way at a time."""
    by_way = np.array(way, dtype=np.int64)[whole.purchases.origin]
    return int(np.count_nonzero(by_way <= 0))


def _crowds(
    world: World, market: Market, scenario: Scenario, window: Window, rng: np.random.Generator
) -> list[Arrivals]:
    return [
        crowd_visits(world, market, crowd, window.expected, window.start_ms, window.duration_ms, rng)
        for crowd in scenario.crowds
    ]


def pace_of(duration_ms: int) -> Pace:
    """Days become parts of the run: half of what will be said is said while it lasts."""
    return Pace(
        chargeback_median_ms=0.25 * duration_ms,
        review_median_ms=0.08 * duration_ms,
        sweep_median_ms=0.15 * duration_ms,
    )


def _activity(
    world: World, market: Market, rows: Purchases, start_ms: int, duration_ms: int, rng: np.random.Generator
) -> ActivityRows:
    """Views; inventory counts depend on the platform's decisions and are made while the run goes on."""
    shopping = window_shopping(world, market, start_ms, duration_ms, len(rows), rng)
    return joined([views_before(rows, start_ms, rng), shopping])


def _profiles(world: World, purchases: int, start_ms: int, duration_ms: int, rng: np.random.Generator) -> ProfileRows:
    """A few people change their address, e-mail or phone while the run goes on."""
    n = max(1, int(rng.poisson(purchases * _PROFILE_CHANGES_PER_PURCHASE)))
    account = np.unique(rng.integers(0, len(world.accounts), n)).astype(np.int32)
    changed = current_versions(world, plan_attacks(world))[account]
    time = np.sort(start_ms + rng.integers(0, duration_ms, len(account)))
    changed[np.arange(len(account)), rng.integers(0, changed.shape[1], len(account))] = time
    return ProfileRows(time, account, changed)
