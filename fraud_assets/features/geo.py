"""Distances on the sphere, as request features take them: float64, NaN for null, coordinates in microdegrees."""

import math

EARTH_RADIUS_KM = 6371.0088  # mean radius, IUGG
RADIANS_PER_MICRODEGREE = math.pi / 180e6
MS_PER_HOUR = 3_600_000.0
# Of a sum of directions that are each 1e9 long and known to a few units: what is shorter than this points nowhere.
NOWHERE = 1_000.0


def haversine_km(lat_e6: float, lon_e6: float, other_lat_e6: float, other_lon_e6: float) -> float:
    """Great-circle distance in km between two points in microdegrees; null where a coordinate is.

    Source: Sinnott, "Virtues of the Haversine", Sky and Telescope 68 (1984).
    """
    phi, other_phi = lat_e6 * RADIANS_PER_MICRODEGREE, other_lat_e6 * RADIANS_PER_MICRODEGREE
    half_dphi = (other_phi - phi) / 2.0
    half_dlambda = (other_lon_e6 - lon_e6) * RADIANS_PER_MICRODEGREE / 2.0
    chord = math.sin(half_dphi) ** 2 + math.cos(phi) * math.cos(other_phi) * math.sin(half_dlambda) ** 2
    # Not min(1.0, chord): that is 1.0 of a null too, and a payment without a place would be 20,015 km away.
    if chord > 1.0:
        chord = 1.0
    return 2.0 * EARTH_RADIUS_KM * math.asin(math.sqrt(chord))


def middle_km(lat_e6: float, lon_e6: float, x: float, y: float, z: float) -> float:
    """Great-circle distance in km to the middle of places, told by the sum of their directions from the earth's centre.

    x, y: towards longitudes 0 and 90 degrees on the equator; z: to the north pole. Null where places cancel out.
    """
    if x * x + y * y + z * z < NOWHERE * NOWHERE:
        return math.nan
    phi, along = lat_e6 * RADIANS_PER_MICRODEGREE, lon_e6 * RADIANS_PER_MICRODEGREE
    a, b, c = math.cos(phi) * math.cos(along), math.cos(phi) * math.sin(along), math.sin(phi)
    across = math.sqrt((b * z - c * y) ** 2 + (c * x - a * z) ** 2 + (a * y - b * x) ** 2)
    # Not asin or acos of one of the two: each is blind where its curve is flat.
    return EARTH_RADIUS_KM * math.atan2(across, a * x + b * y + c * z)


def implied_speed_kmh(distance_km: float, time_ms: float, before_ms: float) -> float:
    """km/h between here and the last known place, whichever was earlier; a second at least, so that a double click is no rocket."""
    return distance_km / (max(abs(time_ms - before_ms), 1_000.0) / MS_PER_HOUR)
