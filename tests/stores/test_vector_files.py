"""Vectors on disk: one file or a folder of parts, the same rows either way, and nothing visible before it is whole."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraud_assets.engine.batch import Vectors
from fraud_assets.stores import vector_files
from fraud_assets.stores.vector_files import write_vectors

NAMES = ("a", "b")
ROWS = 1_000


@pytest.fixture(autouse=True)
def small_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_files, "ROW_GROUP_ROWS", 150)


def chunks(rows: int = ROWS, size: int = 100) -> Iterator[Vectors]:
    values = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    values[::7, 1] = np.nan
    for first in range(0, rows, size):
        yield Vectors(values[first : first + size], None, None, first)


def ids(rows: int = ROWS) -> dict[str, pa.Array]:
    return {"id": pa.array([f"t{n}" for n in range(rows)])}


@pytest.mark.parametrize("name", ["set.parquet", "set"])
def test_rows_come_back_in_order_bit_for_bit(tmp_path: Path, name: str) -> None:
    assert write_vectors(tmp_path / name, NAMES, chunks(), ids()) == ROWS

    path = tmp_path / name
    found = pl.read_parquet(path if path.is_file() else sorted(path.glob("*.parquet")))
    want = np.concatenate([chunk.features for chunk in chunks()])
    assert found.columns == ["id", *NAMES]
    assert found["id"].to_list() == [f"t{n}" for n in range(ROWS)]
    assert found.select(NAMES).to_numpy().tobytes() == want.tobytes()


def test_parts_are_named_by_their_first_row_and_are_one_row_group_each(tmp_path: Path) -> None:
    """So that names in order are rows in order, and a reader may take parts side by side."""
    write_vectors(tmp_path / "set", NAMES, chunks())
    parts = sorted(path.name for path in (tmp_path / "set").iterdir())
    assert parts == [f"part-{first:012d}.parquet" for first in range(0, ROWS, 200)]
    assert all(pq.ParquetFile(tmp_path / "set" / part).num_row_groups == 1 for part in parts)


@pytest.mark.parametrize("name", ["set.parquet", "set"])
def test_a_set_that_fails_half_way_leaves_the_old_one(tmp_path: Path, name: str) -> None:
    def torn() -> Iterator[Vectors]:
        yield from list(chunks())[:4]
        raise RuntimeError("the engine stopped")

    write_vectors(tmp_path / name, NAMES, chunks(300))
    with pytest.raises(RuntimeError, match="the engine stopped"):
        write_vectors(tmp_path / name, NAMES, torn())

    path = tmp_path / name
    assert len(pl.read_parquet(path if path.is_file() else sorted(path.glob("*.parquet")))) == 300


@pytest.mark.parametrize("name", ["set.parquet", "set"])
def test_a_second_set_replaces_the_first(tmp_path: Path, name: str) -> None:
    """Also one with fewer parts, and after a run that left its draft behind."""
    (tmp_path / ".set.draft").mkdir()
    (tmp_path / ".set.draft" / "part-000000009999.parquet").write_bytes(b"torn")
    write_vectors(tmp_path / name, NAMES, chunks())
    write_vectors(tmp_path / name, NAMES, chunks(100))

    path = tmp_path / name
    assert len(pl.read_parquet(path if path.is_file() else sorted(path.glob("*.parquet")))) == 100
    assert [kept.name for kept in tmp_path.iterdir() if kept.name != ".set.draft"] == [name]


@pytest.mark.parametrize("name", ["set.parquet", "set"])
def test_a_set_of_no_rows_has_its_columns(tmp_path: Path, name: str) -> None:
    assert write_vectors(tmp_path / name, NAMES, iter(())) == 0
    path = tmp_path / name
    assert pl.read_parquet(path if path.is_file() else sorted(path.glob("*.parquet"))).columns == list(NAMES)
