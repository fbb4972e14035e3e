"""What Prometheus sees of the pricing service."""

from api.metrics import BUCKETS, Distribution, EdgeMetrics


class PricingMetrics(EdgeMetrics):
    """One per process."""

    def __init__(self) -> None:
        super().__init__()
        self.recommended = self._counter("fraud_price_recommendations", "Prices recommended.", "action")
        self.repeated = self._counter("fraud_price_repeats", "Prices that were said before in their interval.")
        self.fallbacks = self._counter("fraud_price_fallbacks", "Prices left as they were.", "reason")
        self.rails = self._counter("fraud_price_guard_rails", "Recommendations that a rail changed.", "rail")
        self.outcomes = self._counter("fraud_price_outcomes", "Outcomes by source and what became of them.", "source", "result")  # fmt: skip
        self.logged = self._counter("fraud_price_log_events", "Events to the log by topic and what became of them.", "topic", "result")  # fmt: skip
        self.latency = Distribution("fraud_price_seconds", "Time from body read to answer made, per request.", BUCKETS, self.registry).of[""]  # fmt: skip
        self.ready = self._gauge("fraud_pricing_ready", "1 while the online store is there.")
