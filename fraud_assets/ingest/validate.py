"""A frame of contract fields and, for every row that breaks the contract, all reasons why.

The bounds are read off the contract's own annotations, so a batch row and a streamed event are
judged by the same rule.
"""

from dataclasses import dataclass
from functools import cache

import msgspec
import polars as pl

from fraud_assets.contracts.events import Event
from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.ingest.convert import convert, day_text, is_blank
from fraud_assets.ingest.mapping import Column, Table
from fraud_assets.ingest.read import LINE

REASON = "__reason"
_DTYPES: dict[type, pl.DataType] = {str: pl.String(), int: pl.Int64(), bool: pl.Boolean()}
# NUL and other control characters break stores and logs; U+FFFD stands for bytes that were no UTF-8.
_NO_TEXT = r"[\x00-\x1f\x7f\x{FFFD}]"
_DEFAULT_HOW = {str: "text", int: "integer", bool: "flag"}


@dataclass(frozen=True)
class Field:
    """One contract field: its plain type, bounds, and the value it has when nobody maps it."""

    name: str
    type: type
    nullable: bool
    default: object
    ge: int | None = None
    le: int | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    vocabulary: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checked:
    """rows: contract fields and LINE, every row valid. refused: LINE and REASON of the others."""

    rows: pl.DataFrame
    refused: pl.DataFrame


def check(table: Table, raw: pl.DataFrame, key: TokenKey) -> Checked:
    """Convert and judge every row of `raw` against the table's contract."""
    values: dict[str, pl.Series] = {LINE: raw[LINE]}
    problems: list[tuple[str, pl.Series]] = []
    for field in contract_fields(table.contract):
        column = table.column(field.name)
        if column is None or column.source is None:
            constant = field.default if column is None else column.value
            found = pl.Series([constant], dtype=_DTYPES[field.type]).new_from_index(0, len(raw))
        else:
            found = convert(raw[column.source], column, column.how or _DEFAULT_HOW[field.type], key)
            problems += _unreadable(field, column, raw[column.source], found)
        values[field.name] = found
        problems += _out_of_bounds(field, column, found)
    return _split(pl.DataFrame(values), problems)


@cache
def contract_fields(contract: type[Event]) -> tuple[Field, ...]:
    """Fields of a flat contract; lists and mappings cannot be ingested from columns."""
    info = msgspec.inspect.type_info(contract)
    assert isinstance(info, msgspec.inspect.StructType)
    return tuple(_field(item) for item in info.fields)


def _field(item: msgspec.inspect.Field) -> Field:
    options = item.type.types if isinstance(item.type, msgspec.inspect.UnionType) else (item.type,)
    kind = next(option for option in options if not isinstance(option, msgspec.inspect.NoneType))
    if isinstance(kind, msgspec.inspect.Metadata):
        kind = kind.type
    nullable = len(options) > 1
    default = None if item.required or item.default is msgspec.NODEFAULT else item.default
    match kind:
        case msgspec.inspect.IntType(ge=ge, le=le):
            return Field(item.name, int, nullable, default, ge=ge, le=le)
        case msgspec.inspect.StrType(min_length=shortest, max_length=longest, pattern=pattern):
            return Field(item.name, str, nullable, default, min_length=shortest, max_length=longest, pattern=pattern)
        case msgspec.inspect.EnumType(cls=cls):
            return Field(item.name, str, nullable, default, vocabulary=tuple(member.value for member in cls))
        case msgspec.inspect.BoolType():
            return Field(item.name, bool, nullable, default)
        case _:
            raise TypeError(
                f"{item.name} is a {type(kind).__name__}; only flat contracts can be ingested from columns."
            )


def _unreadable(field: Field, column: Column, sent: pl.Series, found: pl.Series) -> list[tuple[str, pl.Series]]:
    blank = is_blank(sent)
    what = (column.how or _DEFAULT_HOW[field.type]).replace("_", " ")
    problems = [(f"{field.name}: not readable as {what}", ~blank & found.is_null())]
    if not field.nullable:
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
