"""Prometheus' and Alertmanager's own programs on the files that are shipped; and an attack that is seen to arrive.

The long form, on a live platform, is `make dashboards-check`.
"""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from markupsafe import escape
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import MetricsHandler

from api.metrics import Metrics
from deploy.local.alert_receiver import receiving
from deploy.local.dashboard_pages import write_pages
from deploy.local.panels_asked import ask, firing, queries, received
from deploy.local.ports import LOOPBACK, held_ports
from deploy.local.probes import http_answers, wait_until
from deploy.local.prometheus import alertmanager_argv, alertmanager_config, prometheus_argv, prometheus_config
from deploy.local.services import ROOT

pytestmark = pytest.mark.prometheus
RULES, TESTS = ROOT / "deploy/prometheus/rules", ROOT / "deploy/prometheus/tests"
ALERTMANAGER = ROOT / "deploy/alertmanager/alertmanager.yml"


def says(*argv: str | Path) -> str:
    done = subprocess.run([str(one) for one in argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_accepts_configuration_and_rules(tmp_path: Path) -> None:
    """With secrets where they are: it looks whether their files are there."""
    key = tmp_path / "metrics_key"
    key.write_text("k1.secret")
    config = tmp_path / "prometheus.yml"
    config.write_text(
        (ROOT / "deploy/prometheus/prometheus.yml").read_text().replace("/run/secrets/metrics_key", str(key))
    )
    (tmp_path / "rules").symlink_to(RULES)

    said = says("promtool", "check", "config", config)

    assert said.count("rules found") == 2
    says("promtool", "check", "rules", "--lint-fatal", *RULES.glob("*.yml"))


def test_every_alert_fires_when_it_should_and_not_when_it_should_not() -> None:
    says("promtool", "test", "rules", *TESTS.glob("*.yml"))


def test_alertmanager_tells_by_severity_and_hides_nothing() -> None:
    said = says("amtool", "check-config", ALERTMANAGER)
    routed = {
        label: says("amtool", "config", "routes", "test", "--config.file", ALERTMANAGER, label).split()[-1]
        for label in ("severity=critical", "severity=warning", "severity=info", "alertname=Watchdog")
    }

    assert "SUCCESS" in said
    assert list(routed.values()) == ["on-call", "team", "nobody", "watchdog"]


def test_secrets_are_files() -> None:
    text = ALERTMANAGER.read_text()

    for key in (
        "api_url",
        "routing_key",
        "service_key",
        "auth_password",
        "smtp_auth_password",
        "credentials",
        "password",
    ):
        assert f" {key}:" not in text, key


@contextmanager
def process(argv: list[str], url: str, log: Path) -> Iterator[str]:
    """A program that answers at its URL, until the block ends."""
    with log.open("wb") as out, subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT) as running:
        try:
            wait_until(http_answers(f"{url}/-/ready"), 60, lambda: None)
            yield url
        finally:
            running.terminate()


@contextmanager
def scraped(registry: CollectorRegistry) -> Iterator[int]:
    """A port with these metrics, as the scorer has them but for its key."""
    with ThreadingHTTPServer((LOOPBACK, 0), MetricsHandler.factory(registry)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_an_attack_reaches_prometheus_alertmanager_and_a_webhook(tmp_path: Path) -> None:
    """The scorer's own metrics, three payments of ten denied. Intervals alone are shorter than those that are shipped."""
    metrics, key = Metrics(), tmp_path / "key"
    key.write_text("k1.secret")
    with ExitStack() as at_work:
        scorer = at_work.enter_context(scraped(metrics.registry))
        receiver = at_work.enter_context(receiving())
        ports = at_work.enter_context(held_ports(2))
        config = prometheus_config({"scorer": [scorer]}, ports[1], key)
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
        told = alertmanager_config(receiver.url)
        told["route"]["routes"][0]["group_wait"] = "0s"
        (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(told))
        urls = [f"http://{LOOPBACK}:{port}" for port in ports]
        alerts = at_work.enter_context(process(alertmanager_argv(tmp_path, ports[1]), urls[1], tmp_path / "alerts.log"))
        began_s = time.time()
        url = at_work.enter_context(process(prometheus_argv(tmp_path, ports[0]), urls[0], tmp_path / "prometheus.log"))

        deadline = time.monotonic() + 120
        while not (receiver.has("FraudRateHigh", "on-call") and "FraudRateHigh" in received(alerts)):
            assert time.monotonic() < deadline, (firing(url), receiver.told)
            for decision, n in (("approve", 60), ("deny", 30)):
                metrics.decisions.labels(decision).inc(n)
            time.sleep(1)

        assert "FraudRateHigh" in firing(url)
        told_of = next(one for one in receiver.told if one.alert == "FraudRateHigh")
        assert told_of.annotations["runbook"] == "docs/observability.md#fraudratehigh"
        asked = [ask(url, *query, began_s, time.time()) for query in queries()]
        assert {one.problem for one in asked} <= {"", "no data"}  # every query is one
        has_data = {one.panel for one in asked if one.dashboard == "fraud-rate" and not one.problem}
        assert {
            "Denied",
            "Fraud rate, rolling five minutes",
            "Fraud alerts that fire",
            "Decisions a second",
        } <= has_data
        pages = {page.stem: page.read_text() for page in write_pages(tmp_path, url, began_s, time.time())}
        assert {uid for uid, _, _ in queries()} == pages.keys()
        assert all(str(escape(panel)) in pages[uid] for uid, panel, _ in queries())
        assert (
            pages["fraud-rate"].count("<svg") == 4
            and pages["fraud-rate"].count("no data") == 2
            and '<b class="much">' in pages["fraud-rate"]
        )
