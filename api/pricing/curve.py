"""When visitors come: by the hour of the day, since sales began, and before the doors open; learned from all events of the shop. Pure.

An interval's visitors are an event's own level times three factors, so what one event showed before its doors is known of the
next one a month before its own. Steps add up, whoever makes them.
"""

from collections.abc import Iterable
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HOUR_MS = 3_600_000
_HOURS = 24
# Rushes fall off: the first two hours differ as much as the next two, four, eight.
_EDGES_MS: Ints = HOUR_MS * np.array([2, 4, 8, 16, 32, 64, 128])
_BINS = len(_EDGES_MS) + 1
SIZE = _HOURS + 2 * _BINS
# As much as so many visitors say that all times are alike.
_FIRM = 200.0
_FACTORS = 3
# One step moves a factor by no more than a third.
_STEP = 0.3
# Of a sale with more intervals left, these are looked at, evenly.
_MOST = 1_000


class Sale(NamedTuple):
    """An event's times: when its first price held, and when its doors open."""

    opened_ms: int
    starts_ms: int


class Heard(NamedTuple):
    """(SIZE,) each: by how many visitors more came than were expected, and how many those were."""

    more: Floats
    expected: Floats

    @classmethod
    def nothing(cls) -> Self:
        return cls(np.zeros(SIZE), np.zeros(SIZE))


class Curve(NamedTuple):
    """(SIZE,) each. logs: of the factors; known: visitors that were expected in each place, by which a new one says less."""

    logs: Floats
    known: Floats

    @classmethod
    def flat(cls) -> Self:
        """Nothing is known: visitors come alike at all times."""
        return cls(np.zeros(SIZE), np.zeros(SIZE))

    def weights(self, at_ms: Ints, sale: Sale) -> Floats:
        """(n,) of intervals that begin at these times: visitors per level."""
        return np.asarray(np.exp(self.logs[_places(at_ms, sale)].sum(axis=1)))

    def heard(self, at_ms: int, sale: Sale, visitors: float, level: float) -> Heard:
        """What one interval says. level: the event's own, before this interval."""
        (places,) = _places(np.array([at_ms]), sale)
        weight = float(np.exp(self.logs[places].sum()))
        said = Heard.nothing()
        said.more[places], said.expected[places] = visitors - level * weight, level * weight
        return said

    def step(self, said: Iterable[Heard]) -> Self:
        """What intervals of one moment add together: a step of Newton's method on the Poisson likelihood, damped for three factors
        that all take it.
        """
        every = list(said)
        more = np.sum([one.more for one in every], axis=0)
        expected = np.sum([one.expected for one in every], axis=0)
        return type(self)(np.clip(more / (self.known + _FACTORS * expected + _FIRM), -_STEP, _STEP), expected)

    def behind(self, to_ms: int, interval_ms: int, sale: Sale, half_life_ms: float = np.inf) -> float:
        """Mean weight of the intervals since sales began, older ones counting less; of the first, before there was another."""
        at_ms, _ = _every(sale.opened_ms, max(to_ms, sale.opened_ms + 1), interval_ms)
        kept = 0.5 ** ((to_ms - at_ms) / half_life_ms)
        return float(self.weights(at_ms, sale) @ kept / kept.sum())

    def ahead(self, from_ms: int, interval_ms: int, sale: Sale) -> float:
        """Sum of the weights of all intervals that begin before the doors open; at least the one that begins now."""
        at_ms, n = _every(from_ms, max(sale.starts_ms, from_ms + 1), interval_ms)
        return float(self.weights(at_ms, sale).mean() * n)


def _every(from_ms: int, to_ms: int, interval_ms: int) -> tuple[Ints, int]:
    """(beginnings of intervals in [from, to), how many there are); of very many some, evenly."""
    n = -((from_ms - to_ms) // interval_ms)
    return from_ms + interval_ms * np.linspace(0, n - 1, min(n, _MOST)).astype(np.int64), n


def _places(at_ms: Ints, sale: Sale) -> Ints:
    """(n, 3)"""
    hour = at_ms // HOUR_MS % _HOURS
    since = np.searchsorted(_EDGES_MS, at_ms - sale.opened_ms, "right")
    left = np.searchsorted(_EDGES_MS, sale.starts_ms - at_ms, "left")
    return np.stack([hour, _HOURS + since, _HOURS + _BINS + left], axis=1)
