"""Fraud that goes on all the time: taken-over accounts and single stolen cards.

The better a thief hides, the likelier he is local, modest and at the victim's own machine; some of it is indistinguishable by
design, and a detector that finds everything here has seen the answers.
"""

from dataclasses import dataclass

import numpy as np

from simulator.campaigns import Attack, Campaign, Underworld, Wave, claimed_places, countries
from simulator.card_testing import modest_basket, resale_basket
from simulator.kinds import Kind
from simulator.market import Market
from simulator.ordinary import outcome_of
from simulator.purchases import CARD, WALLET, Purchases
from simulator.spec import DAY_MS, MINUTE_MS
from simulator.world import Index, Ints

_TAKEOVER_ORDERS = 2.2
_STOLEN_ORDERS = 1.5
_MODEST = 0.6  # of the best hidden orders: no dearer than what the account's owner might buy


@dataclass(frozen=True)
class _Incidents:
    """One row per order: which incident it belongs to, when, and which of the incident's orders it is."""

    incident: Ints
    time_ms: Ints


def takeovers(under: Underworld, market: Market, wave: Wave, rng: np.random.Generator) -> Attack:
    """Somebody else signs in as an ordinary customer and buys with the stored card: what stuffed credentials are good for."""
    k = max(1, round(wave.purchases / _TAKEOVER_ORDERS))
    began = wave.start_ms + rng.integers(0, wave.span_ms, k)
    victim = under.people(k, rng)
    home = under.world.accounts.country[victim]
    how = rng.random(k)
    ip = np.where(
        how < 0.2 + 0.5 * wave.camouflage, under.homes_in(home, rng), under.hosting_in(countries(k, rng), rng)
    )
    ip = np.where(how > 0.78, under.phones_in(home, rng), ip)
    # Some is done on the victim's own machine (a relative, malware): nothing new to see.
    own = rng.random(k) < 0.2 * wave.camouflage
    device = np.where(own, under.world.accounts.devices[victim, 0], under.rigs(k, rng))
    ip = np.where(own, under.world.accounts.household[victim], ip)
    rows = _orders(began, rng.poisson(_TAKEOVER_ORDERS - 1, k) + 1, 14 * MINUTE_MS, rng)
    i = rows.incident
    card = np.where(rng.random(k) < 0.8, under.world.accounts.cards[victim, 0], under.stolen_cards(k, rng))
    changed = rng.random(k) < 0.8 * (1 - wave.camouflage)
    changed_ms = began - rng.exponential(0.4 * DAY_MS, k).astype(np.int64)
    return Attack(
        purchases=_bought(under, market, rows, victim[i], device[i], ip[i], card[i], wave.camouflage, rng),
        campaigns=_register(Kind.ACCOUNT_TAKEOVER, began),
        hijacked=victim[changed],
        hijacked_ms=changed_ms[changed],
    )


def stolen_cards(under: Underworld, market: Market, wave: Wave, rng: np.random.Generator) -> Attack:
    """One card, one or two orders, from an account opened for it."""
    k = max(1, round(wave.purchases / _STOLEN_ORDERS))
    began = np.sort(wave.start_ms + rng.integers(0, wave.span_ms, k))
    account = np.concatenate([under.mules(int(t), 1, rng) for t in began])
    card = under.stolen_cards(k, rng)
    billing = under.world.cards.country[card]
    how = rng.random(k)
    ip = np.where(
        how < 0.25 + 0.5 * wave.camouflage, under.homes_in(billing, rng), under.hosting_in(countries(k, rng), rng)
    )
    ip = np.where(how > 0.8, under.world.accounts.household[account], ip)
    own = rng.random(k) < wave.camouflage
    device = np.where(own, under.world.accounts.devices[account, 0], under.rigs(k, rng))
    rows = _orders(began, rng.poisson(_STOLEN_ORDERS - 1, k) + 1, 40 * MINUTE_MS, rng)
    i = rows.incident
    purchases = _bought(under, market, rows, account[i], device[i], ip[i], card[i], wave.camouflage, rng)
    return Attack.of(purchases, *_register(Kind.STOLEN_CARD, began))


def _orders(began: Ints, count: Ints, gap_ms: float, rng: np.random.Generator) -> _Incidents:
    """`count` orders for each incident, exponential gaps apart."""
    incident = np.repeat(np.arange(len(began)), count)
    gap = rng.exponential(gap_ms, len(incident)) + 20_000
    running = np.cumsum(gap)
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    since = running - np.repeat(running[first], count)
    return _Incidents(incident, began[incident] + since.astype(np.int64))


def _register(kind: Kind, began: Ints) -> tuple[Campaign, ...]:
    return tuple(Campaign(kind, int(t), int(t)) for t in began)


def _bought(
    under: Underworld,
    market: Market,
    rows: _Incidents,
    account: Index,
    device: Index,
    ip: Index,
    card: Index,
    camouflage: float,
    rng: np.random.Generator,
) -> Purchases:
    n = len(account)
    dear, plain = resale_basket(under, market, n, rng), modest_basket(under, market, account, rng)
    modest = rng.random(n) < _MODEST * camouflage
    event, tickets, tier = (np.where(modest, plain[field], dear[field]) for field in range(3))
    lat, lon = claimed_places(under.world.network.country[ip], rng.random(n) < 0.55, rng)
    return Purchases(
        time_ms=rows.time_ms,
        account=account,
        event=event,
        tickets=tickets,
        tier=tier,
        device=device.astype(np.int32),
        ip=ip.astype(np.int32),
        card=card.astype(np.int32),
        method=np.where(rng.random(n) < 0.85, CARD, WALLET).astype(np.int8),
        amount_minor=np.where(modest, plain[3], dear[3]),
        billing=under.world.cards.country[card],
        lat_e6=lat,
        lon_e6=lon,
        outcome=outcome_of(rng.random(n, dtype=np.float32), 0.14, 0.04, 0.02),
        browsing=rng.integers(0, 3, n).astype(np.int8),
        origin=rows.incident.astype(np.int32),
    )
