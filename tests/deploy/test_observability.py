"""Metrics, rules, dashboards and their page know one another. What the real programs say of the files is in test_prometheus.py."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import pytest
import yaml
from prometheus_client import REGISTRY, CollectorRegistry

import streaming.metrics  # noqa: F401  # registers the worker's
from api.metrics import Metrics
from api.pricing.metrics import PricingMetrics
from deploy.grafana.__main__ import text_of
from deploy.grafana.boards import BOARDS
from deploy.local.panels_asked import queries
from deploy.local.services import ROOT
from fraud_assets.exporter.exporter import Exporter, Watched

RULES = ROOT / "deploy" / "prometheus" / "rules"
PAGE = (ROOT / "docs" / "observability.md").read_text()
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
# Of programs that are not ours: Prometheus itself, the node exporter, Alertmanager.
OTHERS = re.compile(r"up|ALERTS|(node|alertmanager)_\w+")


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Of each metric of ours, by the name of its family."""
    ours = CollectorRegistry()
    with dg.DagsterInstance.ephemeral(str(tmp_path_factory.mktemp("dagster"))) as instance:
        exporter = Exporter(instance, Watched({}, (), ()), ours, lambda: 0.0)
        exporter.look()
    registries = (Metrics().registry, PricingMetrics().registry, REGISTRY, ours)
    families = [family for registry in registries for family in registry.collect()]
    return {one.name: one.type for one in families if one.name.startswith("fraud_")}


def rules() -> Iterator[dict[str, Any]]:
    for path in sorted(RULES.glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDED = {rule["record"] for rule in rules() if "record" in rule}


def named(expression: str) -> set[str]:
    """Metrics that an expression asks for: words that are no function, no label and no keyword."""
    bare = re.sub(r'"[^"]*"|\'[^\']*\'', "", expression)
    bare = re.sub(r"\b(by|on|without|group_left|group_right|ignoring)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    words = re.findall(r"[a-zA-Z_][\w:]*(?!\w|\s*\()", bare)
    return set(words) - {"and", "or", "unless", "bool", "offset", "d", "h", "m"}


def test_every_metric_is_on_the_page_and_every_one_there_is_there(types: Mapping[str, str]) -> None:
    """By its whole name: a counter's samples end in _total."""
    ours = {f"{name}_total" if kind == "counter" else name for name, kind in types.items()}
    tables = PAGE.partition("## Metrics")[2].partition("## Dashboards")[0]

    assert set(re.findall(r"^\| `(fraud_\w+)` \|", tables, re.MULTILINE)) == ours


@pytest.mark.parametrize(
    "expression",
    [*(rule["expr"] for rule in rules()), *(expression for _, _, expression in queries())],
)
def test_what_is_recorded_alerted_on_and_drawn_is_measured(expression: str, types: Mapping[str, str]) -> None:
    """A renamed metric leaves an alert that never fires, and nobody sees it."""
    samples = {f"{name}{suffix}" for name, kind in types.items() for suffix in SUFFIXES[kind]}

    unknown = {name for name in named(expression) if not OTHERS.fullmatch(name)} - samples - RECORDED

    assert named(expression) or expression.strip().startswith("vector")
    assert not unknown


def test_every_alert_has_a_section_that_says_what_to_do() -> None:
    sections = re.findall(r"^### (\w+)\n\n\*(\w+)\.\* (.+)$", PAGE.partition("## Alerts")[2], re.MULTILINE)

    assert {name: severity for name, severity, _ in sections} == {
        name: rule["labels"]["severity"] for name, rule in ALERTS.items()
    }
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook"] == f"docs/observability.md#{name.lower()}"
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]


def test_every_alert_is_seen_to_fire_by_a_test_of_its_rules() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "deploy" / "prometheus" / "tests").glob("*.yml"))
    fired = set(
        re.findall(
            r'\{labels: \'\{alertname="(\w+)"\}\', value: 1\}|labels: \'\{alertname="(\w+)"\}\'\n +value: 1', tests
        )
    )
    shown = set(re.findall(r"- alertname: (\w+)\n(?: .*\n)+? +exp_alerts:\n +- exp_labels", tests))
    halted = set(
        re.findall(
            r'ALERTS\{alertname="(\w+)", alertstate="firing"\}\) or vector\(0\)\n +eval_time: .*\n +exp_samples: \[\{value: 1\}\]',
            tests,
        )
    )

    assert {name for pair in fired for name in pair if name} | shown | halted == set(ALERTS)


def test_the_dashboards_are_what_their_source_says() -> None:
    """Written by `python -m deploy.grafana`."""
    folder = ROOT / "deploy" / "grafana" / "dashboards"

    assert {path.stem: path.read_text() for path in folder.iterdir()} == {
        uid: text_of(made) for uid, made in BOARDS.items()
    }


def test_dashboards_have_fixed_addresses_and_the_datasource_that_is_provisioned() -> None:
    provisioned = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    uid = next(one["uid"] for one in provisioned["datasources"] if one["type"] == "prometheus")
    boards = [json.loads(path.read_text()) for path in (ROOT / "deploy/grafana/dashboards").iterdir()]

    assert {board["uid"] for board in boards} == {
        "fraud-rate",
        "scoring-latency",
        "pipeline-health",
        "model-performance",
    }
    for board in boards:
        drawn = [panel for panel in board["panels"] if panel["type"] != "row"]
        assert drawn and all(panel["datasource"] == {"type": "prometheus", "uid": uid} for panel in drawn)
        assert all(panel["targets"] and panel["description"] for panel in drawn)


def test_the_page_names_each_dashboard() -> None:
    table = PAGE.partition("## Dashboards")[2].partition("## Alerts")[0]

    assert set(re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)) == set(BOARDS)


def test_prometheus_scrapes_what_the_page_says() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    table = PAGE.partition("| Job |")[2].partition("\n## ")[0]
    told = {
        job for cell in re.findall(r"^\| (`[^|]+`) \|", table, re.MULTILINE) for job in re.findall(r"`(\w+)`", cell)
    }

    assert {job["job_name"] for job in config["scrape_configs"]} == told


def test_scraped_containers_are_services_of_the_compose_file() -> None:
    """Where it has a Prometheus at all. `dcgm-exporter` is for whoever has GPUs."""
    services = set(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])
    if "prometheus" not in services:
        pytest.skip("the compose file starts no Prometheus yet")
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    names = {
        name for job in config["scrape_configs"] for found in job.get("dns_sd_configs", ()) for name in found["names"]
    }

    assert names - {"dcgm-exporter"} <= services


def test_a_name_is_found_where_it_is_asked_for() -> None:
    """The test above could pass by finding nothing."""
    expression = (
        'sum by (job) (rate(fraud_x_total{a="b"}[5m])) / on () group_left (c) (fraud:y:z > 0) and up == 0 or vector(1)'
    )

    assert named(expression) == {"fraud_x_total", "fraud:y:z", "up"}
