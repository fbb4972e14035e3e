"""Assets, their checks and their reports' figures as metrics."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from prometheus_client.core import GaugeMetricFamily, Metric

from fraud_assets.exporter.figures import FIGURES

PASSED, WARNS, FAILED = 0, 1, 2


def materialized(instance: dg.DagsterInstance, groups: Mapping[dg.AssetKey, str]) -> Iterator[Metric]:
    """When each asset was last made, and what its report says. groups: of the assets of the code location."""
    at = GaugeMetricFamily(
        "fraud_dagster_asset_materialization_timestamp_seconds",
        "When the asset was last made.",
        labels=["asset", "group"],
    )
    figures = GaugeMetricFamily(
        "fraud_report_figure", "A number of a report's newest materialization.", labels=["report", "figure"]
    )
    days = GaugeMetricFamily(
        "fraud_report_day_timestamp_seconds", "When the day began that the report is of.", labels=["report"]
    )
    for record in instance.get_asset_records(list(groups)):
        made = record.asset_entry.last_materialization_record
        if made is None:
            continue
        name = record.asset_entry.asset_key.to_user_string()
        at.add_metric([name, groups[record.asset_entry.asset_key]], made.timestamp)
        if name in FIGURES and made.asset_materialization is not None:
            _report(name, made.asset_materialization, figures, days)
    yield from (at, figures, days)


def _report(name: str, made: dg.AssetMaterialization, figures: GaugeMetricFamily, days: GaugeMetricFamily) -> None:
    """A figure that was not measured has no series: no share of nothing is 0."""
    for figure in FIGURES[name]:
        found = made.metadata.get(figure)
        if isinstance(found, dg.FloatMetadataValue | dg.IntMetadataValue) and found.value is not None:
            figures.add_metric([name, figure], found.value)
    if made.partition:
        days.add_metric([name], datetime.strptime(made.partition, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())


def judged(instance: dg.DagsterInstance, checks: Sequence[dg.AssetCheckKey]) -> Iterator[Metric]:
    """What each check said last."""
    state = GaugeMetricFamily(
        "fraud_dagster_check_state",
        "The check's newest judgement: 0 passed, 1 failed as a warning, 2 failed as an error.",
        labels=["asset", "check"],
    )
    at = GaugeMetricFamily(
        "fraud_dagster_check_timestamp_seconds", "When the check was last judged.", labels=["asset", "check"]
    )
    for key, summary in instance.event_log_storage.get_asset_check_summary_records(list(checks)).items():
        record = summary.last_completed_check_execution_record
        if record is None or record.evaluation is None:
            continue
        labels = [key.asset_key.to_user_string(), key.name]
        has_passed = record.status is AssetCheckExecutionRecordStatus.SUCCEEDED
        is_error = record.evaluation.severity is dg.AssetCheckSeverity.ERROR
        state.add_metric(labels, PASSED if has_passed else FAILED if is_error else WARNS)
        at.add_metric(labels, record.event.timestamp if record.event else record.create_timestamp)
    yield from (state, at)


def beats(instance: dg.DagsterInstance) -> Iterator[Metric]:
    """Of Dagster's daemons."""
    at = GaugeMetricFamily(
        "fraud_dagster_daemon_heartbeat_timestamp_seconds", "When the daemon was last heard of.", labels=["daemon"]
    )
    for name, beat in instance.get_daemon_heartbeats().items():
        at.add_metric([name], beat.timestamp)
    yield at
