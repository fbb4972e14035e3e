"""The lake read by ClickHouse where it lies, by the views of docs/scale.md: what it counts is what the lake's own scan gives."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from fraud_assets.stores.lake import Lake
from tests.history import make_past

pytestmark = [pytest.mark.scale, pytest.mark.timeout(300)]

DOCS = Path(__file__).parents[2] / "docs" / "scale.md"
ASKED = "SELECT toString(event_date) AS day, count() AS rows, sum(amount_minor) AS minor, uniqExact(account_id) AS accounts FROM {} GROUP BY day ORDER BY day"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """With marked duplicates, and a file that a crash has left twice."""
    lake = make_past(tmp_path_factory.mktemp("past"), rate_per_day=60, facts=False).lake
    rows = lake.scan("transactions")
    marked = rows.slice(0, 50).set_column(
        rows.column_names.index("is_duplicate"), "is_duplicate", pa.array([True] * 50)
    )
    lake.append("transactions", rows.slice(100, 50), "again")
    lake.append("transactions", moved(marked), "marked")
    return lake


@pytest.fixture(scope="module")
def clickhouse() -> Iterator[Any]:
    from chdb.session import Session

    with Session() as session:
        yield session


def test_its_view_of_a_folder_counts_what_the_lake_gives(lake: Lake, clickhouse: Any) -> None:
    clickhouse.query(documented("transactions").replace("lake/transactions", f"{lake.uri}/transactions"))

    found = clickhouse.query(ASKED.format("transactions"), "ArrowTable")

    assert as_rows(found) == expected(lake)


def test_its_view_of_an_object_store_counts_what_the_lake_gives(lake: Lake, clickhouse: Any, s3_uri: str) -> None:
    objects = Lake(f"{s3_uri}/lake")
    for table in ("transactions",):
        objects.append(table, lake.scan(table, duplicates=True), "history")
    bucket = s3_uri.removeprefix("s3://")
    statement = documented("transactions_in_s3")
    for said, here in (
        ("https://host/bucket", f"{os.environ['AWS_ENDPOINT_URL']}/{bucket}"),
        ("'KEY'", f"'{os.environ['AWS_ACCESS_KEY_ID']}'"),
        ("'SECRET'", f"'{os.environ['AWS_SECRET_ACCESS_KEY']}'"),
    ):
        assert said in statement
        statement = statement.replace(said, here)
    clickhouse.query(statement)

    found = clickhouse.query(ASKED.format("transactions_in_s3"), "ArrowTable")

    assert as_rows(found) == expected(lake)


def documented(view: str) -> str:
    """The statement of docs/scale.md that makes this view."""
    [statement] = re.findall(rf"CREATE VIEW {view} AS\n.*?;", DOCS.read_text(), re.DOTALL)
    return str(statement)


def expected(lake: Lake) -> list[tuple[str, int, int, int]]:
    rows = lake.scan("transactions")
    days = pc.strftime(rows["event_time_ms"].cast(pa.timestamp("ms", "UTC")), "%Y-%m-%d")
    found = (
        rows.append_column("day", days)
        .group_by("day")
        .aggregate([([], "count_all"), ("amount_minor", "sum"), ("account_id", "count_distinct")])
        .sort_by("day")
    )
    assert found.num_rows > 10
    return as_rows(found.select(["day", "count_all", "amount_minor_sum", "account_id_count_distinct"]))


def as_rows(table: pa.Table) -> list[tuple[str, int, int, int]]:
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def moved(rows: pa.Table) -> pa.Table:
    """The same rows at places of the log that no other has."""
    name = "source_offset"
    return rows.set_column(rows.column_names.index(name), name, pc.add(rows[name], 1_000_000_000))
