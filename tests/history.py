"""Two simulated weeks in a lake, with label facts: what assets are tested on."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.labels.imported import write_imported_facts
from fraud_assets.settings import DEVELOPMENT_TOKEN_KEY
from fraud_assets.stores.lake import Lake
from simulator.history import write_history
from simulator.spec import WorldSpec

FIRST_DAY = "2026-10-01"
LAST_DAY = "2026-10-14"
DAYS = 14
# Two weeks must hold a warm-up, a training part, a gap and a validation part.
LABEL_DELAY_DAYS = 2
WARM_UP_DAYS = 1
START_MS = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp()) * 1000
END_MS = START_MS + DAYS * DAY_MS


@dataclass(frozen=True)
class Past:
    """A lake, and the plans that read it."""

    lake: Lake
    folder: Path
    plan: EnginePlan
    service: ServicePlan


def make_past(var_dir: Path, *, rate_per_day: int = 400, facts: bool = True) -> Past:
    """Write the history under `var_dir/lake`."""
    spec = WorldSpec(
        seed=11, start_ms=START_MS, days=DAYS, rate_per_day=rate_per_day, accounts=1_000, events=60, promoters=12,
        testing_share=0.03, takeover_share=0.01, stolen_share=0.01,
    )  # fmt: skip
    write_history(spec, var_dir / "lake", TokenKey.of("dev", DEVELOPMENT_TOKEN_KEY))
    lake = Lake(var_dir / "lake")
    if facts:
        write_imported_facts(lake, START_MS, END_MS, LABEL_DELAY_DAYS)
    plan = EnginePlan(registry())
    return Past(lake, var_dir, plan, ServicePlan(plan, FRAUD_SCORING))
