"""Which event somebody buys, and what it costs: the demand side of one day."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulator.build import World
from simulator.catalogue import CATEGORIES
from simulator.habits import TIER_PRICE
from simulator.places import COUNTRIES, price_level
from simulator.world import Flags, Floats, Index, Ints, Small

_ALL = len(COUNTRIES) + len(CATEGORIES)
_FEE = 1.08
_AMOUNT_STEP = 5


@dataclass(frozen=True)
class Market:
    """Events on sale, and for each crowd (country, category, everybody) whom its demand goes to.

    `cdf` holds one cumulative distribution per crowd, the k-th shifted by k, so that one search
    serves all rows whatever their crowd.
    """

    on_sale: Index
    cdf: Floats

    @classmethod
    def at(cls, world: World, time_ms: int) -> "Market":
        """The market as it stands at one instant; a day uses its start."""
        events = world.events
        on_sale = np.flatnonzero((events.on_sale_ms <= time_ms) & (events.closes_ms > time_ms))
        # The last hours before an event sell faster than any others.
        days_left = (events.closes_ms[on_sale] - time_ms) / 86_400_000
        demand = events.popularity[on_sale] * (1 + 1.5 * np.exp(-days_left / 4))
        crowds = [_crowd(demand, events.country[on_sale] == c) for c in range(len(COUNTRIES))]
        crowds += [_crowd(demand, events.category[on_sale] == c) for c in range(len(CATEGORIES))]
        crowds.append(_crowd(demand, np.ones(len(on_sale), dtype=bool)))
        shifted = np.concatenate([cdf + k for k, cdf in enumerate(crowds)])
        return cls(on_sale=on_sale.astype(np.int32), cdf=shifted)

    def choose(self, country: Small, category: Small, rng: np.random.Generator) -> Index:
        """An event for each row: near where they are, of the kind they like, or simply popular."""
        n = len(country)
        taste = rng.random(n, dtype=np.float32)
        crowd = np.where(taste < 0.55, country, np.where(taste < 0.85, category + len(COUNTRIES), _ALL))
        # 0.999999 keeps a float32 draw below its crowd's last step.
        found = np.searchsorted(self.cdf, crowd + rng.random(n) * 0.999999, side="right")
        return self.on_sale[found % len(self.on_sale)]

    def cheapest_quarter(self, world: World) -> Index:
        """The cheapest quarter of the events on sale, in dollars' worth; at least one."""
        price = world.events.price_minor[self.on_sale] / price_level()[world.events.country[self.on_sale]]
        return self.on_sale[np.argsort(price, kind="stable")[: max(1, len(price) // 4)]]


def _crowd(demand: Floats, wanted: Flags) -> Floats:
    """Cumulative share; a crowd with nothing of its own on sale takes what everybody takes."""
    weight = demand * wanted if np.any(wanted) else demand
    cdf = np.cumsum(weight)
    return np.asarray(cdf / cdf[-1], dtype=np.float64)


def price_table(world: World) -> npt.NDArray[np.float32]:
    """(events, tiers): the price of one ticket with fee, in minor units of the venue's currency."""
    return (world.events.price_minor[:, None] * TIER_PRICE * _FEE).astype(np.float32)


def rounded(amount: npt.NDArray[np.float32] | Floats) -> Ints:
    """Amounts as shops write them: multiples of five minor units, never nothing."""
    return np.maximum(np.rint(amount / _AMOUNT_STEP).astype(np.int64) * _AMOUNT_STEP, _AMOUNT_STEP)
