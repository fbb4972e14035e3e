"""What one pricing process holds between requests, and how it starts and stops."""

import time
from typing import Self

import structlog

from api.access import Identifies
from api.jwt_bearer import JwtBearer
from api.keyring import KeyRing
from api.pricing.decide import Rules
from api.pricing.features import EventReader
from api.pricing.metrics import PricingMetrics
from api.pricing.pricer import Pricer
from api.pricing.settings import PricingSettings
from api.pricing.store import DAY_MS, PriceStore
from api.rates import Rates
from api.shared import Shared
from fraud_assets.features.language import FeatureService
from fraud_assets.features.registry import Registry
from fraud_assets.stores.online_async import OnlineReader
from fraud_assets.tracing import spans_of

log = structlog.get_logger()


class Runtime:
    """The parts of the service, built once. `start` needs a running event loop."""

    def __init__(self, settings: PricingSettings, registry: Registry, service: FeatureService) -> None:
        self.metrics = PricingMetrics()
        self.cards_in_ids = settings.cards_in_ids
        self.max_in_flight = settings.max_in_flight
        self.spans = spans_of(settings, "fraud-pricing")
        self.keys = KeyRing(settings.api_keys_file, self.metrics)
        self.knowing: list[Identifies] = [self.keys, *([JwtBearer(settings.jwt)] if settings.jwt else [])]
        self.online = OnlineReader(settings.redis_url, registry, settings.store_timeout_ms / 1_000)
        self.shared = Shared(settings.redis_url, settings.shared_timeout_ms / 1_000)
        self.rates = Rates(settings.redis_url, self.shared, settings.api_rate_per_s)
        # Its own connections and patience: a rate that waits for as long as a posterior would hold up everybody.
        self.posteriors = Shared(settings.redis_url, settings.posteriors_timeout_ms / 1_000)
        self.events = EventReader(self.online, registry, service)
        store = PriceStore(
            self.posteriors, settings.multipliers, settings.half_life_days * DAY_MS, settings.category_half_life_days * DAY_MS
        )  # fmt: skip
        self.pricer = Pricer(_rules(settings), self.events, store, self.metrics, settings.learn_from)
        self.metrics.ready.set_function(lambda: not self.missing())

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def missing(self) -> list[str]:
        """Why this process should get no traffic; empty when it should."""
        if self.online.marker is None:
            return ["the online store is unreachable, or is behind, or holds no valid epoch; run online_store_snapshot if it is the last"]  # fmt: skip
        return []

    async def start(self) -> Self:
        self.events.warm()
        self.keys.start()
        self.online.start()
        await self.rates.start()
        log.info("pricing_started", missing=self.missing())
        return self

    async def close(self) -> None:
        await self.keys.close()
        await self.online.close()
        await self.shared.close()
        await self.posteriors.close()


def _rules(settings: PricingSettings) -> Rules:
    return Rules(
        interval_ms=1_000 * settings.interval_s,
        multipliers=settings.multipliers,
        max_change=settings.max_change,
        step_minor=settings.step_minor,
        explore=settings.explore,
        dispersion=settings.dispersion,
        seed=settings.seed,
    )
