"""Every query of the dashboards, asked of a Prometheus."""

import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from deploy.local.services import ROOT

DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"
STEP_S = 15.0
_ANSWER_WITHIN_S = 30.0


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A query and what came back. series: with a finite sample in the time asked for. problem: empty if there are any."""

    dashboard: str
    panel: str
    query: str
    series: int = 0
    samples: int = 0
    problem: str = ""


def queries(folder: Path = DASHBOARDS) -> Iterator[tuple[str, str, str]]:
    """(uid, panel, expression) of every panel of every dashboard, and of what is drawn over them."""
    for path in sorted(folder.glob("*.json")):
        board = msgspec.json.decode(path.read_bytes())
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                yield board["uid"], panel["title"], target["expr"]


def ask(url: str, uid: str, panel: str, expression: str, from_s: float, to_s: float) -> Asked:
    """Over a time, as Grafana asks when that is what is looked at."""
    asked = Asked(dashboard=uid, panel=panel, query=expression)
    try:
        found = get(url, "query_range", query=expression, start=f"{from_s}", end=f"{to_s}", step=f"{STEP_S:g}")[
            "result"
        ]
    except urllib.error.HTTPError as error:
        return msgspec.structs.replace(asked, problem=error.read().decode(errors="replace"))
    counts = [sum(math.isfinite(float(value)) for _, value in series["values"]) for series in found]
    series, samples = sum(count > 0 for count in counts), sum(counts)
    return msgspec.structs.replace(asked, series=series, samples=samples, problem="" if series else "no data")


def get(url: str, path: str, **arguments: str) -> Any:
    """What Prometheus' API answers. Raises HTTPError for a query that it refuses."""
    whole = f"{url}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
    with urllib.request.urlopen(whole, timeout=_ANSWER_WITHIN_S) as response:
        return msgspec.json.decode(response.read())["data"]


def firing(url: str) -> set[str]:
    """Alerts that Prometheus says are firing."""
    return {one["labels"]["alertname"] for one in get(url, "alerts")["alerts"] if one["state"] == "firing"}


def received(url: str) -> set[str]:
    """Alerts that are active in an Alertmanager."""
    with urllib.request.urlopen(f"{url}/api/v2/alerts?active=true", timeout=_ANSWER_WITHIN_S) as response:
        return {one["labels"]["alertname"] for one in msgspec.json.decode(response.read())}
