"""The four dashboards. What they draw is what Prometheus records and alerts on (deploy/prometheus/rules)."""

from collections.abc import Mapping

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import (
    BYTES,
    COLUMNS,
    NUMBER,
    PER_SECOND,
    SECONDS,
    SHARE,
    Query,
    board,
    density,
    lines,
    numbers,
    rows,
)

FRAUD_RATE, LATENCY, PIPELINE, MODEL = "fraud-rate", "scoring-latency", "pipeline-health", "model-performance"


def fraud_rate() -> Dashboard:
    return board(
        FRAUD_RATE,
        "Fraud rate",
        "What share of payments is denied, over the last five minutes; and what else is decided.",
        (
            (
                "Now",
                (
                    numbers("Denied", "Share of the payments of the last five minutes. FraudRateHigh fires above 5 %.", SHARE, Query("fraud:denied_share:rate5m"), bound=0.05),
                    numbers("For review", "Share of the payments of the last five minutes.", SHARE, Query("fraud:review_share:rate5m")),
                    numbers("Decisions a second", "Of all scorers.", PER_SECOND, Query("sum(fraud:decisions:rate5m)")),
                    numbers("Fraud alerts that fire", "FraudRateHigh and FraudRateUnusual.", NUMBER, Query('count(ALERTS{alertname=~"FraudRate.*", alertstate="firing"}) or vector(0)'), bound=1),
                ),
            ),
            (
                "Over time",
                (
                    lines(
                        "Fraud rate, rolling five minutes",
                        "Denied and sent for review. The line is where FraudRateHigh fires.",
                        SHARE,
                        Query("fraud:denied_share:rate5m", "denied"),
                        Query("fraud:review_share:rate5m", "for review"),
                        width=COLUMNS,
                        bound=0.05,
                    ),
                    lines("Decisions a second", "By what was decided.", PER_SECOND, Query("fraud:decisions:rate5m", "{{decision}}")),
                    lines("Without history", "Share of decisions made without the online store. DecisionsDegraded fires above 1 %.", SHARE, Query("fraud:degraded_share:rate5m", "degraded"), bound=0.01),
                    lines("Refused requests a second", "Answered with a problem, by its type.", PER_SECOND, Query("sum by (type) (rate(fraud_refused_requests_total[5m])) or vector(0)", "{{type}}")),
                    lines("Decisions by what became of their event", "Delivered, failed and sent again, lost.", PER_SECOND, Query("sum by (result) (rate(fraud_decision_events_total[5m]))", "{{result}}")),
                ),
            ),
        ),
        marked="FraudRate.*",
    )  # fmt: skip


def latency() -> Dashboard:
    return board(
        LATENCY,
        "Scoring latency",
        "From a request's body to its answer, by what was paid with; a batch is a type of its own.",
        (
            (
                "Percentiles by transaction type, rolling five minutes",
                (
                    lines("P50", "Half of the requests are faster.", SECONDS, Query("fraud:decision_seconds:p50_5m", "{{transaction_type}}"), width=8),
                    lines("P95", "19 of 20 are faster.", SECONDS, Query("fraud:decision_seconds:p95_5m", "{{transaction_type}}"), width=8),
                    lines("P99", "99 of 100 are faster.", SECONDS, Query("fraud:decision_seconds:p99_5m", "{{transaction_type}}"), width=8, bound=0.05),
                ),
            ),
            (
                "The objective: 99 % of single payments within 50 ms",
                (
                    numbers("Slower than 50 ms, an hour", "Share of single payments; the objective allows 1 %.", SHARE, Query("fraud:slow_share:rate1h"), bound=0.01),
                    numbers("Slower than 50 ms, six hours", "Share of single payments; the objective allows 1 %.", SHARE, Query("fraud:slow_share:rate6h"), bound=0.01),
                    numbers("Requests a second", "Answered with a decision.", PER_SECOND, Query("sum(rate(fraud_decision_seconds_count[5m]))")),
                    numbers("Scorers ready", "With a model and an online store.", NUMBER, Query("sum(fraud_scorer_ready)")),
                    lines(
                        "Slower than 50 ms",
                        "Share of single payments, in the windows that the two alerts of the budget ask.",
                        SHARE,
                        Query("fraud:slow_share:rate5m", "5 minutes"),
                        Query("fraud:slow_share:rate30m", "30 minutes"),
                        Query("fraud:slow_share:rate1h", "1 hour"),
                        Query("fraud:slow_share:rate6h", "6 hours"),
                        bound=0.144,
                    ),
                    density("All requests", "How many took how long.", SECONDS, Query("sum by (le) (increase(fraud_decision_seconds_bucket[5m]))", "{{le}}")),
                ),
            ),
            (
                "Capacity",
                (
                    lines("Requests a second by transaction type", "Answered with a decision.", PER_SECOND, Query("sum by (transaction_type) (rate(fraud_decision_seconds_count[5m]))", "{{transaction_type}}")),
                    lines("Turned away a second", "503 for lack of capacity, 429 for a key that has spent its rate.", PER_SECOND, Query('sum(rate(fraud_refused_requests_total{type="overloaded"}[5m])) or vector(0)', "overloaded"), Query('sum(rate(fraud_refused_requests_total{type="too_many_requests"}[5m])) or vector(0)', "too many requests")),
                    lines("Decisions that the broker may not have", "By scorer.", NUMBER, Query("fraud_decision_events_pending", "{{instance}}")),
                    lines("Requests with an idempotency key", "Unguarded ones were decided without Redis.", PER_SECOND, Query("sum by (status) (rate(fraud_idempotent_requests_total[5m])) or vector(0)", "{{status}}")),
                ),
            ),
        ),
        marked="Latency.*|PaymentsTurnedAway|ScorerNotReady",
    )  # fmt: skip


def pipeline() -> Dashboard:
    return board(
        PIPELINE,
        "Pipeline health",
        "Lag, freshness and refusals of the stream; runs, checks and backlog of Dagster; the machines under them.",
        (
            (
                "Now",
                (
                    numbers("Targets down", "Of all that is scraped.", NUMBER, Query("count(up == 0) or vector(0)"), bound=1),
                    numbers("Records behind", "Not committed, of all roles.", NUMBER, Query("sum(fraud:lag_records:sum)"), bound=1_000),
                    numbers("States readable after, P95", "From an event's arrival.", SECONDS, Query("fraud:freshness_seconds:p95_5m"), bound=2),
                    numbers("Checks that fail", "As an error.", NUMBER, Query("count(fraud_dagster_check_state == 2) or vector(0)"), bound=1),
                ),
            ),
            (
                "Stream",
                (
                    lines("Lag", "Records behind the log's end that are not committed, by role.", NUMBER, Query("fraud:lag_records:sum", "{{role}}"), bound=1_000),
                    lines(
                        "Freshness",
                        "From an event's arrival in the log to its state being readable.",
                        SECONDS,
                        Query("histogram_quantile(0.5, sum by (le) (rate(fraud_worker_freshness_seconds_bucket[5m])))", "P50"),
                        Query("fraud:freshness_seconds:p95_5m", "P95"),
                        bound=2,
                    ),
                    lines("Records a second", "That the router took, by topic.", PER_SECOND, Query("sum by (topic) (rate(fraud_worker_processed_total[5m]))", "{{topic}}")),
                    lines("Batches, P95", "From a batch's first step to its last, by role.", SECONDS, Query("histogram_quantile(0.95, sum by (le, role) (rate(fraud_worker_processing_seconds_bucket[5m])))", "{{role}}")),
                    lines("Refused and odd records", "In five minutes: dead letters, copies, late events.", NUMBER, Query("sum(increase(fraud_worker_dead_letters_total[5m])) or vector(0)", "dead letters"), Query("sum(increase(fraud_worker_duplicates_total[5m])) or vector(0)", "copies"), Query("sum(increase(fraud_worker_late_total[5m])) or vector(0)", "late")),
                    lines("Lake", "Rows a second, and rows that wait to be committed.", NUMBER, Query("sum(rate(fraud_worker_lake_rows_total[5m]))", "rows a second"), Query("sum(fraud_worker_uncommitted_rows)", "not committed")),
                    lines("Explanations, P95", "From a decision's arrival in the log to its explanation being there.", SECONDS, Query("histogram_quantile(0.95, sum by (le) (rate(fraud_worker_explanation_lag_seconds_bucket[5m])))", "P95")),
                    lines("Valid epoch", "1 while the online store is the one that is folded into.", NUMBER, Query("max(fraud_worker_epoch_valid)", "valid")),
                ),
            ),
            (
                "Dagster",
                (
                    lines("Backlog", "Runs that have not ended, by status.", NUMBER, Query("fraud_dagster_runs", "{{status}}")),
                    lines("The queue's first has waited", "RunsWait fires above half an hour.", SECONDS, Query("fraud_dagster_oldest_queued_run_seconds", "waited"), bound=1_800),
                    lines("Runs that ended", "In an hour, by how.", NUMBER, Query("sum by (status) (increase(fraud_dagster_run_duration_seconds_count[1h]))", "{{status}}")),
                    lines("Run duration, P95", "Of an hour's runs, by job.", SECONDS, Query("histogram_quantile(0.95, sum by (le, job) (increase(fraud_dagster_run_duration_seconds_bucket[1h])))", "{{job}}")),
                    rows("Checks", "0 passed, 1 warns, 2 failed.", Query("sort_desc(max by (asset, check) (fraud_dagster_check_state))")),
                    rows("Assets by age", "Seconds since each was last made.", Query("sort_desc(time() - max by (asset, group) (fraud_dagster_asset_materialization_timestamp_seconds))")),
                    lines("Daemons", "Seconds since each was last heard of.", SECONDS, Query("time() - fraud_dagster_daemon_heartbeat_timestamp_seconds", "{{daemon}}"), bound=300),
                    lines("Backfills", "That have not ended.", NUMBER, Query("fraud_dagster_backfills", "backfills")),
                ),
            ),
            (
                "Machines",
                (
                    lines("Processors", "Share that computes.", SHARE, Query('1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[5m]))', "{{instance}}"), width=6, bound=0.9),
                    lines("Memory", "Share that is taken.", SHARE, Query("1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes", "{{instance}}"), width=6, bound=0.9),
                    lines("Disks", "Share that is taken.", SHARE, Query('1 - node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs|overlay|squashfs"} / node_filesystem_size_bytes', "{{instance}} {{mountpoint}}"), width=6, bound=0.9),
                    lines("Input and output", "Bytes a second that disks read and wrote.", BYTES, Query("sum by (instance) (rate(node_disk_read_bytes_total[5m]))", "{{instance}} read"), Query("sum by (instance) (rate(node_disk_written_bytes_total[5m]))", "{{instance}} written"), width=6),
                ),
            ),
        ),
        marked="Worker.*|StatesStale|NoValidEpoch|DeadLetters.*|Dagster.*|RunFailed|TargetDown",
    )  # fmt: skip


def _figure(report: str, figures: str) -> str:
    return f'max by (figure) (fraud_report_figure{{report="{report}", figure=~"{figures}"}})'


def model() -> Dashboard:
    return board(
        MODEL,
        "Model performance",
        "What labels say of the model once they are in, whether the world has moved, and who decides.",
        (
            (
                "Who decides",
                (
                    rows("Rollout", "The newest step of the promotion log that each scorer serves.", Query("max by (phase, champion, challenger) (fraud_rollout_sequence)")),
                    rows("Model", "Its version and the digests it was trained on.", Query("count by (version, service_digest, policy_digest) (fraud_model_info)")),
                ),
            ),
            (
                "On matured labels",
                (
                    lines("Precision and recall", "Of the week that the newest day with labels ends; and what the training measured.", SHARE, Query(_figure("performance_report", "recall|precision|expected_recall|f1"), "{{figure}}")),
                    lines("Good customers refused", "Share of legitimate payments that were denied: at most 2 %.", SHARE, Query(_figure("performance_report", "fpr"), "{{figure}}"), bound=0.02),
                    lines("Calibration", "Mean score and share of fraud of what was let through: they should be one.", SHARE, Query(_figure("calibration_report", "mean_score|share_of_fraud"), "{{figure}}")),
                    lines("Labels of the week", "Payments that somebody spoke of, and frauds.", NUMBER, Query(_figure("performance_report", "labelled_of_week|frauds_of_week"), "{{figure}}")),
                ),
            ),
            (
                "Scores and drift",
                (
                    density("Score distribution", "How many payments got which score, in five minutes.", NUMBER, Query("sum by (le) (increase(fraud_score_bucket[5m]))", "{{le}}")),
                    lines("Scores, as they come", "Median and P99 of five minutes.", NUMBER, Query("histogram_quantile(0.5, sum by (le) (rate(fraud_score_bucket[5m])))", "P50"), Query("histogram_quantile(0.99, sum by (le) (rate(fraud_score_bucket[5m])))", "P99")),
                    lines("Score drift", "The day's scores against those of the validation days: PSI and Kolmogorov–Smirnov distance.", NUMBER, Query(_figure("prediction_drift", "psi|ks"), "{{figure}}"), bound=0.2),
                    lines("Feature drift", "Share of features with a PSI over 0.2, and the largest PSI.", NUMBER, Query(_figure("drift_report", "share_drifted|psi_max|psi_of_score"), "{{figure}}"), bound=0.25),
                    lines("Served as recomputed", "Vectors that differ from recomputation, and stale reads; of so many checked.", NUMBER, Query(_figure("skew_report", "mismatches|stale_reads|checked"), "{{figure}}")),
                    rows("Reports", "The day that each report is of, as seconds before now.", Query("sort_desc(time() - max by (report) (fraud_report_day_timestamp_seconds))")),
                ),
            ),
            (
                "On trial",
                (
                    lines("Steps of the promotion log", "By phase; a halt is one.", NUMBER, Query("max by (phase) (fraud_rollout_sequence)", "{{phase}}")),
                    lines("Challenger without a score", "A second.", PER_SECOND, Query("sum(rate(fraud_challenger_failures_total[5m]))", "failures")),
                ),
            ),
        ),
        marked="Model.*|CheckFailed|ChallengerFails",
    )  # fmt: skip


BOARDS: Mapping[str, Dashboard] = {
    FRAUD_RATE: fraud_rate(),
    LATENCY: latency(),
    PIPELINE: pipeline(),
    MODEL: model(),
}
"""By uid."""
