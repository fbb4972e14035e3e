"""An emptied online store filled again, on a real Valkey.

online.rebuild: entities a second from the kept snapshot's Parquet into the published store, beside folding the same
states from the lake.
"""

import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import redis

from benchmarks.measure import report
from deploy.local.stack import running
from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.engine.plan import EnginePlan
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.labels.imported import write_imported_facts
from fraud_assets.settings import DEVELOPMENT_TOKEN_KEY
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.publish import Snapshot, snapshot
from fraud_assets.stores.restore import LogState, restore
from fraud_assets.stores.state_files import StateFiles
from simulator.history import write_history
from simulator.spec import WorldSpec, default_accounts

DAYS, RATE = 30, 10_000
LABEL_DELAY_DAYS = 7
END_MS = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp()) * 1000
NO_BROKER = "127.0.0.1:1"
RUNS = 3


MONTH = WorldSpec(
    seed=7, start_ms=END_MS - DAYS * DAY_MS, days=DAYS, rate_per_day=RATE, accounts=default_accounts(DAYS, RATE)
)


def simulated_lake(folder: Path, spec: WorldSpec = MONTH) -> Lake:
    """The history of a small ticket seller, with label facts."""
    write_history(spec, folder / "lake", TokenKey.of("dev", DEVELOPMENT_TOKEN_KEY))
    lake = Lake(folder / "lake")
    write_imported_facts(lake, spec.start_ms, spec.end_ms, LABEL_DELAY_DAYS)
    return lake


def published(lake: Lake, plan: EnginePlan, store: OnlineStore, end_ms: int = END_MS) -> Snapshot:
    """All states folded from the lake, published and kept."""
    return snapshot(lake, plan, store, NO_BROKER, end_ms, end_ms)


def main() -> None:
    plan = EnginePlan(registry())
    with tempfile.TemporaryDirectory() as var, running(["valkey"], Path(var)) as stack:
        lake = simulated_lake(Path(var))
        client = redis.Redis.from_url(stack.env["REDIS_URL"])
        store = OnlineStore.connect(stack.env["REDIS_URL"], plan.registry, timeout_s=60)
        started = time.perf_counter()
        made = published(lake, plan, store)
        folding_s = time.perf_counter() - started
        rates = []
        for _ in range(RUNS):
            client.flushall()
            done = restore(StateFiles(lake.uri), store, plan.registry, LogState(made.marker.log, {}), END_MS)
            rates.append(done.entities / done.seconds)
        store.close()
    ours, peer = sorted(rates)[RUNS // 2], done.entities / folding_s
    more = {"bytes_per_entity": round(done.bytes / done.entities), "runs": [round(rate) for rate in rates]}
    report("online.rebuild", ours, peer, ours / peer, "entities/s", done.entities, **more)


if __name__ == "__main__":
    main()
