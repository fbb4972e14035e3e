"""Lookup tables of habit: one row per kind of person, 256 cells, one of which is drawn per choice."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from simulator.personas import PERSONAS
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


# Rows in the order of the shares of `personas.Habits`.
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
TICKET_TABLE = table([PERSONAS[persona].tickets for persona in Persona])
TIER_TABLE = table([PERSONAS[persona].tiers for persona in Persona])
BROWSING_TABLE = table([PERSONAS[persona].browsing for persona in Persona])

TIER_PRICE = np.array([1.0, 1.7, 3.2])
WEEKDAY_FACTOR = (0.86, 0.88, 0.93, 1.0, 1.18, 1.22, 0.97)  # Monday first

_MINUTES = 4_096


def minutes_of_day() -> npt.NDArray[np.int16]:
    """(personas, 4096) local minutes, each as frequent as that persona buys then."""
    rows = []
    for persona in Persona:
        cdf = np.concatenate([[0.0], np.cumsum(PERSONAS[persona].hours)])
        quantile = (np.arange(_MINUTES) + 0.5) / _MINUTES * cdf[-1]
        rows.append(np.interp(quantile, cdf, np.arange(25) * 60.0))
    return np.minimum(np.stack(rows), DAY_MS // MINUTE_MS - 1).astype(np.int16)
