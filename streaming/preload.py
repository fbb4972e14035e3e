"""What the worker's processes have in common is loaded once, by the supervisor, which forks them.

It loads code and nothing else: no thread, no client and no connection may be there when a process is forked, for it would not be in the
child, or be in both.
"""

import gc
import os
from collections.abc import Collection
from importlib import import_module

# What each role runs: `run(settings)` of this module.
MODULES = {
    "router": "streaming.router",
    "folder": "streaming.folder",
    "labels": "streaming.label_stage",
    "explainer": "streaming.explainer",
    "database": "streaming.database_sink",
    "notifier": "streaming.notifier",
}
# Threads that libraries start as they are loaded: BLAS, of which no role has any use, and the allocator that Arrow brings beside the one it uses.
NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}


def preload(roles: Collection[str]) -> None:
    """Load the modules of these roles, and the folder's kernels, in a process that has one thread and keeps it."""
    for name, value in NO_THREADS.items():
        os.putenv(name, value)
    for role in roles:
        import_module(MODULES[role])
    if "folder" in roles:
        from fraud_assets.engine.plan import EnginePlan
        from fraud_assets.features.catalogue.ticketing import registry
        from streaming.folder import warm_up

        warm_up(EnginePlan(registry()))
    # Never looked through again, so that its pages stay shared, and no child's collection takes the time.
    gc.collect()
    gc.freeze()
