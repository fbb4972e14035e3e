"""Windows, their tiles and their names."""

import math

import pytest

from fraud_assets.features.windows import (
    DAY_MS,
    HOUR_MS,
    LIFETIME,
    MIN_LATENESS_MS,
    MINUTE_MS,
    SECOND_MS,
    TILE_LADDER_MS,
    TILES_PER_WINDOW,
    VELOCITY,
    BadWindow,
    Window,
    days,
    hours,
    minutes,
    seconds,
)


def test_the_default_windows_have_the_tiles_of_the_design() -> None:
    """1m 5m 1h 24h 7d 30d, each tiled by about a sixtieth."""
    tiles = {window.label: window.tile_ms for window in VELOCITY}

    assert tiles == {
        "1m": SECOND_MS,
        "5m": 5 * SECOND_MS,
        "1h": MINUTE_MS,
        "24h": 30 * MINUTE_MS,
        "7d": 3 * HOUR_MS,
        "30d": 12 * HOUR_MS,
    }


@pytest.mark.parametrize(
    "window",
    [seconds(1), seconds(90), minutes(7), minutes(45), hours(2), hours(36), days(3), days(14), days(90), days(365)],
)
def test_a_tile_is_the_rung_nearest_to_a_sixtieth(window: Window) -> None:
    """Nearest by ratio: a rung twice too large is as far as one twice too small."""
    ideal = window.length_ms / TILES_PER_WINDOW
    distances = {tile: abs(math.log(tile / ideal)) for tile in TILE_LADDER_MS}

    assert distances[window.tile_ms] == min(distances.values())


def test_the_ladder_ascends_and_each_rung_divides_a_week_or_is_one() -> None:
    """Tiles start at the epoch, so that all of a rung's tiles line up in every process."""
    assert list(TILE_LADDER_MS) == sorted(TILE_LADDER_MS)
    assert all(7 * DAY_MS % tile == 0 for tile in TILE_LADDER_MS if tile != 3 * DAY_MS)


@pytest.mark.parametrize(
    ("window", "label"),
    [(seconds(90), "90s"), (minutes(60), "1h"), (minutes(7), "7m"), (hours(24), "24h"), (days(1), "24h"), (hours(48), "2d"), (LIFETIME, "lifetime")],
)  # fmt: skip
def test_a_label_is_the_largest_unit_that_divides_the_window(window: Window, label: str) -> None:
    assert window.label == label


def test_windows_of_equal_length_are_one_window_whatever_unit_declared_them() -> None:
    assert days(1) == hours(24) and hash(days(1)) == hash(hours(24))


@pytest.mark.parametrize("length_ms", [-1000, 1, 1500, 999])
def test_a_window_is_a_whole_number_of_seconds(length_ms: int) -> None:
    with pytest.raises(BadWindow, match=r"whole number of seconds; write minutes\(5\)"):
        Window(length_ms)


@pytest.mark.parametrize("window", [*VELOCITY, seconds(1), minutes(7), days(365)])
@pytest.mark.parametrize("lateness_ms", [MIN_LATENESS_MS, MIN_LATENESS_MS + 1, HOUR_MS + 777])
def test_max_tiles_is_reached_and_never_passed(window: Window, lateness_ms: int) -> None:
    """The most tiles between the expiry floor and the newest event, over every phase of `newest`."""
    h = window.tile_ms
    kept = {
        newest // h - (newest - window.length_ms - lateness_ms) // h + 1
        for newest in (7 * DAY_MS + phase for phase in (0, 1, h // 2, h - 1, (window.length_ms + lateness_ms) % h))
    }

    assert max(kept) <= window.max_tiles(lateness_ms) <= max(kept) + 1


def test_a_lifetime_window_has_one_tile_that_never_expires() -> None:
    assert LIFETIME.is_lifetime and LIFETIME.tile_ms == 0 and LIFETIME.max_tiles(MIN_LATENESS_MS) == 1
