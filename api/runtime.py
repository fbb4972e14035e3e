"""What one scorer process holds between requests, and how it starts and stops."""

import gc
from functools import partial
from typing import Self

import structlog

from api.access import Identifies
from api.champion import ChampionSlot
from api.decision_log import DecisionLog, DecisionRecord
from api.idempotency import Repeats
from api.journal import Journal
from api.jwt_bearer import JwtBearer
from api.keyring import KeyRing
from api.labels import LabelSink
from api.metrics import Metrics
from api.producer import Producer, kafka_producer
from api.rates import Rates
from api.scorer import Made, Scorer
from api.settings import ApiSettings
from api.shared import Shared
from fraud_assets.contracts import tokens
from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.engine.request import RequestReader
from fraud_assets.features.language import FeatureService
from fraud_assets.features.registry import Registry
from fraud_assets.models.manifest import Definitions
from fraud_assets.stores.online_async import OnlineReader

log = structlog.get_logger()


class Runtime:
    """The parts of the scorer, built once. `start` needs a running event loop."""

    def __init__(
        self, settings: ApiSettings, registry: Registry, service: FeatureService, producer: Producer | None = None
    ) -> None:
        plan = ServicePlan(EnginePlan(registry), service)
        definitions = Definitions.of(registry, service)
        self.metrics = Metrics()
        self.token_key = TokenKey.of_settings(settings)
        self.keys = KeyRing(settings.api_keys_file, self.metrics)
        self.knowing: list[Identifies] = [self.keys, *([JwtBearer(settings.jwt)] if settings.jwt else [])]
        self.store = OnlineReader(settings.redis_url, registry, settings.store_timeout_ms / 1_000)
        self.shared = Shared(settings.redis_url)
        self.repeats = Repeats(self.shared, self.token_key, settings.idempotency_ttl_s, self.metrics)
        self.rates = Rates(settings.redis_url, self.shared, settings.api_rate_per_s)
        self.max_in_flight = settings.max_in_flight
        self.champion = ChampionSlot(settings.model_dir, definitions, self.metrics)
        reader = RequestReader(plan)
        self.scorer = Scorer(self.store, reader, self.champion, self.metrics)
        self._record = DecisionRecord(plan, reader.unit_names, definitions.service_digest)
        sink = producer or kafka_producer(settings.kafka_bootstrap_servers)
        journal = partial(Journal.claim, settings.decision_journal_dir, settings.decision_journal_mb * 2**20)
        self.log = DecisionLog(self._record, sink, self.metrics, journal)
        self.labels = LabelSink(sink)
        self.metrics.ready.set_function(lambda: not self.missing())

    @property
    def model_version(self) -> str:
        return self.champion.serving.model.version if self.champion.serving else ""

    def missing(self) -> list[str]:
        """Why this process should get no traffic; empty when it should."""
        found = []
        if self.champion.serving is None:
            found.append("no model is loaded; train one and publish it as champion")
        if self.store.marker is None:
            found.append("the online store is unreachable or holds no valid epoch; run online_store_snapshot")
        return found

    async def start(self) -> Self:
        tokens.warm_up()
        self.scorer.warm()
        self._record.warm()
        self.keys.start()
        self.store.start()
        await self.champion.start()
        self.log.start()
        # What exists now lives as long as the process; walking it in every collection would cost
        # requests their tail latency.
        gc.collect()
        gc.freeze()
        log.info("scorer_started", model_version=self.model_version, missing=self.missing())
        return self

    async def close(self) -> None:
        await self.keys.close()
        await self.champion.close()
        await self.log.close()
        await self.store.close()
        await self.shared.close()

    def record(self, made: list[Made], took_s: float, headers: list[tuple[str, bytes]]) -> None:
        """After the decision: nothing here waits."""
        self.metrics.latency.observe(took_s)
        self.log.add(made, round(took_s * 1_000, 3), headers)
