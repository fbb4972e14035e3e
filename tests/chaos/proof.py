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

    rate: requests, or payments, a second. fault_s: how long each fault lasts. broker_s, worker_alone_s: how long the broker is gone,
    a scorer's or a worker's. reloads, mutations: how many. p99_ms: what an answer may take under a fault; CI shares its cores with
    other tests, so its bound only tells an answer from a wait. percent, times_calm: which percentile of answers may take longer than
    promised, if it takes no more than so many times what it takes in the same run without a fault. kills, pauses, changes: of a
    worker. events: among which is poison; other proofs take a
    hundredth of it. slack: how many times longer than promised a change may take. soak_s: how long load lasts.
    """

    rate: float
    fault_s: float
    broker_s: float
    worker_alone_s: float
    reloads: int
    mutations: int
    p99_ms: float
    percent: float
    times_calm: float
    kills: int
    pauses: int
    changes: int
    events: int
    slack: float
    soak_s: float
    is_long: bool = False


LONG = Scale(
    rate=100,
    fault_s=10,
    broker_s=60,
    worker_alone_s=80,
    reloads=100,
    mutations=1_000,
    p99_ms=50,
    percent=99,
    times_calm=0,
    kills=20,
    pauses=6,
    changes=10,
    events=100_000,
    slack=1,
    soak_s=600,
    is_long=True,
)
SHORT = Scale(
    rate=40,
    fault_s=2,
    broker_s=4,
    worker_alone_s=4,
    reloads=4,
    mutations=60,
    p99_ms=500,
    percent=75,
    times_calm=5,
    kills=3,
    pauses=1,
    changes=1,
    events=2_000,
    slack=4,
    soak_s=8,
)


@dataclass(frozen=True)
class Proof:
    """One line of `make chaos`. name: as in docs/reliability.md. in_ci: the test that is its short form, "" for this proof itself. broken: why it does
    not hold yet; it runs in `make chaos`, and fails there. only_long: why it has no short form.
    """

    name: str
    promise: str
    run: Callable[[Scale], Outcome]
    in_ci: str = ""
    broken: str = ""
    only_long: str = ""
