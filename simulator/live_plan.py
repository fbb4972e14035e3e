"""Everything a live run will do, decided before its first second.

The plan holds who buys what and when, how each purchase would end were nobody to refuse it, and what
would be said of it later. Same world, seed and start, same plan; only the platform's decisions and
the machine's speed make two runs differ.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from simulator.activity import ActivityRows, joined, views_before, window_shopping
from simulator.arrivals import ANY_EVENT, Arrivals
from simulator.build import World
from simulator.campaigns import Attack, Campaign, Underworld, merged
from simulator.card_testing import CardTesting, card_testing
from simulator.everyday_fraud import stolen_cards, takeovers
from simulator.ghost_events import GhostEvents, ghost_events
from simulator.kinds import Kind
from simulator.labels import Pace, StatedLabels, by_known_time, labels_of, stated
from simulator.market import Market
from simulator.ordinary import ordinary_purchases
from simulator.people import popularity_cdf
from simulator.plan import plan_attacks, wave_of
from simulator.profiles import ProfileRows, current_versions
from simulator.purchases import Purchases, concat
from simulator.scenarios.scenario import GhostSale, Scenario, TestingBurst
from simulator.spec import stream
from simulator.truth import Truth, truth_of
from simulator.world import Floats, Ints

# Even heavy buyers buy once in two minutes; a flatter weight keeps a dense run's people natural.
_TEMPER = 0.5
_PROFILE_CHANGES_PER_PURCHASE = 0.01
_LIVE_BLOCK_BIT = 1 << 23  # no day of a history has so high a number


@dataclass(frozen=True)
class LivePlan:
    """A run: purchases in time order with their numbers and truth, and all that happens around them."""

    scenario: Scenario
    start_ms: int
    duration_ms: int
    rows: Purchases
    number: npt.NDArray[np.uint64]
    truth: Truth
    campaigns: tuple[Campaign, ...]
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
) -> LivePlan:
    """rate: purchases per second, all included; arrivals are Poisson. pace: of labels; by default that of the run (`pace_of`)."""
    rng = stream(world.spec, "live", seed)
    duration_ms = int(duration_s * 1000)
    expected = rate * duration_s
    market = Market.at(world, start_ms)
    attack = _attack(world, market, scenario, expected, start_ms, duration_ms, rng)
    ordinary = max(0, int(rng.poisson(expected)) - len(attack.purchases))
    visits = _visits(world, ordinary, start_ms, duration_ms, scenario.regulars, rng)
    honest = ordinary_purchases(world, market, visits, world.spec.days, rng)
    rows = _within(concat([honest, attack.purchases]).by_time(), start_ms, start_ms + duration_ms)
    block = _LIVE_BLOCK_BIT | (start_ms // 1000) & (_LIVE_BLOCK_BIT - 1)
    number = np.arange(len(rows), dtype=np.uint64) + np.uint64(block << 40)
    truth = truth_of(world, rows, attack.campaigns)
    said = labels_of(rows, truth, pace or pace_of(duration_ms), rng)
    labels = by_known_time([stated(said, rows, number)])
    return LivePlan(
        scenario=scenario,
        start_ms=start_ms,
        duration_ms=duration_ms,
        rows=rows,
        number=number,
        truth=truth,
        campaigns=attack.campaigns,
        activity=_activity(world, market, rows, start_ms, duration_ms, rng),
        profiles=_profiles(world, len(rows), start_ms, duration_ms, rng),
        labels=labels,
        label_row=np.searchsorted(number, labels.transaction).astype(np.int64),
    )


def _within(rows: Purchases, start_ms: int, end_ms: int) -> Purchases:
    first, last = np.searchsorted(rows.time_ms, [start_ms, end_ms])
    return rows.take(slice(int(first), int(last)))


def _visits(
    world: World, n: int, start_ms: int, duration_ms: int, regulars: bool, rng: np.random.Generator
) -> Arrivals:
    """People by weight: each time anew, or else different ones as far as they go."""
    weight = world.accounts.weight**_TEMPER
    account = _drawn(weight, n, rng) if regulars else _everybody_once(weight, n, rng)
    return Arrivals(
        time_ms=np.sort(start_ms + rng.integers(0, duration_ms, n)),
        account=account.astype(np.int32),
        event=np.full(n, ANY_EVENT, dtype=np.int32),
    )


def _drawn(weight: Floats, n: int, rng: np.random.Generator) -> Ints:
    return np.searchsorted(popularity_cdf(weight), rng.random(n), side="right").astype(np.int64)


def _everybody_once(weight: Floats, n: int, rng: np.random.Generator) -> Ints:
    """A weighted draw without replacement, repeated when exhausted."""
    people: list[npt.NDArray[np.int64]] = []
    for taken in range(0, n, len(weight)):
        # Exponential race: the order of arrival of clocks with these rates is the weighted draw.
        race = np.argsort(rng.exponential(1.0, len(weight)) / weight)
        people.append(race[: n - taken])
    return rng.permutation(np.concatenate(people)) if people else np.empty(0, dtype=np.int64)


def _attack(
    world: World,
    market: Market,
    scenario: Scenario,
    expected: float,
    start_ms: int,
    duration_ms: int,
    rng: np.random.Generator,
) -> Attack:
    """The scenario's bursts over the everyday fraud, at the shares of the world."""
    under = Underworld.of(world)
    taken, stolen = (
        int(rng.poisson(share * expected)) for share in (world.spec.takeover_share, world.spec.stolen_share)
    )
    attacks = [
        takeovers(under, market, wave_of(Kind.ACCOUNT_TAKEOVER, start_ms, duration_ms, taken), rng),
        stolen_cards(under, market, wave_of(Kind.STOLEN_CARD, start_ms, duration_ms, stolen), rng),
    ]
    for burst in scenario.bursts:
        plan = _squeezed(burst, expected, start_ms, duration_ms)
        attacks.append(card_testing(under, market, plan, rng))
    for sale in scenario.ghosts:
        attacks.append(ghost_events(under, _on_sale(sale, expected, start_ms, duration_ms), rng))
    whole = merged(attacks)
    return replace(whole, purchases=_within(whole.purchases, start_ms, start_ms + duration_ms))


def _squeezed(burst: TestingBurst, expected: float, start_ms: int, duration_ms: int) -> CardTesting:
    """A burst's means grow with its size; each device and address still tries about a dozen cards."""
    tests = max(10, round(burst.share * expected))
    return CardTesting(
        start_ms=start_ms + int(burst.start * duration_ms),
        duration_ms=int(burst.length * duration_ms),
        tests=tests,
        devices=max(2, tests // 14),
        addresses=max(2, tests // 12),
        accounts=max(3, tests // 8),
        camouflage=burst.disguise,
        dead_cards=burst.dead_cards,
        cash_out_delay_ms=burst.cash_out_delay * duration_ms,
    )


def _on_sale(sale: GhostSale, expected: float, start_ms: int, duration_ms: int) -> GhostEvents:
    after_ms = min(int(sale.after_s * 1000), duration_ms - 1)
    share = sale.share * (duration_ms - after_ms) / duration_ms
    return GhostEvents(start_ms + after_ms, duration_ms - after_ms, max(1, round(share * expected)), sale.events)


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
