"""Which attacks happen in a history, and when; and how any kind is asked for."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from simulator.bot_scalping import bot_scalping, opening
from simulator.build import World
from simulator.campaigns import Attack, Underworld, Wave, clipped_to_world, merged
from simulator.card_testing import CardTesting, card_testing
from simulator.everyday_fraud import stolen_cards, takeovers
from simulator.friendly_fraud import friendly_fraud
from simulator.ghost_events import GhostEvents, ghost_events
from simulator.kinds import NATURES, Kind, drawn_camouflage
from simulator.market import Market
from simulator.mule_ring import mule_ring
from simulator.promoter_collusion import promoter_collusion
from simulator.spec import DAY_MS, HOUR_MS, MINUTE_MS, WorldSpec, stream


@dataclass(frozen=True)
class Usual:
    """Of a kind that there is always some of. share: the field of the spec. size: purchases of a campaign, None where each incident stands alone."""

    share: str
    size: int | None = None
    span_ms: int = DAY_MS


EVERYDAY: Mapping[Kind, Usual] = {
    Kind.ACCOUNT_TAKEOVER: Usual("takeover_share"),
    Kind.STOLEN_CARD: Usual("stolen_share"),
    Kind.FRIENDLY_FRAUD: Usual("friendly_share"),
    Kind.CARD_TESTING: Usual("testing_share", 140, 2 * HOUR_MS),  # tests and cash-out of a middling campaign
    Kind.BOT_SCALPING: Usual("scalping_share", 30, HOUR_MS),
    Kind.PROMOTER_COLLUSION: Usual("collusion_share", 25, 12 * DAY_MS),
    Kind.MULE_RING: Usual("mule_share", 40, 9 * DAY_MS),
}

Make = Callable[[Underworld, Market, Wave, np.random.Generator], Attack]

# Cash-out comes of card testing.
CAMPAIGNS: Mapping[Kind, Make] = {
    Kind.CARD_TESTING: lambda under, market, wave, rng: card_testing(under, market, CardTesting.of(wave), rng),
    Kind.ACCOUNT_TAKEOVER: takeovers,
    Kind.STOLEN_CARD: stolen_cards,
    Kind.GHOST_EVENTS: lambda under, _market, wave, rng: ghost_events(under, GhostEvents.of(wave), rng),
    Kind.BOT_SCALPING: bot_scalping,
    Kind.FRIENDLY_FRAUD: friendly_fraud,
    Kind.PROMOTER_COLLUSION: promoter_collusion,
    Kind.MULE_RING: mule_ring,
}


def plan_attacks(world: World) -> Attack:
    """All attacks of the world's days, in time order, under one register."""
    under = Underworld.of(world)
    attacks = [*_testing_campaigns(world, under), *_scalpings(world, under), *_rings(world, under)]
    for day in range(world.spec.days):
        attacks.extend(_everyday(world, under, day))
    return clipped_to_world(world, merged(attacks))


def wave_of(kind: Kind, start_ms: int, span_ms: int, purchases: int) -> Wave:
    """As well hidden as the kind mostly is."""
    return Wave(start_ms, span_ms, purchases, NATURES[kind].camouflage)


def everyday_waves(
    spec: WorldSpec, start_ms: int, span_ms: int, purchases: float, rng: np.random.Generator
) -> Iterator[tuple[Kind, Wave]]:
    """What fraud there is among so many purchases of a live run, at the shares of the world: campaigns as they come, squeezed into it."""
    for kind, usual in EVERYDAY.items():
        wanted = int(rng.poisson(getattr(spec, usual.share) * purchases))
        size, count = _campaigns(wanted, usual.size or max(1, wanted))
        for _ in range(count):
            mine_ms = min(usual.span_ms, span_ms)
            at_ms = start_ms + int(rng.integers(0, span_ms - mine_ms + 1))
            hidden = NATURES[kind].camouflage if usual.size is None else drawn_camouflage(kind, rng)
            yield kind, Wave(at_ms, mine_ms, size, hidden)


def _testing_campaigns(world: World, under: Underworld) -> list[Attack]:
    """At least two, so that a model trained on a small world has seen one."""
    spec = world.spec
    rng = stream(spec, "testing")
    count = max(2, round(spec.testing_share * spec.purchases / (EVERYDAY[Kind.CARD_TESTING].size or 1)))
    starts = np.sort(rng.integers(spec.start_ms, spec.end_ms, count))
    plans = [CardTesting.drawn(int(start), rng) for start in starts]
    return [card_testing(under, Market.at(world, plan.start_ms), plan, rng) for plan in plans]


def _scalpings(world: World, under: Underworld) -> list[Attack]:
    """Farms of some thirty bots, each at an on-sale that draws a crowd; none where no event does."""
    spec, rng = world.spec, stream(world.spec, "scalping")
    opens = opening(world, spec.start_ms, spec.end_ms - HOUR_MS)
    size, count = _campaigns_of(spec, EVERYDAY[Kind.BOT_SCALPING])
    chosen = rng.choice(opens, min(count, len(opens)), replace=False) if len(opens) else opens
    waves = [
        Wave(int(world.events.on_sale_ms[event]), HOUR_MS, size, drawn_camouflage(Kind.BOT_SCALPING, rng))
        for event in chosen
    ]
    return [bot_scalping(under, Market.at(world, wave.start_ms + MINUTE_MS), wave, rng) for wave in waves]


def _rings(world: World, under: Underworld) -> list[Attack]:
    """What goes on for weeks: colluding promoters and mules."""
    spec, attacks = world.spec, []
    for kind in (Kind.PROMOTER_COLLUSION, Kind.MULE_RING):
        rng, usual = stream(spec, str(kind)), EVERYDAY[kind]
        size, count = _campaigns_of(spec, usual)
        span_ms = min(usual.span_ms, spec.days * DAY_MS)
        for _ in range(count):
            start_ms = int(rng.integers(spec.start_ms, spec.end_ms - min(span_ms, spec.end_ms - spec.start_ms) + 1))
            wave = Wave(start_ms, span_ms, size, drawn_camouflage(kind, rng))
            attacks.append(CAMPAIGNS[kind](under, Market.at(world, start_ms), wave, rng))
    return attacks


def _campaigns_of(spec: WorldSpec, usual: Usual) -> tuple[int, int]:
    wanted = round(getattr(spec, usual.share) * spec.purchases)
    return _campaigns(wanted, usual.size or max(1, wanted))


def _campaigns(wanted: int, size: int) -> tuple[int, int]:
    """Purchases of a campaign, and how many campaigns: about `size` each; small ones where few are wanted."""
    count = -(-wanted // size)
    return round(wanted / max(1, count)), count


def _everyday(world: World, under: Underworld, day: int) -> list[Attack]:
    """Takeovers, single stolen cards and what will be disputed, of one day."""
    spec = world.spec
    rng = stream(spec, "everyday", day)
    start = spec.start_ms + day * DAY_MS
    market = Market.at(world, start)
    taken = int(rng.poisson(spec.takeover_share * spec.rate_per_day))
    stolen = int(rng.poisson(spec.stolen_share * spec.rate_per_day))
    disputed = int(rng.poisson(spec.friendly_share * spec.rate_per_day))
    attacks = [
        takeovers(under, market, wave_of(Kind.ACCOUNT_TAKEOVER, start, DAY_MS, taken), rng),
        stolen_cards(under, market, wave_of(Kind.STOLEN_CARD, start, DAY_MS, stolen), rng),
    ]
    if disputed:
        attacks.append(friendly_fraud(under, market, wave_of(Kind.FRIENDLY_FRAUD, start, DAY_MS, disputed), rng))
    return attacks
