"""Lookup tables of habit: one row per kind of person, 256 cells, one of which is drawn per choice."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from simulator.purchases import PREMIUM, STANDARD, VIP
from simulator.spec import DAY_MS, MINUTE_MS
from simulator.world import CardSlot, DeviceSlot, IpSlot, Persona, Small

CELLS = 256

USER_AGENTS = tuple(
    f"{app} ({system}) {engine}"
    for app in ("TicketApp/5.2", "TicketApp/5.1", "Mozilla/5.0")
    for system in ("iPhone; iOS 18", "Android 15; Mobile", "Windows NT 10.0; Win64", "Macintosh; Mac OS X 15")
    for engine in ("Chrome/142", "Safari/18")
)


def table(rows: Sequence[Mapping[int, float]]) -> Small:
    """(len(rows), 256) values in proportion to the weights of each row."""
    return np.stack([_cells(row) for row in rows])


def _cells(weights: Mapping[int, float]) -> Small:
    share = np.array(list(weights.values()))
    edges = np.round(np.cumsum(share / share.sum()) * CELLS).astype(np.int64)
    return np.repeat(np.array(list(weights), dtype=np.int8), np.diff(edges, prepend=0))


# Rows in the order of `people.IP_HABIT_SHARE` and its siblings.
IP_TABLE = table(
    [
        {IpSlot.HOME: 72, IpSlot.MOBILE: 20, IpSlot.WORK: 8},
        {IpSlot.HOME: 22, IpSlot.MOBILE: 72, IpSlot.WORK: 6},
        {IpSlot.HOME: 35, IpSlot.MOBILE: 15, IpSlot.WORK: 50},
        {IpSlot.HOME: 35, IpSlot.MOBILE: 15, IpSlot.VPN: 50},
    ]
)
DEVICE_TABLE = table(
    [
        {DeviceSlot.FIRST: 96, DeviceSlot.FRESH: 2.4, DeviceSlot.KIOSK: 1.6},
        {DeviceSlot.FIRST: 68, DeviceSlot.SECOND: 28, DeviceSlot.FRESH: 2.4, DeviceSlot.KIOSK: 1.6},
        {DeviceSlot.FIRST: 48, DeviceSlot.SHARED: 48, DeviceSlot.FRESH: 2.4, DeviceSlot.KIOSK: 1.6},
        {DeviceSlot.FIRST: 40, DeviceSlot.FRESH: 60},
    ]
)
CARD_TABLE = table(
    [
        {CardSlot.FIRST: 98, CardSlot.FRESH: 2},
        {CardSlot.FIRST: 72, CardSlot.SECOND: 26, CardSlot.FRESH: 2},
        {CardSlot.FIRST: 40, CardSlot.THIRD: 58, CardSlot.FRESH: 2},
        {CardSlot.FIRST: 40, CardSlot.SECOND: 25, CardSlot.FRESH: 35},
    ]
)
_FRAUDSTERS_COVER: Mapping[int, float] = {
    1: 30,
    2: 50,
    3: 10,
    4: 10,
}  # an ordinary basket, for their ordinary purchases
TICKET_TABLE = table(
    [
        {1: 28, 2: 52, 3: 8, 4: 10, 5: 1, 6: 1},
        {1: 38, 2: 46, 3: 7, 4: 7, 6: 2},
        {1: 15, 2: 55, 4: 22, 6: 6, 8: 2},
        {2: 12, 4: 34, 6: 26, 8: 28},
        _FRAUDSTERS_COVER,
    ]
)
TIER_TABLE = table(
    [
        {STANDARD: 86, PREMIUM: 12, VIP: 2},
        {STANDARD: 74, PREMIUM: 21, VIP: 5},
        {STANDARD: 25, PREMIUM: 40, VIP: 35},
        {STANDARD: 78, PREMIUM: 20, VIP: 2},
        {STANDARD: 85, PREMIUM: 13, VIP: 2},
    ]
)
BROWSING_TABLE = table(
    [
        {0: 25, 1: 30, 2: 25, 3: 14, 4: 6},
        {0: 35, 1: 35, 2: 20, 3: 10},
        {0: 30, 1: 40, 2: 20, 3: 10},
        {0: 75, 1: 20, 2: 5},
        {0: 40, 1: 40, 2: 20},
    ]
)

TIER_PRICE = np.array([1.0, 1.7, 3.2])
WEEKDAY_FACTOR = (0.86, 0.88, 0.93, 1.0, 1.18, 1.22, 0.97)  # Monday first

_HOURS = {
    Persona.CASUAL: (1, 0.5, 0.3, 0.2, 0.3, 0.6, 1.5, 3, 4, 5, 5.5, 6, 7, 6, 5, 5, 6, 7, 9, 10, 10, 8, 5, 2.5),
    Persona.ENTHUSIAST: (3, 2, 1, 0.5, 0.3, 0.5, 1, 2, 4, 7, 8, 6, 6, 5, 5, 5, 6, 7, 8, 9, 9, 8, 7, 5),
    Persona.VIP: (1, 0.4, 0.2, 0.2, 0.3, 0.8, 2, 5, 8, 9, 9, 8, 7, 7, 8, 8, 7, 6, 5, 4, 4, 3, 2, 1.5),
    Persona.SCALPER: (3, 3, 2, 2, 2, 2, 3, 4, 7, 9, 9, 8, 6, 5, 5, 5, 5, 5, 5, 5, 5, 4, 4, 3),
    Persona.FRAUDSTER: (4, 4, 4, 3, 3, 2, 2, 2, 3, 4, 5, 5, 5, 5, 5, 5, 5, 5, 6, 6, 6, 6, 5, 5),
}
_MINUTES = 4_096


def minutes_of_day() -> npt.NDArray[np.int16]:
    """(personas, 4096) local minutes, each as frequent as that persona buys then."""
    rows = []
    for persona in Persona:
        cdf = np.concatenate([[0.0], np.cumsum(_HOURS[persona])])
        quantile = (np.arange(_MINUTES) + 0.5) / _MINUTES * cdf[-1]
        rows.append(np.interp(quantile, cdf, np.arange(25) * 60.0))
    return np.minimum(np.stack(rows), DAY_MS // MINUTE_MS - 1).astype(np.int16)
