"""Promoter collusion: a promoter's circle buys the promoter's own quiet events for weeks, part of it with stolen cards.

The show takes place, half empty, and is paid out: stolen money comes back as ticket sales. `ghost_events.py` is its reckless cousin,
where nobody means to hold the show, the accounts are hijacked by the thousand, and all is over in days. Here a few accounts come back
to one promoter again and again.
"""

import numpy as np

from simulator.campaigns import Attack, Campaign, Underworld, Wave
from simulator.ghost_events import quiet_events
from simulator.kinds import Kind
from simulator.market import Market
from simulator.purchases import PREMIUM, STANDARD, VIP
from simulator.spread import spread_purchases


def promoter_collusion(under: Underworld, market: Market, wave: Wave, rng: np.random.Generator) -> Attack:
    """Purchases spread over the wave; with more camouflage more accounts, fewer seats each, and cards of their own."""
    del market  # they buy nothing that the market wants
    people, n, hidden = under.world.accounts, wave.purchases, wave.camouflage
    end_ms = wave.start_ms + wave.span_ms
    event = rng.choice(quiet_events(under, wave.start_ms, wave.start_ms, 1 + round(6 * hidden), rng), size=n)
    size = max(3, round(n / (9 - 6 * hidden)))
    friends = rng.random(size) < 0.3 + 0.5 * hidden  # ordinary customers who take part
    circle = np.where(friends, under.people(size, rng), under.mules(end_ms, size, rng)).astype(np.int32)
    who = rng.integers(0, size, n)
    account = circle[who]
    # Some sign in from the promoter's office: one machine, one address.
    office = rng.random(n) < 0.7 * (1 - hidden)
    desk = under.rigs(max(1, size // 6), rng)
    device = np.where(office, desk[who % len(desk)], people.devices[account, 0])
    ip = np.where(office, people.household[circle[0]], people.household[account]).astype(np.int32)
    stolen = rng.random(n) < 0.75 * (1 - hidden)
    card = np.where(stolen, under.stolen_cards(n, rng), people.cards[account, 0]).astype(np.int32)
    tickets = np.where(rng.random(n) < hidden, rng.integers(1, 4, n), rng.integers(3, 7, n)).astype(np.int8)
    tier = rng.choice(np.array([STANDARD, PREMIUM, VIP], dtype=np.int8), size=n, p=[0.5, 0.3, 0.2])
    purchases = spread_purchases(
        under, wave, account=account, event=event, tickets=tickets, tier=tier, device=device.astype(np.int32), ip=ip, card=card,
        located=0.6, ends=(0.04 + 0.1 * (1 - hidden), 0.01, 0.01), browsing=2, rng=rng,
    )  # fmt: skip
    return Attack.of(purchases, Campaign(Kind.PROMOTER_COLLUSION, wave.start_ms, end_ms))
