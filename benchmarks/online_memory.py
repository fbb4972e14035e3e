"""What an entity costs in the online store, by view group, on a real Valkey and simulated data.

online.memory.<group>: bytes an entity, as the server's own memory grew when the group was loaded alone (INFO, so with
the key, its expiry and its share of the hash table). memory_usage: the mean of MEMORY USAGE over a sample.
packed: the state itself. gib_per_million: of that growth.
"""

import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import redis

from benchmarks.measure import report
from benchmarks.online_rebuild import published, simulated_lake
from deploy.local.stack import running
from fraud_assets.engine.plan import EnginePlan
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.state_files import StateFiles

SAMPLE = 2_000
KEYS_PER_WRITE = 2_000
FEW = 1_000  # of fewer entities the server's growth says little: its own buffers move as much


def main() -> None:
    plan = EnginePlan(registry())
    with tempfile.TemporaryDirectory() as var, running(["valkey"], Path(var)) as stack:
        lake = simulated_lake(Path(var))
        client: Any = redis.Redis.from_url(stack.env["REDIS_URL"])
        store = OnlineStore.connect(stack.env["REDIS_URL"], plan.registry, timeout_s=60)
        epoch = published(lake, plan, store).marker.epoch
        for group in plan.groups:
            states = [state for part in StateFiles(lake.uri).read(epoch, group.name) for state in part]
            measure(client, store, group.name, states)
        store.close()


def measure(client: Any, store: OnlineStore, group: str, states: list[tuple[str, bytes]]) -> None:
    client.execute_command("FLUSHALL", "SYNC")  # a plain one frees in the background, while we would measure
    before = client.info("memory")["used_memory"]
    for first in range(0, len(states), KEYS_PER_WRITE):
        store.load("e1", group, states[first : first + KEYS_PER_WRITE])
    after = client.info("memory")["used_memory"]
    found = list(islice(client.scan_iter(count=1000), SAMPLE))
    used = sum(client.memory_usage(key, samples=0) for key in found) / len(found)
    grown = (after - before) / len(states) if len(states) >= FEW else used
    packed = sum(len(state) for _, state in states) / len(states)
    largest = max(len(state) for _, state in states)
    more = {"memory_usage": round(used), "packed": round(packed), "largest_packed": largest}
    gib = round(grown * 1e6 / 2**30, 2)
    report(f"online.memory.{group}", grown, None, None, "bytes/entity", len(states), **more, gib_per_million=gib)


if __name__ == "__main__":
    main()
