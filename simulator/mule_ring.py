"""Mule ring: a few dozen accounts take turns on a few devices and addresses, spending stolen cards a little at a time.

No account buys often and no card is used much; what is odd is that strangers keep meeting on the same machines, and that their
tickets are for the same few shows. The contract has no field for whom tickets are passed on to, so a receiver shows as its show only.
"""

import numpy as np

from simulator.campaigns import Attack, Campaign, Underworld, Wave, countries
from simulator.card_testing import resale_basket
from simulator.kinds import Kind
from simulator.market import Market
from simulator.spread import spread_purchases
from simulator.world import Index, Ints


def mule_ring(under: Underworld, market: Market, wave: Wave, rng: np.random.Generator) -> Attack:
    """One ring for as long as the wave: accounts, devices, addresses and cards each in a rotation of its own."""
    world, n, hidden = under.world, wave.purchases, wave.camouflage
    size = max(4, round(n / (6 - 3.5 * hidden)))
    accounts = rng.permutation(np.unique(_recruits(under, wave.start_ms, size, rng)))
    devices = under.rigs(max(2, round(size * (0.15 + 0.5 * hidden))), rng)
    homes = max(2, round(size * (0.15 + 0.6 * hidden)))
    country = countries(homes, rng)
    proxied = rng.random(homes) < 0.4 + 0.6 * hidden
    address = np.where(proxied, under.homes_in(country, rng), under.hosting_in(country, rng)).astype(np.int32)
    turn = np.arange(n)
    account = accounts[_rotating(turn, len(accounts), 1)]
    device = devices[_rotating(turn, len(devices), 3)]
    at_home = rng.random(n) < 0.35 * hidden
    ip = np.where(at_home, world.accounts.household[account], address[_rotating(turn, homes, 2)]).astype(np.int32)
    card = under.stolen_cards(max(2, round(n / 1.7)), rng)[_rotating(turn, max(2, round(n / 1.7)), 1)]
    event, tickets, tier, _ = resale_basket(under, market, n, rng)
    shows = event[: max(2, round(3 + 9 * hidden))]
    event = np.where(rng.random(n) < 0.7 * (1 - 0.5 * hidden), shows[rng.integers(0, len(shows), n)], event)
    purchases = spread_purchases(
        under, wave, account=account, event=event, tickets=tickets, tier=tier, device=device, ip=ip, card=card,
        located=0.55, ends=(0.12, 0.03, 0.02), browsing=3, rng=rng,
    )  # fmt: skip
    return Attack.of(purchases, Campaign(Kind.MULE_RING, wave.start_ms, wave.start_ms + wave.span_ms))


def _rotating(turn: Ints, size: int, stay: int) -> Ints:
    """Whose turn it is: each is kept for `stay` purchases, then goes to the end of the line."""
    return (turn // stay) % size


def _recruits(under: Underworld, time_ms: int, size: int, rng: np.random.Generator) -> Index:
    """Opened for it, or lent by people who were offered money: those have a past."""
    lent = rng.random(size) < 0.35
    return np.where(lent, under.people(size, rng), under.mules(time_ms, size, rng)).astype(np.int32)
