"""The platform as its next version would run it: transactions have one field more.

python tests/streaming/next_version.py optional router          `python -m streaming router` of that version
python tests/streaming/next_version.py optional snapshot        publish the states of that version from the lake; `count` them
python tests/streaming/next_version.py required - api.app       import a module of that version
"""

import importlib
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fraud_assets.contracts import events


class Optional(events.Transaction, frozen=True, kw_only=True):
    loyalty_tier: str | None = None


class Required(events.Transaction, frozen=True, kw_only=True):
    loyalty_tier: str


def on_the_store(command: str) -> None:
    """snapshot: what materializing `online_store_snapshot` of today does. count: how many accounts have a state."""
    from fraud_assets.engine.plan import EnginePlan
    from fraud_assets.features.catalogue.ticketing import registry
    from fraud_assets.settings import Settings
    from fraud_assets.stores.lake import Lake
    from fraud_assets.stores.online import OnlineStore
    from fraud_assets.stores.publish import snapshot

    settings, now_ms, plan = Settings(), time.time_ns() // 1_000_000, EnginePlan(registry())
    store = OnlineStore.connect(settings.redis_url, plan.registry)
    if command == "count":
        keys = [f"a{number}" for number in range(100)]
        store.current_epoch()
        print(sum(state is not None for state in store.read_many("account", keys)))
        return
    snapshot(Lake(settings.lake_uri), plan, store, settings.kafka_bootstrap_servers, now_ms + 86_400_000, now_ms)


if __name__ == "__main__":
    version, command, *rest = sys.argv[1:]
    # Before anybody else imports it: every module then knows the next version alone.
    events.Transaction = {"optional": Optional, "required": Required}[version]  # type: ignore[misc, assignment]
    if command == "-":
        importlib.import_module(rest[0])
    elif command in ("snapshot", "count"):
        on_the_store(command)
    else:
        from streaming.__main__ import main

        sys.argv = ["streaming", command, *rest]
        sys.exit(main())
