"""Card testing with cash-out: many stolen cards tried with small amounts, the good ones emptied later.

The tempo, devices, addresses and camouflage differ from one campaign to the next; some are loud, some
hide among the small purchases everybody makes.
"""

from dataclasses import dataclass

import numpy as np

from simulator.campaigns import Attack, Campaign, Underworld, Wave, claimed_places, countries, merged
from simulator.kinds import Kind, drawn_camouflage
from simulator.market import Market, price_table, rounded
from simulator.ordinary import outcome_of
from simulator.places import price_level
from simulator.purchases import APPROVED, CARD, PREMIUM, STANDARD, VIP, WALLET, Purchases
from simulator.spec import HOUR_MS, MINUTE_MS
from simulator.world import Index, Ints, Small


@dataclass(frozen=True)
class CardTesting:
    """One campaign. `camouflage`: 0 loud to 1 careful (local addresses, slower, dearer tests)."""

    start_ms: int
    duration_ms: int
    tests: int
    devices: int
    addresses: int
    accounts: int
    camouflage: float
    dead_cards: float
    cash_out_delay_ms: float

    @classmethod
    def drawn(cls, start_ms: int, rng: np.random.Generator) -> "CardTesting":
        """A campaign as they come, some loud and some careful."""
        camouflage = drawn_camouflage(Kind.CARD_TESTING, rng)
        duration_ms = int(np.clip(rng.lognormal(np.log(45 + 150 * camouflage), 0.5), 12, 600) * MINUTE_MS)
        tests = int(np.clip(rng.lognormal(np.log(MIDDLING_TESTS), 0.45), 40, 350))
        devices, addresses, accounts = (
            at_least + int(rng.poisson(mean)) for at_least, mean in _means(camouflage).values()
        )
        return cls(
            start_ms=start_ms,
            duration_ms=duration_ms,
            tests=tests,
            devices=devices,
            addresses=addresses,
            accounts=accounts,
            camouflage=camouflage,
            dead_cards=float(rng.uniform(0.35, 0.65)),
            cash_out_delay_ms=9.0 * HOUR_MS,
        )

    @classmethod
    def of(cls, wave: Wave, dead_cards: float = 0.5, cash_out_delay: float = 0.1) -> "CardTesting":
        """Tests within the wave, by as many means as a campaign of history has for so many. cash_out_delay: mean, share of the wave."""
        part = wave.purchases / MIDDLING_TESTS
        means = {name: at_least + round(part * mean) for name, (at_least, mean) in _means(wave.camouflage).items()}
        return cls(
            start_ms=wave.start_ms,
            duration_ms=wave.span_ms,
            tests=wave.purchases,
            **means,
            camouflage=wave.camouflage,
            dead_cards=dead_cards,
            cash_out_delay_ms=cash_out_delay * wave.span_ms,
        )


MIDDLING_TESTS = 110


def _means(camouflage: float) -> dict[str, tuple[int, float]]:
    """What the crew of a middling campaign works with: how many it has at least, and how many more in the mean."""
    return {
        "devices": (2, 3 + 40 * camouflage),
        "addresses": (3, 4 + 24 * camouflage),
        "accounts": (5, 10 + 60 * camouflage),
    }


def card_testing(under: Underworld, market: Market, plan: CardTesting, rng: np.random.Generator) -> Attack:
    """The tests, then the purchases with cards that passed."""
    crew = _Crew.hired(under, plan, rng)
    tests = _tests(under, market, plan, crew, rng)
    cash = _cash_out(under, market, plan, tests, rng)
    end = plan.start_ms + plan.duration_ms
    return merged(
        [
            Attack.of(tests, Campaign(Kind.CARD_TESTING, plan.start_ms, end)),
            Attack.of(cash, Campaign(Kind.CASH_OUT, plan.start_ms, int(cash.time_ms.max(initial=end)))),
        ]
    )


@dataclass(frozen=True)
class _Crew:
    """The campaign's means: devices, addresses, accounts."""

    devices: Index
    addresses: Index
    accounts: Index

    @classmethod
    def hired(cls, under: Underworld, plan: CardTesting, rng: np.random.Generator) -> "_Crew":
        country = countries(plan.addresses, rng)
        proxied = rng.random(plan.addresses) < 0.25 + 0.7 * plan.camouflage
        address = np.where(proxied, under.homes_in(country, rng), under.hosting_in(country, rng))
        borrowed = rng.random(plan.accounts) < 0.3
        accounts = np.where(borrowed, under.people(plan.accounts, rng), under.mules(plan.start_ms, plan.accounts, rng))
        # Careful crews run on hijacked phones and laptops that their owners also shop with.
        infected = under.world.accounts.devices[under.people(plan.devices, rng), 0]
        devices = np.where(rng.random(plan.devices) < 0.5 * plan.camouflage, infected, under.rigs(plan.devices, rng))
        return cls(devices, address.astype(np.int32), accounts)


def _tests(under: Underworld, market: Market, plan: CardTesting, crew: _Crew, rng: np.random.Generator) -> Purchases:
    """Small amounts at a steady tempo over many cards; a device keeps to a few of the accounts."""
    n = plan.tests
    at = rng.integers(0, len(crew.addresses), n)
    device = rng.integers(0, len(crew.devices), n)
    account = (device * 5 + rng.integers(0, 7, n)) % len(crew.accounts)
    cards = under.stolen_cards(max(8, int(n * 0.8)), rng)
    card = cards[rng.integers(0, len(cards), n)]
    event = rng.choice(market.cheapest_quarter(under.world), size=n)
    # Careful crews route each test through a hijacked home in the card's own country.
    billing = under.world.cards.country[card]
    routed = rng.random(n) < 0.75 * plan.camouflage
    ip = np.where(routed, under.homes_in(billing, rng), crew.addresses[at])
    country = under.world.events.country[event]
    dollars = np.clip(rng.lognormal(np.log(380 + 900 * plan.camouflage), 0.6, n), 100, 6_000)
    lat, lon = claimed_places(under.world.network.country[ip], rng.random(n) < 0.45 + 0.2 * plan.camouflage, rng)
    return Purchases(
        time_ms=np.sort(plan.start_ms + rng.integers(0, plan.duration_ms, n)),
        account=crew.accounts[account],
        event=event,
        tickets=np.where(rng.random(n) < 0.85, 1, 2).astype(np.int8),
        tier=np.full(n, STANDARD, dtype=np.int8),
        device=crew.devices[device],
        ip=ip,
        card=card,
        method=np.where(rng.random(n) < 0.9, CARD, WALLET).astype(np.int8),
        amount_minor=rounded(dollars * price_level()[country]),
        billing=billing,
        lat_e6=lat,
        lon_e6=lon,
        outcome=outcome_of(rng.random(n, dtype=np.float32), plan.dead_cards, 0.03, 0.04),
        browsing=(rng.random(n) < 0.15 + 0.5 * plan.camouflage).astype(np.int8),
        origin=np.zeros(n, dtype=np.int32),
    )


def _cash_out(
    under: Underworld, market: Market, plan: CardTesting, tests: Purchases, rng: np.random.Generator
) -> Purchases:
    """A third of the cards that passed buy what resells well, hours later, mostly from elsewhere."""
    passed = np.flatnonzero(tests.outcome == APPROVED)
    seed = np.repeat(passed, rng.binomial(3, 0.13, len(passed)))
    n = len(seed)
    card = tests.card[seed]
    billing = under.world.cards.country[card]
    reused = rng.random(n) < 0.4
    account = np.where(reused, tests.account[seed], under.mules(plan.start_ms, n, rng))
    local = rng.random(n) < 0.65
    ip = np.where(local, under.homes_in(billing, rng), under.hosting_in(countries(n, rng), rng))
    event, tickets, tier, amount = resale_basket(under, market, n, rng)
    lat, lon = claimed_places(under.world.network.country[ip], rng.random(n) < 0.5, rng)
    return Purchases(
        time_ms=tests.time_ms[seed] + ((0.05 + rng.exponential(1.0, n)) * plan.cash_out_delay_ms).astype(np.int64),
        account=account,
        event=event,
        tickets=tickets,
        tier=tier,
        device=np.where(rng.random(n) < 0.45, tests.device[seed], under.rigs(n, rng)),
        ip=ip,
        card=card,
        method=np.full(n, CARD, dtype=np.int8),
        amount_minor=amount,
        billing=billing,
        lat_e6=lat,
        lon_e6=lon,
        outcome=outcome_of(rng.random(n, dtype=np.float32), 0.18, 0.03, 0.03),
        browsing=rng.integers(0, 3, n).astype(np.int8),
        origin=np.zeros(n, dtype=np.int32),
    )


Basket = tuple[Index, Small, Small, Ints]
"""Event, tickets, tier and amount of each purchase."""


def resale_basket(under: Underworld, market: Market, n: int, rng: np.random.Generator) -> Basket:
    """Tickets that sell on quickly: popular events, two to six seats, often the better ones."""
    anywhere = countries(n, rng)
    event = market.choose(anywhere, rng.integers(0, 8, n).astype(np.int8), rng)
    tickets = rng.choice(np.array([1, 2, 3, 4, 6], dtype=np.int8), size=n, p=[0.1, 0.42, 0.13, 0.27, 0.08])
    tier = rng.choice(np.array([STANDARD, PREMIUM, VIP], dtype=np.int8), size=n, p=[0.55, 0.33, 0.12])
    return event, tickets, tier, rounded(price_table(under.world)[event, tier] * tickets)


def modest_basket(under: Underworld, market: Market, account: Index, rng: np.random.Generator) -> Basket:
    """What the account's owner might have bought: near home, to their taste, one seat or two."""
    n, people = len(account), under.world.accounts
    event = market.choose(people.country[account], people.category[account], rng)
    tickets = rng.choice(np.array([1, 2], dtype=np.int8), size=n, p=[0.35, 0.65])
    tier = rng.choice(np.array([STANDARD, PREMIUM], dtype=np.int8), size=n, p=[0.85, 0.15])
    return event, tickets, tier, rounded(price_table(under.world)[event, tier] * tickets)
