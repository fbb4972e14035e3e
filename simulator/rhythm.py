"""The world's own clock: at which hours its people buy, and on which days.

A live run follows it if it is asked to (`--realtime`); a history always does.
"""

import numpy as np

from simulator.build import World
from simulator.habits import WEEKDAY_FACTOR
from simulator.personas import of_persona
from simulator.places import CITIES
from simulator.spec import DAY_MS, HOUR_MS
from simulator.world import Floats, Ints

_HOURS = of_persona("hours")
# (personas, 24): purchases of a local hour, in those of the mean one.
_AWAKE = _HOURS * 24 / _HOURS.sum(axis=1, keepdims=True)
_OFFSET_H = np.array([city.utc_offset_h for city in CITIES])
_FIRST_WEEKDAY = 3  # 1970-01-01 was a Thursday


def weekday(time_ms: int) -> int:
    """0 for a Monday, UTC."""
    return (time_ms // DAY_MS + _FIRST_WEEKDAY) % 7


def awake_at(world: World, time_ms: int) -> Floats:
    """(accounts,) how much each buys in this hour, in their own mean hour."""
    hour = (time_ms // HOUR_MS + _OFFSET_H[world.accounts.city]) % 24
    return np.asarray(_AWAKE[world.accounts.persona, hour], dtype=np.float64)


def busy_at(world: World, time_ms: Ints) -> Floats:
    """(n,) how many come at each of these times, in those of a mean minute of a mean day."""
    hours, of_hour = np.unique(time_ms // HOUR_MS, return_inverse=True)
    weight = world.accounts.weight / world.accounts.weight.sum()
    busy = [
        float(weight @ awake_at(world, at_ms)) * WEEKDAY_FACTOR[weekday(at_ms)] for at_ms in (hours * HOUR_MS).tolist()
    ]
    return np.array(busy)[of_hour]
