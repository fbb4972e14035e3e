"""Decisions asked for at a fixed rate, whether or not they are given: how long one takes from when it was due.

`api.p99_at_100`: a hundred a second, beside an empty handler behind the same middleware of the same process, asked as often, in turns.
`api.p99_at_80_percent`: at 80 % of what four clients that wait for their answers get out of the scorer. Requests are evenly spaced; the same rate with
the gaps of a Poisson process stands beside it.

Everything is real: the server as `python -m api` starts it, in a process; Valkey with the states of a simulated month; the broker taking decision
events; payments of hundreds of accounts, each with its devices and cards. They share the machine with the client, whose own lateness is in every latency,
and is reported (`late`).
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import percentile, report
from benchmarks.open_loop import Taken, Target, Turn, joined, measured
from benchmarks.payments import filled, write_bodies
from benchmarks.scorer_rig import SERVICES, equipped, server, serving
from deploy.local.stack import running

RATE_PER_S, TURN_S, TURNS = 100, 5.0, 12
CAPACITY_CLIENTS, CAPACITY_S, LOAD = 4, 5.0, 0.8
AT_LOAD_S = 20.0
BODIES = 20_000


def evenly(rate_per_s: float, seconds: float) -> list[float]:
    """When each request is due."""
    return [place / rate_per_s for place in range(int(rate_per_s * seconds))]


def at_random(rate_per_s: float, seconds: float) -> list[float]:
    """As many, with the gaps of a Poisson process."""
    gaps = np.random.default_rng(7).exponential(1 / rate_per_s, int(rate_per_s * seconds))
    return [float(due) for due in np.cumsum(gaps)]


def told(taken: Taken) -> dict[str, object]:
    """What stands beside a p99, in ms. late: of the client, when it sent."""
    return {
        "p50": percentile(taken.latency_ms, 50),
        "p999": percentile(taken.latency_ms, 99.9),
        "max": percentile(taken.latency_ms, 100),
        "late_p50": percentile(taken.late_ms, 50),
        "late_p99": percentile(taken.late_ms, 99),
        "late_max": percentile(taken.late_ms, 100),
        "degraded": taken.degraded,
        "failures": taken.failures,
    }


def at_fixed_rate(targets: dict[str, Target], turn_s: float, turns: int) -> tuple[Taken, Taken]:
    """The decisions, and the empty handler's answers, in turns; the first of each warms up and is not counted."""
    due = evenly(RATE_PER_S, turn_s)
    taken = measured(targets, [Turn(name, due) for _ in range(turns + 1) for name in ("empty", "predict")])
    return joined(taken[3::2]), joined(taken[2::2])


def at_load(targets: dict[str, Target], capacity_s: float, seconds: float) -> tuple[float, Taken, Taken]:
    """Decisions a second with clients that wait; and what a share of that takes, evenly spaced and at random."""
    busy = Turn("predict", clients=CAPACITY_CLIENTS, seconds=capacity_s)
    _, full = measured(targets, [busy, busy])
    per_s = full.per_s
    even, random = measured(
        targets,
        [Turn("predict", evenly(LOAD * per_s, seconds)), Turn("predict", at_random(LOAD * per_s, seconds))],
    )
    return per_s, even, random


def main(short: bool = False) -> None:
    now_ms = time.time_ns() // 1_000_000
    with tempfile.TemporaryDirectory() as name, running(SERVICES, Path(name) / "var") as stack:
        folder = Path(name)
        payments, known = filled(folder, stack.env["REDIS_URL"], now_ms)
        write_bodies(folder / "bodies", payments, BODIES)
        env, credential = equipped(stack, folder)
        with serving(server("scorer"), env, "/health/ready") as port:
            targets = {
                what: Target(port, f"/{what}", str(folder / "bodies"), credential) for what in ("empty", "predict")
            }
            ours, peer = at_fixed_rate(targets, TURN_S, 2 if short else TURNS)
            capacity, even, random = at_load(targets, CAPACITY_S, 5.0 if short else AT_LOAD_S)
    ours_p99, peer_p99 = percentile(ours.latency_ms, 99), percentile(peer.latency_ms, 99)
    report(
        "api.p99_at_100", ours_p99, peer_p99, peer_p99 / ours_p99, "ms", len(ours.latency_ms),
        **told(ours), peer_told=told(peer), **{what: round(value, 1) for what, value in known._asdict().items()},
    )  # fmt: skip
    report(
        "api.p99_at_80_percent", percentile(even.latency_ms, 99), None, None, "ms", len(even.latency_ms),
        **told(even), capacity_per_s=round(capacity), clients=CAPACITY_CLIENTS,
        at_random={"p99": percentile(random.latency_ms, 99), **told(random)},
    )  # fmt: skip


if __name__ == "__main__":
    main("short" in sys.argv[1:])
