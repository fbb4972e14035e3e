"""What one pricing process holds between requests, and how it starts and stops."""

import time
from typing import Self

import structlog

from api.edge import EdgeRuntime
from api.pricing.decide import Rules
from api.pricing.features import EventReader
from api.pricing.metrics import PricingMetrics
from api.pricing.price_log import PriceLog
from api.pricing.pricer import Pricer
from api.pricing.settings import PricingSettings
from api.pricing.store import DAY_MS, PriceStore
from api.producer import Producer, kafka_producer
from api.shared import Shared
from fraud_assets.features.language import FeatureService
from fraud_assets.features.registry import Registry

log = structlog.get_logger()


class Runtime(EdgeRuntime):
    """The parts of the service, built once. `start` needs a running event loop. producer: what the log leaves through, if not one of ours."""

    name = "fraud-pricing"
    metrics: PricingMetrics

    def __init__(
        self, settings: PricingSettings, registry: Registry, service: FeatureService, producer: Producer | None = None
    ) -> None:
        self.metrics = PricingMetrics()
        super().__init__(settings, registry)
        # Its own connections and patience: a rate that waits for as long as a posterior would hold up everybody.
        self.posteriors = Shared(settings.redis_url, settings.posteriors_timeout_ms / 1_000)
        self.events = EventReader(self.store, registry, service)
        store = PriceStore(
            self.posteriors, settings.multipliers, settings.half_life_days * DAY_MS, settings.category_half_life_days * DAY_MS
        )  # fmt: skip
        self.log = PriceLog(producer or kafka_producer(settings.kafka_bootstrap_servers), store, self.metrics)
        self.pricer = Pricer(rules_of(settings), self.events, store, self.log, self.metrics, settings.learn_from)
        self.metrics.ready.set_function(lambda: not self.missing())

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def start(self) -> Self:
        self.events.warm()
        await super().start()
        self.log.start()
        log.info("pricing_started", missing=self.missing())
        return self

    async def close(self) -> None:
        await self.log.close()
        await super().close()
        await self.posteriors.close()


def rules_of(settings: PricingSettings) -> Rules:
    return Rules(
        interval_ms=1_000 * settings.interval_s,
        multipliers=settings.multipliers,
        max_change=settings.max_change,
        step_minor=settings.step_minor,
        explore=settings.explore,
        dispersion=settings.dispersion,
        seed=settings.seed,
        draws=settings.draws,
        half_life_ms=settings.half_life_days * DAY_MS,
    )
