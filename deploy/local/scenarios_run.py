"""Every scenario against one platform, one after the other, and each judged by its tolerances."""

import sys
import time
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from rich.console import Console
from rich.table import Table

from deploy.local import probes
from deploy.local.bootstrap import build_model, build_tables, fill_store, make_history
from deploy.local.demo_run import await_services, days_of, launch, skew_of, start_servers, supervised
from deploy.local.demo_steps import Step, StepFailed, Steps
from deploy.local.demo_traffic import NotDrained, await_sent, catch_up
from deploy.local.drift_log import Logs
from deploy.local.drift_settings import Pace, history_arguments, learning_settings
from deploy.local.graph import Graph, loaded_graph
from deploy.local.ports import LOOPBACK, held_ports
from deploy.local.scorer_key import ensure_key, key_path
from deploy.local.services import BEHIND_PORT, BROKER, PROXY_PORT, SCORER, VALKEY, WORKER, Context, Service
from deploy.local.stack import Stack
from deploy.local.world import World
from fraud_assets.stores.lake import Lake
from simulator.figures import figures_of
from simulator.metrics import metrics_of
from simulator.report import Skew, write_report
from simulator.results import RunResult, read_result
from simulator.scenarios.registry import SCENARIOS
from simulator.scenarios.tolerances import Judged, Kept, Tolerance, judged

BESIDE = "make drift-demo runs it, with the whole learning loop around it"
LEFT_OUT: Mapping[str, str] = {"ghost-events": BESIDE}
RECORDED, REPLAY = "card-testing", "replay"
STORE_PORT = "FAULT_STORE_PORT"
FAULT_PORTS = (STORE_PORT, PROXY_PORT, BEHIND_PORT)
LIVE = ("faults", "worker", "scorer")
# A drift check looks at the newest minute, so a run that is judged by one lasts as long.
DRIFT_S = 60.0
DRIFT_FOUND = "drift_found"
# A model learns from the last minutes, in which windows of an hour are full: else a live minute is more than it has seen.
PACE = Pace(rush_min=85.0, window_min=20.0)
_TRAFFIC_SPARE_S = 120.0
_SETTLED_WITHIN_S = 180.0
_BESIDE = 7  # steps before and after the scenarios


@dataclass(frozen=True)
class Scenarios:
    """names: in this order. seconds: of each. pace: its rate is that of purchases, before surges."""

    var_dir: Path
    world: World
    names: tuple[str, ...]
    seconds: float = 30.0
    pace: Pace = PACE


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `scenarios.jsonl`."""

    scenario: str
    passed: bool
    broken: list[str]
    figures: dict[str, float | None]
    report: str


@dataclass(frozen=True)
class Outcomes:
    """All of them, as a verdict."""

    outcomes: list[Outcome]

    def problems(self) -> list[str]:
        return [f"{one.scenario}: {', '.join(one.broken)}" for one in self.outcomes if not one.passed]


def everybody() -> tuple[str, ...]:
    """Each that stands for itself; those that leave another world behind come last."""
    names = [name for name in SCENARIOS if name not in LEFT_OUT]
    return tuple(sorted(names, key=lambda name: SCENARIOS[name].shift is not None))


def run(asked: Scenarios, console: Console, began_s: float) -> Outcomes:
    """Raises StepFailed if the platform cannot be had or a run does not end; what it then did is the outcomes' to say."""
    with held_ports(len(FAULT_PORTS)) as ports:
        learning = {**learning_settings(asked.pace, asked.world), **dict(zip(FAULT_PORTS, ports, strict=True))}
        settings = {name: str(value) for name, value in learning.items()}
        with supervised(asked.var_dir, settings, CATALOGUE) as stack:
            steps = Steps(console, _BESIDE + len(asked.names), asked.var_dir / "logs", stack.env)
            with loaded_graph(stack.env, asked.var_dir / "logs") as graph:
                prepare(steps, stack, graph, asked)
                platform = Platform(steps, stack, graph, asked)
                done = [platform.run(name) for name in asked.names]
                skew = platform.skew(done)
                kept = platform.kept(done)
                outcomes = [one.outcome(skew, kept) for one in done]
    return conclude(console, asked, outcomes, began_s)


def _before(context: Context) -> list[str]:
    """The store, wherever it is; the broker if it is ours, for it has to advertise the proxy."""
    store = urlsplit(context.env["REDIS_URL"])
    proxies = [("store", context.env[STORE_PORT], f"{store.hostname}:{store.port}")]
    if BROKER.name in context.ports:
        proxies.append(("broker", context.env[PROXY_PORT], f"{LOOPBACK}:{context.env[BEHIND_PORT]}"))
    return [word for one in proxies for word in ("--before", *one)]


def _addresses(context: Context) -> list[str]:
    """The proxies', for who stands behind them."""
    given = [f"REDIS_URL=redis://{LOOPBACK}:{context.env[STORE_PORT]}/0"]
    if BROKER.name in context.ports:
        given.append(f"KAFKA_BOOTSTRAP_SERVERS={LOOPBACK}:{context.env[PROXY_PORT]}")
    return given


FAULTS = Service(
    name="faults",
    needs=("valkey", "broker"),
    argv=lambda c: [sys.executable, "-m", "deploy.local.faults", "--port", str(c.port("faults")), *_before(c)],
    probe=lambda c: probes.http_answers(f"http://{LOOPBACK}:{c.port('faults')}/health"),
    provides=lambda c: {"FAULTS_URL": f"http://{LOOPBACK}:{c.port('faults')}"},
)
"""Stands between the scorer, its recorder beside it, and their store and broker."""

BEHIND_FAULTS = replace(
    SCORER,
    needs=(*SCORER.needs, "faults"),
    argv=lambda c: ["env", *_addresses(c), *SCORER.argv(c)],
)

CATALOGUE: Mapping[str, Service] = {one.name: one for one in (VALKEY, BROKER, FAULTS, WORKER, BEHIND_FAULTS)}


def prepare(steps: Steps, stack: Stack, graph: Graph, asked: Scenarios) -> None:
    """A past that ends at the scenarios' own rate, which is then nothing new, and a model that knows it."""
    start_servers(steps, stack)
    make_history(steps, asked.world, [*history_arguments(asked.pace), "--rush-attacks"])
    build_tables(steps, graph, asked.world)
    launch(stack, *LIVE)
    fill_store(steps, graph, asked.world)
    build_model(steps, graph, asked.world)
    await_services(steps, stack, "worker and scorer", LIVE)


@dataclass(frozen=True)
class Done:
    """A scenario that was run. drift_found: None where it was not looked for."""

    name: str
    whole: Path
    result: RunResult
    drift_found: float | None

    def outcome(self, skew: Skew, kept: Container[str]) -> Outcome:
        """Judged, with its report. skew: of all scenarios together. kept: transactions whose decisions the lake has."""
        lost = [row for row in self.result.purchases if row.was_decided and row.transaction_id not in kept]
        handed_in = {
            "skew_mismatches": float(skew.mismatches),
            "skew_checked": float(skew.checked),
            "decisions_lost": float(len(lost)),
        }
        if self.drift_found is not None:
            handed_in[DRIFT_FOUND] = self.drift_found
        figures = figures_of(self.result, metrics_of(self.result), handed_in)
        verdicts = judged(self.result.tolerances, figures)
        page = write_report(self.result, self.whole.with_suffix(".html"), skew, (SKEW_OF_ALL,), verdicts)
        # What nobody measured is not kept: here everything can be.
        broken = [said(one) for one in verdicts if one.kept is not Kept.YES]
        return Outcome(scenario=self.name, passed=not broken, broken=broken, figures=figures, report=page.as_uri())


SKEW_OF_ALL = "The feature skew is that of all scenarios of this run together: their vectors are recomputed in one go, at the end."


@dataclass(frozen=True)
class Platform:
    """What the scenarios run against."""

    steps: Steps
    stack: Stack
    graph: Graph
    asked: Scenarios

    def run(self, name: str) -> Done:
        with self.steps.step(name) as step:
            whole = self._drive(step, name)
            result = read_result(whole)
            self._settle(step)
            found = self._drift_found(step, result) if is_judged_by_drift(result.tolerances) else None
            metrics = metrics_of(result)
            step.result = f"{metrics.decisions:,} decisions of {metrics.purchases:,} purchases"
            return Done(name, whole, result, found)

    def skew(self, done: list[Done]) -> Skew:
        """Of all that was served today: one recomputation reads the whole day, however little of it is asked for."""
        with self.steps.step("every served vector recomputed from the log") as step:
            days = sorted({day for one in done for day in days_of(one.result)})
            skew = skew_of(step, self.graph, days)
            step.result = f"{skew.mismatches} mismatches of {skew.checked:,}, {skew.pending} pending"
            return skew

    def kept(self, done: list[Done]) -> frozenset[str]:
        """Transactions whose decisions are in the lake."""
        since_ms = min(one.result.started_ms for one in done)
        lake = Lake(self.stack.env["FRAUD_LAKE_URI"])
        return frozenset(lake.scan("decisions", since_ms, columns=["transaction_id"])["transaction_id"].to_pylist())

    def _settle(self, step: Step) -> None:
        """What was decided is on the broker, and what is there in the lake. Raises StepFailed."""
        try:
            url, credential = self.stack.env["FRAUD_SCORER_URL"], ensure_key(self.asked.var_dir)
            await_sent(url, credential, _SETTLED_WITHIN_S, step.note)
            catch_up(self.stack.env["KAFKA_BOOTSTRAP_SERVERS"], _SETTLED_WITHIN_S, step.note)
        except NotDrained as failure:
            logs = ", ".join(str(self.stack.log(name)) for name in ("scorer", "worker"))
            raise StepFailed(f"{failure}; logs: {logs}") from failure

    def _drive(self, step: Step, name: str) -> Path:
        """The run's own account."""
        asked, seconds = self.asked, max(self.asked.seconds, SCENARIOS[name].least_s)
        if is_judged_by_drift(SCENARIOS[name].tolerances):
            seconds = max(seconds, DRIFT_S)
        whole = asked.var_dir / "scenarios" / f"{name}.json"
        recording = str(whole.with_name("recording.jsonl"))
        argv = [
            *(sys.executable, "-m", "simulator", "run", name, "--target", "api,kafka"),
            *("--rate", f"{asked.pace.rate_per_s:g}", "--duration", f"{seconds:g}", "--seed", str(asked.world.seed)),
            *("--label-week", f"{asked.pace.week_s:g}", "--api-url", self.stack.env["FRAUD_SCORER_URL"]),
            *("--api-key-file", str(key_path(asked.var_dir)), "--faults", self.stack.env["FAULTS_URL"], "--no-judge"),
            *("--whole", str(whole), "--report", str(whole.with_suffix(".html"))),
            *("--results", str(whole.with_suffix(".jsonl"))),
            *(("--record", recording) if name == RECORDED else ("--log", recording) if name == REPLAY else ()),
        ]
        within_s = seconds + _TRAFFIC_SPARE_S
        self.steps.watch(step, name, argv, lambda: f"{step.elapsed_s:.0f} of {seconds:g} s", within_s)
        return whole

    def _drift_found(self, step: Step, result: RunResult) -> float:
        """1 if the check of the newest minute fails, 0 if it passes. Raises StepFailed if there is too little to judge by."""
        found = self.graph.materialize(step, ["drift_report"], last=days_of(result)[-1])["drift_report"]
        if not found["judged"]:
            raise StepFailed(f"no drift check: {found['rows']} decisions in the newest minute are too few")
        return float(not Logs(self.stack.env).checks()[-1].passed)


def is_judged_by_drift(tolerances: Iterable[Tolerance]) -> bool:
    return any(one.figure == DRIFT_FOUND for one in tolerances)


def said(one: Judged) -> str:
    was = one.kept if one.kept is Kept.UNMEASURED else one.was
    return f"{one.figure} {was}, has to be {one.bound}"


def conclude(console: Console, asked: Scenarios, outcomes: list[Outcome], began_s: float) -> Outcomes:
    """A line of JSON for each, for machines and in `scenarios.jsonl`; then a table, and where the reports are."""
    lines = [msgspec.json.encode(one).decode() for one in outcomes]
    path = asked.var_dir / "scenarios.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines))
    for line in lines:
        print(line)
    table = Table(
        "scenario", "", "p99 ms", "recall", "honest denied", "fraud saved", "report", box=None, pad_edge=False
    )
    for one in outcomes:
        verdict = "[green]passed[/]" if one.passed else "[bold red]broken[/]"
        table.add_row(
            one.scenario, verdict, *(_shown(one.figures[name]) for name in SHOWN), Path(urlsplit(one.report).path).name
        )
    console.print(table)
    passed = sum(one.passed for one in outcomes)
    console.print(
        f"{passed} of {len(outcomes)} passed, {time.monotonic() - began_s:.0f} s; look at {path.parent}/scenarios"
    )
    for name, why in LEFT_OUT.items():
        console.print(f"[dim]left out: {name} ({why})[/]")
    return Outcomes(outcomes)


SHOWN = ("latency_p99_ms", "recall", "honest_denied", "fraud_saved")


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
