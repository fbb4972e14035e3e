"""Worlds of the simulator that models are judged in: a training set as of a day, payments after its window, and the truth of both."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.labels.imported import write_imported_facts
from fraud_assets.settings import DEVELOPMENT_TOKEN_KEY
from fraud_assets.stores.lake import Lake
from fraud_assets.training.dataset import (
    TrainingSet,
    Weigh,
    Window,
    after_warm_up,
    training_set,
    window_as_of,
)
from fraud_assets.training.money import euro_cents
from simulator.history import write_history
from simulator.spec import WorldSpec

# Delay, warm-up and window as settings have them.
AS_OF_DAY, DELAY_DAYS, WARM_UP_DAYS, WINDOW_DAYS = 38, 7, 7, 90
# Judged is the fortnight after the window. The log goes on until its verdicts are in: a payment without one is in no set.
JUDGED_UNTIL_DAY = AS_OF_DAY - DELAY_DAYS + 14
DAYS = JUDGED_UNTIL_DAY + DELAY_DAYS + 1
FIRST_DAY = "2026-10-01"
START_MS = int(datetime.fromisoformat(FIRST_DAY).replace(tzinfo=UTC).timestamp()) * 1000
AS_OF_MS, JUDGED_UNTIL_MS, END_MS = (START_MS + day * DAY_MS for day in (AS_OF_DAY, JUDGED_UNTIL_DAY, DAYS))
AS_OF_DATE = str(np.datetime64(AS_OF_MS, "ms"))[:10]

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def history(folder: Path, seed: int, per_day: int) -> Lake:
    """DAYS of history with what was said of it, and the truth beside the lake."""
    spec = WorldSpec(seed=seed, start_ms=START_MS, days=DAYS, rate_per_day=per_day, accounts=10_000)
    write_history(spec, folder / "lake", TokenKey.of("dev", DEVELOPMENT_TOKEN_KEY))
    return Lake(folder / "lake")


def world(folder: Path, seed: int, per_day: int) -> Lake:
    """A history with its label facts."""
    lake = history(folder, seed, per_day)
    write_imported_facts(lake, START_MS, END_MS, DELAY_DAYS)
    return lake


def service() -> ServicePlan:
    return ServicePlan(EnginePlan(registry()), FRAUD_SCORING)


def as_of_day(lake: Lake, weigh: Weigh | None = None) -> TrainingSet:
    """What the platform trains on, as of AS_OF_DAY."""
    window = after_warm_up(window_as_of(AS_OF_MS, WINDOW_DAYS, DELAY_DAYS), FIRST_DAY, WARM_UP_DAYS)
    return training_set(lake, service(), window, weigh=weigh)


def after_window(lake: Lake) -> TrainingSet:
    """Payments of the fortnight after the window, each with the vector of its instant and the verdict that was known in the end."""
    return training_set(lake, service(), Window(END_MS, AS_OF_MS - DELAY_DAYS * DAY_MS, JUDGED_UNTIL_MS))


def cents(found: TrainingSet) -> Floats:
    """(n,) euro cents."""
    return euro_cents(found.rows["amount_minor"].to_numpy(), found.rows["currency"].to_pylist())
