"""The asset that merges small files: what it says it did, and that nothing else changes."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from fraud_assets.defs.features.assets import view_asset
from fraud_assets.defs.ingestion.compaction import TABLES, compacted_days
from fraud_assets.defs.resources import resources_of
from fraud_assets.settings import Settings
from fraud_assets.stores.lake import Lake, append_name
from tests.history import LABEL_DELAY_DAYS, LAST_DAY, Past, make_past

pytestmark = pytest.mark.timeout(600)  # kernels may have to be compiled first

VIEW = "account_recency"
SINKS = 20  # files of the day, as a worker leaves them


@pytest.fixture
def past(tmp_path: Path) -> Past:
    """The last day's payments as a worker of one partition has written them."""
    made = make_past(tmp_path / "var", rate_per_day=60, facts=False)
    rows = made.lake.scan("transactions", duplicates=True)
    live = rows["event_time_ms"].to_numpy() >= int(np.datetime64(LAST_DAY, "ms").astype(np.int64))
    topic = pa.array(np.where(live, "transactions.v1", "import.transactions.v1"))
    rows = rows.set_column(rows.schema.names.index("source_topic"), rows.schema.field("source_topic"), topic)
    for day in made.lake.days("transactions"):
        made.lake.write_partition("transactions", day, rows.slice(0, 0))
    made.lake.append("transactions", rows.filter(~live), "history")
    ours = rows.filter(live)
    for start, end in pairwise(np.linspace(0, ours.num_rows, SINKS + 1).astype(int).tolist()):
        part = ours.slice(start, end - start)
        made.lake.append(
            "transactions", part, append_name("transactions.v1", 0, part["source_offset"][0].as_py(), "worker-0")
        )
    return made


def features(past: Past, resources: dict[str, object]) -> list[bytes]:
    view = view_asset(past.plan, past.plan.registry.view(VIEW))
    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([view], resources=resources, instance=instance, partition_key=LAST_DAY).success
    files = sorted((past.folder / "features" / VIEW).glob("*/*.parquet"))
    return [path.read_bytes() for path in files]


def test_a_days_small_files_become_few_and_what_is_made_of_them_stays(past: Past) -> None:
    resources = resources_of(Settings(var_dir=past.folder, label_delay_days=LABEL_DELAY_DAYS))
    rows, made = past.lake.scan("transactions"), features(past, resources)

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([compacted_days], resources=resources, instance=instance, partition_key=LAST_DAY)

    assert result.success
    found = result.asset_materializations_for_node("compacted_days")[0].metadata
    shown: Any = found["by_table"]
    by_table = {record.data["table"]: record.data for record in shown.records}
    assert list(by_table) == list(TABLES)
    assert by_table["transactions"]["merged"] == SINKS - 1
    # An empty file of the fixture's, the merged one, and the newest, which its sink may write again.
    assert (by_table["transactions"]["files_before"], by_table["transactions"]["files_after"]) == (SINKS + 1, 3)
    assert Lake(past.lake.uri).scan("transactions").equals(rows)
    assert features(past, resources) == made
