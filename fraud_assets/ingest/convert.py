"""Raw columns to contract fields, a whole column at a time; what cannot be read is null."""

import datetime as dt
from collections.abc import Callable

import polars as pl

from fraud_assets.contracts.tokens import TokenKey, country_of, tokenise
from fraud_assets.ingest.decimals import scaled
from fraud_assets.ingest.mapping import Column

DEGREE_DIGITS = 6
ISO_FORMATS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d")
# What a column without `as` is read as, by the type of its field; and the type that each `as` gives.
DEFAULT_HOW = {str: "text", int: "integer", bool: "flag"}
GIVES: dict[str, type] = {
    "text": str, "integer": int, "flag": bool, "money": int, "degrees": int, "time": int,
    "card_token": str, "email_token": str, "ip_token": str, "ip_country": str,
}  # fmt: skip
_TRUE = ("1", "true", "yes", "t", "y")
_FALSE = ("0", "false", "no", "f", "n")


def convert(raw: pl.Series, column: Column, how: str, key: TokenKey) -> pl.Series:
    """(n,) values of one field; null where `raw` is null, and where it does not say a value."""
    match how:
        case "text":
            return _text(raw, column.prefix)
        case "integer":
            return scaled(raw, 0) if raw.dtype.is_integer() else _integers(raw)
        case "flag":
            return _flags(raw)
        case "money":
            return scaled(raw, column.digits)
        case "degrees":
            return scaled(raw, DEGREE_DIGITS)
        case "time":
            return _times_ms(raw, column)
        case "card_token":
            return _by_distinct(raw, lambda text: tokenise("card", text, key))
        case "email_token":
            return _by_distinct(raw, lambda text: tokenise("email", text, key))
        case "ip_token":
            return _by_distinct(raw, lambda text: tokenise("ip", text, key))
        case "ip_country":
            return _by_distinct(raw, country_of)
        case _:
            raise ValueError(f"convert: unknown conversion {how!r}")


def time_fault(column: Column) -> str | None:
    """What no time could be read with, as the end of a sentence; None if nothing is wrong."""
    try:
        pl.Series([0]).cast(pl.Datetime("ms")).dt.replace_time_zone(column.timezone)
    except pl.exceptions.PolarsError:
        return f"timezone = {column.timezone!r} is none; write one like 'Europe/Amsterdam' or 'UTC'"
    try:
        pl.Series([""]).str.to_datetime(column.format or ISO_FORMATS[0], strict=False)
    except pl.exceptions.PolarsError:
        return f"format = {column.format!r} says no day and time; write one like '%d/%m/%Y %H:%M'"
    return None


def is_blank(raw: pl.Series) -> pl.Series:
    """(n,) True where nothing was sent: null, or text of spaces alone."""
    if raw.dtype == pl.String:
        return raw.is_null() | (raw.str.strip_chars() == "")
    return raw.is_null()


def _text(raw: pl.Series, prefix: str) -> pl.Series:
    text = raw.cast(pl.String).str.strip_chars()
    present = text.set(text == "", None)
    return prefix + present if prefix else present


def _integers(raw: pl.Series) -> pl.Series:
    """Whole numbers only: 2.0 is 2, 2.5 is unreadable."""
    tenfold = scaled(raw, 1)
    return (tenfold // 10).set(tenfold % 10 != 0, None)


def _flags(raw: pl.Series) -> pl.Series:
    if raw.dtype == pl.Boolean:
        return raw
    text = (_integers(raw) if raw.dtype.is_float() else raw).cast(pl.String)
    known = dict.fromkeys(_TRUE, True) | dict.fromkeys(_FALSE, False)
    return text.str.strip_chars().str.to_lowercase().replace_strict(known, default=None, return_dtype=pl.Boolean)


def _times_ms(raw: pl.Series, column: Column) -> pl.Series:
    """Milliseconds since 1970 UTC, rounded down."""
    if raw.dtype == pl.Date:
        return _epoch_ms(raw.cast(pl.Datetime("ms")), column.timezone)
    if isinstance(raw.dtype, pl.Datetime):
        if raw.dtype.time_zone is not None:
            return raw.dt.epoch("ms")
        return _epoch_ms(raw, column.timezone)
    if raw.dtype.is_numeric() or _is_numeric_text(raw, column):
        return scaled(raw, 3 if column.unit == "s" else 0)
    return _parsed_times_ms(raw.cast(pl.String).str.strip_chars(), column)


def _is_numeric_text(raw: pl.Series, column: Column) -> bool:
    """A CSV's epoch seconds come as text; a declared format or ISO text does not look like a number."""
    first = raw.drop_nulls().head(1).cast(pl.String)
    return column.format is None and len(first) == 1 and scaled(first, 3).null_count() == 0


def _parsed_times_ms(text: pl.Series, column: Column) -> pl.Series:
    if column.format is not None and "%z" in column.format:
        return text.str.to_datetime(column.format, strict=False, time_unit="ms").dt.epoch("ms")
    zulu = text.str.ends_with("Z") & (column.format is None)
    local = text.str.strip_suffix("Z") if column.format is None else text
    formats = (column.format,) if column.format else ISO_FORMATS
    found = pl.select(
        pl.coalesce(local.str.to_datetime(form, strict=False, time_unit="ms") for form in formats)
    ).to_series()
    if not zulu.any():
        return _epoch_ms(found, column.timezone)
    return found.dt.epoch("ms").zip_with(zulu, _epoch_ms(found, column.timezone))


def _epoch_ms(local: pl.Series, timezone: str) -> pl.Series:
    """Of the two instants an autumn hour names, the first; an hour that spring skipped is unreadable."""
    if timezone == "UTC":
        return local.dt.epoch("ms")
    return local.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null").dt.epoch("ms")


def _by_distinct(raw: pl.Series, function: Callable[[str], str]) -> pl.Series:
    """`function` of each distinct text, once; null where it refuses."""
    text = raw.cast(pl.String)
    distinct = text.unique().drop_nulls()
    return text.replace_strict(
        distinct,
        pl.Series([_or_none(function, value) for value in distinct], dtype=pl.String),
        default=None,
        return_dtype=pl.String,
    )


def _or_none(function: Callable[[str], str], value: str) -> str | None:
    try:
        return function(value)
    except ValueError:
        return None


def day_text(time_ms: int) -> str:
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).date().isoformat()
