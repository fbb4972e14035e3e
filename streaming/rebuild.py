"""`python -m streaming rebuild-online`: an emptied online store gets back what it held."""

import time

import structlog

from fraud_assets.engine.plan import EnginePlan
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.publish import held, snapshot
from fraud_assets.stores.restore import NoSnapshot, log_state, restore
from fraud_assets.stores.state_files import StateFiles
from streaming.core.accept import MAX_AHEAD_MS
from streaming.settings import WorkerSettings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# A pipelined write of megabytes may wait for a server that is also asked by others.
TIMEOUT_S = 30.0


class NotLost(RuntimeError):
    """The store holds an epoch that is valid for somebody; states that are older would replace those that are served."""


def rebuild(settings: WorkerSettings, *, is_forced: bool = False) -> str:
    """Restore the newest kept snapshot, or compute one from the lake; a line that says which. Raises NotLost."""
    features = registry()
    store = OnlineStore.connect(settings.online_store_url, features, timeout_s=TIMEOUT_S)
    former, is_served = held(store)
    if is_served and not is_forced:
        raise NotLost(
            f"the online store holds epoch {former}, which is served, or is another version's. To renew it, materialize"
            " online_store_snapshot; if its states are wrong or gone, or nobody of that version is left, --force replaces them."
        )
    now_ms = time.time_ns() // 1_000_000
    try:
        state = log_state(settings.kafka_bootstrap_servers, features)
        done = restore(StateFiles(settings.lake_uri), store, features, state, now_ms)
    except NoSnapshot as error:
        log.warning("no_snapshot_fits", detail=str(error), way_out="all states are folded from the lake")
        plan, lake = EnginePlan(features), Lake(settings.lake_uri)
        # All that is known: what arrives after this instant is in the log.
        made = snapshot(lake, plan, store, settings.kafka_bootstrap_servers, now_ms + MAX_AHEAD_MS, now_ms)
        entities = sum(group.entities for group in made.groups.values())
        return f"epoch {made.marker.epoch}: {entities} states folded from the lake"
    if former:
        store.drop_epoch(former)
    rate = done.entities / max(done.seconds, 1e-9)
    return (
        f"epoch {done.marker.epoch}: {done.entities} states of snapshot {done.source} in {done.seconds:.2f} s"
        f" ({rate:,.0f} entities/s); the worker folds the log after it"
    )
