"""What one scorer process holds between requests, and how it starts and stops."""

import gc
from collections.abc import Sequence
from typing import Self, TypeVar

import structlog

from api import decided
from api.alias import follower
from api.decided import Decider, Facts, Part
from api.edge import EdgeRuntime
from api.idempotency import Repeats
from api.labels import LabelSink
from api.lineup import LineupSlot
from api.metrics import Metrics
from api.producer import Producer, kafka_producer
from api.recording import Beside, Here, Recording
from api.scorer import Moment, Scorer
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
T = TypeVar("T")


class Runtime(EdgeRuntime):
    """The parts of the scorer, built once. `start` needs a running event loop.

    producer: what decisions and labels leave through, here; without one, labels leave through one of ours, and decisions
    through a process beside this one.
    """

    name = "fraud-scorer"
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

    def _record(self, moment: Moment) -> None:
        self.recording.add(decided.encode(_part_of(moment)), len(moment.judged))
        for one in moment.judged:
            self.metrics.score.observe(one.score)
        if n := sum(moment.read.self_included):
            self.metrics.self_included.inc(n)
        for reasons in filter(None, moment.degraded):
            for reason in reasons:
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


def _part_of(moment: Moment) -> Part:
    asked, histories, read, degraded, judged, ids, at_ms, latency_ms = moment
    events, contexts = zip(*asked, strict=True)
    scores, verdicts, servings, shadows, took_ms = zip(*judged, strict=True)
    actions, reasons, ruled = zip(*verdicts, strict=True)
    headers, whose = _distinct([context.headers for context in contexts])
    deciders, by = _distinct(servings)
    rows = zip(
        ids, [event.event_time_ms for event in events], [event.transaction_id for event in events], [event.account_id for event in events],
        map(decided.as_request, events), latency_ms, by, whose, histories.places, scores, shadows, actions, ruled, reasons, degraded,
        read.self_included, strict=True,
    )  # fmt: skip
    return Part(
        list(rows), at_ms, histories.epoch,  # type: ignore[arg-type]  # tuples, as a Row is written
        [Decider(one.decider.digest, one.model.version, one.model.sha256) for one in deciders], headers,
        [key for _, key in histories.entities], histories.versions, read.positions, read.features.tobytes(), read.status.tobytes(), took_ms[0],
    )  # fmt: skip


def _distinct(things: Sequence[T]) -> tuple[list[T], list[int]]:
    """Each thing once, and the place of each."""
    places = {id(one): one for one in things}
    numbers = {name: number for number, name in enumerate(places)}
    return list(places.values()), [numbers[id(one)] for one in things]
