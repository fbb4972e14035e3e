"""From an empty folder to a platform that can decide: history, the asset graph over it, the online store.

The graph is materialized as an operator would do it with `dagster asset materialize`, in a process that has
loaded it once, on the Dagster instance of DAGSTER_HOME: every run is in the UI afterwards.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from deploy.local.demo_steps import Steps
from deploy.local.graph import Graph, loaded_graph
from deploy.local.services import prepare_home
from deploy.local.stack import Stack
from deploy.local.world import World
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.models.artifact import read_champion
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_port import NoEpoch

RAW = ("transactions", "activity", "profiles", "labels", "decisions")
TRAINING = ("training_set", "fraud_model", "champion_model")
SNAPSHOT = "online_store_snapshot"
_HISTORY_WITHIN_S = 300.0


def history_argv(world: World) -> list[str]:
    """The command that writes the world's past into the lake."""
    return [
        *(sys.executable, "-m", "simulator", "history"),
        *("--days", str(world.days), "--rate", str(world.per_day), "--seed", str(world.seed), "--until", "now"),
    ]


def make_history(steps: Steps, world: World, more: Sequence[str] = ()) -> None:
    """more: arguments of the simulator's command."""
    with steps.step(f"{world.days} days of history, with fraud in them") as step:
        said = steps.run(step, "history", [*history_argv(world), *more], lambda line: line, _HISTORY_WITHIN_S)
        found = re.search(r"([\d,]+) transactions", said)
        step.result = f"{found[0]} in the lake" if found else ""


def build_tables(steps: Steps, graph: Graph, world: World) -> None:
    """Every day's raw tables and verdicts, in one run."""
    with steps.step("asset graph: raw tables and labels, each day") as step:
        graph.materialize(step, [*RAW, "label_facts"], first=world.first_day, last=world.last_day)
        step.result = f"{world.days} partitions, checked"


def build_states(steps: Steps, graph: Graph, world: World) -> None:
    """Today's feature views, and every entity's state in the online store: from then on the worker can fold."""
    with steps.step("asset graph: features, online store") as step:
        numbers = graph.materialize(step, ["group:features", SNAPSHOT], last=world.last_day)
        step.result = f"{numbers[SNAPSHOT]['entities']:,} entities, epoch published"


def build_model(steps: Steps, graph: Graph, world: World) -> None:
    """A training set, a model that has to pass its gates, and its promotion."""
    with steps.step("asset graph: training set, model") as step:
        numbers = graph.materialize(step, TRAINING, last=world.last_day)
        step.result = f"champion promoted, trained on {numbers['training_set']['dagster/row_count']:,} purchases"


def fill_store(steps: Steps, graph: Graph, world: World) -> None:
    with steps.step("online store from the lake") as step:
        numbers = graph.materialize(step, [SNAPSHOT], last=world.last_day)
        step.result = f"{numbers[SNAPSHOT]['entities']:,} entities, epoch published"


def make_ready(stack: Stack, world: World) -> bool:
    """What worker and scorer need to start: made if it is missing, left alone if it is there. Whether history was made.

    History only into an empty lake: data of one's own is never mixed with ours. Raises StepFailed.
    """
    has_history, has_model, has_states = _present(stack)
    if has_history and has_model and has_states:
        return False
    prepare_home(stack.context)
    steps = Steps(
        Console(highlight=False), (not has_history) + (1 if has_model else 3), stack.context.dir("logs"), stack.env
    )
    with loaded_graph(stack.env, stack.context.dir("logs")) as graph:
        if not has_history:
            make_history(steps, world)
        if has_model:
            fill_store(steps, graph, world)
        else:
            build_tables(steps, graph, world)
            build_states(steps, graph, world)
            build_model(steps, graph, world)
    return not has_history


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
