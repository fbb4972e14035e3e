"""Batches of a thousand payments of 600 people over one connection: rows a second, from the request's first byte to the answer's last.

The same server, store and broker as a single decision's; each person's ten entities are read, each event's and promoter's once for some
payments. The next batch goes out when the one before is answered, so its records are still being made beside it.
"""

import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.api_vs_empty import ask
from benchmarks.measure import report
from benchmarks.payments import filled
from benchmarks.scorer_rig import SERVICES, equipped, server, serving
from deploy.local.stack import running

BATCH, WARM_UPS, BATCHES = 1_000, 3, 20


def main() -> None:
    now_ms = time.time_ns() // 1_000_000
    with tempfile.TemporaryDirectory() as folder, running(SERVICES, Path(folder) / "var") as stack:
        payments, known = filled(Path(folder) / "lake", stack.env["REDIS_URL"], now_ms)
        env, credential = equipped(stack, Path(folder))
        body = msgspec.json.encode({"transactions": list(islice(cycle(payments), BATCH))})
        with serving(server("scorer"), env, "/health/ready") as port:
            ask(port, "/predict", [body] * WARM_UPS, credential)
            taken, degraded = ask(port, "/predict", [body] * BATCHES, credential)
    median = float(np.median(taken))
    report(
        "api.batch", BATCH / median * 1e3, None, None, "rows/s", BATCH * BATCHES, ms=round(median, 1), degraded=degraded,
        accounts=known.accounts, states=round(known.states, 1), state_bytes=round(known.state_bytes),
    )  # fmt: skip


if __name__ == "__main__":
    main()
