"""When people come in a run: evenly or at their own hours, in surges, and at once for an on-sale."""

import numpy as np

from simulator.arrivals import ANY_EVENT, CROWD_LOVE, Arrivals
from simulator.build import World
from simulator.market import Market
from simulator.people import popularity_cdf
from simulator.rhythm import awake_at, busy_at
from simulator.scenarios.scenario import Crowd, Surge
from simulator.spec import HOUR_MS
from simulator.world import Floats, Ints

# Even heavy buyers buy once in two minutes; a flatter weight keeps a dense run's people natural.
_TEMPER = 0.5
_STEPS = 1_000  # of a run; a surge begins and ends at one
# Two thirds of a crowd come in the first third of its time.
_CROWD_MEAN = 1 / 3


def rate_shape(world: World, surges: tuple[Surge, ...], start_ms: int, duration_ms: int, realtime: bool) -> Floats:
    """(steps,) arrivals of each step of a run, in those of a run without surges; realtime: of a mean minute of the world."""
    middle = (np.arange(_STEPS) + 0.5) / _STEPS
    shape = busy_at(world, start_ms + (middle * duration_ms).astype(np.int64)) if realtime else np.ones(_STEPS)
    for surge in surges:
        shape[(middle >= surge.start) & (middle < surge.start + surge.length)] *= surge.factor
    return shape


def visits(
    world: World,
    n: int,
    start_ms: int,
    duration_ms: int,
    shape: Floats,
    regulars: bool,
    rng: np.random.Generator,
) -> Arrivals:
    """People by weight: each time anew, or else different ones as far as they go."""
    weight = world.accounts.weight**_TEMPER
    account = _drawn(weight, n, rng) if regulars else _everybody_once(weight, n, rng)
    return _in_order(start_ms + _times(n, duration_ms, shape, rng), account)


def visits_of_the_hour(
    world: World, n: int, start_ms: int, duration_ms: int, shape: Floats, rng: np.random.Generator
) -> Arrivals:
    """Those who are up, each time anew."""
    time_ms = np.sort(start_ms + _times(n, duration_ms, shape, rng))
    account = np.empty(n, dtype=np.int64)
    for hour in np.unique(time_ms // HOUR_MS).tolist():
        now = np.flatnonzero(time_ms // HOUR_MS == hour)
        weight = world.accounts.weight**_TEMPER * awake_at(world, hour * HOUR_MS)
        account[now] = _drawn(weight, len(now), rng)
    return _in_order(time_ms, account)


def _in_order(time_ms: Ints, account: Ints) -> Arrivals:
    return Arrivals(
        time_ms=np.sort(time_ms),
        account=account.astype(np.int32),
        event=np.full(len(account), ANY_EVENT, dtype=np.int32),
    )


def crowd_visits(
    world: World,
    market: Market,
    crowd: Crowd,
    expected: float,
    start_ms: int,
    duration_ms: int,
    rng: np.random.Generator,
) -> Arrivals:
    """Who queues for the most wanted event on sale, scalpers before all others."""
    n = int(rng.poisson(crowd.share * expected))
    length_ms = crowd.length * duration_ms
    after = np.minimum(rng.exponential(_CROWD_MEAN * length_ms, n), length_ms - 1)
    people = world.accounts
    love = people.weight * CROWD_LOVE[people.persona] * (people.created_ms < start_ms)
    wanted = market.on_sale[np.argmax(world.events.popularity[market.on_sale])]
    return Arrivals(
        time_ms=np.sort(start_ms + (crowd.start * duration_ms + after).astype(np.int64)),
        account=_everybody_once(love + 1e-12, n, rng).astype(np.int32),
        event=np.full(n, wanted, dtype=np.int32),
    )


def together(parts: list[Arrivals]) -> Arrivals:
    """All of them, in time order."""
    time = np.concatenate([part.time_ms for part in parts])
    order = np.argsort(time, kind="stable")
    return Arrivals(
        time_ms=time[order],
        account=np.concatenate([part.account for part in parts])[order],
        event=np.concatenate([part.event for part in parts])[order],
    )


def _times(n: int, duration_ms: int, shape: Floats, rng: np.random.Generator) -> Ints:
    if (shape == shape[0]).all():
        return rng.integers(0, duration_ms, n)
    cdf = np.concatenate([[0.0], np.cumsum(shape)])
    share = np.interp(rng.random(n), cdf / cdf[-1], np.arange(_STEPS + 1) / _STEPS)
    return np.minimum((share * duration_ms).astype(np.int64), duration_ms - 1)


def _drawn(weight: Floats, n: int, rng: np.random.Generator) -> Ints:
    return np.searchsorted(popularity_cdf(weight), rng.random(n), side="right").astype(np.int64)


def _everybody_once(weight: Floats, n: int, rng: np.random.Generator) -> Ints:
    """A weighted draw without replacement, repeated when exhausted."""
    people: list[Ints] = []
    for taken in range(0, n, len(weight)):
        # Exponential race: the order of arrival of clocks with these rates is the weighted draw.
        race = np.argsort(rng.exponential(1.0, len(weight)) / weight)
        people.append(race[: n - taken])
    return rng.permutation(np.concatenate(people)) if people else np.empty(0, dtype=np.int64)
