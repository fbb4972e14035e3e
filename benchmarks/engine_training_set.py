"""The whole fraud_scoring service, point in time, for every payment of a made-up log, streamed to Parquet.

Every source that the service's views read is there: for each payment an activity event and, a week later, a
label fact; for each account a profile. The seconds count from all columns in memory to all vectors on disk.
Half a million, one million and eight million rows, each in a process of its own so that peak memory
is its own. Nobody else computes these vectors; the peer of a part is in engine_windows.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import THREADS, peak_gib, report
from fraud_assets.engine.batch import Log, Spine, vector_chunks
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.engine.prepare import Columns
from fraud_assets.features.catalogue.sources import ACTIVITY, LABEL_FACTS, PROFILES, TRANSACTIONS
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.features.sources import Kind, Source
from fraud_assets.features.windows import DAY_MS
from fraud_assets.stores.vector_files import write_vectors

SIZES = (500_000, 1_000_000, 8_000_000)
DAYS = 60
LABEL_DELAY_MS = 7 * DAY_MS
START_MS = 1_700_000_000_000

# Distinct values of the identifiers of a million payments; more rows bring more of them.
PER_MILLION = {
    "account_id": 120_000, "device_id": 150_000, "ip_token": 110_000, "card_token": 140_000, "event_id": 2_000, "promoter_id": 200,
}  # fmt: skip


def payments(engine: EnginePlan, rows: int) -> Columns:
    """Payments with power-law identifiers, in log order, as the lake would give them."""
    rng = np.random.default_rng(rows)
    account = _power_law(rng, rows, PER_MILLION["account_id"])
    own = {"device_id": 3, "ip_token": 2, "card_token": 2}
    fields: dict[str, np.ndarray] = {}
    for name, field in TRANSACTIONS.fields.items():
        if field.kind is Kind.CATEGORY:
            fields[name] = rng.integers(1, len(field.vocabulary) + 1, rows)
        elif name in own:
            fields[name] = account * 7 + rng.integers(0, own[name], rows) + len(name) * 10**9
        else:
            fields[name] = np.zeros(rows, np.int64)
    fields["account_id"] = account
    fields["event_id"] = _power_law(rng, rows, PER_MILLION["event_id"])
    fields["promoter_id"] = fields["event_id"] % PER_MILLION["promoter_id"]
    fields["transaction_id"] = np.arange(rows, dtype=np.int64)
    fields["event_time_ms"] = np.sort(rng.integers(START_MS, START_MS + DAYS * DAY_MS, rows))
    fields["amount_minor"] = np.exp(rng.normal(8.5, 1, rows)).astype(np.int64) + 1
    fields["ticket_count"] = rng.integers(1, 6, rows)
    fields["lat_e6"] = rng.integers(-60_000_000, 60_000_000, rows)
    fields["lon_e6"] = rng.integers(-60_000_000, 60_000_000, rows)
    empty = np.full(rows, engine.topic_code("import.transactions.v1", 0), np.int64)
    return Columns(TRANSACTIONS, fields, fields["event_time_ms"], empty, np.arange(rows, dtype=np.int64))


def others(engine: EnginePlan, paid: Columns) -> list[Columns]:
    """Activity, profiles and label facts that name the payments' entities, each in log order."""
    rng = np.random.default_rng(len(paid))
    seen = np.sort(rng.integers(START_MS, START_MS + DAYS * DAY_MS, len(paid)))
    accounts, first = np.unique(paid.fields["account_id"], return_index=True)
    return [
        _beside(engine, rng, ACTIVITY, paid.take(rng.permutation(len(paid))), seen),
        _beside(engine, rng, PROFILES, paid.take(first), np.full(len(accounts), START_MS - DAY_MS, np.int64)),
        _beside(engine, rng, LABEL_FACTS, paid, paid.time + LABEL_DELAY_MS),
    ]


def _beside(engine: EnginePlan, rng: np.random.Generator, source: Source, of: Columns, time: np.ndarray) -> Columns:
    """Events of a source: entities as the payments given have them, small numbers elsewhere."""
    fields = {}
    for name, field in source.fields.items():
        if name in of.fields and field.kind is not Kind.INT:
            fields[name] = of.fields[name]
        elif field.kind is Kind.CATEGORY:
            fields[name] = rng.integers(1, len(field.vocabulary) + 1, len(of))
        elif field.kind is Kind.ID:
            fields[name] = np.arange(len(of), dtype=np.int64)
        elif name.endswith("_ms"):
            fields[name] = time - rng.integers(0, 365 * DAY_MS, len(of))
        else:
            fields[name] = rng.integers(0, 2, len(of))
    if "sign" in fields:
        fields["sign"] = np.ones(len(of), np.int64)
    fields["event_time_ms"] = time
    tp = np.full(len(of), engine.topic_code(f"import.{source.name}.v1", 0), np.int64)
    return Columns(source, fields, time, tp, np.arange(len(of), dtype=np.int64))


def _power_law(rng: np.random.Generator, rows: int, per_million: int) -> np.ndarray:
    count = max(2, per_million * rows // 1_000_000)
    weights = 1.0 / np.arange(1, count + 1) ** 0.6
    return np.minimum(np.searchsorted(np.cumsum(weights / weights.sum()), rng.random(rows)), count - 1).astype(np.int64)


def measure(rows: int) -> dict[str, float]:
    """Seconds and peak memory of one size; a small run first, for the machine code."""
    engine = EnginePlan(registry())
    service = ServicePlan(engine, FRAUD_SCORING)
    with tempfile.TemporaryDirectory() as folder:
        _run(service, log_of(engine, 20_000), Path(folder))
        columns = log_of(engine, rows)
        started, cpu = time.perf_counter(), time.process_time()
        size = _run(service, columns, Path(folder))
        taken, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {
        "rows": rows,
        "seconds": taken,
        "cpu": cpu,
        "features": len(service.names),
        "gib": peak_gib(),
        "file_gib": size / 2**30,
    }


def log_of(engine: EnginePlan, rows: int) -> list[Columns]:
    paid = payments(engine, rows)
    return [paid, *others(engine, paid)]


def _run(service: ServicePlan, columns: list[Columns], folder: Path) -> int:
    log = Log(service.engine, columns)
    path = folder / "training_set"
    spine = Spine.of_events(log, "transactions")
    write_vectors(path, service.names, vector_chunks(service, log, spine, threads=THREADS, scratch=folder))
    return sum(part.stat().st_size for part in path.iterdir())


def main() -> None:
    """One child process a size; prints the million's line with the others beside it."""
    sizes = []
    for rows in SIZES:
        child = [sys.executable, "-m", "benchmarks.engine_training_set", str(rows)]
        sizes.append(json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout))
    per_row, cpu = [[item[name] / item["rows"] * 1e6 for item in sizes] for name in ("seconds", "cpu")]
    million = sizes[1]
    report(
        "engine.training_set_340", million["seconds"], None, None, "s", 1_000_000, features=million["features"],
        peak_gib=round(million["gib"], 2), us_per_row={str(item["rows"]): round(cost, 2) for item, cost in zip(sizes, per_row, strict=True)},
        cpu_us_per_row={str(item["rows"]): round(cost, 2) for item, cost in zip(sizes, cpu, strict=True)},
        peak_gib_by_rows={str(item["rows"]): round(item["gib"], 2) for item in sizes},
    )  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(int(sys.argv[1]))))
    else:
        main()
