"""Ghost events: a promoter puts events on sale that nobody means to hold, and buys them out with other people's money.

The buyers' accounts, stored cards and home addresses are real, hijacked by the thousand; only the devices are the thieves' own.
A taken-over account alone is everyday fraud, dear tickets from abroad in the middle of the night. Here each purchase is modest and
near home, and what is odd is where all of them buy.
"""

from dataclasses import dataclass

import numpy as np

from simulator.campaigns import Attack, Campaign, Underworld, Wave
from simulator.kinds import Kind
from simulator.market import price_table, rounded
from simulator.ordinary import outcome_of
from simulator.purchases import CARD, NO_PLACE, PREMIUM, STANDARD, WALLET, Purchases
from simulator.world import Index


@dataclass(frozen=True)
class GhostEvents:
    """One campaign. events: how many are for sale, of one promoter."""

    start_ms: int
    duration_ms: int
    purchases: int
    events: int

    @classmethod
    def of(cls, wave: Wave) -> "GhostEvents":
        """The better hidden, the more events share the sales."""
        return cls(wave.start_ms, wave.span_ms, wave.purchases, 1 + round(6 * wave.camouflage))


def ghost_events(under: Underworld, plan: GhostEvents, rng: np.random.Generator) -> Attack:
    """Purchases at a steady tempo, of one or two tickets each."""
    people, n = under.world.accounts, plan.purchases
    victim = under.people(n, rng)
    end = plan.start_ms + plan.duration_ms
    event = rng.choice(quiet_events(under, plan.start_ms, end, plan.events, rng), size=n)
    tickets = rng.choice(np.array([1, 2], dtype=np.int8), size=n)
    tier = rng.choice(np.array([STANDARD, PREMIUM], dtype=np.int8), size=n, p=[0.8, 0.2])
    card = people.cards[victim, 0]
    purchases = Purchases(
        time_ms=np.sort(plan.start_ms + rng.integers(0, plan.duration_ms, n)),
        account=victim,
        event=event,
        tickets=tickets,
        tier=tier,
        device=under.rigs(n, rng),
        ip=people.household[victim],
        card=card,
        method=np.where(rng.random(n) < 0.8, CARD, WALLET).astype(np.int8),
        amount_minor=rounded(price_table(under.world)[event, tier] * tickets),
        billing=under.world.cards.country[card],
        lat_e6=np.full(n, NO_PLACE, dtype=np.int32),
        lon_e6=np.full(n, NO_PLACE, dtype=np.int32),
        outcome=outcome_of(rng.random(n, dtype=np.float32), 0.05, 0.0, 0.004),
        browsing=np.zeros(n, dtype=np.int8),
        origin=np.zeros(n, dtype=np.int32),
    )
    return Attack.of(purchases, Campaign(Kind.GHOST_EVENTS, plan.start_ms, end))


def quiet_events(under: Underworld, start_ms: int, end_ms: int, wanted: int, rng: np.random.Generator) -> Index:
    """The least wanted events of one promoter who has that many on sale: hardly anybody honest buys there."""
    events = under.world.events
    on_sale = np.flatnonzero((events.on_sale_ms <= start_ms) & (end_ms < events.closes_ms))
    counts = np.bincount(events.promoter[on_sale])
    promoter = rng.choice(np.flatnonzero(counts >= min(wanted, counts.max())))
    mine = on_sale[events.promoter[on_sale] == promoter]
    return mine[np.argsort(events.popularity[mine], kind="stable")[:wanted]].astype(np.int32)
