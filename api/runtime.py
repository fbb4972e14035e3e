"""What one scorer process holds between requests, and how it starts and stops."""

import gc
from collections.abc import Sequence
from typing import Self

import structlog

from api import decided
from api.alias import follower
from api.decided import Decided, Facts
from api.edge import EdgeRuntime
from api.idempotency import Repeats
from api.labels import LabelSink
from api.lineup import LineupSlot
from api.metrics import Metrics
from api.producer import Producer, kafka_producer
from api.recording import Beside, Here, Recording
from api.scorer import Made, Scorer
from api.settings import ApiSettings
from fraud_assets.contracts import tokens
from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.engine.plan import PARTITION_BITS, EnginePlan, ServicePlan
from fraud_assets.engine.request import STATUS_NAMES, RequestReader
from fraud_assets.features.language import FeatureService
from fraud_assets.features.registry import Registry
from fraud_assets.models.manifest import Definitions

# Objects of which the interpreter looks for cycles: those of a few batches of a thousand. Of 700, as it does by itself, it walks
# through each batch dozens of times, a tenth of the batch's time, and finds nothing, for all of them die without it.
GARBAGE = 50_000

log = structlog.get_logger()


class Runtime(EdgeRuntime):
    """The parts of the scorer, built once. `start` needs a running event loop.

    producer: what decisions and labels leave through, here; without one, labels leave through one of ours, and decisions
    through a process beside this one.
    """

    metrics: Metrics

    def __init__(
        self, settings: ApiSettings, registry: Registry, service: FeatureService, producer: Producer | None = None
    ) -> None:
        plan = ServicePlan(EnginePlan(registry), service)
        definitions = Definitions.of(registry, service)
        self.metrics = Metrics()
        super().__init__(settings, registry)
        self.token_key = TokenKey.of_settings(settings)
        self.repeats = Repeats(self.shared, self.token_key, settings.idempotency_ttl_s, self.metrics)
        self.models = LineupSlot(settings.model_dir, definitions, self.metrics)
        self.alias = follower(settings, definitions, self.metrics)
        reader = RequestReader(plan)
        self.scorer = Scorer(self.store, reader, self.models, self.metrics, self._record)
        self.recording = self._recording(
            _facts(plan, reader.unit_names, definitions.service_digest), settings, producer
        )
        self.labels = LabelSink(producer or kafka_producer(settings.kafka_bootstrap_servers))
        self.metrics.ready.set_function(lambda: not self.missing())

    @property
    def model_version(self) -> str:
        return self.models.champion.model.version if self.models.champion else ""

    def missing(self) -> list[str]:
        """Why this process should get no traffic; empty when it should."""
        no_model = ["no model is loaded; train one and publish it as champion"]
        return [*([] if self.models.champion else no_model), *super().missing()]

    def _recording(self, facts: Facts, settings: ApiSettings, producer: Producer | None) -> Recording:
        folder, journal_bytes = settings.decision_journal_dir, settings.decision_journal_mb * 2**20
        if producer is not None:
            return Here(facts, producer, folder, journal_bytes, self.metrics)
        return Beside(facts, settings.kafka_bootstrap_servers, folder, journal_bytes, self.metrics)

    async def start(self) -> Self:
        tokens.warm_up()
        self.scorer.warm()
        await super().start()
        await self.recording.start()
        await self.models.start()
        if self.alias is not None:
            await self.alias.start()
        # What exists now lives as long as the process; walking it in every collection would cost
        # requests their tail latency.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GARBAGE)
        log.info("scorer_started", model_version=self.model_version, missing=self.missing())
        return self

    async def close(self) -> None:
        if self.alias is not None:
            await self.alias.close()
        await self.models.close()
        await self.recording.close()
        await super().close()

    def _record(self, made: Sequence[Made]) -> None:
        self.recording.add([decided.encode(_decided(one)) for one in made])
        for one in made:
            self._count(one)

    def _count(self, one: Made) -> None:
        self.metrics.score.observe(one.score)
        if one.self_included:
            self.metrics.self_included.inc()
        for reason in one.seen.degraded:
            self.metrics.degraded.labels(reason).inc()


def _facts(plan: ServicePlan, unit_names: tuple[str, ...], service_digest: str) -> Facts:
    return Facts(
        service=plan.service.name,
        service_digest=service_digest,
        groups=tuple(group.name for group in plan.groups),
        unit_names=unit_names,
        statuses=STATUS_NAMES,
        topics=plan.engine.registry.topics,
        partition_bits=PARTITION_BITS,
    )


def _decided(made: Made) -> Decided:
    (
        event, context, seen, vector, status, included, score, verdict, serving, shadow, scored_ms, decision_id, at_ms, latency_ms,
    ) = made  # fmt: skip
    model, (keys, positions, versions, epoch, degraded) = serving.model, seen
    return Decided(
        decision_id, event.event_time_ms, event.transaction_id, event.account_id, decided.as_request(event), at_ms, latency_ms,
        epoch, serving.decider.digest, model.version, model.sha256, vector, status, keys, versions, positions, score,
        verdict.action, verdict.reasons, degraded, included, context.headers, shadow, scored_ms, verdict.ruled,
    )  # fmt: skip
