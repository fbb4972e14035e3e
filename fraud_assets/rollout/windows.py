"""Shares within windows of payments and time: what comes in a burst is one observation, not fifty. Pure.

A test by betting asks that each observation's mean, given all before it, is within the tolerance. Of a single late payment that is
not so: late payments and missing scores come in bursts, and after one the next is likely. So the share of a window is the observation, and
between two windows that count there lies one that does not: a burst no longer than a window is in one of them at most. Where a
window ends depends on how many payments came and when, never on what was found of them.
"""

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Span(msgspec.Struct, frozen=True):
    """How long a window lasts: until it has so many payments and so much time, both."""

    payments: int
    ms: int


class Window(msgspec.Struct, frozen=True):
    """One that is not over: JSON-able. counts: or lies between two that do. since_ms: of its first payment; latest_ms: of any."""

    counts: bool = True
    n: int = 0
    total: float = 0.0
    since_ms: int = 0
    latest_ms: int = 0


def shares(span: Span, window: Window, at_ms: npt.ArrayLike, values: npt.ArrayLike) -> tuple[Floats, Window]:
    """The means of the windows that these payments end, in order, and the one that is then open: however they were batched.

    at_ms: (n,) when; one that is late in the order counts as of its predecessor. values: (n,), whole numbers or the sums are rounded.
    """
    x = np.asarray(values, np.float64)
    clock = np.maximum.accumulate(np.maximum(np.asarray(at_ms, np.int64), window.latest_ms))
    found, start = [], 0
    while start < len(x):
        since_ms = window.since_ms if window.n else int(clock[start])
        end = max(start + span.payments - window.n, int(np.searchsorted(clock, since_ms + span.ms)) + 1, start + 1)
        part = x[start:end]
        window = Window(
            window.counts,
            window.n + len(part),
            window.total + float(part.sum()),
            since_ms,
            int(clock[start + len(part) - 1]),
        )
        if end <= len(x):
            found += [window.total / window.n] if window.counts else []
            window = Window(counts=not window.counts, latest_ms=window.latest_ms)
        start = end
    return np.array(found, np.float64), window
