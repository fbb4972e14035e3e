"""What benchmarks share: medians of repeated runs, peak memory, and the one line they print."""

import json
import resource
import statistics
import time
from collections.abc import Callable

THREADS = 2


def median_s(work: Callable[[], object], runs: int, warm_ups: int = 1) -> float:
    """Median seconds of `runs` calls after `warm_ups` (machine code, caches)."""
    for _ in range(warm_ups):
        work()
    taken = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def peak_gib() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def report(
    name: str, ours: float, peer: float | None, ratio: float | None, unit: str, rows: int, **more: object
) -> None:
    """Print one figure as a JSON line; `peer` is None where nobody else does this work."""
    line = {
        "name": name,
        "ours": _short(ours),
        "peer": _short(peer),
        "ratio": _short(ratio),
        "unit": unit,
        "rows": rows,
        **more,
    }
    print(json.dumps(line), flush=True)


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
