"""What attackers have to work with, and the register of their campaigns.

A campaign produces purchases from the attacker's own behaviour: their devices, addresses, cards and
tempo. No step of it asks whether a row "is fraud"; that answer is looked up from the register, after
everything observable is already fixed.
"""

from dataclasses import dataclass

import numpy as np

from simulator.build import World
from simulator.kinds import Kind
from simulator.people import popularity_cdf
from simulator.places import CITIES, city_country
from simulator.purchases import NO_PLACE, NOBODY, Purchases, concat
from simulator.world import Flags, Floats, Index, Ints, Persona, Small

_CITY_COUNTRY = city_country()
_CITY_PLACE = np.array([(city.lat, city.lon) for city in CITIES])


@dataclass(frozen=True)
class Campaign:
    """One attack as its maker knows it; `is_fraud` is the truth of every row it produced."""

    kind: Kind
    start_ms: int
    end_ms: int
    is_fraud: bool = True


@dataclass(frozen=True)
class Wave:
    """What is asked of any kind: about so many purchases in [start_ms, start_ms + span_ms). camouflage: 0 loud to 1 nearly honest."""

    start_ms: int
    span_ms: int
    purchases: int
    camouflage: float


@dataclass(frozen=True)
class Attack:
    """Purchases whose `origin` counts into `campaigns`, and profile changes attackers made."""

    purchases: Purchases
    campaigns: tuple[Campaign, ...]
    hijacked: Index
    hijacked_ms: Ints

    @classmethod
    def of(cls, purchases: Purchases, *campaigns: Campaign) -> "Attack":
        """One that changes nobody's profile."""
        return cls(purchases, campaigns, np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int64))


def merged(attacks: list[Attack]) -> Attack:
    """All attacks under one numbering, purchases in time order; of none, nothing."""
    if not attacks:
        return Attack.of(NOBODY)
    parts: list[Purchases] = []
    campaigns: list[Campaign] = []
    for attack in attacks:
        shifted = (attack.purchases.origin + len(campaigns)).astype(np.int32)
        parts.append(Purchases(**{**vars(attack.purchases), "origin": shifted}))
        campaigns.extend(attack.campaigns)
    return Attack(
        purchases=concat(parts).by_time(),
        campaigns=tuple(campaigns),
        hijacked=np.concatenate([attack.hijacked for attack in attacks]),
        hijacked_ms=np.concatenate([attack.hijacked_ms for attack in attacks]),
    )


@dataclass(frozen=True)
class Underworld:
    """What attackers choose from: their accounts, ordinary victims, and identities of their own.

    `accounts`: those opened for fraud, in order of `created_ms`. `victims`: cumulative weights over
    all accounts. Devices and cards come from the last spare block; so do some ordinary people's new
    ones in kind, so having a spare's number tells nothing.
    """

    world: World
    accounts: Index
    created_ms: Ints
    victims: Floats

    @classmethod
    def of(cls, world: World) -> "Underworld":
        people = world.accounts
        crooks = np.flatnonzero(people.persona == Persona.FRAUDSTER).astype(np.int32)
        crooks = crooks[np.argsort(people.created_ms[crooks], kind="stable")]
        settled = people.weight * (people.created_ms < world.spec.start_ms)
        return cls(world, crooks, people.created_ms[crooks], popularity_cdf(settled))

    def mules(self, time_ms: int, n: int, rng: np.random.Generator) -> Index:
        """Accounts opened for fraud by that time, n of them, the younger the likelier."""
        known = max(1, int(np.searchsorted(self.created_ms, time_ms)))
        rank = known - 1 - np.minimum(rng.exponential(known / 3, n), known - 1).astype(np.int64)
        return self.accounts[rank]

    def people(self, n: int, rng: np.random.Generator) -> Index:
        """Ordinary accounts, as often as they buy."""
        return np.searchsorted(self.victims, rng.random(n), side="right").astype(np.int32)

    def rigs(self, n: int, rng: np.random.Generator) -> Index:
        """Devices of the attackers' own."""
        spec = self.world.spec
        return (self.world.devices.spare_start + self._own(n, rng) + (spec.days + 1) * spec.spare_block).astype(
            np.int32
        )

    def stolen_cards(self, n: int, rng: np.random.Generator) -> Index:
        """Stolen cards: most belong to strangers, a fifth to customers of ours."""
        spec = self.world.spec
        strangers = self.world.cards.spare_start + self._own(n, rng) + (spec.days + 1) * spec.spare_block
        ours = self.world.accounts.cards[self.people(n, rng), 0]
        return np.where(rng.random(n) < 0.2, ours, strangers).astype(np.int32)

    def _own(self, n: int, rng: np.random.Generator) -> Ints:
        return rng.integers(0, self.world.spec.spare_block, n)

    def homes_in(self, country: Small, rng: np.random.Generator) -> Index:
        """Residential proxies: somebody's hijacked router in the country, an address families use too."""
        people = self.world.accounts
        chosen = np.empty(len(country), dtype=np.int32)
        for code in np.unique(country):
            rows = np.flatnonzero(country == code)
            locals_ = np.flatnonzero(people.country == code)
            pool = people.household[locals_] if len(locals_) else people.household
            chosen[rows] = pool[rng.integers(0, len(pool), len(rows))]
        return chosen

    def hosting_in(self, country: Small, rng: np.random.Generator) -> Index:
        """Rented servers and VPN exits; privacy-minded customers use the same ones."""
        network = self.world.network
        exit_ = network.hosting_of_country[country] + rng.integers(0, network.hosting_per_country, len(country))
        return exit_.astype(np.int32)

    def phones_in(self, country: Small, rng: np.random.Generator) -> Index:
        """A mobile carrier's gateway, shared with thousands."""
        network = self.world.network
        gateway = network.mobile_of_country[country] + rng.integers(0, network.mobiles_per_country, len(country))
        return gateway.astype(np.int32)


def claimed_places(ip_country: Small, shared: Flags, rng: np.random.Generator) -> tuple[Index, Index]:
    """Coordinates an attacker's app reports: somewhere in the country of the address, or nothing."""
    n = len(ip_country)
    city = np.zeros(n, dtype=np.int64)
    for code in np.unique(ip_country):
        rows = np.flatnonzero(ip_country == code)
        city[rows] = rng.choice(np.flatnonzero(np.equal(_CITY_COUNTRY, code)), size=len(rows))
    place = ((_CITY_PLACE[city] + rng.normal(0, 0.1, (n, 2))) * 1_000_000).astype(np.int32)
    return np.where(shared, place[:, 0], NO_PLACE), np.where(shared, place[:, 1], NO_PLACE)


def countries(n: int, rng: np.random.Generator) -> Small:
    """Where rented infrastructure stands: anywhere."""
    return _CITY_COUNTRY[rng.integers(0, len(CITIES), n)]


def clipped_to_world(world: World, attack: Attack) -> Attack:
    """Drop what would happen outside the world's days or before its account existed."""
    rows = attack.purchases
    end = world.spec.end_ms
    inside = (rows.time_ms >= world.spec.start_ms) & (rows.time_ms < end)
    inside &= world.accounts.created_ms[rows.account] < rows.time_ms
    early = (attack.hijacked_ms >= world.spec.start_ms) & (attack.hijacked_ms < end)
    return Attack(rows.take(inside), attack.campaigns, attack.hijacked[early], attack.hijacked_ms[early])
