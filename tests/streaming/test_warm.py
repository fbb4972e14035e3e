"""What a process of the worker needs is loaded before it joins its group: whoever has partitions, their events wait for it."""

import json
import subprocess
import sys
from typing import Any

import pytest

from streaming.preload import MODULES

# A router as `run` makes it, but for what lies outside of its process; then the modules that its first rows load.
ROUTES = """
import json, sys, tempfile
from streaming import router
from streaming.edges.lake import LakeHistory, append_accepted, without_pandas
without_pandas()
from tests.streaming.events import DAY, KEY, T0, FakeSeen, record, transaction
lake = router.Lake(tempfile.mkdtemp())
made = router.Router(router.ReKeyer(router.registry()), FakeSeen(), LakeHistory(lake), DAY, KEY)
before = set(sys.modules)
routed = made.route([record(transaction(transaction_id=f"t{n}"), n, T0 + n) for n in range(8)])
written = append_accepted(lake, "worker-0", routed.accepted)
print(json.dumps([written, sorted(set(sys.modules) - before)]))
"""

# A folder that is warm, by itself or because it is forked from who is, and all kernels that its first and second states of each group load or compile.
FOLDS = """
import gc, json, sys
from numba.core.registry import CPUDispatcher
from streaming import folder
from tests.streaming.events import MINUTE, T0, activity, profile, record, transaction
from tests.streaming.test_fold import routed
from fraud_assets.stores.online_memory import MemoryStore
from streaming.preload import preload

def loaded():
    kernels = [one for one in gc.get_objects() if isinstance(one, CPUDispatcher)]
    return {one.py_func.__qualname__ for one in kernels if one.overloads and one.py_func.__module__.startswith("fraud_assets")}

plan = folder.EnginePlan(folder.registry())
store = MemoryStore(plan.registry)
store.publish_epoch("one", log="log", resume={}, now_ms=0)
events = [transaction(), profile(), activity(), transaction(transaction_id="t2", event_time_ms=T0 + MINUTE)]
raw = [record(event, n, T0 + MINUTE) for n, event in enumerate(events)]
batches = [(group, routed(raw, group.name)) for group in plan.groups]
{warm}
before, written = loaded(), 0
for group, records in batches:
    for one in records:
        written += folder.GroupFolder(plan, group, store).fold([one]).written
print(json.dumps([written, sorted(loaded() - before)]))
"""


# A supervisor before it forks: its threads, what it is connected to, what it has loaded.
SHARED = """
import json, sys
import psutil
from streaming.preload import MODULES, preload
preload(MODULES)
process = psutil.Process()
print(json.dumps([process.num_threads(), len(process.net_connections()), sorted(sys.modules)]))
"""
NOT_SHARED = {"dagster", "duckdb", "mlflow", "pandas", "polars", "pyspark", "sklearn", "xgboost"}


def told(code: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_a_router_loads_no_module_with_its_first_rows() -> None:
    assert told(ROUTES) == [8, []]


@pytest.mark.parametrize("warm", ["folder.warm_up(plan)", "preload(['folder'])"])
def test_a_folder_loads_no_kernel_with_its_first_states(warm: str) -> None:
    """They take half a second of a core, and seconds where others want it too."""
    written, kernels = told(FOLDS.replace("{warm}", warm))

    assert written > 10
    assert kernels == []


def test_who_forks_has_one_thread_and_no_connection() -> None:
    """A fork copies neither a thread nor what it holds: a lock would stay shut for ever, a client would answer two."""
    threads, connections, modules = told(SHARED)

    assert (threads, connections) == (1, 0)
    assert set(MODULES.values()) <= set(modules)
    assert not NOT_SHARED & set(modules)
