"""Runs as metrics: what waits, what goes on, how long it took and how it ended."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.storage.dagster_run import JobBucket
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

Status = dg.DagsterRunStatus
UNFINISHED = (Status.QUEUED, Status.NOT_STARTED, Status.STARTING, Status.STARTED, Status.CANCELING)
ENDS = (Status.SUCCESS, Status.FAILURE, Status.CANCELED)
# What somebody materialized without naming a job is one job to Dagster, with a name of its own making.
ADHOC = "adhoc"
DURATIONS_S = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 10_800.0)
# A run's end is written before it can be read, and by a clock of another machine: what is this much older is looked at again.
AGAIN_S = 120.0


class Ended:
    """Runs that have ended since this was made, each counted once."""

    def __init__(self, jobs: Sequence[str], registry: CollectorRegistry, now_s: float) -> None:
        self._duration = Histogram(
            "fraud_dagster_run_duration_seconds",
            "Of runs that ended since the exporter began, from start to end.",
            ["job", "status"],
            buckets=DURATIONS_S,
            registry=registry,
        )
        for job in (*jobs, ADHOC):
            for status in ENDS:  # from zero on: a rate sees the first failure too
                self._duration.labels(job, status.value.lower())
        self._began_s = self._looked_s = now_s
        self._counted: dict[str, float] = {}

    def look(self, instance: dg.DagsterInstance, now_s: float) -> None:
        since = datetime.fromtimestamp(self._looked_s - AGAIN_S, UTC)
        for one in instance.get_run_records(dg.RunsFilter(statuses=ENDS, updated_after=since)):
            self._count(one)
        self._looked_s = now_s
        self._counted = {run: ended_s for run, ended_s in self._counted.items() if ended_s >= self._from_s}

    @property
    def _from_s(self) -> float:
        """A run that ended before this was counted, or was not ours to count; somebody may still add a tag to it."""
        return max(self._began_s, self._looked_s - 2 * AGAIN_S)

    def _count(self, one: dg.RunRecord) -> None:
        run = one.dagster_run
        if run.run_id in self._counted or one.end_time is None or one.end_time < self._from_s:
            return
        self._counted[run.run_id] = one.end_time
        self._duration.labels(job_of(run), run.status.value.lower()).observe(
            one.end_time - (one.start_time or one.end_time)
        )


def job_of(run: dg.DagsterRun) -> str:
    return ADHOC if run.job_name.startswith("__") else run.job_name


def waiting(instance: dg.DagsterInstance, now_s: float) -> Iterator[Metric]:
    """The backlog."""
    runs = GaugeMetricFamily("fraud_dagster_runs", "Runs that have not ended.", labels=["status"])
    for status in UNFINISHED:
        runs.add_metric([status.value.lower()], instance.get_runs_count(dg.RunsFilter(statuses=[status])))
    yield runs
    oldest = instance.get_run_records(dg.RunsFilter(statuses=[Status.QUEUED]), limit=1, ascending=True)
    waited_s = max(0.0, now_s - oldest[0].create_timestamp.timestamp()) if oldest else 0.0
    yield GaugeMetricFamily(
        "fraud_dagster_oldest_queued_run_seconds", "How long the first in the queue has waited.", waited_s
    )
    asked = instance.get_backfills_count(BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED]))
    yield GaugeMetricFamily("fraud_dagster_backfills", "Backfills that have not ended.", asked)


def newest(instance: dg.DagsterInstance, jobs: Sequence[str]) -> Iterator[Metric]:
    """The last end of each job, of before the exporter began too."""
    at = GaugeMetricFamily(
        "fraud_dagster_job_end_timestamp_seconds", "When a run of the job last ended so.", labels=["job", "status"]
    )
    took = GaugeMetricFamily(
        "fraud_dagster_job_last_duration_seconds", "How long its last run that succeeded took.", labels=["job"]
    )
    for status in (Status.SUCCESS, Status.FAILURE):
        bucket = JobBucket(job_names=list(jobs), bucket_limit=1)
        for one in instance.get_run_records(dg.RunsFilter(statuses=[status]), bucket_by=bucket):
            if one.end_time is None:
                continue
            at.add_metric([one.dagster_run.job_name, status.value.lower()], one.end_time)
            if status is Status.SUCCESS and one.start_time is not None:
                took.add_metric([one.dagster_run.job_name], one.end_time - one.start_time)
    yield at
    yield took
