"""Friendly fraud: somebody buys as always, goes to the show, and weeks later tells the bank that it was never them.

The purchases are made by the generator of honest ones. Only who disputes is chosen here: the loud are few, take the best seats and do
it again and again; the well hidden cannot be told from their neighbours by anything that the platform sees when it decides.
"""

from dataclasses import replace

import numpy as np

from simulator.arrivals import ANY_EVENT, Arrivals, at_own_hours
from simulator.campaigns import Attack, Campaign, Underworld, Wave
from simulator.kinds import Kind
from simulator.market import Market, price_table, rounded
from simulator.ordinary import ordinary_purchases
from simulator.purchases import APPROVED, BANK, VIP, Purchases
from simulator.spec import DAY_MS
from simulator.world import Index, Ints

_SPARE = 1.6  # of the attempts some are refused, and some are paid with what knows no dispute


def friendly_fraud(under: Underworld, market: Market, wave: Wave, rng: np.random.Generator) -> Attack:
    """Ordinary purchases that went through; each disputer is a campaign of their own."""
    visits = _visits(under, wave, max(2, round(_SPARE * wave.purchases)), rng)
    rows = ordinary_purchases(under.world, market, visits, under.world.spec.days + 1, rng)
    rows = rows.take(np.flatnonzero((rows.outcome == APPROVED) & (rows.method < BANK)))
    rows = rows.take(np.sort(rng.permutation(len(rows))[: wave.purchases]))
    rows = _upgraded(under, rows, rng.random(len(rows)) < 0.6 * (1 - wave.camouflage))
    who, origin = np.unique(rows.account, return_inverse=True)
    campaigns = (Campaign(Kind.FRIENDLY_FRAUD, wave.start_ms, wave.start_ms + wave.span_ms),) * len(who)
    return Attack.of(replace(rows, origin=origin.astype(np.int32)), *campaigns)


def _visits(under: Underworld, wave: Wave, n: int, rng: np.random.Generator) -> Arrivals:
    """A loud wave's disputers come five times each."""
    people = under.people(max(1, round(n / (1 + 4 * (1 - wave.camouflage)))), rng)
    account = people[rng.integers(0, len(people), n)]
    time = wave.start_ms + _offsets(under, wave, account, rng)
    order = np.argsort(time, kind="stable")
    return Arrivals(time[order], account[order], np.full(n, ANY_EVENT, dtype=np.int32))


def _offsets(under: Underworld, wave: Wave, account: Index, rng: np.random.Generator) -> Ints:
    if wave.span_ms % DAY_MS:
        return rng.integers(0, wave.span_ms, len(account))
    days = rng.integers(0, wave.span_ms // DAY_MS, len(account))
    return days * DAY_MS + at_own_hours(under.world, account, rng)


def _upgraded(under: Underworld, rows: Purchases, best: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> Purchases:
    """Who does not mean to pay takes the best seats."""
    tier = np.where(best, np.int8(VIP), rows.tier)
    price = rounded(price_table(under.world)[rows.event, tier] * rows.tickets)
    return replace(rows, tier=tier, amount_minor=np.where(best, price, rows.amount_minor))
