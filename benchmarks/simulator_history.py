"""How fast the simulator makes columnar transactions: one JSON line.

`ours`: transactions/s as contract columns in Arrow (ids, tokens and all), two threads, without
writing files. Nobody else makes this world, so there is no peer. Building it and writing the lake are timed beside it.
"""

import json
import tempfile
import time
from pathlib import Path

from fraud_assets.contracts.tokens import TokenKey
from simulator.build import World, build_world, name_world
from simulator.history import generate_day, generate_days, write_history
from simulator.plan import plan_attacks
from simulator.spec import DAY_MS, WorldSpec
from simulator.world import Names

KEY = TokenKey.of("bench", "a-secret-for-benchmarks-only")
SPEC = WorldSpec(seed=7, start_ms=20_000 * DAY_MS, days=6, rate_per_day=200_000, accounts=100_000)
WRITTEN = WorldSpec(seed=7, start_ms=20_000 * DAY_MS, days=10, rate_per_day=20_000, accounts=25_000)


def built() -> tuple[World, Names, float]:
    """The world and the seconds it took to build and name it."""
    started = time.perf_counter()
    world = build_world(SPEC)
    names = name_world(world, KEY)
    return world, names, time.perf_counter() - started


def written_per_s() -> float:
    """Transactions/s of the whole command: world, activity, labels, truth and Parquet files included."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        summary = write_history(WRITTEN, Path(folder) / "lake", KEY)
        return summary.transactions / (time.perf_counter() - started)


def main() -> None:
    """Warm one day, then the median of three passes."""
    world, names, build_s = built()
    attack = plan_attacks(world)
    generate_day(world, names, attack, 0)
    passes = []
    for _ in range(3):
        started, cpu = time.perf_counter(), time.process_time()
        rows = sum(len(day.rows) for day in generate_days(world, names, attack))
        passes.append((rows / (time.perf_counter() - started), rows / (time.process_time() - cpu)))
    ours, per_cpu_s = sorted(passes)[1]
    line = {
        "name": "simulator.history",
        "ours": round(ours),
        "peer": None,
        "ratio": None,
        "unit": "transactions/s",
        "rows": rows,
        "per_cpu_s": round(per_cpu_s),
        "build_s": round(build_s, 2),
        "whole_command_per_s": round(written_per_s()),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
