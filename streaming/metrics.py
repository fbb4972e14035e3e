"""What the worker counts. Names are the dashboard's contract; labels are few and never a person's."""

from prometheus_client import Counter, Gauge, Histogram, start_http_server

PROCESSED = Counter("fraud_worker_processed_total", "Raw records routed.", ["topic"])
RAW = Counter("fraud_worker_raw_events_total", "Events that came with personal data where tokens belong.", ["topic"])
DUPLICATES = Counter("fraud_worker_duplicates_total", "Copies within the dedupe horizon.", ["topic"])
LATE = Counter("fraud_worker_late_total", "Events more than the allowed lateness older than their arrival.", ["topic"])
DEAD_LETTERS = Counter(
    "fraud_worker_dead_letters_total", "Records refused, future-dated ones included.", ["topic", "reason"]
)
QUARANTINED = Counter("fraud_worker_quarantined_total", "Future-dated events.", ["topic"])
LAKE_ROWS = Counter("fraud_worker_lake_rows_total", "Rows appended to the lake.")
UNCOMMITTED = Gauge(
    "fraud_worker_uncommitted_rows", "Rows routed and not committed yet; keeps growing while the lake is slow."
)
APPLIED = Counter("fraud_worker_applied_total", "Entity records above their state's position.", ["group"])
REPLAYED = Counter("fraud_worker_replayed_total", "Entity records a state had already applied.", ["group"])
CONFLICTS = Counter("fraud_worker_conflicts_total", "Writes that lost against another writer.", ["group"])
FRESHNESS = Histogram(
    "fraud_worker_freshness_seconds",
    "From an event's arrival in the log to its state being readable.",
    buckets=(0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 60),
)
EPOCH_VALID = Gauge("fraud_worker_epoch_valid", "1 while the online store holds the epoch this worker folds into.")
FACTS = Counter("fraud_worker_label_facts_total", "Label facts emitted.", ["sign"])
WAITING = Counter("fraud_worker_labels_unmatched_total", "Labels whose transaction has not been seen yet.")

# DESIGN: the least lateness to expect of a view; beyond it an event misses the tiles that have expired.
EXPECTED_LATENESS_MS = 10 * 60_000


def serve(port: int) -> None:
    """Expose /metrics on loopback unless `port` is 0; a scraper elsewhere goes through a sidecar."""
    if port:
        start_http_server(port, addr="127.0.0.1")
