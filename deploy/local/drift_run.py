"""The steps of the drift demo, in order: from the first step that waits on, nobody touches anything until the bad candidate."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from deploy.local.automation import switch_on
from deploy.local.bootstrap import build_model, build_tables, fill_store, make_history
from deploy.local.demo_run import (
    LIVE,
    UI,
    await_platform,
    drain_into_lake,
    launch,
    start_daemon,
    start_servers,
    supervised,
)
from deploy.local.demo_steps import Step, StepFailed, Steps, log_tail, start, stop
from deploy.local.drift_log import Logs
from deploy.local.drift_print import print_summary
from deploy.local.drift_settings import Pace, catalogue, history_arguments, settings_of
from deploy.local.drift_summary import DriftSummary, Seen, summary_of
from deploy.local.graph import loaded_graph
from deploy.local.scorer_key import key_path
from deploy.local.stack import Stack
from deploy.local.world import World
from deploy.local.written import write_json
from fraud_assets.rollout.log import Entry
from fraud_assets.rollout.machine import BeginShadow, Halt, Phase, kind
from simulator.results import RunResult, read_result

STEPS = 16
SENSORS, SCHEDULES = ("rollout_guard", "retrain_on_drift"), ("live_drift",)
SCENARIO = "ghost-events"
WITHIN_S = 900.0  # ten times the shortest that it can take
LOOK_S = 1.0
AFTER_S = 60.0  # of traffic under the new champion, to measure by
LAST_S = 10.0  # after the halt, in which the bad candidate must not decide any more
_TRAFFIC_S = 3_600.0  # it is stopped when everything was seen
_STOPPED_WITHIN_S = 60.0
_COMMAND_WITHIN_S = 180.0


@dataclass(frozen=True)
class DriftDemo:
    """What to run, and where its state lies."""

    var_dir: Path
    world: World
    pace: Pace


@dataclass
class Watched:
    """The live part: its logs, and what has been found in them."""

    steps: Steps
    stack: Stack
    logs: Logs
    began_ms: int
    bad: str | None = None


def run(demo: DriftDemo, console: Console, began_s: float) -> DriftSummary:
    """All steps. Raises StepFailed for what should work anywhere; what the loop did or did not do is the summary's to say."""
    settings = settings_of(demo.pace, demo.world)
    with supervised(demo.var_dir, settings, catalogue()) as stack:
        steps = Steps(console, STEPS, demo.var_dir / "logs", stack.env)
        prepare(steps, stack, demo)
        with traffic(steps, stack, demo) as process:
            watched = Watched(steps, stack, Logs(stack.env), time.time_ns() // 1_000_000)
            if watch_loop(watched):
                try_bad_candidate(watched)
            end_traffic(steps, process)
        drain_into_lake(steps, stack)
        return conclude(console, demo, watched, began_s)


def prepare(steps: Steps, stack: Stack, demo: DriftDemo) -> None:
    """From nothing to a champion, with everything that runs by itself switched on."""
    with loaded_graph(stack.env, demo.var_dir / "logs") as graph:
        start_servers(steps, stack)
        make_history(steps, demo.world, history_arguments(demo.pace))
        build_tables(steps, graph, demo.world)
        launch(stack, *LIVE, *UI)
        fill_store(steps, graph, demo.world)
        build_model(steps, graph, demo.world)
    start_daemon(stack)
    await_platform(steps, stack)
    with steps.step("sensors and schedules are switched on") as step:
        switch_on(stack.env["FRAUD_DAGSTER_URL"], SENSORS, SCHEDULES)
        step.result = ", ".join((*SENSORS, *SCHEDULES))


@contextmanager
def traffic(steps: Steps, stack: Stack, demo: DriftDemo) -> Iterator["subprocess.Popen[bytes]"]:
    """The simulator at work, until it is told to end; gone with this block."""
    argv = [
        *(sys.executable, "-m", "simulator", "run", SCENARIO, "--target", "api,kafka", "--labels-to", "api"),
        *(
            "--rate",
            f"{demo.pace.rate_per_s:g}",
            "--duration",
            f"{_TRAFFIC_S:g}",
            "--label-week",
            f"{demo.pace.week_s:g}",
        ),
        *("--seed", str(demo.world.seed), "--api-url", stack.env["FRAUD_SCORER_URL"]),
        *("--api-key-file", str(key_path(demo.var_dir)), "--whole", str(result_path(demo))),
        "--no-judge",  # by the drift demo itself
        *("--results", str(demo.var_dir / "purchases.jsonl"), "--report", str(demo.var_dir / "traffic.html")),
    ]
    log = steps.log_path("traffic")
    with log.open("wb") as out:
        process = start(argv, stack.env, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        stop(process)


def watch_loop(watched: Watched) -> bool:
    """Whether the loop closed: nothing is done here but to look."""
    wait = (
        ("traffic flows; then fraud shifts, and a drift check fails", lambda: _detected(watched)),
        ("a training is asked for, passes its gates, and begins a shadow", lambda: _begun(watched)),
        ("shadow", lambda: _in(watched, Phase.CANARY, Phase.FULL)),
        ("canary", lambda: _in(watched, Phase.FULL)),
    )
    if not all(_awaited(watched.steps, title, look) for title, look in wait):
        return False
    with watched.steps.step("the new champion decides") as step:
        _pass(step, AFTER_S)
        step.result = _steps(watched)[-1].rollout.champion.version  # type: ignore[union-attr]  # full
    return True


def try_bad_candidate(watched: Watched) -> None:
    """R19: a person tries a model that has learnt the opposite, and the guard has to end that."""
    steps = watched.steps
    with steps.step("a bad candidate is put into a canary by hand") as step:
        watched.bad = steps.run(step, "bad", _module("deploy.local.bad_candidate"), str, _COMMAND_WITHIN_S).split()[-1]
        said = ("--who", "drift-demo", "--why", "R19: a bad candidate must be halted")
        rollout = _module("fraud_assets.rollout")
        steps.run(step, "bad-shadow", [*rollout, "shadow", watched.bad, *said], str, _COMMAND_WITHIN_S)
        steps.run(step, "bad-canary", [*rollout, "canary", "--early", *said], str, _COMMAND_WITHIN_S)
        step.result = watched.bad
    if _awaited(steps, "and is halted by the guard", lambda: _halted(watched)):
        time.sleep(LAST_S)


def end_traffic(steps: Steps, process: "subprocess.Popen[bytes]") -> None:
    with steps.step("traffic ends") as step:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOPPED_WITHIN_S
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(LOOK_S / 5)
        if process.poll() != 0:
            raise StepFailed(f"the simulator ended with {process.poll()}\n{log_tail(steps.log_path('traffic'))}")
        step.result = "its account is written"


def conclude(console: Console, demo: DriftDemo, watched: Watched, began_s: float) -> DriftSummary:
    result, logs = read_result(result_path(demo)), watched.logs
    seen = Seen(
        shifted_ms=_shifted_ms(result),
        ended_ms=result.started_ms + round(result.elapsed_s * 1000),
        checks=[one for one in logs.checks() if one.at_ms >= result.started_ms],
        trainings=logs.trainings(),
        steps=logs.steps(),
        served=logs.served(result.started_ms),
        purchases=result.purchases,
        bad=watched.bad,
    )
    summary = summary_of(seen, time.monotonic() - began_s)
    path = demo.var_dir / "summary.json"
    write_json(summary, path)
    print_summary(console, summary, seen.steps, {"summary": str(path), "traffic": str(demo.var_dir / "traffic.html")})
    return summary


def _shifted_ms(result: RunResult) -> int:
    """When the first purchase of the new fraud was due."""
    return result.started_ms + round(1000 * min(band.start_s for band in result.bands))


def _awaited(steps: Steps, title: str, look: Callable[[], str | None]) -> bool:
    """Look until it is so. Where it is not in time the step says so, and the summary judges."""
    with steps.step(title) as step:
        deadline = time.monotonic() + WITHIN_S
        while (found := look()) is None or found.startswith("…"):
            step.note(found or "")
            if time.monotonic() > deadline:
                step.result = f"not within {WITHIN_S:g} s"
                return False
            time.sleep(LOOK_S)
        step.result = found
        return True


def _detected(watched: Watched) -> str | None:
    found = [one for one in watched.logs.checks() if one.at_ms >= watched.began_ms]
    errors = [one for one in found if one.is_error]
    if errors:
        return f"{errors[0].share_drifted:.0%} of the features have drifted"
    return f"… {len(found)} checks so far, {found[-1].share_drifted:.0%} of the features drifted" if found else None


def _begun(watched: Watched) -> str | None:
    trainings = [one for one in watched.logs.trainings() if one.asked_ms >= watched.began_ms]
    begun = [one for one in _steps(watched) if isinstance(one.step, BeginShadow)]
    if begun:
        return f"{begun[-1].step.challenger.version}, of training {len(trainings)}"  # type: ignore[union-attr]
    failed = sum(one.ended_ms is not None and not one.succeeded for one in trainings)
    return f"… {len(trainings)} trainings asked for, {failed} without a model that passes" if trainings else None


def _in(watched: Watched, *phases: Phase) -> str | None:
    newest = watched.logs.steps()[-1]
    if newest.rollout.phase in phases:
        return newest.step.why
    return f"… {newest.rollout.phase}: {kind(type(newest.step))}, {newest.step.why}"


def _halted(watched: Watched) -> str | None:
    newest = watched.logs.steps()[-1]
    return newest.step.why if isinstance(newest.step, Halt) else None


def _steps(watched: Watched) -> list[Entry]:
    return [one for one in watched.logs.steps() if one.step.at_ms >= watched.began_ms]


def _pass(step: Step, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (left_s := deadline - time.monotonic()) > 0:
        step.note(f"{left_s:.0f} s more to measure by")
        time.sleep(min(LOOK_S, left_s))


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", name]


def result_path(demo: DriftDemo) -> Path:
    return demo.var_dir / "run.json"
