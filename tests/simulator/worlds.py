"""A small world and what was made from it."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fraud_assets.contracts.tokens import TokenKey
from simulator.build import World
from simulator.campaigns import Attack
from simulator.history import HistorySummary
from simulator.spec import DAY_MS, WorldSpec
from simulator.world import Names

KEY = TokenKey.of("test", "a-secret-that-only-tests-know")
SPEC = WorldSpec(seed=11, start_ms=20_000 * DAY_MS, days=12, rate_per_day=3_000, accounts=5_000, events=120)


@dataclass(frozen=True)
class Made:
    """A world with everything made from it."""

    world: World
    names: Names
    attack: Attack
    lake: Path
    summary: HistorySummary

    def table(self, name: str) -> pa.Table:
        """All rows of a lake table, in log order."""
        files = sorted((self.lake / name).glob("event_date=*/*.parquet"))
        return pa.concat_tables([pq.read_table(file, partitioning=None) for file in files])

    def truth(self) -> pa.Table:
        """The truth, in the order of the transactions."""
        return pq.read_table(self.lake.parent / "truth" / "transactions.parquet")
