"""What the online store knows of an event to be priced: the two event views, and nothing of any person."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from api.histories import HistoryReader
from api.pricing.contract import PriceRequest
from fraud_assets.contracts.events import Category
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.engine.request import STATUS_NAMES, RequestReader, States
from fraud_assets.features.catalogue.named import EVENT_REALTIME_METRICS
from fraud_assets.features.language import FeatureService
from fraud_assets.features.registry import Registry
from fraud_assets.stores.online_async import StateReader

UNREADABLE = "online_state_unreadable"
_PRESENT = "PRESENT"


class EventNow(NamedTuple):
    """features: by name, None where unknown. missing: why no price may be drawn from them; empty where one may."""

    features: dict[str, float | None]
    missing: list[str]

    @property
    def inventory(self) -> float | None:
        return self.features.get("current_inventory")

    @property
    def viewers(self) -> float | None:
        """Different ones within five minutes."""
        return self.features.get("concurrent_viewers")

    @property
    def tickets_sold(self) -> float | None:
        """Since the event was first seen."""
        return self.features.get("total_tickets_sold")


class EventReader:
    """Reads events of a request in one round trip. Never raises for a store that is slow, gone or without an epoch."""

    def __init__(self, store: StateReader, registry: Registry, service: FeatureService) -> None:
        self._reader = RequestReader(ServicePlan(EnginePlan(registry), service))
        self._histories = HistoryReader(store, self._reader.groups)
        self._needed = next(
            place for place, name in enumerate(self._reader.unit_names) if name.startswith(f"{EVENT_REALTIME_METRICS.name}@")
        )  # fmt: skip

    def warm(self) -> None:
        """Kernels loaded, or compiled, before a request waits for them."""
        self._reader.read_many(States.of([]), [[-1] * len(self._reader.groups)], [_NOBODY], [0], [""])

    async def read(self, asked: Sequence[PriceRequest]) -> list[EventNow]:
        """As of each request's `event_time_ms`."""
        histories = await self._histories.read(asked)
        if histories.degraded:
            return [EventNow({}, histories.degraded)] * len(asked)
        times, no_ids = [one.event_time_ms for one in asked], [""] * len(asked)
        read = self._reader.read_many(histories.states, histories.places, asked, times, no_ids)
        return [
            EventNow({}, [UNREADABLE])
            if place in read.torn
            else self._now(read.features[place].tolist(), int(read.status[place][self._needed]))
            for place in range(len(asked))
        ]

    def _now(self, values: list[float], status: int) -> EventNow:
        features = {
            name: None if math.isnan(value) else value for name, value in zip(self._reader.names, values, strict=True)
        }
        missing = []
        if STATUS_NAMES[status] != _PRESENT:
            missing.append(f"{EVENT_REALTIME_METRICS.name}_{STATUS_NAMES[status].lower()}")
        elif features["current_inventory"] is None:
            missing.append("inventory_unknown")
        return EventNow(features, missing)


_NOBODY = PriceRequest(
    event_time_ms=0, event_id="-", promoter_id="-", category=Category.OTHER, currency="XXX", base_price_minor=1,
    current_price_minor=1, starts_at_ms=0,
)  # fmt: skip
