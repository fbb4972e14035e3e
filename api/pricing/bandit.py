"""Thompson sampling with known chances: how likely each multiplier is the best, and one drawn with just that chance. Pure.

Drawing from the chances is Thompson sampling, and what is logged as a propensity is then the very chance of the draw, which
off-policy evaluation needs.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from api.pricing.demand import Floats, sampled
from fraud_assets.contracts.prices import DemandBelief

SAMPLES = 512
"""Demands that are imagined: chances are multiples of 1/512 before `explore` is mixed in."""


class Ahead(NamedTuple):
    """What is left to sell, and how many are still to see it."""

    inventory: float
    visitors: float


class Chances(NamedTuple):
    """Of each multiplier. best: that it would earn most, were all permitted. propensities: that it is drawn; 0 where forbidden.

    mean, low, high: tickets per visitor, and its 5 % and 95 % quantiles.
    """

    best: Floats
    propensities: Floats
    mean: Floats
    low: Floats
    high: Floats


def rng_of(seed: int, event_id: str, interval_start_ms: int) -> np.random.Generator:
    """The chance of one event's interval: the same in every process, and later."""
    digest = hashlib.sha256(f"{seed}/{interval_start_ms}/{event_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def chances(
    belief: DemandBelief, multipliers: Floats, permitted: Sequence[bool], ahead: Ahead, explore: float, draws: int,
    rng: np.random.Generator,
) -> Chances:  # fmt: skip
    """explore: share of draws that go to any permitted multiplier alike, so that what may be is tried now and then.

    draws: demands whose mean a choice is the best of: with one it is Thompson sampling; with more it tries less, and loses less
    where an event sells for too short a time to repay what trying costs.

    A multiplier earns itself times what it sells: as many as want it, and no more than there are. One at least is permitted.
    """
    tickets = sampled(belief, multipliers, SAMPLES, rng)
    earned = multipliers * np.minimum(tickets * ahead.visitors, ahead.inventory)
    allowed = np.array(permitted, bool)
    expected = earned[rng.integers(0, SAMPLES, (SAMPLES, draws))].mean(axis=1) if draws > 1 else earned
    among = np.where(allowed, expected, -1.0)
    thompson = np.bincount(among.argmax(axis=1), minlength=len(multipliers)) / SAMPLES
    low, high = np.quantile(tickets, (0.05, 0.95), axis=0)
    return Chances(
        best=np.bincount(earned.argmax(axis=1), minlength=len(multipliers)) / SAMPLES,
        propensities=(1.0 - explore) * thompson + explore * allowed / allowed.sum(),
        mean=tickets.mean(axis=0),
        low=low,
        high=high,
    )


def drawn(propensities: Floats, rng: np.random.Generator) -> int:
    """The place of one, with its chance."""
    return int(rng.choice(len(propensities), p=propensities))
