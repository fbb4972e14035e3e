"""What benchmarks share: medians of repeated runs, peak memory, and the one line they print."""

import json
import resource
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np

THREADS = 2


def medians_s(*sides: tuple[Callable[[], object], int]) -> list[float]:
    """Median seconds of each side, given as (work, runs), after one more for machine code and caches where there are several.

    Runs take turns, each side's spread over the whole: a machine's slow minute is then everybody's.
    """
    taken: list[list[float]] = [[] for _ in sides]
    for work, runs in sides:
        if runs > 1:
            work()
    turns = max(runs for _, runs in sides)
    for turn in range(turns):
        for (work, runs), seconds in zip(sides, taken, strict=True):
            if (turn + 1) * runs // turns > turn * runs // turns:
                started = time.perf_counter()
                work()
                seconds.append(time.perf_counter() - started)
    return [statistics.median(seconds) for seconds in taken]


def peak_gib() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def percentile(values: Sequence[float], percent: float) -> float:
    """To a thousandth, of ms then a µs."""
    return round(float(np.percentile(values, percent)), 3)


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
