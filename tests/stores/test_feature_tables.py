"""Feature views at rest: what their counts say is what their rows hold."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fraud_assets.features.catalogue.sources import TRANSACTIONS
from fraud_assets.stores.feature_tables import LogChanged, feature_lake, here, write_view
from fraud_assets.stores.history import HistoryReader, view_service
from fraud_assets.stores.lake import Lake, start_ms
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


@pytest.mark.parametrize("known_at", [None, "2026-10-06T12:00"])
def test_columns_of_a_history_that_memory_does_not_hold_are_the_same(
    past: Past, tmp_path: Path, known_at: str | None
) -> None:
    """Days follow one another in files, and what came late stands where it came."""
    lake = Lake(tmp_path / "lake")
    shutil.copytree(Path(past.lake.uri) / "transactions", tmp_path / "lake/transactions")
    late = lake.scan("transactions", to_ms=start_ms(DAYS[0])).slice(0, 1)
    for name, value in (("ingested_at_ms", start_ms(DAYS[1])), ("source_offset", 10**9), ("transaction_id", "late")):
        place, kind = late.column_names.index(name), late.schema.field(name).type
        late = late.set_column(place, name, pa.array([value], kind))
    lake.append("transactions", late, "late")
    as_known = None if known_at is None else int(np.datetime64(known_at, "ms").astype(np.int64))

    held = HistoryReader(lake, past.plan).columns(TRANSACTIONS, as_known)
    found = HistoryReader(lake, past.plan, in_memory_bytes=0).columns(TRANSACTIONS, as_known)

    assert len(held) > 0 and held.offset.tolist().index(10**9) < len(held) - 1
    assert found.fields.keys() == held.fields.keys()
    for name in held.fields:
        assert np.array_equal(found.fields[name], held.fields[name]), name
    assert all(map(np.array_equal, (found.arrival_ms, found.tp, found.offset), (held.arrival_ms, held.tp, held.offset)))


# Label facts beside the scored source; two entities over two sources; a key that payments share.
@pytest.mark.parametrize("name", ["user_purchase_behavior", "event_historical_metrics", "category_risk"])
def test_a_view_of_more_rows_than_memory_holds_has_the_same_bytes(past: Past, name: str) -> None:
    service = view_service(past.plan, past.plan.registry.view(name), TRANSACTIONS)
    held = list(here(HistoryReader(past.lake, past.plan), service, DAYS))

    found = list(here(HistoryReader(past.lake, past.plan, in_memory_bytes=0), service, DAYS, rows_at_once=3_000))

    assert [day.day for day in found] == list(DAYS)
    for one, other in zip(found, held, strict=True):
        assert one.rows.num_rows == one.transactions > 0
        assert one.rows.schema == other.rows.schema
        assert _bits(one.rows) == _bits(other.rows)


def _bits(rows: pa.Table) -> list[bytes | list[str]]:
    """Column by column: to Arrow a NaN equals nothing."""
    return [
        column.to_pylist() if column.type == pa.string() else column.to_numpy().tobytes() for column in rows.columns
    ]
