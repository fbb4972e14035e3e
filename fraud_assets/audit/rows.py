"""From a report's tokens back to the lines of the file that they stand for; the values themselves stay in the file."""

from typing import Any

import polars as pl

from fraud_assets.audit.history import shown_id
from fraud_assets.contracts.tokens import TokenKey

Row = dict[str, Any]


def rows_named(summary: Row, rows: pl.DataFrame, key: TokenKey) -> pl.DataFrame:
    """token, field and line of every payment of what the report names by a token. rows: with `line`."""
    found = [_lines(field, named, rows, key) for field, named in _named(summary).items() if named]
    return pl.concat([pl.DataFrame(schema={"token": pl.String, "field": pl.String, "line": pl.Int64}), *found])


def _named(summary: Row) -> dict[str, set[str]]:
    offenders = summary["pattern"]["repeat_offenders"]
    examples = [one for rule in summary["rules"]["rules"] for one in rule["examples"]]
    return {
        **{field: {one["entity"] for one in found} for field, found in offenders.items()},
        "transaction_id": {one["transaction_id"] for one in examples},
    }


def _lines(field: str, named: set[str], rows: pl.DataFrame, key: TokenKey) -> pl.DataFrame:
    values = rows[field].unique().drop_nulls()
    tokens = {value: token for value in values if (token := shown_id(value, key)) in named}
    found = rows.filter(pl.col(field).is_in(list(tokens))).select(
        pl.col(field).replace_strict(tokens, return_dtype=pl.String).alias("token"),
        pl.lit(field).alias("field"),
        "line",
    )
    return found.sort("token", "line")
