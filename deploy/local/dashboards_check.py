"""Whether every panel of the dashboards shows something of a live run, and whether an attack is told.

    python -m deploy.local.dashboards_check [--var var/dashboards-check]

A small platform with a model, Dagster's daemon, exporters, a real Prometheus and a real Alertmanager with the shipped configuration; the scenario
`fraud-attack` against it; the day's reports. Then each query of each panel is asked. Prints a line of JSON for each and a table, and draws them as pages; exits with 1 if one
has no data, or if the alert does not arrive in Prometheus, in Alertmanager and at a webhook. Everything it started is stopped.
"""

import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from api.contract import ScoringBatch, ScoringRequest
from deploy.local.alert_receiver import Receiver, receiving
from deploy.local.bootstrap import build_model, build_tables, fill_store, make_history
from deploy.local.dashboard_pages import write_pages
from deploy.local.demo_command import conduct, demo_parser
from deploy.local.demo_run import await_services, drained, launch, start_servers, supervised
from deploy.local.demo_steps import StepFailed, Steps
from deploy.local.drift_settings import Pace, history_arguments, learning_settings
from deploy.local.graph import Graph, loaded_graph
from deploy.local.panels_asked import Asked, ask, firing, queries, received
from deploy.local.ports import held_ports
from deploy.local.prometheus import (
    ALERTMANAGER,
    EXPORTER,
    NODE_EXPORTER,
    PROMETHEUS,
    RECEIVER_URL,
    WORKER_PORT,
    WORKER_PORTS,
)
from deploy.local.scenarios import WORLD
from deploy.local.scenarios_run import PACE
from deploy.local.scorer_key import ensure_key, key_path
from deploy.local.services import BROKER, DAGSTER_CODE, DAGSTER_DAEMON, SCORER, VALKEY, WORKER, Service
from deploy.local.span_collector import Collector, collecting
from deploy.local.stack import Stack
from deploy.local.world import World
from fraud_assets.contracts.events import Transaction
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.stores.lake import Lake

ALERT, TOLD = "FraudRateHigh", "on-call"
WATCHING = ("alertmanager", "node-exporter", "dagster-exporter", "prometheus")
LIVE = ("worker", "scorer")
DAGSTER = ("dagster-code", "dagster-daemon")
REPORTS = ("skew_report", "drift_report", "prediction_drift", "performance_report", "calibration_report")
# Without its page: nobody looks at it here.
DAEMON = replace(DAGSTER_DAEMON, needs=("dagster-code",), probe=None)
CATALOGUE: Mapping[str, Service] = {
    one.name: one
    for one in (VALKEY, BROKER, WORKER, SCORER, DAGSTER_CODE, DAEMON, EXPORTER, NODE_EXPORTER, ALERTMANAGER, PROMETHEUS)
}
# The alert asks for five minutes' share over half a minute; then groups wait.
TRAFFIC_S, TOLD_WITHIN_S, _SPARE_S = 120.0, 120.0, 120.0
# Two looks of the exporter and two scrapes.
SCRAPED_S = 65.0
YESTERDAYS = 500
TRACED = {"fraud-scorer", "fraud-worker-router", "fraud-worker-explainer"}
_STEPS = 13


@dataclass(frozen=True)
class Check:
    """What to run, and where its state lies."""

    var_dir: Path
    world: World = WORLD
    pace: Pace = PACE


@dataclass(frozen=True)
class Found:
    """asked: each query. silent: what should have been told of, and where it did not arrive."""

    asked: list[Asked]
    silent: list[str]

    def problems(self) -> list[str]:
        return [
            f"{one.dashboard}, {one.panel}: {one.problem} ({one.query})" for one in self.asked if one.problem
        ] + self.silent


def run(check: Check, console: Console, began_s: float) -> Found:
    """Raises StepFailed if the platform cannot be had."""
    with running(check) as (stack, receiver, collector), loaded_graph(stack.env, check.var_dir / "logs") as graph:
        steps = Steps(console, _STEPS, check.var_dir / "logs", stack.env)
        from_s = time.time()
        prepare(steps, stack, graph, check)
        drive(steps, check)
        silent = told(steps, stack, receiver)
        silent += traced(steps, collector)
        ask_again(steps, stack, check)
        report(steps, stack, graph, check)
        with steps.step("every panel of every dashboard") as step:
            url, until_s = stack.env["PROMETHEUS_URL"], time.time()
            asked = [ask(url, *query, from_s, until_s) for query in queries()]
            pages = write_pages(check.var_dir, url, from_s, until_s)
            step.result = f"{sum(not one.problem for one in asked)} of {len(asked)} queries have data"
        console.print(f"look at them: {', '.join(str(page) for page in pages)}", soft_wrap=True)
    return conclude(console, Found(asked, silent), check, began_s)


@contextmanager
def running(check: Check) -> Iterator[tuple[Stack, Receiver, Collector]]:
    """All services configured, none started; the webhook, and the collector of one trace in ten."""
    with ExitStack() as at_work:
        ports = at_work.enter_context(held_ports(WORKER_PORTS, in_a_row=True))
        receiver, collector = at_work.enter_context(receiving()), at_work.enter_context(collecting())
        settings = {
            **learning_settings(check.pace, check.world),
            WORKER_PORT: ports[0],
            RECEIVER_URL: receiver.url,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_TRACES_SAMPLER_ARG": 0.1,
        }
        stack = at_work.enter_context(
            supervised(check.var_dir, {name: str(value) for name, value in settings.items()}, CATALOGUE)
        )
        yield stack, receiver, collector


def prepare(steps: Steps, stack: Stack, graph: Graph, check: Check) -> None:
    """As the scenarios have it, watched from the start."""
    start_servers(steps, stack)
    make_history(steps, check.world, [*history_arguments(check.pace), "--rush-attacks"])
    build_tables(steps, graph, check.world)
    launch(stack, *WATCHING, *LIVE)
    fill_store(steps, graph, check.world)
    build_model(steps, graph, check.world)
    launch(stack, "dagster-code")
    await_services(
        steps, stack, "worker, scorer, Prometheus, Alertmanager, exporters", (*LIVE, *WATCHING, "dagster-code")
    )
    launch(stack, "dagster-daemon")


def drive(steps: Steps, check: Check) -> None:
    with steps.step(f"{TRAFFIC_S:g} s of fraud-attack") as step:
        argv = [
            *(sys.executable, "-m", "simulator", "run", "fraud-attack", "--target", "api,kafka", "--no-judge"),
            *("--rate", f"{check.pace.rate_per_s:g}", "--duration", f"{TRAFFIC_S:g}", "--seed", str(check.world.seed)),
            *("--label-week", f"{check.pace.week_s:g}", "--api-url", steps.env["FRAUD_SCORER_URL"]),
            *("--api-key-file", str(key_path(check.var_dir)), "--report", str(check.var_dir / "report.html")),
        ]
        steps.watch(step, "traffic", argv, lambda: f"{step.elapsed_s:.0f} of {TRAFFIC_S:g} s", TRAFFIC_S + _SPARE_S)


def told(steps: Steps, stack: Stack, receiver: Receiver) -> list[str]:
    """Where the alert has not arrived in time."""
    places: Mapping[str, Callable[[], bool]] = {
        "Prometheus": lambda: ALERT in firing(stack.env["PROMETHEUS_URL"]),
        "Alertmanager": lambda: ALERT in received(stack.env["ALERTMANAGER_URL"]),
        "the webhook": lambda: receiver.has(ALERT, TOLD),
    }
    with steps.step(f"{ALERT} in Prometheus, in Alertmanager and at a webhook") as step:
        missing = dict(places)
        while missing and step.elapsed_s < TOLD_WITHIN_S:
            missing = {name: is_there for name, is_there in missing.items() if not is_there()}
            step.note(f"waiting for {', '.join(missing)}")
            time.sleep(1)
        step.result = "arrived" if not missing else f"not in {', '.join(missing)}"
    return [f"{ALERT} did not arrive in {name} within {TOLD_WITHIN_S:g} s" for name in missing]


def traced(steps: Steps, collector: Collector) -> list[str]:
    """What is wrong where no trace goes from the request to the worker."""
    with steps.step("a trace from the request through the topic to the worker") as step:
        whole = 0
        while not whole and step.elapsed_s < TOLD_WITHIN_S:
            whole = sum(told_by >= TRACED for told_by in collector.by_trace().values())
            time.sleep(1)
        step.result = f"{whole} traces told of by {', '.join(sorted(TRACED))}"
    return [] if whole else [f"no trace is told of by {', '.join(sorted(TRACED))}"]


def ask_again(steps: Steps, stack: Stack, check: Check) -> None:
    """Payments of yesterday, put to the scorer: calibration is told of two days at least, and one cannot wait for another."""
    with steps.step("yesterday's payments are decided too") as step:
        last_ms = round(time.time() * 1_000) // DAY_MS * DAY_MS
        rows = Lake(stack.env["FRAUD_LAKE_URI"]).scan("transactions", last_ms - DAY_MS, last_ms).to_pylist()
        asked = [_asked(row) for row in rows[-YESTERDAYS:]]
        call = urllib.request.Request(
            f"{stack.env['FRAUD_SCORER_URL']}/predict",
            msgspec.json.encode(ScoringBatch(asked)),
            {"Authorization": f"Bearer {ensure_key(check.var_dir)}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(call, timeout=60) as response:
                response.read()
        except urllib.error.HTTPError as error:
            raise StepFailed(error.read().decode(errors="replace")) from error
        step.result = f"{len(asked)} payments in one batch"


def _asked(row: Mapping[str, object]) -> ScoringRequest:
    """What the lake holds of a payment; its address and card are tokens by now, and are left out."""
    names = set(ScoringRequest.__struct_fields__) & set(Transaction.__struct_fields__) & set(row)
    return msgspec.convert({**{name: row[name] for name in names}, "ip": "192.0.2.1"}, ScoringRequest)


def report(steps: Steps, stack: Stack, graph: Graph, check: Check) -> None:
    """What the nightly schedules would make of today; checks may fail, for the day is not over."""
    with steps.step("the lake takes up what was said") as step:
        step.result = f"{drained(step, stack):,} records"
    with steps.step("the day's reports") as step:
        graph.materialize(step, REPORTS, last=check.world.last_day)
        step.note("waiting for the next scrapes")
        time.sleep(SCRAPED_S)


def conclude(console: Console, found: Found, check: Check, began_s: float) -> Found:
    for one in found.asked:
        print(msgspec.json.encode(one).decode())
    table = Table("dashboard", "panel", "series", "samples", "", box=None, pad_edge=False)
    for one in found.asked:
        verdict = f"[bold red]{one.problem[:60]}[/]" if one.problem else "[green]data[/]"
        table.add_row(one.dashboard, one.panel, str(one.series), str(one.samples), verdict)
    console.print(table)
    with_data = sum(not one.problem for one in found.asked)
    console.print(
        f"{with_data} of {len(found.asked)} queries have data, {time.monotonic() - began_s:.0f} s; logs in {check.var_dir}/logs"
    )
    return found


def main() -> None:
    chosen = demo_parser("deploy.local.dashboards_check", __doc__, "dashboards-check").parse_args()
    conduct(chosen.var, lambda folder, console, began_s: run(Check(folder), console, began_s))


if __name__ == "__main__":
    main()
