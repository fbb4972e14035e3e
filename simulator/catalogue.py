"""Events and promoters: what is sold, where, when it goes on sale and how much of the crowd wants it."""

import numpy as np

from fraud_assets.contracts.events import Category
from simulator.places import CITIES, city_country, city_share, price_level
from simulator.spec import DAY_MS, HOUR_MS, WorldSpec, stream
from simulator.world import Events, Floats, Ints, Small

# Events that are always on sale, a tenth of all, are so from long before a history until long after it:
# a live run needs something to sell.
SOLD_BEFORE_DAYS, SOLD_AFTER_DAYS = 60, 365
CATEGORIES = tuple(sorted(Category))
_CATEGORY_SHARE = {
    Category.CONCERT: 0.28,
    Category.SPORT: 0.22,
    Category.CULTURE: 0.14,
    Category.COMEDY: 0.10,
    Category.FAMILY: 0.10,
    Category.FESTIVAL: 0.08,
    Category.CONFERENCE: 0.05,
    Category.OTHER: 0.03,
}
_MEDIAN_PRICE_MINOR = {
    Category.CONCERT: 6_500,
    Category.SPORT: 5_500,
    Category.CULTURE: 3_200,
    Category.COMEDY: 2_800,
    Category.FAMILY: 2_000,
    Category.FESTIVAL: 12_000,
    Category.CONFERENCE: 18_000,
    Category.OTHER: 1_200,
}
_LEAD_DAYS = 75  # an event may be on sale this long before it happens
_TICKETS_PER_PURCHASE = 2.1
_FLASH_SHARE_OF_EVENTS = 0.25  # only the more wanted draw a crowd when they go on sale


def build_events(spec: WorldSpec) -> Events:
    """The calendar around the world's days; a third of the events closes within a month."""
    rng = stream(spec, "events")
    n = spec.events
    category = _categories(n, rng)
    city = rng.choice(len(CITIES), size=n, p=city_share()).astype(np.int8)
    popularity = rng.permutation(np.arange(1, n + 1) ** -0.9)
    promoter = _promoters(spec, rng)
    on_sale, closes = _calendar(spec, rng)
    capacity, sold_before = _capacity(spec, popularity, on_sale, closes, rng)
    coordinates = np.array([(place.lat, place.lon) for place in CITIES])[city] + rng.normal(0, 0.03, (n, 2))
    return Events(
        category=category,
        promoter=promoter,
        city=city,
        country=city_country()[city],
        lat=coordinates[:, 0],
        lon=coordinates[:, 1],
        popularity=popularity / popularity.sum(),
        price_minor=_prices(category, city_country()[city], rng),
        on_sale_ms=on_sale,
        closes_ms=closes,
        capacity=capacity,
        sold_before=sold_before,
        flash_size=_flash_sizes(spec, popularity, on_sale, rng),
    )


def _categories(n: int, rng: np.random.Generator) -> Small:
    share = np.array([_CATEGORY_SHARE[category] for category in CATEGORIES])
    return rng.choice(len(CATEGORIES), size=n, p=share / share.sum()).astype(np.int8)


def _promoters(spec: WorldSpec, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """A few promoters own most of the calendar."""
    share = np.arange(1, spec.promoters + 1) ** -0.8
    return rng.choice(spec.promoters, size=spec.events, p=share / share.sum()).astype(np.int32)


def _calendar(spec: WorldSpec, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """On sale at a full hour of some morning; closed at some evening 10 to 75 days later."""
    first, last = spec.start_ms - SOLD_BEFORE_DAYS * DAY_MS, spec.end_ms + 20 * DAY_MS
    day = rng.integers(first // DAY_MS, last // DAY_MS, spec.events)
    on_sale = day * DAY_MS + rng.integers(8, 13, spec.events) * HOUR_MS
    lead = rng.integers(10, _LEAD_DAYS, spec.events)
    closes = (day + lead) * DAY_MS + rng.integers(17, 22, spec.events) * HOUR_MS
    always = (rng.random(spec.events) < 0.1) | (np.arange(spec.events) == 0)
    # A tenth (museums, tours) is on sale throughout, so no day of any world has nothing to sell.
    on_sale = np.where(always, first, on_sale)
    return on_sale, np.where(always, spec.end_ms + SOLD_AFTER_DAYS * DAY_MS, closes)


def _prices(category: Small, country: Small, rng: np.random.Generator) -> Ints:
    """Lognormal around the category's median, to the nearest 50 minor units."""
    median = np.array([_MEDIAN_PRICE_MINOR[c] for c in CATEGORIES])[category]
    price = median * rng.lognormal(0, 0.5, len(category)) * price_level()[country]
    return np.maximum(200, np.round(price / 50) * 50).astype(np.int64)


def _capacity(
    spec: WorldSpec, popularity: Floats, on_sale: Ints, closes: Ints, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Capacity around what the crowd will buy, so that some events sell out and some do not."""
    days_on_sale = np.minimum((closes - on_sale) / DAY_MS, 90)
    share = popularity / popularity.sum() / 0.6  # about six in ten events are on sale at a time
    wanted = share * spec.rate_per_day * days_on_sale * _TICKETS_PER_PURCHASE
    capacity = np.clip(wanted * rng.uniform(0.7, 2.2, spec.events), 50, 900_000).astype(np.int64)
    elapsed = np.clip((spec.start_ms - on_sale) / np.maximum(closes - on_sale, 1), 0, 1)
    return capacity, (capacity * elapsed * rng.uniform(0.3, 0.8, spec.events)).astype(np.int64)


def _flash_sizes(spec: WorldSpec, popularity: Floats, on_sale: Ints, rng: np.random.Generator) -> Ints:
    """Buyers in the crowd of an on-sale morning: a good part of an ordinary day for the top events."""
    wanted = popularity >= np.quantile(popularity, 1 - _FLASH_SHARE_OF_EVENTS)
    size = spec.rate_per_day * rng.uniform(0.04, 0.25, spec.events)
    return np.where(wanted & (on_sale >= spec.start_ms), size, 0).astype(np.int64)
