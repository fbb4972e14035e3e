"""Purchases that a campaign spreads evenly over its wave, at the market's prices: who buys what with what is the campaign's own."""

import numpy as np

from simulator.campaigns import Underworld, Wave, claimed_places
from simulator.market import price_table, rounded
from simulator.ordinary import outcome_of
from simulator.purchases import CARD, WALLET, Purchases
from simulator.world import Index, Small


def spread_purchases(
    under: Underworld,
    wave: Wave,
    *,
    account: Index,
    event: Index,
    tickets: Small,
    tier: Small,
    device: Index,
    ip: Index,
    card: Index,
    located: float,
    ends: tuple[float, float, float],
    browsing: int,
    rng: np.random.Generator,
) -> Purchases:
    """Columns are (wave.purchases,). located: share that tells a place. ends: as `outcome_of` takes them. browsing: page views, fewer than that."""
    world, n = under.world, wave.purchases
    lat, lon = claimed_places(world.network.country[ip], rng.random(n) < located, rng)
    return Purchases(
        time_ms=np.sort(wave.start_ms + rng.integers(0, wave.span_ms, n)),
        account=account,
        event=event,
        tickets=tickets,
        tier=tier,
        device=device,
        ip=ip,
        card=card,
        method=np.where(rng.random(n) < 0.85, CARD, WALLET).astype(np.int8),
        amount_minor=rounded(price_table(world)[event, tier] * tickets),
        billing=world.cards.country[card],
        lat_e6=lat,
        lon_e6=lon,
        outcome=outcome_of(rng.random(n, dtype=np.float32), *ends),
        browsing=rng.integers(0, browsing, n).astype(np.int8),
        origin=np.zeros(n, dtype=np.int32),
    )
