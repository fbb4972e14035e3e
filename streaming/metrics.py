"""What the worker counts. Names are the dashboard's contract; labels are few and never a person's."""

import errno
import threading
import time

import structlog
from prometheus_client import Counter, Gauge, Histogram, start_http_server

log: structlog.stdlib.BoundLogger = structlog.get_logger()

PROCESSED = Counter("fraud_worker_processed_total", "Raw records routed.", ["topic"])
RAW = Counter("fraud_worker_raw_events_total", "Events that came with personal data where tokens belong.", ["topic"])
CARD_LIKE = Counter(
    "fraud_worker_card_like_ids_total", "Ids that look like a card number and were let pass.", ["topic", "field"]
)
DUPLICATES = Counter("fraud_worker_duplicates_total", "Copies within the dedupe horizon.", ["topic"])
LATE = Counter("fraud_worker_late_total", "Events more than the allowed lateness older than their arrival.", ["topic"])
DEAD_LETTERS = Counter(
    "fraud_worker_dead_letters_total", "Records refused, future-dated ones included.", ["topic", "reason"]
)
DROPPED = Counter("fraud_worker_dropped_total", "Records in order that say nothing a state holds.", ["topic", "reason"])
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
LAG = Gauge(
    "fraud_worker_lag_records",
    "Records behind the log's end that are not committed yet.",
    ["role", "topic", "partition"],
)
PROCESSING = Histogram(
    "fraud_worker_processing_seconds",
    "From a batch's first step to its last: routed, folded, applied, explained, stored or told.",
    ["role"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
EPOCH_VALID = Gauge("fraud_worker_epoch_valid", "1 while the online store holds the epoch this worker folds into.")
FACTS = Counter("fraud_worker_label_facts_total", "Label facts emitted.", ["sign"])
WAITING = Counter("fraud_worker_labels_unmatched_total", "Labels whose transaction has not been seen yet.")
EXPLAINED = Counter("fraud_worker_explained_total", "Decisions whose explanation is in the log.")
EXPLANATION_LAG = Histogram(
    "fraud_worker_explanation_lag_seconds",
    "From a decision's arrival in the log to its explanation being there.",
    buckets=(0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1_800),
)
WAITING_FOR_MODEL = Gauge(
    "fraud_worker_waiting_for_model", "1 while decisions wait for a model that the model folder does not hold."
)
DATABASE_ROWS = Counter("fraud_worker_database_rows_total", "Rows committed to PostgreSQL, repeated ones too.")
DATABASE_UP = Gauge("fraud_worker_database_up", "1 while PostgreSQL takes rows; 0 while they wait in the log.")
DATABASE_LAG = Histogram(
    "fraud_worker_database_lag_seconds",
    "From a decision's or an explanation's arrival in the log to its row being committed.",
    buckets=(0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1_800),
)
NOTICES = Counter(
    "fraud_worker_notifications_total", "Notices sent, failed (dead letters) and stale.", ["rule", "result"]
)

# DESIGN: the least lateness to expect of a view; beyond it an event misses the tiles that have expired.
EXPECTED_LATENESS_MS = 10 * 60_000


# Between attempts at a port that is taken; a connection that ended holds its own for a minute.
RETRY_S = 5.0


def serve(host: str, port: int, retry_s: float = RETRY_S) -> None:
    """Expose /metrics unless `port` is 0.

    A port that is taken is waited for beside the work: its scraper sees a target that is down, and events are folded
    meanwhile. Raises OSError for an address that can never be had.
    """
    if not port or _is_served(host, port):
        return
    log.error("metrics_port_taken", port=port, retry_in_s=retry_s, way_out="set FRAUD_WORKER_METRICS_PORT to another")
    threading.Thread(target=_serve_later, args=(host, port, retry_s), name="metrics-port", daemon=True).start()


def _serve_later(host: str, port: int, retry_s: float) -> None:
    while not _is_served(host, port):
        time.sleep(retry_s)
    log.info("metrics_served", port=port)


def _is_served(host: str, port: int) -> bool:
    try:
        start_http_server(port, addr=host)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True
