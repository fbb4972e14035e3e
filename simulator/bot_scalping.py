"""Bot scalping: programs buy the cap per account in the first seconds of an on-sale, from many accounts at once, to sell on.

They pay with their own money. It is the shop's rules they break, and the shop's operators who say so afterwards (`kinds.py`); people
who resell by hand, the persona `scalper`, keep to the rules and are honest. What gives bots away is tempo: accounts of one farm share
devices and addresses, look at no page, and always take the cap.
"""

import numpy as np

from simulator.build import World
from simulator.campaigns import Attack, Campaign, Underworld, Wave, claimed_places, countries
from simulator.kinds import Kind
from simulator.market import Market, price_table, rounded
from simulator.ordinary import outcome_of
from simulator.purchases import CARD, PREMIUM, STANDARD, WALLET, Purchases
from simulator.spec import MINUTE_MS
from simulator.world import Persona

CAP = 8  # tickets that the shop sells to one account at a time
_RUSH_MS = 20_000  # mean wait of a loud bot after the doors open


def bot_scalping(under: Underworld, market: Market, wave: Wave, rng: np.random.Generator) -> Attack:
    """One farm at one on-sale; where none opens within the wave, at the most wanted event that is on sale."""
    world, people, n, hidden = under.world, under.world.accounts, wave.purchases, wave.camouflage
    event, opens_ms = _hottest(world, market, wave)
    size = max(4, round(n / (3 - 1.8 * hidden)))  # careful farms let an account buy once
    account = _farm(under, size, rng)
    devices = under.rigs(max(2, round(size * (0.15 + 0.85 * hidden))), rng)
    home = people.country[account]
    proxied = rng.random(size) < 0.3 + 0.65 * hidden
    ip = np.where(proxied, under.homes_in(home, rng), under.hosting_in(countries(size, rng), rng))
    own_card = people.cards[account, 0]
    treasurer = own_card[rng.integers(0, max(1, size // 6), size)]
    card = np.where(rng.random(size) < 0.5 + 0.5 * hidden, own_card, treasurer)
    bot = np.arange(n) % size
    wait = rng.exponential(_RUSH_MS + hidden * 9 * MINUTE_MS, n)
    tickets = np.where(rng.random(n) < 1 - 0.7 * hidden, CAP, rng.integers(1, CAP // 2 + 1, n) * 2).astype(np.int8)
    tier = rng.choice(np.array([STANDARD, PREMIUM], dtype=np.int8), size=n, p=[0.8, 0.2])
    at = ip[bot].astype(np.int32)
    lat, lon = claimed_places(world.network.country[at], rng.random(n) < 0.2 + 0.5 * hidden, rng)
    time = np.sort(opens_ms + np.minimum(wait, wave.span_ms - 1).astype(np.int64))
    purchases = Purchases(
        time_ms=time,
        account=account[bot],
        event=np.full(n, event, dtype=np.int32),
        tickets=tickets,
        tier=tier,
        device=devices[bot % len(devices)],
        ip=at,
        card=card[bot],
        method=np.where(rng.random(n) < 0.8, CARD, WALLET).astype(np.int8),
        amount_minor=rounded(price_table(world)[event, tier] * tickets),
        billing=world.cards.country[card[bot]],
        lat_e6=lat,
        lon_e6=lon,
        outcome=outcome_of(rng.random(n, dtype=np.float32), 0.03, 0.01, 0.02),
        browsing=np.where(rng.random(n) < hidden, rng.integers(0, 3, n), 0).astype(np.int8),
        origin=np.zeros(n, dtype=np.int32),
    )
    return Attack.of(purchases, Campaign(Kind.BOT_SCALPING, wave.start_ms, wave.start_ms + wave.span_ms))


def opening(world: World, start_ms: int, end_ms: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Events that go on sale in [start_ms, end_ms) and are wanted enough for a crowd."""
    events = world.events
    return np.flatnonzero((events.on_sale_ms >= start_ms) & (events.on_sale_ms < end_ms) & (events.flash_size > 0))


def _hottest(world: World, market: Market, wave: Wave) -> tuple[int, int]:
    """The most wanted event, and when its doors open."""
    events, opens = world.events, opening(world, wave.start_ms, wave.start_ms + wave.span_ms)
    if len(opens):
        event = int(opens[np.argmax(events.popularity[opens])])
        return event, int(events.on_sale_ms[event])
    return int(market.on_sale[np.argmax(events.popularity[market.on_sale])]), wave.start_ms


def _farm(under: Underworld, size: int, rng: np.random.Generator) -> "np.ndarray[tuple[int], np.dtype[np.int32]]":
    """Accounts bought in bulk or opened for it; and resellers who gave their own to the program."""
    resellers = np.flatnonzero(under.world.accounts.persona == Persona.SCALPER).astype(np.int32)
    hired = rng.random(size) < 0.35 if len(resellers) else np.zeros(size, dtype=bool)
    known = rng.choice(resellers, size) if len(resellers) else np.zeros(size, dtype=np.int32)
    return np.where(hired, known, under.mules(int(under.world.spec.end_ms), size, rng)).astype(np.int32)
