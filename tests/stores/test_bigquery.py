"""The SQL that registers the lake with BigQuery, as it was looked at. No BigQuery runs here: a change of it is seen, its truth is not."""

from pathlib import Path

import pytest

from fraud_assets.stores.bigquery import NotThere, external_tables
from fraud_assets.stores.schemas import TABLES

SNAPSHOT = Path(__file__).parent / "bigquery.sql"


def test_the_statements_are_those_that_were_looked_at() -> None:
    """After a change of a contract: `python -m fraud_assets.stores.bigquery --dataset p.fraud --lake gs://b/lake`, read it, keep it."""
    assert external_tables("gs://b/lake", "p.fraud") == SNAPSHOT.read_text()


def test_every_table_has_columns_of_known_types_and_a_day() -> None:
    said = external_tables("gs://b/lake", "p.fraud", tables=TABLES)

    assert said.count("CREATE OR REPLACE EXTERNAL TABLE") == said.count("`event_date` DATE") == len(TABLES)


def test_a_lake_in_s3_goes_through_a_connection() -> None:
    said = external_tables("s3://b/lake/", "p.fraud", "aws-us-east-1.lake", ["labels"])

    assert "WITH CONNECTION `aws-us-east-1.lake`\nOPTIONS" in said
    assert "uris = ['s3://b/lake/labels/*.parquet']" in said


@pytest.mark.parametrize("lake", ["var/lake", "s3://b/lake"])
def test_a_lake_that_bigquery_cannot_read_is_said(lake: str) -> None:
    with pytest.raises(NotThere, match="gs://bucket/folder"):
        external_tables(lake, "p.fraud")
