"""Decisions to their explanations and their vectors, after the fact and off the request path.

It follows the decisions' topic by itself. An explanation goes to its own topic, from there the router takes it to
the lake like any event: a crash repeats it with the same bytes, and the dedupe stage marks the repetition.
"""

import os
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
from quixstreams.sinks.base import SinkBackpressureError

from fraud_assets.contracts.codec import encode
from fraud_assets.contracts.events import Decision, Event
from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.contracts.topics import DEAD_LETTERS, DECISIONS, EXPLANATIONS, FEATURE_VECTORS, Topic
from fraud_assets.models.manifest import RefusedModel
from streaming import metrics
from streaming.core.explain import Explainable, Unexplained, explain, vector_of
from streaming.core.records import Accepted, DeadLetter, Refusal, Send, dead_letter_record
from streaming.core.sources import MAX_DECISION_BYTES
from streaming.edges.boosters import Boosters, ModelName, without_sklearn
from streaming.edges.broker import Sender, application, consume, declare
from streaming.edges.claim import claim
from streaming.edges.event_sink import Deliveries, EventSink
from streaming.settings import WorkerSettings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

GROUP = "fraud-worker-explain"
# Bounds a checkpoint, and so what a stop waits for: about a second of a usual model.
MAX_BATCH = 1_000
RETRY_S = 1.0
# Nobody waits for an explanation: on a machine of few cores it makes way for what somebody waits for.
NICENESS = 10


class Models(Protocol):
    """Models by name; see Boosters."""

    def get(self, name: ModelName) -> Explainable: ...


class ModelMissing(RuntimeError):
    """A model is not there yet: it may be on its way, for scorers and this process may read copies of one folder."""


class Explainer:
    """Accepted decisions in; vectors, explanations and dead letters out, delivered before `apply` returns.

    patience_s: how long decisions wait for a model before they become dead letters.
    """

    def __init__(self, models: Models, sender: Deliveries, patience_s: float, now_s: Callable[[], float]) -> None:
        self._models = models
        self._sender = sender
        self._patience_s = patience_s
        self._now_s = now_s
        self._missing_since_s: dict[ModelName, float] = {}

    def apply(self, accepted: Sequence[Accepted]) -> list[DeadLetter]:
        """Ordered steps: find every model; explain; send in the order of the log; return when it is delivered.

        Raises ModelMissing, having sent nothing.
        """
        decisions = [_decision(one) for one in accepted]
        outcomes = self._outcomes(decisions)
        letters = []
        for one, decision, outcome in zip(accepted, decisions, outcomes, strict=True):
            vector = vector_of(decision)
            sends = [] if vector is None else [_send(FEATURE_VECTORS, vector, decision)]
            if isinstance(outcome, Unexplained):
                letters.append(DeadLetter(one.record, outcome.reason, detail=outcome.detail))
                sends.append(dead_letter_record(DEAD_LETTERS.name, letters[-1]))
            else:
                sends.append(_send(EXPLANATIONS, outcome, decision))
            self._sender.send(sends)
        self._sender.flush()
        return letters

    def _outcomes(self, decisions: Sequence[Decision]) -> list[Event | Unexplained]:
        """One for each decision, in order; a model's decisions go through it together."""
        places: dict[ModelName, list[int]] = {}
        for place, decision in enumerate(decisions):
            places.setdefault(ModelName(decision.model_version, decision.model_sha256), []).append(place)
        models = {name: self._find(name) for name in places}
        found: dict[int, Event | Unexplained] = {}
        for name, model in models.items():
            mine = places[name]
            if isinstance(model, Unexplained):
                found.update(dict.fromkeys(mine, model))
            else:
                found.update(zip(mine, explain(model, [decisions[place] for place in mine]), strict=True))
        return [found[place] for place in range(len(decisions))]

    def _find(self, name: ModelName) -> Explainable | Unexplained:
        """The model; after some patience, why there is none. It is looked for again with every batch."""
        try:
            model = self._models.get(name)
        except RefusedModel as refused:
            since_s = self._missing_since_s.setdefault(name, self._now_s())
            if self._now_s() - since_s < self._patience_s:
                raise ModelMissing(str(refused)) from refused
            return Unexplained(Refusal.UNKNOWN_MODEL, str(refused))
        self._missing_since_s.pop(name, None)
        return model


def _decision(one: Accepted) -> Decision:
    assert isinstance(one.event, Decision)
    return one.event


def _send(topic: Topic, event: Event, decision: Decision) -> Send:
    return Send(topic.name, decision.account_id.encode(), encode(event, max_bytes=MAX_DECISION_BYTES), [])


class ExplainSink(EventSink):
    """Explains what each checkpoint brings."""

    def __init__(self, explainer: Explainer, key: TokenKey) -> None:
        super().__init__(key)
        self._explainer = explainer

    def flush(self) -> None:
        """Explain everything buffered, or raise SinkBackpressureError: Quix then seeks back and tries again."""
        started, decisions = time.perf_counter(), self.events()
        try:
            with metrics.PROCESSING.labels("explainer").time():
                letters = self._explainer.apply(decisions)
        except ModelMissing as missing:
            metrics.WAITING_FOR_MODEL.set(1)
            log.warning("model_missing", detail=str(missing), waiting=len(decisions))
            raise SinkBackpressureError(RETRY_S) from missing
        metrics.WAITING_FOR_MODEL.set(0)
        metrics.EXPLAINED.inc(len(decisions) - len(letters))
        self.count(decisions, letters, metrics.EXPLANATION_LAG)
        log.info(
            "decisions_explained",
            n=len(decisions),
            dead_letters=len(letters),
            latency_ms=round(1000 * (time.perf_counter() - started), 2),
        )


def run(settings: WorkerSettings) -> None:
    """Explain until SIGTERM, then finish the checkpoint."""
    os.nice(NICENESS)
    without_sklearn()
    metrics.serve(*settings.metrics_address(3))
    sender = Sender(settings.kafka_bootstrap_servers)
    app = application(settings, "explainer", GROUP, settings.explain_flush_s, MAX_BATCH)
    explainer = Explainer(Boosters(settings.model_dir), sender, settings.model_patience_s, time.monotonic)
    sink = ExplainSink(explainer, TokenKey.of_settings(settings))
    consume(app, sink, [DECISIONS], settings.replication_factor)
    declare(app, [EXPLANATIONS, FEATURE_VECTORS, DEAD_LETTERS], settings.replication_factor)
    claim(settings, GROUP, [DECISIONS])
    log.info("explainer_started", group=GROUP, model_dir=str(settings.model_dir))
    app.run()
