"""Windows and their tiles.

A window's head is exact and its tail is rounded to a tile, so an entity's state is a short list of
tiles per window. The tile is about a sixtieth of the window, taken from a fixed ladder: finer
would grow the state, coarser would make the tail jump.
"""

import math
from dataclasses import dataclass

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

TILE_LADDER_MS = (
    SECOND_MS,
    5 * SECOND_MS,
    15 * SECOND_MS,
    MINUTE_MS,
    5 * MINUTE_MS,
    10 * MINUTE_MS,
    30 * MINUTE_MS,
    HOUR_MS,
    3 * HOUR_MS,
    6 * HOUR_MS,
    12 * HOUR_MS,
    DAY_MS,
    3 * DAY_MS,
    7 * DAY_MS,
)
TILES_PER_WINDOW = 60

# The quarantine bound is five minutes and a healthy pipeline is seconds late, so ten minutes keeps
# every event that is merely slow; less would drop real traffic, more would grow the state.
MIN_LATENESS_MS = 10 * MINUTE_MS

_UNITS = (("d", DAY_MS), ("h", HOUR_MS), ("m", MINUTE_MS), ("s", SECOND_MS))


class BadWindow(ValueError):
    """A window that no tile of the ladder divides, or that is not positive."""


@dataclass(frozen=True, order=True)
class Window:
    """A half-open stretch of event time ending at what is known; `length_ms` 0 means lifetime."""

    length_ms: int

    def __post_init__(self) -> None:
        if self.length_ms < 0 or self.length_ms % SECOND_MS:
            raise BadWindow(
                f"BadWindow: {self.length_ms} ms. A window is a whole number of seconds; write minutes(5), hours(1), days(30)."
            )

    @property
    def is_lifetime(self) -> bool:
        return self.length_ms == 0

    @property
    def tile_ms(self) -> int:
        """Tile size in milliseconds; 0 for a lifetime window, whose one tile never expires."""
        if self.is_lifetime:
            return 0
        ideal = self.length_ms / TILES_PER_WINDOW
        return min(TILE_LADDER_MS, key=lambda tile: abs(math.log(tile / ideal)))

    @property
    def label(self) -> str:
        """The suffix of feature names: 5m, 1h, 30d, lifetime."""
        if self.is_lifetime:
            return "lifetime"
        # 24h reads better than 1d and is what the field writes.
        if self.length_ms == DAY_MS:
            return "24h"
        for unit, size in _UNITS:
            if self.length_ms % size == 0:
                return f"{self.length_ms // size}{unit}"
        raise BadWindow(f"BadWindow: {self.length_ms} ms has no label.")

    def max_tiles(self, lateness_ms: int) -> int:
        """Most tiles a state can hold for this window: its length, the lateness, and both ends."""
        return 1 if self.is_lifetime else (self.length_ms + lateness_ms) // self.tile_ms + 2


def seconds(n: int) -> Window:
    return Window(n * SECOND_MS)


def minutes(n: int) -> Window:
    return Window(n * MINUTE_MS)


def hours(n: int) -> Window:
    return Window(n * HOUR_MS)


def days(n: int) -> Window:
    return Window(n * DAY_MS)


LIFETIME = Window(0)
VELOCITY = (minutes(1), minutes(5), hours(1), hours(24), days(7), days(30))
# Sets are the dearest of states, so habits are told from novelty at three scales.
HABIT = (hours(1), hours(24), days(30))
