"""The dashboards as pages of a live run: each panel's own queries, asked of its Prometheus and drawn where Grafana would have it.

One file a dashboard, without scripts or network. It is no Grafana: colours and letters are others, and nothing can be zoomed.
"""

import io
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import msgspec
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, PercentFormatter

from deploy.local.panels_asked import DASHBOARDS, STEP_S, get

ROW_PX, COLUMN_PX = 36, 52
NOTHING = Markup('<p class="nothing">no data</p>')
_UNITS = {"s": "s", "bytes": "B"}
_LEGEND_LINES = 8
_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True)
class Line:
    """A series over time. labels: all that Prometheus gives it."""

    name: str
    labels: Mapping[str, str]
    time_s: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True)
class Shown:
    """A panel on a page. place: its grid cells as CSS."""

    title: str
    description: str
    place: str
    is_row: bool
    body: Markup


def write_pages(folder: Path, url: str, from_s: float, to_s: float, boards: Path = DASHBOARDS) -> list[Path]:
    """`<uid>.html` of each dashboard, over a time. url: of a Prometheus. Raises HTTPError for a query that it refuses."""
    environment = Environment(loader=PackageLoader("deploy.local"), autoescape=True, undefined=StrictUndefined)
    written = []
    for path in sorted(boards.glob("*.json")):
        board = msgspec.json.decode(path.read_bytes())
        shown = [_shown(panel, url, from_s, to_s) for panel in board["panels"]]
        span = f"{_clock(from_s)} to {_clock(to_s)} UTC, drawn from the panels' own queries."
        page = environment.get_template("dashboard.html").render(board=board, shown=shown, span=span, row_px=ROW_PX)
        written.append(folder / f"{board['uid']}.html")
        written[-1].write_text(page)
    return written


def _clock(time_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(time_s))


def _shown(panel: Mapping[str, Any], url: str, from_s: float, to_s: float) -> Shown:
    at, kind = panel["gridPos"], panel["type"]
    place = f"grid-area: {at['y'] + 1} / {at['x'] + 1} / span {at['h']} / span {at['w']}"
    body = Markup("")
    if kind != "row":
        found = [line for target in panel["targets"] for line in _asked(target, url, from_s, to_s)]
        draw = {"stat": _numbers, "table": _table, "heatmap": _density, "timeseries": _lines}[kind]
        body = draw(panel, found)
    return Shown(panel["title"], panel.get("description", ""), place, kind == "row", body)


def _asked(target: Mapping[str, Any], url: str, from_s: float, to_s: float) -> list[Line]:
    answer = get(url, "query_range", query=target["expr"], start=f"{from_s}", end=f"{to_s}", step=f"{STEP_S:g}")[
        "result"
    ]
    found = []
    for series in answer:
        at, values = zip(*((float(at), float(value)) for at, value in series["values"]), strict=True)
        found.append(Line(_named(target.get("legendFormat", ""), series["metric"]), series["metric"], at, values))
    return found


def _named(legend: str, labels: Mapping[str, str]) -> str:
    """`{{label}}` in a legend is the label's value."""
    legend = _LABEL.sub(lambda named: labels.get(named[1], ""), legend)
    return legend or ", ".join(value for name, value in labels.items() if name != "__name__")


def _unit(panel: Mapping[str, Any]) -> str:
    return str(panel["fieldConfig"]["defaults"].get("unit", ""))


def _bound(panel: Mapping[str, Any]) -> float:
    """From where on a value is too much."""
    steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
    return min((step["value"] for step in steps if step["value"] is not None), default=math.inf)


def _formatter(unit: str) -> Any:
    if unit == "percentunit":
        return PercentFormatter(1.0)
    if unit in _UNITS:
        return EngFormatter(_UNITS[unit])
    return FuncFormatter(lambda value, _: _written(unit, value))


def _written(unit: str, value: float) -> str:
    if unit == "percentunit":
        return f"{value:.1%}"
    if unit in _UNITS:
        return str(EngFormatter(_UNITS[unit], places=1)(value))
    number = f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
    return f"{number}/s" if unit == "ops" else number


def _numbers(panel: Mapping[str, Any], found: Sequence[Line]) -> Markup:
    """As it is at the end."""
    unit, bound = _unit(panel), _bound(panel)
    if not found:
        return NOTHING
    parts = [
        Markup('<div><b class="{}">{}</b> <span>{}</span></div>').format(
            "much" if line.values[-1] >= bound else "", _written(unit, line.values[-1]), line.name
        )
        for line in found
    ]
    return Markup('<div class="now">{}</div>').format(Markup("").join(parts))


def _table(panel: Mapping[str, Any], found: Sequence[Line]) -> Markup:
    hidden = {
        name for change in panel.get("transformations", ()) for name in change["options"].get("excludeByName", {})
    } | {"__name__"}
    names = list(dict.fromkeys(name for line in found for name in line.labels if name not in hidden))
    head = Markup("").join(Markup("<th>{}</th>").format(name) for name in (*names, "Value"))
    rows = [[*(line.labels.get(name, "") for name in names), _written(_unit(panel), line.values[-1])] for line in found]
    body = [
        Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(cell) for cell in row))
        for row in rows
    ]
    return Markup("<table><tr>{}</tr>{}</table>").format(head, Markup("").join(body))


def _lines(panel: Mapping[str, Any], found: Sequence[Line]) -> Markup:
    if not found:
        return NOTHING
    figure, axes = _figure(panel)
    axes.margins(x=0, y=0.2)  # room for the legend
    for line in found:
        axes.plot(_times(line.time_s), line.values, linewidth=1.2, label=line.name or None)
    if (bound := _bound(panel)) < math.inf:
        axes.axhline(bound, color="#c4332b", linestyle="--", linewidth=1)
    axes.set_ylim(bottom=0)
    if 0 < sum(bool(line.name) for line in found) <= _LEGEND_LINES:
        axes.legend(fontsize=7, frameon=False, loc="upper left", ncols=4)
    return _drawn(figure)


def _density(panel: Mapping[str, Any], found: Sequence[Line]) -> Markup:
    """Buckets are counted from below: each less the one before it."""
    buckets = sorted((line for line in found if line.labels["le"] != "+Inf"), key=lambda line: float(line.labels["le"]))
    if not buckets:
        return NOTHING
    figure, axes = _figure(panel)
    times = sorted({at for line in buckets for at in line.time_s})
    counts = np.zeros((len(buckets), len(times)))
    for row, line in enumerate(buckets):
        counts[row, np.searchsorted(times, line.time_s)] = np.nan_to_num(line.values)
    axes.pcolormesh(_times(times), np.arange(len(buckets)), np.diff(counts, axis=0, prepend=0), cmap="Oranges")
    shown = range(0, len(buckets), max(1, len(buckets) // 6))
    axes.set_yticks(list(shown), [_written(_unit(panel), float(buckets[row].labels["le"])) for row in shown])
    return _drawn(figure)


def _figure(panel: Mapping[str, Any]) -> tuple[Figure, Axes]:
    at = panel["gridPos"]
    figure = Figure(figsize=(at["w"] * COLUMN_PX / 96, (at["h"] * ROW_PX - 20) / 96), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7)
    axes.grid(axis="y", color="#e6e9ee")
    locator = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))  # type: ignore[no-untyped-call]
    axes.yaxis.set_major_formatter(_formatter(_unit(panel)))
    return figure, axes


def _times(time_s: Sequence[float]) -> Any:
    return (np.asarray(time_s) * 1_000).astype("datetime64[ms]")


def _drawn(figure: Figure) -> Markup:
    drawn = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "fraud"}):
        figure.savefig(drawn, format="svg", transparent=True)
    # Without the head of a file of its own.
    return Markup(drawn.getvalue()[drawn.getvalue().index("<svg") :])  # noqa: S704  # matplotlib escapes what it writes
