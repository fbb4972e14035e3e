"""What Prometheus sees of a service, and of the scorer."""

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from fraud_assets.contracts.events import PaymentMethod

# From a tenth of a millisecond, where a decision should be, to a second, where nobody waits any more.
BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)
# The type of a request that asks about several payments: it has one time, whatever they were paid with.
BATCH = "batch"


class Series:
    """One series of a distribution, counted without a lock: by one thread, the event loop's."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0.0] * len(bounds)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """A bucket counts everything up to its bound."""
        bounds = map(floatToGoString, self._bounds)
        family.add_metric(labels, list(zip(bounds, accumulate(self._counts), strict=True)), self._sum)


class Distribution(Collector):
    """What a `prometheus_client.Histogram` says, counted without its locks.

    Two of them cost a payment what its policy costs. of: a series for each value of `label`, or one.
    """

    def __init__(
        self,
        name: str,
        text: str,
        bounds: Sequence[float],
        registry: CollectorRegistry,
        label: str = "",
        values: Sequence[str] = ("",),
    ) -> None:
        self._name, self._text, self._label = name, text, label
        self.of = {value: Series((*bounds, float("inf"))) for value in values}
        self._created_s = time.time()
        registry.register(self)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        labels = (self._label,) if self._label else ()
        family = HistogramMetricFamily(self._name, self._text, labels=labels)
        for value, series in self.of.items():
            series.add_to(family, [value] if labels else [])
        for value in self.of:
            family.add_sample(f"{self._name}_created", {self._label: value} if labels else {}, self._created_s)
        yield family


class EdgeMetrics:
    """One registry per application, so that tests may run several in a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.refused = self._counter("fraud_refused_requests", "Requests answered with a problem.", "type")
        self.key_reloads = self._counter("fraud_api_key_reloads", "Readings of a changed keys file.", "result")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)


class Metrics(EdgeMetrics):
    """The scorer's."""

    def __init__(self) -> None:
        super().__init__()
        self.decisions = self._counter("fraud_decisions", "Decisions made.", "decision")
        self.degraded = self._counter("fraud_degraded_decisions", "Decisions made without history.", "reason")
        self.self_included = self._counter("fraud_self_included_decisions", "Scored ids already in a state.")
        self.card_like = self._counter(
            "fraud_card_like_ids", "Ids that look like a card number and were let pass.", "field"
        )
        self.events = self._counter("fraud_decision_events", "Decision events by what became of them.", "result")
        self.reloads = self._counter("fraud_model_reloads", "Model loads by result.", "result")
        self.alias_reads = self._counter(
            "fraud_model_registry_reads", "Looks at MLflow's alias by what they found.", "result"
        )
        self.repeats = self._counter("fraud_idempotent_requests", "Requests with an idempotency key.", "status")
        self.latency = Distribution(
            "fraud_decision_seconds",
            "Time from body read to answer made, per request.",
            BUCKETS,
            self.registry,
            "transaction_type",
            (*PaymentMethod, BATCH),
        ).of
        scores = Distribution("fraud_score", "Scores given.", tuple(n / 20 for n in range(1, 21)), self.registry)
        self.score = scores.of[""]
        self.model = self._gauge("fraud_model_info", "The model served.", "version", "service_digest", "policy_digest")
        self.rollout = self._gauge(
            "fraud_rollout_sequence",
            "Newest step of the promotion log that is served.",
            "phase",
            "champion",
            "challenger",
        )
        self.challenger_failures = self._counter("fraud_challenger_failures", "Payments a challenger gave no score.")
        self.ready = self._gauge("fraud_scorer_ready", "1 while model and online store are there.")
        self.pending = self._gauge("fraud_decision_events_pending", "Decision events that Kafka may not have.")
        self.journal_bytes = self._gauge("fraud_decision_journal_bytes", "Size of the decision events kept on disk.")
