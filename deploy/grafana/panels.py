"""Panels as Grafana's own library makes them, with what all of ours have in common."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from grafana_foundation_sdk.builders import dashboard, heatmap, stat, table, timeseries
from grafana_foundation_sdk.builders.common import GraphThresholdsStyleConfig, ReduceDataOptions
from grafana_foundation_sdk.builders.dashboard import Dashboard, ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models.common import GraphTresholdsStyleMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef, DataTransformerConfig, Threshold, ThresholdsMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

# The datasource of deploy/grafana/provisioning/datasources/prometheus.yml.
PROMETHEUS = DataSourceRef("prometheus", "prometheus")
COLUMNS, TALL, SMALL = 24, 8, 4
SHARE, SECONDS, PER_SECOND, NUMBER, BYTES = "percentunit", "s", "ops", "short", "bytes"


class Query(NamedTuple):
    """legend: with `{{label}}` for the values of labels."""

    expression: str
    legend: str = ""


Panel = timeseries.Panel | stat.Panel | table.Panel | heatmap.Panel
Made = TypeVar("Made", timeseries.Panel, stat.Panel, table.Panel, heatmap.Panel)


def lines(
    title: str, said: str, unit: str, *queries: Query, width: int = 12, bound: float | None = None
) -> timeseries.Panel:
    """Over time. bound: from where on it is too much, drawn as a line."""
    panel = timeseries.Panel().unit(unit).min(0).thresholds(_thresholds(bound))
    if bound is not None:
        panel = panel.thresholds_style(_dashed())
    return _of(panel, title, said, width, TALL, [_range(query) for query in queries])


def numbers(
    title: str, said: str, unit: str, *queries: Query, width: int = 6, bound: float | None = None
) -> stat.Panel:
    """As it is now. bound: from where on it is red."""
    panel = (
        stat.Panel()
        .unit(unit)
        .thresholds(_thresholds(bound))
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
    )
    return _of(panel, title, said, width, SMALL, [_instant(query) for query in queries])


def rows(title: str, said: str, query: Query, *hidden: str, width: int = 12) -> table.Panel:
    """A row for each series as it is now. hidden: labels that say nothing here."""
    shown = DataTransformerConfig("organize", options={"excludeByName": dict.fromkeys(("Time", *hidden), True)})
    found = table.Panel().with_transformation(shown)
    return _of(found, title, said, width, TALL, [_instant(query).format(PromQueryFormat.TABLE)])


def density(title: str, said: str, unit: str, query: Query, width: int = 12) -> heatmap.Panel:
    """A histogram's buckets over time."""
    return _of(heatmap.Panel().unit(unit), title, said, width, TALL, [_range(query).format(PromQueryFormat.HEATMAP)])


def board(uid: str, title: str, said: str, parts: Sequence[tuple[str, Sequence[Panel]]], marked: str = "") -> Dashboard:
    """Rows of panels. uid: never changes, for links and bookmarks lead there. marked: alerts that are drawn over all panels while they fire."""
    made = (
        Dashboard(title)
        .uid(uid)
        .description(said)
        .tags(["fraud"])
        .timezone("utc")
        .refresh("30s")
        .time("now-3h", "now")
        .readonly()
    )
    if marked:
        made = made.annotation(_firing(marked))
    for name, panels in parts:
        made = made.with_row(dashboard.Row(name))
        for panel in panels:
            made = made.with_panel(panel)
    return made


def _of(panel: Made, title: str, said: str, width: int, height: int, queries: Sequence[Dataquery]) -> Made:
    panel = panel.title(title).description(said).datasource(PROMETHEUS).span(width).height(height)
    for place, query in enumerate(queries):
        panel = panel.with_target(query.ref_id(chr(ord("A") + place)))
    return panel


def _range(query: Query) -> Dataquery:
    return Dataquery().expr(query.expression).legend_format(query.legend).range()


def _instant(query: Query) -> Dataquery:
    return Dataquery().expr(query.expression).legend_format(query.legend).instant()


def _thresholds(bound: float | None) -> ThresholdsConfig:
    steps = [Threshold(value=None, color="green"), *([] if bound is None else [Threshold(value=bound, color="red")])]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _dashed() -> GraphThresholdsStyleConfig:
    return GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED)


def _firing(alerts: str) -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery()
        .name("Alerts")
        .datasource(PROMETHEUS)
        .enable(True)
        .icon_color("red")
        .expr(f'ALERTS{{alertname=~"{alerts}", alertstate="firing"}}')
    )
