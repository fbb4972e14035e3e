"""A backfill of feature views over a history that memory does not hold: fifty million payments on two cores.

`make backfill-bench` (a quarter of an hour and 25 GB of disk). For each size the simulator writes fifty days into a lake; then a process of its own, whose
own memory is limited to MEMORY_GIB (with what it has asked for and not used), computes a view of each kind for every payment and publishes its days, as the assets of the group `features` do in one
run. A view's files are removed once they are counted. Seconds count from the lake's files to the views' files; the columns of a source are read once for all views.
"""

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks import measure
from benchmarks.simulator_history import KEY
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.features.catalogue.sources import TRANSACTIONS
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.labels.imported import write_imported_facts
from fraud_assets.stores.feature_tables import feature_lake, write_view
from fraud_assets.stores.history import HistoryReader, view_service
from fraud_assets.stores.lake import Lake
from simulator.history import write_history
from simulator.spec import DAY_MS, WorldSpec

SIZES = (10_000_000, 50_000_000)
DAYS, FIRST_DAY = 50, 20_000
PAYMENTS_PER_ACCOUNT = 40
LABEL_DELAY_DAYS = 7
MEMORY_GIB = 10
# One of each kind: distinct values, a pair, two entities over payments and activity, shares, profiles, recency, places, label facts, amounts.
VIEWS = (
    "ip_accounts", "account_event_habit", "event_historical_metrics", "card_declines", "account_profile", "device_recency", "account_place",
    "user_purchase_behavior", "account_amounts",
)  # fmt: skip


def write_lake(folder: Path, rows: int) -> None:
    """Some `rows` payments, with everything that happened around them."""
    spec = WorldSpec(
        seed=7, start_ms=FIRST_DAY * DAY_MS, days=DAYS, rate_per_day=rows // DAYS, accounts=rows // PAYMENTS_PER_ACCOUNT
    )
    write_history(spec, folder / "lake", KEY)
    write_imported_facts(Lake(folder / "lake"), spec.start_ms, spec.end_ms, LABEL_DELAY_DAYS)


class OwnMemory(threading.Thread):
    """The most memory of this process that no file stands behind, in GiB, sampled."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_gib = 0.0

    def run(self) -> None:
        while True:
            status = Path("/proc/self/status").read_text()
            kib = int(status.split("RssAnon:")[1].split()[0])
            self.peak_gib = max(self.peak_gib, kib / 2**20)
            time.sleep(0.1)


def backfill(folder: Path) -> dict[str, object]:
    """Every view of every day of a lake. seconds: of reading the columns and of each view, with its files."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_GIB << 30, MEMORY_GIB << 30))
    watched = OwnMemory()
    watched.start()
    plan, console = EnginePlan(registry()), Console(stderr=True)
    service, reader = ServicePlan(plan, FRAUD_SCORING), HistoryReader(Lake(folder / "lake"), plan)
    days = [str(np.datetime64(FIRST_DAY + day, "D")) for day in range(DAYS)]
    seconds: dict[str, float] = {}
    rows = features = size = 0
    views = [plan.registry.view(name) for name in VIEWS]
    started, cpu = time.perf_counter(), time.process_time()
    for source in dict.fromkeys(source for view in views for source in (TRANSACTIONS, *view.sources)):
        began = time.perf_counter()
        reader.columns(source)
        seconds[f"columns of {source.name}"] = time.perf_counter() - began
        console.print(f"{source.name}: {len(reader.columns(source)):,} events, {time.perf_counter() - began:.0f} s")
    for view in views:
        began = time.perf_counter()
        lake = feature_lake(folder / "features", service, view)
        found = write_view(lake, reader, view, TRANSACTIONS, days)
        seconds[view.name] = time.perf_counter() - began
        if found.rows != found.transactions or (rows and rows != found.rows):
            raise RuntimeError(f"{view.name}: {found.rows} rows of {found.transactions} payments")
        rows, features = found.rows, features + len(view_service(plan, view, TRANSACTIONS).names)
        size += sum(info.size for _, info in lake.files(view.name))
        shutil.rmtree(folder / "features")
        console.print(f"{view.name}: {rows:,} rows, {seconds[view.name]:.0f} s, {watched.peak_gib:.1f} GiB")
    taken = time.perf_counter() - started
    return {
        "rows": rows, "seconds": taken, "cpu": time.process_time() - cpu, "features": features, "gib": round(watched.peak_gib, 2),
        "files_gib": round(size / 2**30, 2), "by_part": {name: round(value, 1) for name, value in seconds.items()},
    }  # fmt: skip


def main() -> None:
    """One process a size; prints one line, with the cost of a payment at each."""
    sizes = []
    for rows in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            write_lake(Path(folder), rows)
            child = [sys.executable, "-m", "benchmarks.engine_backfill", folder]
            sizes.append(json.loads(subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True).stdout))
    small, large = sizes[0], sizes[-1]
    per_row, cpu_per_row = ([one[name] / one["rows"] * 1e6 for one in sizes] for name in ("seconds", "cpu"))
    measure.report(
        "engine.backfill_50m", large["seconds"], None, None, "s", large["rows"], views=len(VIEWS), features=large["features"],
        us_per_row={str(one["rows"]): round(cost, 2) for one, cost in zip(sizes, per_row, strict=True)},
        cpu_us_per_row={str(one["rows"]): round(cost, 2) for one, cost in zip(sizes, cpu_per_row, strict=True)},
        times_linear=round(cpu_per_row[-1] / cpu_per_row[0], 2), own_memory_gib=[small["gib"], large["gib"]],
        files_gib=large["files_gib"], by_part=large["by_part"], by_part_of_small=small["by_part"],
    )  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(backfill(Path(sys.argv[1]))))
    else:
        main()
