"""When people come in a run: evenly, in surges, and at once for an on-sale."""

import numpy as np

from simulator.arrivals import ANY_EVENT, CROWD_LOVE, Arrivals
from simulator.build import World
from simulator.market import Market
from simulator.people import popularity_cdf
from simulator.scenarios.scenario import Crowd, Surge
from simulator.world import Floats, Ints

# Even heavy buyers buy once in two minutes; a flatter weight keeps a dense run's people natural.
_TEMPER = 0.5
_STEPS = 1_000  # of a run; a surge begins and ends at one
# Two thirds of a crowd come in the first third of its time.
_CROWD_MEAN = 1 / 3


def rate_shape(surges: tuple[Surge, ...]) -> Floats:
    """(steps,) arrivals of each step of a run, in those of a run without surges."""
    middle = (np.arange(_STEPS) + 0.5) / _STEPS
    shape = np.ones(_STEPS)
    for surge in surges:
        shape[(middle >= surge.start) & (middle < surge.start + surge.length)] *= surge.factor
    return shape


def mean_factor(surges: tuple[Surge, ...]) -> float:
    """How many times as many arrivals a run with these surges has."""
    return float(rate_shape(surges).mean())


def visits(
    world: World,
    n: int,
    start_ms: int,
    duration_ms: int,
    surges: tuple[Surge, ...],
    regulars: bool,
    rng: np.random.Generator,
) -> Arrivals:
    """People by weight: each time anew, or else different ones as far as they go."""
    weight = world.accounts.weight**_TEMPER
    account = _drawn(weight, n, rng) if regulars else _everybody_once(weight, n, rng)
    return Arrivals(
        time_ms=np.sort(start_ms + _times(n, duration_ms, surges, rng)),
        account=account.astype(np.int32),
        event=np.full(n, ANY_EVENT, dtype=np.int32),
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


def _times(n: int, duration_ms: int, surges: tuple[Surge, ...], rng: np.random.Generator) -> Ints:
    if not surges:
        return rng.integers(0, duration_ms, n)
    cdf = np.concatenate([[0.0], np.cumsum(rate_shape(surges))])
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
