"""What a proof is: a promise, a way to break it for real, and what was measured while it held."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple


class Outcome(NamedTuple):
    """figure: what was measured, for people and for the JSON line."""

    passed: bool
    figure: dict[str, Any]


@dataclass(frozen=True)
class Scale:
    """How hard to try.

    rate: requests a second. fault_s: how long each fault lasts. reloads, mutations: how many.
    broker_s: how long the broker is gone. p99_ms: what an answer may take under a fault; CI shares its cores with other tests, so its bound only
    tells an answer from a wait.
    """

    rate: float
    fault_s: float
    broker_s: float
    reloads: int
    mutations: int
    p99_ms: float


LONG = Scale(rate=100, fault_s=10, broker_s=60, reloads=100, mutations=1_000, p99_ms=50)
SHORT = Scale(rate=40, fault_s=2, broker_s=4, reloads=4, mutations=60, p99_ms=500)


@dataclass(frozen=True)
class Proof:
    """One line of `make chaos`. name: as in docs/reliability.md."""

    name: str
    promise: str
    run: Callable[[Scale], Outcome]
