"""Rows that could not be used: by line, with why and what to do; never with what stood there."""

import polars as pl

from fraud_assets.ingest.mapping import Mapping
from fraud_assets.ingest.prepare import Prepared

FIXES = (
    ("not readable as time", "set `format` and `timezone` of its entry in the mapping, or mend the value"),
    ("not readable as money", "send a plain decimal such as 1234.56, or set as = \"integer\" for minor units"),
    ("not readable as flag", "name the column's words under [labels]: fraud = [...], legitimate = [...]"),
    ("not readable", "mend the value, or leave the field out of the mapping"),
    ("missing", "fill it, or give the entry a `default`"),
    ("none of", "map a column with these values, or leave the field out of the mapping"),
    ("does not match", "send its code, or leave the field out of the mapping"),
    ("below", "mend the value; refunds are no payments"),
    ("repeats line", "send each payment once"),
    ("columns instead of", "mend the line's delimiters and quotes"),
)  # fmt: skip
OTHER_FIX = "mend the value"


def explained(prepared: Prepared, mapping: Mapping) -> pl.DataFrame:
    """line, column, reason and fix of each fault of each rejected row."""
    faults = prepared.rejected.select("line", pl.col("reason").str.split("; ")).explode("reason")
    rows = [(line, _column(reason, mapping), reason, _fix(reason)) for line, reason in faults.rows()]
    return pl.DataFrame(
        rows, schema={"line": pl.Int64, "column": pl.String, "reason": pl.String, "fix": pl.String}, orient="row"
    )


def commonest(faults: pl.DataFrame) -> list[dict[str, object]]:
    """The commonest faults first."""
    plain = faults.with_columns(pl.col("reason").str.replace(r"line \d+", "line …"))
    counted = plain.group_by("column", "reason", "fix").agg(pl.len().alias("rows"))
    return counted.sort(["rows", "reason"], descending=[True, False]).rows(named=True)


def _column(reason: str, mapping: Mapping) -> str:
    name = reason.partition(":")[0]
    column = mapping.transactions.column(name)
    if column is not None and column.source is not None:
        return column.source
    return name if mapping.labels is not None and name == mapping.labels.is_fraud else ""


def _fix(reason: str) -> str:
    return next((fix for part, fix in FIXES if part in reason), OTHER_FIX)
