"""A pricing service with everything real: states folded by the engine, a Valkey."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from litestar import Litestar
from litestar.testing import TestClient

from api.keys import write_keys
from api.pricing.app import create_app
from api.pricing.runtime import Runtime
from api.pricing.settings import PricingSettings
from api.producer import Producer
from fraud_assets.contracts import topics
from fraud_assets.contracts.events import Activity, ActivityKind, Outcome, Transaction
from fraud_assets.engine.plan import EnginePlan
from fraud_assets.engine.prepare import columns_from_events, entity_key, rows_of
from fraud_assets.engine.state import StateEngine
from fraud_assets.features.catalogue.sources import ACTIVITY, TRANSACTIONS
from fraud_assets.features.catalogue.ticketing import EVENT_PRICING, registry
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_port import Write
from tests.api.world import ALL, MADE, bearer, published
from tests.api.world import Producer as FakeProducer

HOUR_MS = 3_600_000
# The beginning of an interval some hours ago, so that there are intervals after it.
NOON_MS = (time.time_ns() // 1_000_000) // HOUR_MS * HOUR_MS - 24 * HOUR_MS


def runtime(folder: Path, redis_url: str, producer: Producer | None = None, **settings: Any) -> Runtime:
    keys = folder / "api-keys.json"
    write_keys(keys, [made.key for made in MADE.values()])
    fields: dict[str, Any] = {
        "redis_url": redis_url, "store_timeout_ms": 1_000, "shared_timeout_ms": 1_000, "posteriors_timeout_ms": 2_000,
        "api_keys_file": keys,
    }  # fmt: skip
    return Runtime(PricingSettings(**fields | settings), registry(), EVENT_PRICING, producer or FakeProducer())


@contextmanager
def served(made: Runtime) -> Iterator[TestClient[Litestar]]:
    """A client whose key is good for everything."""
    app: Litestar = create_app(made)
    with TestClient(app) as client:
        client.headers.update(bearer(ALL))
        yield client


def asked(**changes: object) -> dict[str, object]:
    """A concert in ten days, to be priced at noon."""
    fields: dict[str, object] = {
        "event_time_ms": NOON_MS, "event_id": "e1", "promoter_id": "p1", "category": "concert", "currency": "EUR",
        "base_price_minor": 5_000, "current_price_minor": 5_000, "starts_at_ms": NOON_MS + 240 * HOUR_MS,
    }  # fmt: skip
    fields.update(changes)
    return {name: value for name, value in fields.items() if value is not ...}


def outcome(**changes: object) -> dict[str, object]:
    fields: dict[str, object] = {
        "event_id": "e1", "interval_start_ms": NOON_MS, "price_minor": 5_000, "tickets_sold": 7, "visitors": 100,
    }  # fmt: skip
    return fields | changes


def activities(at_ms: int, inventory: int = 400, viewers: int = 10, event_id: str = "e1") -> list[Activity]:
    """What the shop has said of an event by then."""
    seen = [
        Activity(
            activity_id=f"v{at_ms}-{i}", kind=ActivityKind.VIEW, event_time_ms=at_ms - 1_000 - i, device_id=f"d{i}",
            event_id=event_id, promoter_id="p1",
        )
        for i in range(viewers)
    ]  # fmt: skip
    count = Activity(
        activity_id=f"i{at_ms}", kind=ActivityKind.INVENTORY, event_time_ms=at_ms - 500, inventory=inventory,
        event_id=event_id, promoter_id="p1",
    )  # fmt: skip
    return [*reversed(seen), count]


def sales(n: int, at_ms: int) -> list[Transaction]:
    """One ticket each."""
    return published(n, outcome=Outcome.APPROVED, event_time_ms=at_ms, ticket_count=1)


def fold_event(store: OnlineStore, seen: Sequence[Activity], sold: Sequence[Transaction] = ()) -> None:
    """The state of an event as the worker would have it: all of what it is given, and nothing of before."""
    plan = EnginePlan(registry())
    group = plan.group("event")
    engine = StateEngine(plan, group)
    packed = None
    for source, topic, events in ((TRANSACTIONS, topics.TRANSACTIONS, sold), (ACTIVITY, topics.ACTIVITY, seen)):
        if events:
            positions = [(topic.name, 0, offset) for offset in range(len(events))]
            columns = columns_from_events(plan, source, events, positions, [one.event_time_ms for one in events])
            packed = engine.fold(packed, rows_of(plan, group, columns)).packed[0]
    key = entity_key(group.group.entity, seen[0])
    assert key is not None and packed is not None
    (held,) = store.read_many(group.name, [key])
    assert store.compare_and_set(group.name, [Write(key, held.version if held else 0, packed)]) == [True]
