"""How ordinary people buy. Nothing here knows what fraud is."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from simulator.arrivals import Arrivals
from simulator.build import World
from simulator.habits import BROWSING_TABLE, CARD_TABLE, CELLS, DEVICE_TABLE, IP_TABLE, TICKET_TABLE, TIER_TABLE
from simulator.market import Market, price_table, rounded
from simulator.places import CITIES, city_country, price_level
from simulator.purchases import (
    ABANDONED,
    APPROVED,
    BANK,
    CARD,
    DECLINED_BY_ISSUER,
    DECLINED_BY_US,
    NO_CAMPAIGN,
    NO_PLACE,
    STANDARD,
    Purchases,
    concat,
)
from simulator.spec import MINUTE_MS
from simulator.world import CardSlot, DeviceSlot, Flags, Index, Ints, IpSlot, Small

_CITY_COUNTRY = city_country()
_CITY_PLACE = np.array([(city.lat, city.lon) for city in CITIES])
_PRICE_LEVEL = price_level().astype(np.float32)
_ADD_ON = 0.07  # parking, merchandise, a drink: small amounts are everyday business
_GIFT = 0.03  # bought for somebody else: another taste, a better seat
_RETRY = 0.65
_COMES_BACK = 0.4  # who left before paying, within the hour
_IN_ADDITION = 0.03  # parking or a drink, minutes after the ticket
_E6 = 1_000_000


@dataclass(frozen=True)
class Whereabouts:
    """Where each buyer is: at home, or on a trip."""

    travelling: Flags
    city: Small
    country: Small


def ordinary_purchases(
    world: World, market: Market, visits: Arrivals, block: int, rng: np.random.Generator
) -> Purchases:
    """What the visitors buy, with what, from where, and how it ends; retries follow declines.

    block: which block of never-seen devices and cards to use.
    """
    where = _whereabouts(world, visits)
    event, tickets, tier, amount = _basket(world, market, visits, where, rng)
    device = _devices(world, visits, block, rng)
    card, method, fresh_card = _payment(world, visits, block, rng)
    lat, lon = _places(world, visits, where, rng)
    first = Purchases(
        time_ms=visits.time_ms,
        account=visits.account,
        event=event,
        tickets=tickets,
        tier=tier,
        device=device,
        ip=_addresses(world, visits, where, device, rng),
        card=card,
        method=method,
        amount_minor=amount,
        billing=np.where(method < BANK, world.cards.country[card], world.accounts.country[visits.account]),
        lat_e6=lat,
        lon_e6=lon,
        outcome=_outcomes(world, visits.account, method, fresh_card, rng),
        browsing=BROWSING_TABLE[world.accounts.persona[visits.account], rng.integers(0, CELLS, len(visits))],
        origin=np.full(len(visits), NO_CAMPAIGN, dtype=np.int32),
    )
    return concat([*_with_retries(world, first, rng), _second_thoughts(world, first, rng), _extras(world, first, rng)])


def _whereabouts(world: World, visits: Arrivals) -> Whereabouts:
    people = world.accounts
    account = visits.account
    away = (people.trip_start_ms[account] <= visits.time_ms) & (visits.time_ms < people.trip_end_ms[account])
    city = np.where(away, people.trip_city[account], people.city[account])
    return Whereabouts(away, city, _CITY_COUNTRY[city])


def _basket(
    world: World, market: Market, visits: Arrivals, where: Whereabouts, rng: np.random.Generator
) -> tuple[Index, Small, Small, Ints]:
    """Event, tickets, tier and amount of each purchase."""
    n = len(visits)
    persona = world.accounts.persona[visits.account]
    mood = rng.random(n, dtype=np.float32)
    gift, add_on = mood < _GIFT, mood > 1 - _ADD_ON
    category = np.where(gift, rng.integers(0, 8, n, dtype=np.int8), world.accounts.category[visits.account])
    chosen = market.choose(where.country, category, rng)
    event = np.where(visits.event >= 0, visits.event, chosen)
    cells = rng.integers(0, CELLS, (2, n), dtype=np.int16)
    tickets = np.where(add_on, np.int8(1), TICKET_TABLE[persona, cells[0]])
    tier = np.where(add_on, np.int8(STANDARD), np.minimum(TIER_TABLE[persona, cells[1]] + gift, np.int8(2)))
    price = price_table(world)[event, tier]
    return event, tickets, tier, rounded(np.where(add_on, _extra_price(world, event, rng), price * tickets))


def _extra_price(world: World, event: Index, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    luck = rng.random(len(event), dtype=np.float32)
    return np.asarray((200 + 2_300 * luck**2) * _PRICE_LEVEL[world.events.country[event]], dtype=np.float32)


def spare(start: int, block_size: int, block: int, wanted: Flags) -> Index:
    """Never-seen identities for the wanted rows, one each until the block is used up."""
    nth = np.cumsum(wanted) - 1
    return (start + block * block_size + nth % block_size).astype(np.int32)


def _devices(world: World, visits: Arrivals, block: int, rng: np.random.Generator) -> Index:
    people, account = world.accounts, visits.account
    slot = DEVICE_TABLE[people.device_habit[account], rng.integers(0, CELLS, len(visits), dtype=np.int16)]
    device = people.devices[account, np.minimum(slot, DeviceSlot.SHARED)]
    fresh, kiosk = slot == DeviceSlot.FRESH, slot == DeviceSlot.KIOSK
    new = spare(world.devices.spare_start, world.spec.spare_block, block, fresh)
    return np.where(fresh, new, np.where(kiosk, world.devices.kiosk_of_city[people.city[account]], device))


def _addresses(world: World, visits: Arrivals, where: Whereabouts, device: Index, rng: np.random.Generator) -> Index:
    """Networks by habit; phones roam over their carrier's gateways; terminals have their venue's."""
    people, network, account = world.accounts, world.network, visits.account
    slot = IP_TABLE[people.ip_habit[account], rng.integers(0, CELLS, len(visits), dtype=np.int16)]
    fixed = people.ips[account, slot]
    gateway = network.mobile_of_country[where.country] + rng.integers(
        0, network.mobiles_per_country, len(visits), dtype=np.int32
    )
    roams = (slot == IpSlot.MOBILE) | (where.travelling & (slot != IpSlot.VPN))
    ip = np.where(roams, gateway, fixed)
    at_kiosk = device == world.devices.kiosk_of_city[people.city[account]]
    return np.where(at_kiosk, network.kiosk_of_city[people.city[account]], ip)


def _payment(world: World, visits: Arrivals, block: int, rng: np.random.Generator) -> tuple[Index, Small, Flags]:
    people, account = world.accounts, visits.account
    slot = CARD_TABLE[people.card_habit[account], rng.integers(0, CELLS, len(visits), dtype=np.int16)]
    fresh = slot == CardSlot.FRESH
    new = spare(world.cards.spare_start, world.spec.spare_block, block, fresh)
    card = np.where(fresh, new, people.cards[account, np.minimum(slot, CardSlot.THIRD)])
    # Everybody falls back to a plain card now and then, whatever they prefer.
    method = np.where(rng.random(len(visits), dtype=np.float32) < 0.15, np.int8(CARD), people.method[account])
    return card, method, fresh


def _places(world: World, visits: Arrivals, where: Whereabouts, rng: np.random.Generator) -> tuple[Index, Index]:
    """Microdegrees: home or the trip's city with a few kilometres of moving about, if shared."""
    people, account = world.accounts, visits.account
    jitter = (rng.random((2, len(visits)), dtype=np.float32) - 0.5) * 0.08
    lat = np.where(where.travelling, _CITY_PLACE[where.city, 0], people.lat[account]) + jitter[0]
    lon = np.where(where.travelling, _CITY_PLACE[where.city, 1], people.lon[account]) + jitter[1]
    shared = people.shares_place[account]
    hidden = np.int32(NO_PLACE)
    return np.where(shared, (lat * _E6).astype(np.int32), hidden), np.where(
        shared, (lon * _E6).astype(np.int32), hidden
    )


def _outcomes(world: World, account: Index, method: Small, fresh_card: Flags, rng: np.random.Generator) -> Small:
    """Issuers decline some people more than others; the shop's old rules now and then decline too."""
    luck = rng.random(len(account), dtype=np.float32)
    issuer = np.where(method < BANK, world.accounts.decline_share[account] + fresh_card * np.float32(0.08), 0.0)
    return outcome_of(luck, issuer, 0.035, 0.004)


def outcome_of(
    luck: npt.NDArray[np.float32], issuer: npt.NDArray[np.float32] | float, abandoned: float, ours: float
) -> Small:
    """Outcome by one draw: issuer's decline, abandoned, our decline, else approved."""
    outcome = np.full(len(luck), APPROVED, dtype=np.int8)
    outcome[luck < issuer + abandoned + ours] = DECLINED_BY_US
    outcome[luck < issuer + abandoned] = ABANDONED
    outcome[luck < issuer] = DECLINED_BY_ISSUER
    return outcome


def _with_retries(world: World, first: Purchases, rng: np.random.Generator) -> list[Purchases]:
    """Declined people try again within a minute or two, some with another card: it looks like testing."""
    failed = np.flatnonzero(first.outcome == DECLINED_BY_ISSUER)
    again = first.take(failed[rng.random(len(failed)) < _RETRY])
    rounds = [first]
    for _ in range(2):
        n = len(again)
        other = rng.random(n) < 0.45
        luck = rng.random(n, dtype=np.float32)
        again = replace(
            again,
            time_ms=again.time_ms + rng.integers(15_000, 150_000, n),
            card=np.where(other, world.accounts.cards[again.account, CardSlot.SECOND], again.card),
            outcome=outcome_of(luck, np.where(other, 0.10, 0.55).astype(np.float32), 0.08, 0.02),
            browsing=np.zeros(n, dtype=np.int8),
        )
        again = replace(again, billing=world.cards.country[again.card])
        rounds.append(again)
        again = again.take((again.outcome == DECLINED_BY_ISSUER) & (rng.random(n) < 0.5))
    return rounds


def _second_thoughts(world: World, first: Purchases, rng: np.random.Generator) -> Purchases:
    """The same basket a little later."""
    left = np.flatnonzero(first.outcome == ABANDONED)
    return _later(world, first.take(left[rng.random(len(left)) < _COMES_BACK]), rng)


def _extras(world: World, first: Purchases, rng: np.random.Generator) -> Purchases:
    """Small change for the show that was just paid, with the same card: it looks like testing, too."""
    paid = np.flatnonzero(first.outcome == APPROVED)
    more = _later(world, first.take(paid[rng.random(len(paid), dtype=np.float32) < _IN_ADDITION]), rng)
    return replace(
        more,
        tickets=np.ones(len(more), dtype=np.int8),
        tier=np.full(len(more), STANDARD, dtype=np.int8),
        amount_minor=rounded(_extra_price(world, more.event, rng)),
    )


def _later(world: World, rows: Purchases, rng: np.random.Generator) -> Purchases:
    """By the same people, with what they have in their hands, within the hour."""
    n = len(rows)
    return replace(
        rows,
        time_ms=rows.time_ms + rng.integers(MINUTE_MS, 45 * MINUTE_MS, n),
        outcome=_outcomes(world, rows.account, rows.method, np.zeros(n, dtype=bool), rng),
        browsing=np.zeros(n, dtype=np.int8),
    )
