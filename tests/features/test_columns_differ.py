"""No feature is served twice under two names: on a simulated third of a year every column is its own."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.engine.batch import Spine, vectors
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.labels.imported import write_imported_facts
from fraud_assets.settings import DEVELOPMENT_TOKEN_KEY
from fraud_assets.stores.history import HistoryReader
from fraud_assets.stores.lake import Lake
from simulator.history import write_history
from simulator.spec import WorldSpec

START_MS = 20_000 * DAY_MS
DAYS = 110  # more than the longest window but lifetime, or two of the long ones would hold the same


def test_no_two_of_the_340_columns_are_identical_on_simulated_data(tmp_path: Path) -> None:
    """Bit for bit over every transaction; a column that is always null would be found here too."""
    spec = WorldSpec(
        seed=5, start_ms=START_MS, days=DAYS, rate_per_day=250, accounts=600, events=60, promoters=12,
        testing_share=0.1, takeover_share=0.01, stolen_share=0.01,
    )  # fmt: skip
    write_history(spec, tmp_path, TokenKey.of("dev", DEVELOPMENT_TOKEN_KEY))
    lake = Lake(tmp_path)
    write_imported_facts(lake, START_MS, START_MS + DAYS * DAY_MS, 2)
    plan = EnginePlan(registry())
    service = ServicePlan(plan, FRAUD_SCORING)
    log = HistoryReader(lake, plan).log(service.sources)

    features = vectors(service, log, Spine.of_events(log, FRAUD_SCORING.scored.name)).features

    assert features.shape[1] >= 340
    same: dict[bytes, list[str]] = defaultdict(list)
    for name, column in zip(service.names, features.T, strict=True):
        same[np.ascontiguousarray(np.where(np.isnan(column), np.float32(np.nan), column)).tobytes()].append(name)
    assert [names for names in same.values() if len(names) > 1] == []
    constant = [name for name, column in zip(service.names, features.T, strict=True) if len(np.unique(column)) == 1]
    assert constant == []
