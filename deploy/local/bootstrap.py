"""From an empty folder to a platform that can decide: history, the asset graph over it, the online store.

The graph is materialized as an operator would do it, with `dagster asset materialize`, on the
Dagster instance of DAGSTER_HOME: every run is in the UI afterwards.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from rich.console import Console

from deploy.local.demo_steps import Step, Steps
from deploy.local.services import DEFINITIONS, prepare_dagster
from deploy.local.stack import Stack
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.models.artifact import read_champion
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_port import NoEpoch

RAW = ("transactions", "activity", "profiles", "labels", "decisions")
TRAINING = ("training_set", "fraud_model", "champion_model")
_STEP_STARTED = re.compile(r'STEP_START - Started execution of step "([^"]+)"')
_HISTORY_WITHIN_S = 300.0
_RUN_WITHIN_S = 900.0


@dataclass(frozen=True)
class World:
    """How much history. Its last day is today, up to this minute."""

    days: int = 30
    per_day: int = 2_000
    seed: int = 7
    last_day: date = field(default_factory=lambda: datetime.now(UTC).date())

    @property
    def first_day(self) -> date:
        return self.last_day - timedelta(days=self.days - 1)


def history_argv(world: World) -> list[str]:
    """The command that writes the world's past into the lake."""
    return [
        *(sys.executable, "-m", "simulator", "history"),
        *("--days", str(world.days), "--rate", str(world.per_day), "--seed", str(world.seed), "--until", "now"),
    ]


def materialize_argv(selection: Sequence[str], *, first: date | None = None, last: date) -> list[str]:
    """The command that materializes assets for a day, or in one run for a range of days."""
    days = ["--partition", f"{last}"] if first is None else ["--partition-range", f"{first}...{last}"]
    select = ["--select", ",".join(selection)]
    return [sys.executable, "-m", "dagster", "asset", "materialize", "-m", DEFINITIONS, *select, *days]


def make_history(steps: Steps, world: World) -> None:
    with steps.step(f"{world.days} days of history, with fraud in them") as step:
        said = steps.run(step, "history", history_argv(world), lambda line: line, _HISTORY_WITHIN_S)
        found = re.search(r"([\d,]+) transactions", said)
        step.result = f"{found[0]} in the lake" if found else ""


def materialize(
    steps: Steps, step: Step, name: str, selection: Sequence[str], *, first: date | None = None, last: date
) -> None:
    """One run of the graph; the asset at work is shown."""
    log = steps.log_path(name)
    current = ""

    def at_work(_: str) -> str:
        nonlocal current
        started = _STEP_STARTED.findall(log.read_text(errors="replace")) if log.exists() else []
        current = started[-1].replace("__", "/") if started else current
        return current

    steps.run(step, name, materialize_argv(selection, first=first, last=last), at_work, _RUN_WITHIN_S)


def build_graph(steps: Steps, world: World) -> None:
    """Two runs: every day's raw tables and verdicts; then today's features, a model and the online store."""
    with steps.step("asset graph: raw tables and labels, each day") as step:
        materialize(steps, step, "dagster-history", [*RAW, "label_facts"], first=world.first_day, last=world.last_day)
        step.result = f"{world.days} partitions, checked"
    with steps.step("asset graph: features, training set, model, online store") as step:
        materialize(
            steps, step, "dagster-model", ["group:features", *TRAINING, "online_store_snapshot"], last=world.last_day
        )
        step.result = "champion promoted, epoch published"


def make_ready(stack: Stack) -> None:
    """What worker and scorer need to start: made if it is missing, left alone if it is there.

    History only into an empty lake: data of one's own is never mixed with ours. Raises StepFailed.
    """
    has_history, has_model, has_states = _present(stack)
    if has_history and has_model and has_states:
        return
    world = World()
    prepare_dagster(stack.context)
    steps = Steps(
        Console(highlight=False), (not has_history) + (1 if has_model else 2), stack.context.dir("logs"), stack.env
    )
    if not has_history:
        make_history(steps, world)
    if not has_model:
        build_graph(steps, world)
    else:
        with steps.step("online store from the lake") as step:
            materialize(steps, step, "dagster-snapshot", ["online_store_snapshot"], last=world.last_day)


def _present(stack: Stack) -> tuple[bool, bool, bool]:
    """Whether there is history in the lake, a champion in the model folder, an epoch in the online store."""
    store = OnlineStore.connect(stack.env["REDIS_URL"], registry())
    try:
        has_states = bool(store.current_epoch())
    except NoEpoch:
        has_states = False
    finally:
        store.close()
    lake = Lake(stack.env["FRAUD_LAKE_URI"])
    return bool(lake.days("transactions")), read_champion(Path(stack.env["FRAUD_MODEL_DIR"])) is not None, has_states
