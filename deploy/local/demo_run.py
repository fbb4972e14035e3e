"""The steps of the demo, in order."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from pathlib import Path

from rich.console import Console

from deploy.local.bootstrap import build_model, build_states, build_tables, make_history
from deploy.local.demo_steps import Step, StepFailed, Steps
from deploy.local.demo_summary import Summary, print_summary
from deploy.local.demo_traffic import NotDrained, drain, watch_scorer
from deploy.local.given import refuse_elsewhere, take_servers
from deploy.local.graph import Graph, loaded_graph
from deploy.local.ports import held_ports
from deploy.local.scorer_key import ensure_key, key_path
from deploy.local.services import ADDRESSES, CATALOGUE, Service, prepare_home
from deploy.local.stack import ServiceFailed, Stack, shut_down, start_supervisor
from deploy.local.topics import ensure_platform_topics
from deploy.local.world import World
from deploy.local.written import write_json
from simulator.metrics import listed, metrics_of
from simulator.report import Skew, write_report
from simulator.results import RunResult, read_result

STEPS = 9
SERVERS = ("valkey", "broker")
UI = ("dagster-code", "dagster-webserver")
LIVE = ("worker", "scorer")
DAEMON = "dagster-daemon"
_DRAIN_WITHIN_S = 180.0
# Beyond the traffic itself: preparing the plan, and the last answers.
_TRAFFIC_SPARE_S = 90.0


@dataclass(frozen=True)
class Traffic:
    """seconds of live purchases, an attack among them."""

    seconds: float = 120.0
    rate_per_s: float = 50.0
    scenario: str = "card-testing"


@dataclass(frozen=True)
class Demo:
    """What to run, and where its state lies."""

    var_dir: Path
    world: World
    traffic: Traffic


def run(demo: Demo, console: Console, began_s: float) -> Summary:
    """All steps. Raises StepFailed; whatever happens, everything it started is stopped."""
    began = {"FRAUD_HISTORY_START": demo.world.first_day.isoformat()}
    with supervised(demo.var_dir, began) as stack, loaded_graph(stack.env, demo.var_dir / "logs") as graph:
        steps = Steps(console, STEPS, demo.var_dir / "logs", stack.env)
        start_servers(steps, stack)
        make_history(steps, demo.world)
        build_tables(steps, graph, demo.world)
        # They load while the model is made. Not earlier: the label stage begins with the verdicts of the lake.
        launch(stack, *LIVE, *UI)
        build_states(steps, graph, demo.world)
        start_daemon(stack)
        build_model(steps, graph, demo.world)
        await_platform(steps, stack)
        drive(steps, stack, demo)
        drain_into_lake(steps, stack)
        skew = check_skew(steps, graph, demo)
        return conclude(console, demo, skew, began_s)


@contextmanager
def supervised(
    var_dir: Path, settings: Mapping[str, str], catalogue: Mapping[str, Service] = CATALOGUE
) -> Iterator[Stack]:
    """A supervisor with every service configured and none started; gone with this block, or this process.

    settings: of all of them. The folder was wiped, a given server was not: raises UnfitServer for one that holds a run.
    """
    refuse_elsewhere(os.environ)
    given = {variable: os.environ[variable] for variable in ADDRESSES.values() if os.environ.get(variable)}
    take_servers(given, var_dir)
    services = tuple(service for name, service in catalogue.items() if ADDRESSES.get(name) not in given)
    env = {**given, **settings}
    # None of the usual ports, and held: the scorer starts minutes from now, and somebody might take its port meanwhile.
    with held_ports(len(services)) as ports:
        stack = start_supervisor(services, var_dir, ports, env, is_tethered=True)
        try:
            prepare_home(stack.context)
            yield stack
        finally:
            shut_down(stack.process, stack.control_socket)


def start_servers(steps: Steps, stack: Stack) -> None:
    with steps.step("online store and event log") as step, failing_as_step():
        mine = [service.name for service in stack.services if service.name in SERVERS]
        launch(stack, *mine)
        for name in mine:
            stack.wait_ready(name)
        ensure_platform_topics(stack.env["KAFKA_BOOTSTRAP_SERVERS"])
        dagster = stack.env.get("FRAUD_DAGSTER_URL")
        step.result = f"Dagster will be at {dagster}" if dagster else "ready"


def launch(stack: Stack, *names: str) -> None:
    for name in names:
        stack.launch(name)


def start_daemon(stack: Stack) -> None:
    """It asks the code server at once, so that has to be there."""
    with failing_as_step():
        for name in UI:
            stack.wait_ready(name)
        stack.launch(DAEMON)


def await_platform(steps: Steps, stack: Stack) -> None:
    await_services(steps, stack, "worker, scorer and Dagster's daemon", (*LIVE, DAEMON))


def await_services(steps: Steps, stack: Stack, title: str, names: Iterable[str]) -> None:
    """Each at rest before the first purchase: what still loads then would be measured as the scorer's latency."""
    with steps.step(title) as step, failing_as_step():
        for name in names:
            step.note(f"waiting for {name}")
            stack.wait_ready(name)
        dagster = stack.env.get("FRAUD_DAGSTER_URL")
        step.result = f"scorer {stack.env['FRAUD_SCORER_URL']}" + (f"  Dagster {dagster}" if dagster else "")


def drive(steps: Steps, stack: Stack, demo: Demo) -> None:
    traffic = demo.traffic
    argv = [
        *(sys.executable, "-m", "simulator", "run", traffic.scenario, "--target", "api,kafka"),
        *("--rate", f"{traffic.rate_per_s:g}", "--duration", f"{traffic.seconds:g}"),
        *("--seed", str(demo.world.seed), "--api-url", stack.env["FRAUD_SCORER_URL"]),
        *("--api-key-file", str(key_path(demo.var_dir))),
        *("--whole", str(result_path(demo)), "--report", str(report_path(demo))),
        "--no-judge",  # it has a verdict of its own
    ]
    title = f"{traffic.seconds:g} s of live traffic with an attack in it"
    with steps.step(title) as step:
        look = watch_scorer(stack.env["FRAUD_SCORER_URL"], ensure_key(demo.var_dir))
        steps.watch(step, "traffic", argv, look, traffic.seconds + _TRAFFIC_SPARE_S)
        metrics = metrics_of(read_result(result_path(demo)))
        step.result = f"{metrics.decisions:,} decisions of {metrics.purchases:,} purchases"
        if not metrics.decisions:
            raise StepFailed(
                f"the scorer decided nothing ({listed(metrics.unanswered)}); its log: {stack.log('scorer')}"
            )


def drain_into_lake(steps: Steps, stack: Stack) -> None:
    with steps.step("the lake takes up what was said") as step:
        step.result = f"{drained(step, stack):,} records"


def drained(step: Step, stack: Stack) -> int:
    """Records that were said so far, once the lake has them all. Raises StepFailed."""
    try:
        return drain(stack.env["KAFKA_BOOTSTRAP_SERVERS"], _DRAIN_WITHIN_S, step.note)
    except NotDrained as failure:
        raise StepFailed(f"{failure}; the worker's log: {stack.log('worker')}") from failure


def check_skew(steps: Steps, graph: Graph, demo: Demo) -> Skew:
    """Recompute what was served from the lake, up to the positions that each decision logged."""
    with steps.step("every served vector recomputed from the log") as step:
        skew = skew_of(step, graph, days_of(read_result(result_path(demo))))
        step.result = (
            f"{skew.mismatches} mismatches of {skew.checked:,}, {skew.stale_reads} stale reads, {skew.pending} pending"
        )
        return skew


def skew_of(step: Step, graph: Graph, days: Sequence[date]) -> Skew:
    """Of all that was served on these days."""
    # A mismatch fails the asset's check, not its run: the figures are read either way.
    found = [graph.materialize(step, ["skew_report"], last=day)["skew_report"] for day in days]
    return Skew(**{one.name: sum(int(day[one.name]) for day in found) for one in fields(Skew)})


def days_of(result: RunResult) -> list[date]:
    """Event days of the run's purchases: one, or two around midnight."""
    return sorted({datetime.fromtimestamp(row.event_time_ms / 1000, UTC).date() for row in result.purchases})


def conclude(console: Console, demo: Demo, skew: Skew, began_s: float) -> Summary:
    """Figures, page and summary file."""
    result = read_result(result_path(demo))
    write_report(result, report_path(demo), skew)
    metrics = metrics_of(result)
    summary = Summary.of(metrics, skew, time.monotonic() - began_s)
    path = demo.var_dir / "summary.json"
    write_json(summary, path)
    print_summary(console, summary, metrics, {"report": report_path(demo).as_uri(), "summary": str(path)})
    return summary


def result_path(demo: Demo) -> Path:
    return demo.var_dir / "run.json"


def report_path(demo: Demo) -> Path:
    return demo.var_dir / "report.html"


@contextmanager
def failing_as_step() -> Iterator[None]:
    """A service's own message names it and ends with its log."""
    try:
        yield
    except ServiceFailed as failure:
        raise StepFailed(str(failure)) from failure
