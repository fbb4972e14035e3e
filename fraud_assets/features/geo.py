"""Distances on the sphere."""

import math

import numba

EARTH_RADIUS_KM = 6371.0088  # mean radius, IUGG
RADIANS_PER_MICRODEGREE = math.pi / 180e6


@numba.njit(nogil=True)
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
