"""Where the simulated world happens: countries with their address ranges, cities with coordinates.

The IPv4 ranges are real ones of each country, so that the platform's own country lookup agrees with
the world's intent (a test looks every address up). Nothing is ever sent to them.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Country:
    """code: ISO 3166-1; the three ranges are /16 prefixes as (first, second) octets."""

    code: str
    currency: str
    weight: float
    residential: tuple[tuple[int, int], ...]
    mobile: tuple[int, int]
    hosting: tuple[int, int]


@dataclass(frozen=True)
class City:
    """weight: share of its country's people; utc_offset_h: standard time, whole hours."""

    name: str
    country: str
    lat: float
    lon: float
    utc_offset_h: int
    weight: float


COUNTRIES = (
    Country("US", "USD", 0.34, ((3, 82), (3, 90)), (3, 46), (3, 18)),
    Country("GB", "GBP", 0.15, ((2, 24), (2, 96)), (2, 216), (3, 8)),
    Country("DE", "EUR", 0.10, ((2, 160), (2, 200)), (2, 240), (3, 64)),
    Country("FR", "EUR", 0.08, ((2, 3), (2, 7)), (37, 166), (13, 39)),
    Country("ES", "EUR", 0.06, ((2, 136), (2, 152)), (37, 14), (18, 100)),
    Country("IT", "EUR", 0.05, ((2, 32), (2, 112)), (5, 84), (2, 192)),
    Country("NL", "EUR", 0.04, ((31, 20), (31, 138)), (62, 131), (20, 23)),
    Country("CA", "CAD", 0.05, ((24, 66), (24, 78)), (24, 114), (3, 96)),
    Country("AU", "AUD", 0.03, ((1, 40), (1, 123)), (1, 147), (3, 27)),
    Country("BR", "BRL", 0.02, ((150, 161), (152, 237)), (152, 245), (18, 228)),
    Country("PL", "PLN", 0.02, ((5, 173), (31, 179)), (37, 225), (20, 215)),
    Country("SE", "SEK", 0.02, ((2, 65), (2, 249)), (37, 2), (13, 49)),
    Country("IE", "EUR", 0.01, ((79, 97), (86, 40)), (4, 207), (3, 248)),
    Country("IN", "INR", 0.01, ((1, 38), (14, 98)), (27, 4), (3, 111)),
    Country("MX", "MXN", 0.01, ((148, 220), (148, 237)), (148, 245), (148, 204)),
    Country("PT", "EUR", 0.01, ((2, 80), (85, 244)), (89, 180), (94, 63)),
)

CITIES = (
    City("New York", "US", 40.71, -74.01, -5, 0.30),
    City("Los Angeles", "US", 34.05, -118.24, -8, 0.22),
    City("Chicago", "US", 41.88, -87.63, -6, 0.16),
    City("Houston", "US", 29.76, -95.37, -6, 0.12),
    City("Atlanta", "US", 33.75, -84.39, -5, 0.11),
    City("Seattle", "US", 47.61, -122.33, -8, 0.09),
    City("London", "GB", 51.51, -0.13, 0, 0.60),
    City("Manchester", "GB", 53.48, -2.24, 0, 0.25),
    City("Edinburgh", "GB", 55.95, -3.19, 0, 0.15),
    City("Berlin", "DE", 52.52, 13.40, 1, 0.40),
    City("Munich", "DE", 48.14, 11.58, 1, 0.32),
    City("Hamburg", "DE", 53.55, 9.99, 1, 0.28),
    City("Paris", "FR", 48.86, 2.35, 1, 0.65),
    City("Lyon", "FR", 45.76, 4.84, 1, 0.35),
    City("Madrid", "ES", 40.42, -3.70, 1, 0.55),
    City("Barcelona", "ES", 41.39, 2.17, 1, 0.45),
    City("Milan", "IT", 45.46, 9.19, 1, 0.55),
    City("Rome", "IT", 41.90, 12.50, 1, 0.45),
    City("Amsterdam", "NL", 52.37, 4.90, 1, 0.65),
    City("Rotterdam", "NL", 51.92, 4.48, 1, 0.35),
    City("Toronto", "CA", 43.65, -79.38, -5, 0.60),
    City("Vancouver", "CA", 49.28, -123.12, -8, 0.40),
    City("Sydney", "AU", -33.87, 151.21, 10, 0.55),
    City("Melbourne", "AU", -37.81, 144.96, 10, 0.45),
    City("Sao Paulo", "BR", -23.55, -46.63, -3, 1.0),
    City("Warsaw", "PL", 52.23, 21.01, 1, 1.0),
    City("Stockholm", "SE", 59.33, 18.07, 1, 1.0),
    City("Dublin", "IE", 53.35, -6.26, 0, 1.0),
    City("Mumbai", "IN", 19.08, 72.88, 5, 1.0),
    City("Mexico City", "MX", 19.43, -99.13, -6, 1.0),
    City("Lisbon", "PT", 38.72, -9.14, 0, 1.0),
)

COUNTRY_CODES = tuple(country.code for country in COUNTRIES)
CURRENCIES = tuple(country.currency for country in COUNTRIES)

# A ticket that costs 50 in dollars costs 4,000 in rupees: prices follow the venue's currency.
PRICE_LEVEL: dict[str, float] = {"BRL": 5.0, "PLN": 4.0, "SEK": 10.0, "INR": 80.0, "MXN": 17.0}


def city_country() -> npt.NDArray[np.int8]:
    """Country index of each city."""
    return np.array([COUNTRY_CODES.index(city.country) for city in CITIES], dtype=np.int8)


def city_share() -> npt.NDArray[np.float64]:
    """Share of the world's people in each city; sums to 1."""
    national = {country.code: country.weight for country in COUNTRIES}
    share = np.array([national[city.country] * city.weight for city in CITIES])
    return np.asarray(share / share.sum(), dtype=np.float64)


def price_level() -> npt.NDArray[np.float64]:
    """Price multiplier of each country's currency against the dollar."""
    return np.array([PRICE_LEVEL.get(currency, 1.0) for currency in CURRENCIES])
