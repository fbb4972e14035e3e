"""The lake's tables as external tables of BigQuery: `python -m fraud_assets.stores.bigquery --dataset project.fraud`.

It prints SQL and asks nobody: no BigQuery has run it here. Columns are the contracts', so that a table is what the lake promises and not what
the newest file happens to look like.
"""

import argparse
import sys
from collections.abc import Iterable

import pyarrow as pa

from fraud_assets.settings import BadSettings, Settings, read_settings
from fraud_assets.stores.schemas import TABLES, arrow_schema

# Of the platform: the others are of published data sets, and only tests have them.
PLATFORM = tuple(table for table in TABLES if not table.startswith(("handbook_", "sparkov_")))
OMNI = "s3://"


class NotThere(ValueError):
    """BigQuery cannot read where the lake lies; the message says what it can."""


def external_tables(lake_uri: str, dataset: str, connection: str = "", tables: Iterable[str] = PLATFORM) -> str:
    """A statement for each table. Raises NotThere.

    connection: of BigQuery Omni, `aws-us-east-1.lake`, for a lake in Amazon's S3; without one only Google's storage is read.
    """
    root = lake_uri.partition("?")[0].rstrip("/")
    if not root.startswith(("gs://", OMNI)) or (root.startswith(OMNI) and not connection):
        raise NotThere(
            f"NotThere: BigQuery reads gs://, and s3:// through a connection; the lake is {root}."
            " Give --lake gs://bucket/folder, or --connection."
        )
    return "\n".join(_statement(root, dataset, connection, table) for table in tables)


def _statement(root: str, dataset: str, connection: str, table: str) -> str:
    columns = ",\n".join(f"  `{field.name}` {_type(field.type)}" for field in arrow_schema(TABLES[table]))
    through = f"WITH CONNECTION `{connection}`\n" if connection else ""
    return f"""\
CREATE OR REPLACE EXTERNAL TABLE `{dataset}.{table}` (
{columns}
)
WITH PARTITION COLUMNS (`event_date` DATE)
{through}OPTIONS (
  format = 'PARQUET',
  uris = ['{root}/{table}/*.parquet'],
  hive_partition_uri_prefix = '{root}/{table}',
  require_hive_partition_filter = TRUE,
  enable_list_inference = TRUE
);
"""


def _type(kind: pa.DataType) -> str:
    """Raises KeyError for a type that no contract has yet."""
    if pa.types.is_list(kind):
        return f"ARRAY<{_type(kind.value_type)}>"
    if pa.types.is_map(kind):
        # As BigQuery reads Parquet's maps.
        return f"STRUCT<`key_value` ARRAY<STRUCT<`key` {_type(kind.key_type)}, `value` {_type(kind.item_type)}>>>"
    if pa.types.is_struct(kind):
        return f"STRUCT<{', '.join(f'`{field.name}` {_type(field.type)}' for field in kind)}>"
    return _SCALARS[kind]


_SCALARS = {
    pa.bool_(): "BOOL",
    pa.int32(): "INT64",
    pa.int64(): "INT64",
    pa.float64(): "FLOAT64",
    pa.string(): "STRING",
    pa.large_binary(): "BYTES",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fraud_assets.stores.bigquery", description=__doc__)
    parser.add_argument("--dataset", required=True, help="project.dataset that the tables are made in")
    parser.add_argument("--lake", help="where BigQuery finds the lake; by default FRAUD_LAKE_URI")
    parser.add_argument("--connection", default="", help="of BigQuery Omni, for a lake in Amazon's S3")
    chosen = parser.parse_args()
    try:
        lake = chosen.lake or read_settings(Settings).lake_uri
        sys.stdout.write(external_tables(lake, chosen.dataset, chosen.connection))
    except (BadSettings, NotThere) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
