"""A frame of contract fields and, for every row that breaks the contract, all reasons why.

The bounds are read off the contract's own annotations, so a batch row and a streamed event are
judged by the same rule.
"""

from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.ingest.convert import DEFAULT_HOW, convert, day_text, is_blank
from fraud_assets.ingest.fields import Field, contract_fields
from fraud_assets.ingest.mapping import Column, Table
from fraud_assets.ingest.read import LINE

REASON = "__reason"
_DTYPES: dict[type, pl.DataType] = {str: pl.String(), int: pl.Int64(), bool: pl.Boolean()}
# NUL and other control characters break stores and logs; U+FFFD stands for bytes that were no UTF-8.
_NO_TEXT = r"[\x00-\x1f\x7f\x{FFFD}]"


@dataclass(frozen=True)
class Checked:
    """rows: contract fields and LINE, every row valid. refused: LINE and REASON of the others."""

    rows: pl.DataFrame
    refused: pl.DataFrame


def check(table: Table, raw: pl.DataFrame, key: TokenKey, needed: Collection[str] | None = None) -> Checked:
    """Convert and judge every row of `raw` against the table's contract.

    needed: the fields that no row may lack; None is what the contract says.
    """
    values: dict[str, pl.Series] = {LINE: raw[LINE]}
    problems: list[tuple[str, pl.Series]] = []
    for field in contract_fields(table.contract):
        column = table.column(field.name)
        if column is None or column.source is None:
            constant = field.default if column is None else column.value
            found = pl.Series([constant], dtype=_DTYPES[field.type]).new_from_index(0, len(raw))
        else:
            found = convert(raw[column.source], column, column.how or DEFAULT_HOW[field.type], key)
            required = column.default is None and (not field.nullable if needed is None else field.name in needed)
            problems += _unreadable(field, column, raw[column.source], found, required=required)
            if column.default is not None:
                found = found.zip_with(
                    ~is_blank(raw[column.source]), pl.Series([column.default]).new_from_index(0, len(raw))
                )
        values[field.name] = found
        problems += _out_of_bounds(field, column, found)
    return _split(pl.DataFrame(values), problems)


def _unreadable(
    field: Field, column: Column, sent: pl.Series, found: pl.Series, *, required: bool
) -> list[tuple[str, pl.Series]]:
    blank = is_blank(sent)
    what = (column.how or DEFAULT_HOW[field.type]).replace("_", " ")
    problems = [(f"{field.name}: not readable as {what}", ~blank & found.is_null())]
    if required:
        problems.append((f"{field.name}: missing", blank))
    return problems


def _out_of_bounds(field: Field, column: Column | None, found: pl.Series) -> list[tuple[str, pl.Series]]:
    name, problems = field.name, []
    if field.type is int and column is not None and column.how == "time":
        assert field.ge is not None and field.le is not None
        outside = (found < field.ge) | (found > field.le)
        return [(f"{name}: outside {day_text(field.ge)} to {day_text(field.le)}", outside)]
    if field.ge is not None:
        problems.append((f"{name}: below {field.ge}", found < field.ge))
    if field.le is not None:
        problems.append((f"{name}: above {field.le}", found > field.le))
    if field.type is not str:
        return problems
    problems.append((f"{name}: control character or invalid UTF-8", found.str.contains(_NO_TEXT)))
    if field.max_length is not None:
        problems.append(
            (f"{name}: longer than {field.max_length} characters", found.str.len_chars() > field.max_length)
        )
    if field.pattern is not None:
        problems.append((f"{name}: does not match {field.pattern}", ~found.str.contains(field.pattern)))
    if field.vocabulary:
        problems.append((f"{name}: none of {', '.join(field.vocabulary)}", ~found.is_in(list(field.vocabulary))))
    return problems


def _split(rows: pl.DataFrame, problems: list[tuple[str, pl.Series]]) -> Checked:
    """Only broken rows pay for the text of their reasons."""
    raised = [(reason, mask.fill_null(value=False)) for reason, mask in problems]
    raised = [(reason, mask) for reason, mask in raised if mask.any()]
    if not raised:
        return Checked(rows, pl.DataFrame(schema={LINE: pl.Int64, REASON: pl.String}))
    broken = pl.select(pl.any_horizontal(mask for _, mask in raised)).to_series()
    reasons = [
        pl.select(pl.when(mask.filter(broken)).then(pl.lit(reason))).to_series().alias(str(at))
        for at, (reason, mask) in enumerate(raised)
    ]
    text = pl.DataFrame(reasons).select(pl.concat_str(pl.all(), separator="; ", ignore_nulls=True).alias(REASON))
    return Checked(rows.filter(~broken), pl.DataFrame([rows[LINE].filter(broken), text[REASON]]))
