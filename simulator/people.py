"""Accounts with their households, workplaces, networks, devices and cards.

Hard negatives start here: families behind one address and one card, colleagues behind one office,
travellers, people who block cookies and so show a new device every time, students whose cards are
often declined. None of them is a fraud, and each looks a little like one.
"""

from typing import Any

import numpy as np

from simulator.catalogue import CATEGORIES
from simulator.personas import of_persona
from simulator.places import CITIES, COUNTRIES, city_country, city_share
from simulator.spec import DAY_MS, WorldSpec, stream
from simulator.world import Accounts, Cards, Devices, Flags, Floats, Index, Ints, Network, Persona, Small

_HOUSEHOLD_SIZES = (0.45, 0.30, 0.12, 0.10, 0.03)
_COLLEAGUES = 40
_HOSTING_PER_COUNTRY = 40
_KIOSKS_PER_CITY = 1
USER_AGENT_COUNT = 24
_REMAINING_MS = 100 * 365 * DAY_MS  # who has left does not come back


def build_accounts(spec: WorldSpec) -> tuple[Accounts, Network, Devices, Cards]:
    """Everybody and everything they pay with and connect from."""
    rng = stream(spec, "people")
    n = spec.accounts
    household = _households(n, rng)
    homes = int(household.max()) + 1
    home_city = rng.choice(len(CITIES), size=homes, p=city_share()).astype(np.int8)
    office_city = _office_cities(n, rng)
    office = _offices_of(home_city[household], office_city, rng)
    network = _network(np.concatenate([home_city, office_city]), n)
    persona = rng.choice(len(Persona), size=n, p=of_persona("share")).astype(np.int8)
    accounts = Accounts(
        persona=persona,
        household=household,
        weight=of_persona("weight")[persona] * rng.lognormal(0, 0.4, n),
        created_ms=_created(spec, persona, rng),
        category=rng.integers(0, len(CATEGORIES), n).astype(np.int8),
        **_home(home_city, household, rng),
        **_trip(spec, persona, rng),
        **_habits(persona, rng),
        ips=_ip_columns(household, homes + office, network, city_country()[home_city[household]], rng),
        devices=_device_columns(n, household, homes),
        cards=_card_columns(n, household, office, homes, rng),
        shares_place=rng.random(n) < 0.7,
        decline_share=rng.beta(1.2, 30, n).astype(np.float32),
        **_pause(spec, persona),
    )
    devices = _devices(spec, 2 * n + homes, rng)
    cards = _cards(spec, accounts, home_city, office_city, rng)
    return accounts, network, devices, cards


def _households(n: int, rng: np.random.Generator) -> Index:
    """Household of each account, in shuffled order."""
    sizes = rng.choice(len(_HOUSEHOLD_SIZES), size=n, p=_HOUSEHOLD_SIZES) + 1
    return rng.permutation(np.repeat(np.arange(n), sizes)[:n]).astype(np.int32)


def _office_cities(n: int, rng: np.random.Generator) -> Small:
    """City of each workplace; every city has one."""
    more = rng.choice(len(CITIES), size=max(1, n // _COLLEAGUES), p=city_share())
    return np.sort(np.concatenate([np.arange(len(CITIES)), more])).astype(np.int8)


def _offices_of(city: Small, office_city: Small, rng: np.random.Generator) -> Index:
    """A workplace in each account's own city."""
    first = np.searchsorted(office_city, np.arange(len(CITIES)))
    count = np.bincount(office_city, minlength=len(CITIES))
    return (first[city] + (rng.random(len(city)) * count[city]).astype(np.int64)).astype(np.int32)


def _network(building_city: Small, n: int) -> Network:
    """Addresses: one per building, then mobile gateways, hosting (VPN exits) and venue terminals."""
    country_of_city = city_country()
    building_country = country_of_city[building_city]
    homes = _building_addresses(building_country)
    mobiles = int(np.clip(n // 60, 64, 4_000))
    countries = np.arange(len(COUNTRIES), dtype=np.int8)
    mobile = [_range(country.mobile, mobiles) for country in COUNTRIES]
    hosting = [_range(country.hosting, _HOSTING_PER_COUNTRY) for country in COUNTRIES]
    kiosk = [_prefix(COUNTRIES[c].residential[-1]) + 65_000 + i for i, c in enumerate(country_of_city)]
    sizes = np.cumsum([len(homes), mobiles * len(COUNTRIES), _HOSTING_PER_COUNTRY * len(COUNTRIES)])
    region_country = np.concatenate(
        [building_country, np.repeat(countries, mobiles), np.repeat(countries, _HOSTING_PER_COUNTRY), country_of_city]
    )
    return Network(
        address=np.concatenate([homes, *mobile, *hosting, np.array(kiosk)]).astype(np.uint32),
        country=region_country.astype(np.int8),
        mobile_of_country=(sizes[0] + countries.astype(np.int32) * mobiles).astype(np.int32),
        mobiles_per_country=mobiles,
        hosting_of_country=(sizes[1] + countries.astype(np.int32) * _HOSTING_PER_COUNTRY).astype(np.int32),
        hosting_per_country=_HOSTING_PER_COUNTRY,
        kiosk_of_city=(sizes[2] + np.arange(len(CITIES))).astype(np.int32),
    )


def _prefix(octets: tuple[int, int]) -> int:
    return octets[0] << 24 | octets[1] << 16


def _range(octets: tuple[int, int], n: int) -> Ints:
    """Addresses of a /16, spread by an odd multiplier so that neighbours are strangers."""
    return _prefix(octets) + (np.arange(n, dtype=np.int64) * 40_503 + 11) % 65_000


def _building_addresses(country: Small) -> Ints:
    """One address per building; a country that runs out shares them, as carriers do."""
    address = np.empty(len(country), dtype=np.int64)
    for index, place in enumerate(COUNTRIES):
        mine = np.flatnonzero(country == index)
        pool = np.concatenate([_range(octets, 65_000) for octets in place.residential])
        address[mine] = pool[np.arange(len(mine)) % len(pool)]
    return address


def _home(home_city: Small, household: Index, rng: np.random.Generator) -> dict[str, Any]:
    """City, country and coordinates: a family lives under one roof."""
    city = home_city[household]
    roof = rng.normal(0, 0.12, (len(home_city), 2))
    place = np.array([(spot.lat, spot.lon) for spot in CITIES])[city] + roof[household]
    return {"city": city, "country": city_country()[city], "lat": place[:, 0], "lon": place[:, 1]}


def _trip(spec: WorldSpec, persona: Small, rng: np.random.Generator) -> dict[str, Any]:
    """Some travel once, for two days to two weeks."""
    n = spec.accounts
    start = rng.integers(spec.start_ms - 5 * DAY_MS, spec.end_ms + 10 * DAY_MS, n)
    length = rng.integers(2, 15, n) * DAY_MS
    travels = rng.random(n) < of_persona("travels")[persona]
    return {
        "trip_city": rng.choice(len(CITIES), size=n, p=city_share()).astype(np.int8),
        "trip_start_ms": start,
        "trip_end_ms": np.where(travels, start + length, start),
    }


def _pause(spec: WorldSpec, persona: Small) -> dict[str, Any]:
    """Some sleep for two to eight weeks, some leave; when, is drawn apart from all else, about the world's days."""
    rng, n = stream(spec, "life"), len(persona)
    start = rng.integers(spec.start_ms - 30 * DAY_MS, spec.end_ms, n)
    length = rng.integers(14, 57, n) * DAY_MS
    fate, leaves = rng.random(n), of_persona("leaves")[persona]
    has_left, sleeps = fate < leaves, fate < leaves + of_persona("sleeps")[persona]
    return {
        "pause_start_ms": start,
        "pause_end_ms": np.where(has_left, start + _REMAINING_MS, np.where(sleeps, start + length, start)),
    }


def _habits(persona: Small, rng: np.random.Generator) -> dict[str, Any]:
    def drawn(name: str) -> Small:
        edges = np.cumsum(of_persona(name), axis=1)[:, :-1]
        return (rng.random(len(persona))[:, None] >= edges[persona]).sum(axis=1).astype(np.int8)

    return {
        "ip_habit": drawn("ip"),
        "device_habit": drawn("device"),
        "card_habit": drawn("card"),
        "method": drawn("method"),
    }


def _created(spec: WorldSpec, persona: Small, rng: np.random.Generator) -> Ints:
    """Most accounts are years old, some join during the world."""
    n = spec.accounts
    age_days = 2 + rng.lognormal(np.log(450), 1.0, n)
    created = spec.start_ms - (age_days * DAY_MS).astype(np.int64)
    joins = rng.random(n) < of_persona("joins")[persona]
    during = rng.integers(spec.start_ms, spec.end_ms, n)
    return np.maximum(np.where(joins, during, created), 0)


def _ip_columns(household: Index, office: Index, network: Network, country: Small, rng: np.random.Generator) -> Index:
    """(n, IpSlot): mobile and trip addresses are drawn per purchase, so their columns hold home."""
    exits = network.hosting_of_country[rng.integers(0, len(COUNTRIES), len(household))]
    # Most VPN users leave through their own country; the rest look like strangers.
    own = rng.random(len(household)) < 0.6
    vpn = np.where(own, network.hosting_of_country[country], exits)
    vpn = vpn + rng.integers(0, network.hosting_per_country, len(household))
    return np.stack([household, household, office, vpn, household], axis=1).astype(np.int32)


def _device_columns(n: int, household: Index, homes: int) -> Index:
    """(n, 3): first, second, the family's tablet."""
    del homes  # tablets follow the 2n personal devices, one per household
    own = np.arange(n)
    return np.stack([own, n + own, 2 * n + household], axis=1).astype(np.int32)


def _card_columns(n: int, household: Index, office: Index, homes: int, rng: np.random.Generator) -> Index:
    """(n, 3): first, second, and a family's or a company's card."""
    own = np.arange(n)
    shared = np.where(rng.random(n) < 0.7, 2 * n + household, 2 * n + homes + office)
    return np.stack([own, n + own, shared], axis=1).astype(np.int32)


def _devices(spec: WorldSpec, personal: int, rng: np.random.Generator) -> Devices:
    """Personal devices, venue terminals, spares."""
    total = personal + len(CITIES) + spec.spares
    common = np.arange(1, USER_AGENT_COUNT + 1) ** -0.7
    return Devices(
        user_agent=rng.choice(USER_AGENT_COUNT, size=total, p=common / common.sum()).astype(np.int8),
        kiosk_of_city=(personal + np.arange(len(CITIES))).astype(np.int32),
        spare_start=personal + len(CITIES),
    )


def _cards(
    spec: WorldSpec, accounts: Accounts, home_city: Small, office_city: Small, rng: np.random.Generator
) -> Cards:
    """Each card bills where its owner lives, but for a few expatriates; spares anywhere."""
    of_city = city_country()
    abroad: Flags = rng.random(2 * len(accounts)) < 0.03
    share = city_share()
    own = np.tile(accounts.country, 2)
    own[abroad] = of_city[rng.choice(len(CITIES), size=int(abroad.sum()), p=share)]
    spare = of_city[rng.choice(len(CITIES), size=spec.spares, p=share)]
    known = np.concatenate([own, of_city[home_city], of_city[office_city]])
    return Cards(country=np.concatenate([known, spare]).astype(np.int8), spare_start=len(known))


def popularity_cdf(weight: Floats) -> Floats:
    """Cumulative share, ending at exactly 1."""
    cdf = np.cumsum(weight)
    return np.asarray(cdf / cdf[-1], dtype=np.float64)
