"""Request features: pure arithmetic on the scored event and what was read.

Arguments are float64, NaN for null; a result that is not finite is null. Coordinates are
microdegrees, times milliseconds, amounts minor units.
"""

import math

from fraud_assets.features.geo import haversine_km, implied_speed_kmh, middle_km
from fraud_assets.features.language import RequestFeature
from fraud_assets.features.windows import days, hours, minutes

MS_PER_HOUR = 3_600_000.0
MS_PER_DAY = 86_400_000.0


def _hour_of_day(time_ms: float) -> float:
    return math.floor((time_ms % MS_PER_DAY) / MS_PER_HOUR)


def _weekday(time_ms: float) -> float:
    # 1970-01-01 was a Thursday; Monday is 0.
    return (math.floor(time_ms / MS_PER_DAY) + 3.0) % 7.0


def _day_of_year(time_ms: float) -> float:
    """1 on the first of January. Exact from 1970 to 2099, where every fourth year is a leap year."""
    # Four years from 1968-01-01, 731 days before the epoch, of which the first is the long one.
    day = (math.floor(time_ms / MS_PER_DAY) + 731.0) % 1461.0
    return day + 1.0 if day < 366.0 else (day - 366.0) % 365.0 + 1.0


def _identity(value: float) -> float:
    return value


def _ratio(value: float, other: float) -> float:
    return value / other


def _deviation(value: float, mean: float, spread: float) -> float:
    """Standard score; null with no spread, since any distance from a constant is infinite."""
    return (value - mean) / spread


def _rate_ratio(short: float, long: float) -> float:
    """How much of the longer window's activity is in the shorter one."""
    return short / long


def _is_null(age_s: float) -> float:
    return 1.0 if math.isnan(age_s) else 0.0


def _is_new_card(card: float, age_s: float) -> float:
    """Null where there is no card: a voucher is not a new one."""
    return math.nan if math.isnan(card) else (1.0 if math.isnan(age_s) else 0.0)


def _per_ticket(amount_minor: float, ticket_count: float) -> float:
    return amount_minor / ticket_count


def _differs(one: float, other: float) -> float:
    return math.nan if math.isnan(one) or math.isnan(other) else (1.0 if one != other else 0.0)


def _feature(name: str, compute: object, *inputs: str, hidden: bool = False, description: str = "") -> RequestFeature:
    return RequestFeature(name=name, compute=compute, inputs=inputs, hidden=hidden, description=description)  # type: ignore[arg-type]


_BUSY = ("account", "device", "ip", "card")

FEATURES = (
    _feature("hour_of_day", _hour_of_day, "request.event_time_ms"),
    _feature("weekday", _weekday, "request.event_time_ms"),
    _feature("day_of_year", _day_of_year, "request.event_time_ms"),
    _feature("amount_minor", _identity, "request.amount_minor"),
    _feature("ticket_count", _identity, "request.ticket_count"),
    _feature("category", _identity, "request.category"),
    _feature("tier", _identity, "request.tier"),
    _feature("payment_method", _identity, "request.payment_method"),
    _feature("price_per_ticket_minor", _per_ticket, "request.amount_minor", "request.ticket_count"),
    _feature(
        "distance_from_last_km", haversine_km, "request.lat_e6", "request.lon_e6", "account_last_lat_e6", "account_last_lon_e6"
    ),
    _feature(
        "implied_speed_kmh", implied_speed_kmh, "distance_from_last_km", "request.event_time_ms", "account_last_place_time_ms"
    ),
    _feature(
        "distance_from_home_km", haversine_km, "request.lat_e6", "request.lon_e6", "account_home_lat_e6", "account_home_lon_e6"
    ),
    _feature(
        "distance_from_usual_km", middle_km, "request.lat_e6", "request.lon_e6",
        "account_place_x_sum_30d", "account_place_y_sum_30d", "account_place_z_sum_30d",
    ),
    _feature("ip_country_differs_from_billing", _differs, "request.ip_country", "request.billing_country"),
    _feature("is_new_device", _is_null, "account_device_first_seen_age_s"),
    _feature("is_new_card", _is_new_card, "request.card_token", "account_card_first_seen_age_s"),
    _feature("is_new_event", _is_null, "account_event_first_seen_age_s"),
    _feature("prefers_other_category", _differs, "request.category", "preferred_category"),
    _feature("price_ratio_to_event", _ratio, "price_per_ticket_minor", "avg_ticket_price"),
    *(
        _feature(f"amount_deviation_from_{entity}_30d", _deviation, "request.amount_minor",
                 f"{entity}_amount_minor_mean_30d", f"{entity}_amount_minor_std_30d")
        for entity in _BUSY
    ),
    *(
        _feature(f"amount_ratio_to_{entity}_mean_30d", _ratio, "request.amount_minor", f"{entity}_amount_minor_mean_30d")
        for entity in _BUSY
    ),
    *(
        _feature(f"{entity}_txn_velocity_{short.label}_to_{long.label}", _rate_ratio,
                 f"{entity}_txn_count_{short.label}", f"{entity}_txn_count_{long.label}")
        for entity in _BUSY
        for short, long in ((minutes(5), hours(1)), (hours(1), hours(24)), (hours(24), days(7)), (days(7), days(30)))
    ),
)  # fmt: skip
