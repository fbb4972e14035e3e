"""Which attacks happen in a history, and when."""

import numpy as np

from simulator.build import World
from simulator.campaigns import Attack, Underworld, clipped_to_world, merged
from simulator.card_testing import CardTesting, card_testing
from simulator.everyday_fraud import stolen_cards, takeovers
from simulator.market import Market
from simulator.spec import DAY_MS, stream

_PURCHASES_PER_TESTING = 140  # tests and cash-out of a middling campaign


def plan_attacks(world: World) -> Attack:
    """All attacks of the world's days, in time order, under one register."""
    under = Underworld.of(world)
    attacks = _testing_campaigns(world, under)
    for day in range(world.spec.days):
        attacks.extend(_everyday(world, under, day))
    return clipped_to_world(world, merged(attacks))


def _testing_campaigns(world: World, under: Underworld) -> list[Attack]:
    """At least two, so that a model trained on a small world has seen one."""
    spec = world.spec
    rng = stream(spec, "testing")
    count = max(2, round(spec.testing_share * spec.purchases / _PURCHASES_PER_TESTING))
    starts = np.sort(rng.integers(spec.start_ms, spec.end_ms, count))
    plans = [CardTesting.drawn(int(start), rng) for start in starts]
    return [card_testing(under, Market.at(world, plan.start_ms), plan, rng) for plan in plans]


def _everyday(world: World, under: Underworld, day: int) -> list[Attack]:
    """Takeovers and single stolen cards of one day."""
    spec = world.spec
    rng = stream(spec, "everyday", day)
    start = spec.start_ms + day * DAY_MS
    market = Market.at(world, start)
    taken = int(rng.poisson(spec.takeover_share * spec.rate_per_day))
    stolen = int(rng.poisson(spec.stolen_share * spec.rate_per_day))
    return [
        takeovers(under, market, start, DAY_MS, taken, rng),
        stolen_cards(under, market, start, DAY_MS, stolen, rng),
    ]
