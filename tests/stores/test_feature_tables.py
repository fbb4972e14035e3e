"""Feature views at rest: what their counts say is what their rows hold."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from fraud_assets.features.catalogue.sources import TRANSACTIONS
from fraud_assets.stores.feature_tables import LogChanged, feature_lake, write_view
from fraud_assets.stores.history import HistoryReader, view_service
from fraud_assets.stores.lake import Lake
from tests.history import Past

DAYS = ("2026-10-05", "2026-10-06")


@pytest.mark.parametrize("name", ["account_place", "account_declines"])
def test_shares_of_nulls_are_those_of_the_newest_days_rows(past: Past, tmp_path: Path, name: str) -> None:
    view = past.plan.registry.view(name)
    features = feature_lake(tmp_path, past.service, view)

    found = write_view(features, HistoryReader(past.lake, past.plan), view, TRANSACTIONS, DAYS)

    names = view_service(past.plan, view, TRANSACTIONS).names
    from_ms = int(np.datetime64(DAYS[-1], "ms").astype(np.int64))
    rows, newest = features.scan(name), features.scan(name, from_ms)
    assert 0 < newest.num_rows < rows.num_rows == found.rows == found.transactions
    assert found.null_shares == {column: float(np.isnan(newest[column].to_numpy()).mean()) for column in names}
    assert found.null_share == pytest.approx(np.mean([np.isnan(rows[column].to_numpy()).mean() for column in names]))
    assert any(0 < share < 1 for share in found.null_shares.values())


def test_a_row_that_goes_while_a_view_is_computed_gives_no_other_its_values(past: Past, tmp_path: Path) -> None:
    """Features are of one read and ids of the next: were one row less there, each row behind it would have its neighbour's values."""
    view = past.plan.registry.view("account_declines")
    shutil.copytree(Path(past.lake.uri) / "transactions", tmp_path / "lake/transactions")
    lake = Lake(tmp_path / "lake")
    reader = HistoryReader(lake, past.plan)
    reader.log(view_service(past.plan, view, TRANSACTIONS).sources)
    lake.mend("transactions", DAYS[0], lambda rows: np.arange(rows.num_rows) > 0)

    with pytest.raises(LogChanged, match="account_declines"):
        write_view(feature_lake(tmp_path / "features", past.service, view), reader, view, TRANSACTIONS, DAYS)
