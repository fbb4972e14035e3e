"""Jobs a person runs, and schedules that run by themselves."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dagster as dg
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

from fraud_assets.defs.partitions import SETTINGS, daily

INGESTION = dg.AssetSelection.groups("ingestion").materializable() | dg.AssetSelection.assets("label_facts")
LABELLING = dg.AssetSelection.assets("label_maturity", "label_noise", "identity_graph", "label_confidence")
FEATURES = dg.AssetSelection.groups("features")
LEARNING = dg.AssetSelection.assets("training_set", "fraud_model", "champion_model")
SNAPSHOT = dg.AssetSelection.assets("online_store_snapshot")

# What a range of days needs before anything is learnt from it.
history = dg.define_asset_job("history", INGESTION, partitions_def=daily, description="Raw tables and label facts.")
labelling = dg.define_asset_job(
    "labelling",
    LABELLING,
    partitions_def=daily,
    description="How far labels can be trusted, and what they say of others.",
)
feature_views = dg.define_asset_job("feature_views", FEATURES, partitions_def=daily, description="Every feature view.")
# In one process: a dozen steps that each load the graph and the kernels anew take longer to begin than to do their work, and a drift waits
# for its answer.
learning = dg.define_asset_job(
    "learning",
    LEARNING,
    partitions_def=daily,
    executor_def=dg.in_process_executor,
    description="Training set, model, gates, champion, as of a day.",
)
publish = dg.define_asset_job(
    "publish", SNAPSHOT, partitions_def=daily, description="Entity state to the online store."
)
monitoring = dg.define_asset_job(
    "monitoring",
    dg.AssetSelection.assets("skew_report", "prediction_drift", "pricing_report"),
    partitions_def=daily,
    description="Served against recomputed, scores against those to expect, and prices as they were drawn.",
)
# Not in `monitoring`: a platform that has trained nothing yet has skew reports and no drift to measure.
drift = dg.define_asset_job(
    "drift",
    dg.AssetSelection.assets("drift_report"),
    partitions_def=daily,
    executor_def=dg.in_process_executor,
    description="The day against its training set.",
)
matured = dg.define_asset_job(
    "matured",
    dg.AssetSelection.assets("calibration_report", "performance_report"),
    partitions_def=daily,
    description="The day against its labels, once they are in.",
)
audit = dg.define_asset_job(
    "audit", dg.AssetSelection.assets("decision_chain_report"), description="Every chain of decisions, to its head."
)
compaction = dg.define_asset_job(
    "compaction", dg.AssetSelection.assets("compacted_days"), partitions_def=daily, description="Small files into few."
)
hourly_online_views_job = dg.define_asset_job(
    "hourly_online_views_job", dg.AssetSelection.assets("hourly_online_views"), description="Catch up with the lake."
)


@dg.schedule(job=hourly_online_views_job, cron_schedule="7 * * * *", execution_timezone="UTC")
def hourly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """A few minutes past the hour, when the sinks have flushed."""
    return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())


def _of_day(days_back: int) -> Callable[[dg.ScheduleEvaluationContext], dg.RunRequest]:
    """The partition of the day that began `days_back` days before the tick's own."""

    def request(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        day = (context.scheduled_execution_time - timedelta(days=days_back)).date().isoformat()
        return dg.RunRequest(run_key=day, partition_key=day)

    return request


def _nightly(job: Any, cron: str, days_back: int) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=f"nightly_{job.name}",
        job=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        execution_fn=_of_day(days_back),
    )


# One after the other: each reads what the one before it wrote, and no two share the cores. Sinks have
# flushed yesterday by half past midnight.
nightly_history = _nightly(history, "30 0 * * *", 1)
nightly_feature_views = _nightly(feature_views, "0 1 * * *", 1)
nightly_monitoring = _nightly(monitoring, "30 1 * * *", 1)
# Before anything is learnt as of the same day.
nightly_labelling = _nightly(labelling, "45 1 * * *", 0)
nightly_learning = _nightly(learning, "0 2 * * *", 0)
# For who trains once a week: switch on this one or the one before.
weekly_learning = dg.ScheduleDefinition(
    name="weekly_learning",
    job=learning,
    cron_schedule="0 2 * * 1",
    execution_timezone="UTC",
    execution_fn=_of_day(0),
)
nightly_publish = _nightly(publish, "30 3 * * *", 1)
nightly_drift = _nightly(drift, "0 4 * * *", 1)
# The newest day whose label delay is over: its last labels are an hour and more behind the label stage by then.
nightly_matured = _nightly(matured, "15 4 * * *", SETTINGS.label_delay_whole_days + 1)


@dg.schedule(job=drift, cron_schedule=SETTINGS.live_drift_cron, execution_timezone="UTC")
def live_drift(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """The day that goes on, while it goes on: one report after the other."""
    running = context.instance.get_runs(
        dg.RunsFilter(job_name=drift.name, statuses=[*IN_PROGRESS_RUN_STATUSES]), limit=1
    )
    if running:
        return dg.SkipReason(f"run {running[0].run_id} is still at it")
    at = context.scheduled_execution_time
    return dg.RunRequest(run_key=f"live:{at.isoformat()}", partition_key=at.date().isoformat())


# Two days back: what comes late has mostly come.
nightly_compaction = _nightly(compaction, "30 4 * * *", 2)
# Of the whole lake, as compaction left it.
nightly_audit = dg.ScheduleDefinition(
    name="nightly_audit", job=audit, cron_schedule="45 4 * * *", execution_timezone="UTC"
)
