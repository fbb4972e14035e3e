"""Evidence that may be looked at after every payment: tests of a mean by betting. Pure.

A gambler starts with 1 and bets, before each observation, that it will exceed what is tolerated. If the truth is
within the tolerance the game is not in the gambler's favour, the wealth is a supermartingale, and by Ville's inequality the
chance that it *ever* reaches 1/α is at most α. So wealth is evidence, one may stop the moment it is enough, and
looking often costs nothing; a p-value looked at daily would raise the alarm sooner or later in any case.

Source: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, JRSS-B 86 (2024; read as of
2023), for the wealth and the mixture over bets; Ville, Étude critique de la notion de collectif (1939), for the bound.
"""

import math
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

Floats = npt.NDArray[np.float64]

# Parts of the largest bet that cannot ruin. Small ones find small excesses, large ones find large ones within few
# observations; their mixture costs the best of them a factor of eleven, which is some observations more.
BETS = np.array([0.9, *(2.0**-power for power in range(1, 11))])
# Wealth that a long good time has lost must be won back before a test can alarm, so a second purse begins anew so often.
BLOCK = 1_000


class OutOfRange(ValueError):
    """An observation outside of the bounds that the test's guarantee rests on."""


class MeanTest(msgspec.Struct, frozen=True):
    """Is the mean of observations in [low, high], given all before, at most `at_most`? alpha: of a false alarm, ever.

    Half of alpha is the first purse's, which never begins anew and finds what is slightly too much. The other half is
    that of the second, of which block k (from 1) has the part 1/(k(k+1)): these add up to 1.
    """

    name: str
    low: float
    high: float
    at_most: float
    alpha: Annotated[float, Meta(gt=0, lt=1)]

    def __post_init__(self) -> None:
        if not self.low < self.at_most < self.high:
            raise ValueError(
                f"{self.name}: a mean of at most {self.at_most} in [{self.low}, {self.high}] is no question"
            )

    @property
    def threshold(self) -> float:
        """The wealth at which it alarms."""
        return 1 / self.alpha

    @property
    def bets(self) -> Floats:
        return BETS / (self.at_most - self.low)


class Wealth(msgspec.Struct, frozen=True):
    """What a test knows: JSON-able, and the same however the observations were batched.

    total, weight: whose ratio is the estimate. whole, block: the log of both purses by bet. now, peak: the log of the
    larger purse, each less its part of alpha, so that the test's threshold is that of both. crossed_at: the
    observation at which it alarmed, from 1.
    """

    n: int = 0
    total: float = 0.0
    weight: float = 0.0
    whole: tuple[float, ...] = (0.0,) * len(BETS)
    block: tuple[float, ...] = (0.0,) * len(BETS)
    now: float = -math.log(2)
    peak: float = -math.log(2)
    crossed_at: int | None = None

    @property
    def estimate(self) -> float | None:
        """The mean so far; None of nothing."""
        return self.total / self.weight if self.weight else None


def fold(test: MeanTest, wealth: Wealth, values: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Wealth:
    """The wealth after more observations, in their order.

    values: (n,) in [low, high]. weights: (n,) in [0, 1]; the mean is then the weighted one. Raises OutOfRange.
    """
    x = np.asarray(values, np.float64)
    w = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
    _check(test, x, w)
    start = 0
    while start < len(x):
        end = start + BLOCK - wealth.n % BLOCK
        wealth = _within_block(test, wealth, x[start:end], w[start:end])
        start = end
    return wealth


def _check(test: MeanTest, x: Floats, w: Floats) -> None:
    if not (np.all((x >= test.low) & (x <= test.high)) and np.all((w >= 0) & (w <= 1))):  # also catches NaN
        raise OutOfRange(f"{test.name}: observations must be in [{test.low}, {test.high}], and weights in [0, 1]")


def _within_block(test: MeanTest, wealth: Wealth, x: Floats, w: Floats) -> Wealth:
    number, at_start = wealth.n // BLOCK + 1, wealth.n % BLOCK == 0
    gains = np.log1p((w * (x - test.at_most))[:, None] * test.bets)
    whole = _running(wealth.whole, gains)
    block = _running((0.0,) * len(BETS) if at_start else wealth.block, gains)
    now = np.maximum(_mixed(whole) - math.log(2), _mixed(block) - math.log(2 * number * (number + 1)))
    crossed = np.flatnonzero(now >= math.log(test.threshold))
    crossed_at = wealth.crossed_at or (wealth.n + int(crossed[0]) + 1 if len(crossed) else None)
    return Wealth(
        n=wealth.n + len(x),
        total=float(_running((wealth.total,), (w * x)[:, None])[-1, 0]),
        weight=float(_running((wealth.weight,), w[:, None])[-1, 0]),
        whole=tuple(whole[-1].tolist()),
        block=tuple(block[-1].tolist()),
        now=float(now[-1]),
        peak=max(wealth.peak, float(now.max())),
        crossed_at=crossed_at,
    )


def _running(before: tuple[float, ...], more: Floats) -> Floats:
    """Sums after each row, added one by one from the left: so batching changes no bit."""
    return np.cumsum(np.vstack([before, more]), axis=0)[1:]


def _mixed(logs: Floats) -> Floats:
    """The log of the mean over bets."""
    top = logs.max(axis=1, keepdims=True)
    mixed: Floats = (top + np.log(np.exp(logs - top).mean(axis=1, keepdims=True)))[:, 0]
    return mixed
