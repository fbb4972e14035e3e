"""What really happened: kept beside the lake, never in it.

Nothing observable is made from here. The order is: purchases first, from behaviour; then the truth,
by looking up which campaign made each row; then labels, from the truth.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from simulator.build import World
from simulator.campaigns import Campaign
from simulator.kinds import Kind
from simulator.purchases import Purchases
from simulator.world import Flags, Index, Persona, Small

_KINDS = tuple(Kind)
SCHEMA = pa.schema(
    [
        pa.field("transaction_id", pa.string(), nullable=False),
        pa.field("event_time_ms", pa.int64(), nullable=False),
        pa.field("is_fraud", pa.bool_(), nullable=False),
        pa.field("campaign", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("persona", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Truth:
    """One row per purchase: fraud or not, by which campaign, of which kind (place in `Kind`; -1 none for both), by whose account."""

    is_fraud: Flags
    campaign: Index
    kind: Small
    persona: Small


def truth_of(world: World, rows: Purchases, campaigns: tuple[Campaign, ...]) -> Truth:
    """Looked up from the register of campaigns, not drawn."""
    # The row past the end answers for origin -1: nobody's campaign, so no fraud.
    verdict = np.array([*(campaign.is_fraud for campaign in campaigns), False])
    kind = np.array([*(_KINDS.index(campaign.kind) for campaign in campaigns), -1], dtype=np.int8)
    return Truth(verdict[rows.origin], rows.origin, kind[rows.origin], world.accounts.persona[rows.account])


def campaign_name(campaign: Campaign, index: int) -> str:
    """`card_testing_0007`: what results and reports call it."""
    return f"{campaign.kind}_{index:04d}"


class TruthFile:
    """`<folder>/transactions.parquet`, written a day at a time, renamed into place at the end."""

    def __init__(self, folder: Path, campaigns: tuple[Campaign, ...]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "transactions.parquet"
        self._draft = folder / ".transactions.parquet"
        self._writer = pq.ParquetWriter(self._draft, SCHEMA, compression="zstd")
        self._names = pa.array([campaign_name(c, i) for i, c in enumerate(campaigns)], type=pa.string())
        self._kinds = pa.array([str(campaign.kind) for campaign in campaigns], type=pa.string())
        self._personas = pa.array([persona.name.lower() for persona in Persona], type=pa.string())

    def append(self, ids: pa.StringArray, rows: Purchases, truth: Truth) -> None:
        """One day."""
        campaign = pa.array(truth.campaign, mask=truth.campaign < 0)
        columns = [
            ids,
            pa.array(rows.time_ms),
            pa.array(truth.is_fraud),
            self._names.take(campaign),
            self._kinds.take(campaign),
            self._personas.take(pa.array(truth.persona)),
        ]
        self._writer.write_table(pa.table(columns, schema=SCHEMA))

    def close(self) -> None:
        """All days are written: make the file appear."""
        self._writer.close()
        self._draft.replace(self._path)
