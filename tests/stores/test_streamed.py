"""A day's files read side by side: what `scan` gives of it, part by part."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.contracts.domains.handbook import HandbookTransaction
from fraud_assets.stores.files import open_files
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import LogPosition, from_events
from tests.stores.test_lake import DAY_MS, MONDAY, TABLE

DAY = "2018-08-06"
Row = tuple[int, int, int, bool]  # arrival after midnight, partition, offset, duplicate


def rows_of(rows: Sequence[Row], late: int = 0) -> pa.Table:
    events = [
        HandbookTransaction(
            event_time_ms=MONDAY + late + at % DAY_MS, transaction_id=f"t{partition}-{offset}",
            customer_id="c", terminal_id="m", amount_minor=offset,
        )
        for at, partition, offset, _ in rows
    ]  # fmt: skip
    positions = [
        LogPosition(MONDAY + at, "topic.v1", partition, offset, twice) for at, partition, offset, twice in rows
    ]
    return from_events(HandbookTransaction, events, positions)


def log(rng: random.Random, count: int) -> list[Row]:
    """Arrivals that never go back within a partition, and are often the same."""
    at, next_offset, made = 0, [0, 0, 0], []
    for _ in range(count):
        at += rng.choice([0, 0, 1, 50])
        partition = rng.randrange(3)
        made.append((at, partition, next_offset[partition], rng.random() < 0.1))
        next_offset[partition] += 1
    return made


@given(st.integers(0, 2**32), st.integers(0, 60), st.integers(1, 9))
def test_parts_are_what_a_scan_gives_in_one(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, at_once: int
) -> None:
    """Of files of several partitions, some rows of which are in two."""
    rng, lake = random.Random(seed), Lake(tmp_path_factory.mktemp("lake"))
    made = log(rng, count)
    for number in range(3):
        of = [row for row in made if row[1] == number]
        while of:
            size = rng.randint(1, 20)
            lake.append(TABLE, rows_of(of[:size]), f"f-{number}-{of[0][2]}")
            of = of[size - rng.randint(0, min(size - 1, 3)) :]
    lake.append(TABLE, rows_of([(7, 5, 0, False)], late=DAY_MS), "another-day")

    parts = list(lake.stream(TABLE, DAY, at_once))

    scanned = lake.scan(TABLE, MONDAY, MONDAY + DAY_MS)
    assert pa.concat_tables([scanned.schema.empty_table(), *parts]).equals(scanned)


def test_of_a_copy_that_differs_the_one_stays_that_a_scan_keeps(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for name, customer in (("b", "first written"), ("a", "first by name")):
        lake.append(TABLE, _of(rows_of([(5, 0, 1, False), (5, 0, 2, False)]), customer), name)

    (part,) = lake.stream(TABLE, DAY, 10)

    assert part["customer_id"].to_pylist() == ["first by name"] * 2
    assert part.equals(lake.scan(TABLE))


def _of(rows: pa.Table, customer: str) -> pa.Table:
    place = rows.schema.get_field_index("customer_id")
    return rows.set_column(place, rows.schema.field(place), pa.array([customer] * len(rows)))


def test_a_day_is_never_held_whole(tmp_path: Path) -> None:
    """A part is given as soon as no file can have an earlier row, and a file is opened when its time has come."""
    lake = Lake(tmp_path)
    for number in range(10):
        lake.append(TABLE, rows_of([(100 * number + n, 0, 100 * number + n, False) for n in range(100)]), f"f-{number}")

    parts = lake.stream(TABLE, DAY, 30)
    given_first = [next(parts) for _ in range(3)]
    (tmp_path / TABLE / f"event_date={DAY}" / "f-9.parquet").unlink()

    assert all(part.num_rows <= 60 for part in given_first)
    with pytest.raises(FileNotFoundError):
        list(parts)


def large() -> pa.Table:
    """Rows that make a file of some megabytes."""
    rows, rng = rows_of([(n, 0, n, False) for n in range(20_000)]), random.Random(1)
    place = rows.schema.get_field_index("customer_id")
    ids = pa.array([rng.randbytes(200).hex() for _ in range(len(rows))])
    return rows.set_column(place, rows.schema.field(place), ids)


def test_a_file_that_goes_while_it_is_read_is_read_to_its_end_or_said_to_be_gone(lake_uri: str) -> None:
    """A day is begun again then, as when it is gone before; an open file of a folder stays what it was."""
    lake, rows = Lake(lake_uri), large()
    lake.append(TABLE, rows, "large")
    ((_, info),) = lake.files(TABLE)

    parts = lake.stream(TABLE, DAY, 100)
    read = next(parts).num_rows
    open_files(lake_uri).delete([info.path])

    if lake_uri.startswith("s3://"):
        with pytest.raises(FileNotFoundError):
            list(parts)
    else:
        assert read + sum(part.num_rows for part in parts) == len(rows)


def test_of_a_large_file_a_part_is_in_memory(tmp_path: Path) -> None:
    """Arrow would read a whole row group ahead, and a compacted day has 128 MB of them in a file of each partition."""
    lake = Lake(tmp_path)
    lake.append(TABLE, large(), "large")
    size = (tmp_path / TABLE / f"event_date={DAY}" / "large.parquet").stat().st_size
    before = pa.total_allocated_bytes()

    parts = lake.stream(TABLE, DAY, 100)
    held = [pa.total_allocated_bytes() - before for _ in zip(range(100), parts, strict=False)]

    assert size > 4_000_000
    assert max(held) < size / 2


def test_a_file_that_says_nothing_of_its_times_is_read_all_the_same(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.append(TABLE, rows_of([(5, 0, 0, False)]), "a")
    lake.append(TABLE, rows_of([(4, 1, 0, False)]), "b")
    path = tmp_path / TABLE / f"event_date={DAY}" / "b.parquet"
    pq.write_table(pq.read_table(path, partitioning=None), path, write_statistics=False)

    parts = list(lake.stream(TABLE, DAY, 10))

    assert np.concatenate([part["ingested_at_ms"].to_numpy() for part in parts]).tolist() == [MONDAY + 4, MONDAY + 5]
