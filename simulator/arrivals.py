"""Who comes when: a day's ordinary visits, on-sale crowds and new members, as (time, account, event)."""

from dataclasses import dataclass

import numpy as np

from simulator.build import World
from simulator.habits import WEEKDAY_FACTOR, minutes_of_day
from simulator.people import popularity_cdf
from simulator.personas import of_persona
from simulator.places import CITIES
from simulator.rhythm import weekday
from simulator.spec import DAY_MS, MINUTE_MS, stream
from simulator.world import Floats, Index, Ints

ANY_EVENT = -1
_MINUTES = minutes_of_day()
_OFFSET_MS = np.array([city.utc_offset_h for city in CITIES], dtype=np.int64) * 3_600_000
# One int64 holds a whole arrival, so a day is put in order by one plain sort: 28 bits of time within
# the day, 24 of account, 11 of event + 1.
_ACCOUNT_BITS, _EVENT_BITS = 24, 11
_CROWD_MEAN_MS = 11 * MINUTE_MS
CROWD_LOVE = of_persona("crowd")
_BUYS_AT_ONCE = of_persona("buys_at_once")


@dataclass(frozen=True)
class Arrivals:
    """Visits in time order. `event`: the one they came for, or -1."""

    time_ms: Ints
    account: Index
    event: Index

    def __len__(self) -> int:
        return len(self.time_ms)


def arrivals_of_day(world: World, day: int) -> Arrivals:
    """Everybody who tries to buy on one day of the world."""
    rng = stream(world.spec, "arrivals", day)
    start = world.spec.start_ms + day * DAY_MS
    cdf = popularity_cdf(world.accounts.weight * world.accounts.awake(start))
    packed = np.concatenate(
        [_regulars(world, start, cdf, rng), *_crowds(world, start, cdf, rng), _newcomers(world, start, rng)]
    )
    packed.sort()
    return _unpack(packed, start)


def _pack(offset_ms: Ints, account: Ints | Index, event: int) -> Ints:
    shifted = (offset_ms << _ACCOUNT_BITS | account) << _EVENT_BITS
    return np.asarray(shifted | (event + 1), dtype=np.int64)


def _unpack(packed: Ints, start: int) -> Arrivals:
    account = (packed >> _EVENT_BITS) & (2**_ACCOUNT_BITS - 1)
    return Arrivals(
        time_ms=(packed >> (_ACCOUNT_BITS + _EVENT_BITS)) + start,
        account=account.astype(np.int32),
        event=(packed & (2**_EVENT_BITS - 1)).astype(np.int32) - 1,
    )


def _regulars(world: World, start: int, cdf: Floats, rng: np.random.Generator) -> Ints:
    """Ordinary visits at each person's own hours, in their own time zone."""
    n = int(rng.poisson(world.spec.rate_per_day * WEEKDAY_FACTOR[weekday(start)]))
    account = _drawn(cdf, n, rng)
    return _pack(at_own_hours(world, account, rng), account, ANY_EVENT)


def at_own_hours(world: World, account: Ints | Index, rng: np.random.Generator) -> Ints:
    """(n,) ms since midnight UTC: when each of them buys, drawn from the habits of their persona."""
    n = len(account)
    minute = _MINUTES[world.accounts.persona[account], rng.integers(0, _MINUTES.shape[1], n)]
    local = minute * np.int64(MINUTE_MS) + rng.integers(0, MINUTE_MS, n)
    return np.asarray((local - _OFFSET_MS[world.accounts.city[account]]) % DAY_MS, dtype=np.int64)


def _drawn(cdf: Floats, n: int, rng: np.random.Generator) -> Ints:
    """Accounts by weight, n of them. Sorted draws keep the search in cache; the later sort by time mixes them."""
    return np.searchsorted(cdf, np.sort(rng.random(n)), side="right")


def _crowds(world: World, start: int, cdf: Floats, rng: np.random.Generator) -> list[Ints]:
    """Flash sales: a crowd in the minutes after a wanted event goes on sale."""
    events = world.events
    opens = (events.on_sale_ms >= start) & (events.on_sale_ms < start + DAY_MS) & (events.flash_size > 0)
    crowds = []
    for event in np.flatnonzero(opens).tolist():
        n = int(rng.poisson(events.flash_size[event]))
        offset = (events.on_sale_ms[event] - start + rng.exponential(_CROWD_MEAN_MS, n)).astype(np.int64)
        love = world.accounts.weight * CROWD_LOVE[world.accounts.persona] * (np.diff(cdf, prepend=0) > 0)
        account = rng.permutation(_drawn(popularity_cdf(love), n, rng))
        crowds.append(_pack(np.minimum(offset, DAY_MS - 1), account, event))
    return crowds


def _newcomers(world: World, start: int, rng: np.random.Generator) -> Ints:
    """People who joined today mostly did so to buy something: a new account is no crime."""
    created = world.accounts.created_ms
    today = np.flatnonzero((created >= start) & (created < start + DAY_MS))
    today = today[rng.random(len(today)) < _BUYS_AT_ONCE[world.accounts.persona[today]]]
    offset = created[today] - start + rng.exponential(15 * MINUTE_MS, len(today)).astype(np.int64)
    return _pack(np.minimum(offset + 20_000, DAY_MS - 1), today, ANY_EVENT)
