"""Decimals to integers of a smaller unit, exactly: 0.29 is 29 minor units, never 28.

Half a unit rounds away from zero, as on an invoice.
"""

import re
from decimal import ROUND_HALF_UP, Context, Decimal

import numpy as np
import polars as pl

# Decimal() itself also takes "1_000", "NaN" and the digits of every script.
_NUMBER = re.compile(r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,3})?", re.ASCII)
_LARGEST = 2**53  # up to here a double holds every integer, so the fast path is exact
INT64_MAX = 2**63 - 1
_EXACT = Context(prec=200)  # more digits than the pattern admits: the only rounding is the last one


def scaled_text(text: str, digits: int) -> int | None:
    """`text` times 10**digits, rounded; None if it is no plain decimal number or outside int64.

    >>> scaled_text("1.005", 2), scaled_text("0.29", 2), scaled_text("1,000", 2)
    (101, 29, None)
    """
    if not _NUMBER.fullmatch(text):
        return None
    exact = _EXACT.scaleb(Decimal(text), digits)
    return int(exact.to_integral_value(ROUND_HALF_UP)) if abs(exact) <= INT64_MAX else None


def scaled(values: pl.Series, digits: int) -> pl.Series:
    """(n,) int64 of numbers or text; null where there is no number. A float means its shortest decimal."""
    if values.dtype.is_integer():
        limit = INT64_MAX // 10**digits
        fitting = values.cast(pl.Int64, strict=False)
        return pl.Series(fitting.set((fitting > limit) | (fitting < -limit), None) * 10**digits)
    if values.dtype.is_float():
        return _scaled_floats(values.cast(pl.Float64), digits)
    return _scaled_texts(values.cast(pl.String).str.strip_chars(), digits)


def _scaled_floats(values: pl.Series, digits: int) -> pl.Series:
    """A float is the nearest double to candidate/10**digits exactly if that division gives it back.

    Only the others (more decimals, or too large) are read as decimal text.
    """
    floats = values.fill_null(float("nan")).to_numpy()
    with np.errstate(invalid="ignore", over="ignore"):
        candidate = np.rint(floats * 10**digits)
        exact = (np.abs(candidate) < _LARGEST) & (candidate / 10**digits == floats)
    found = pl.Series(np.where(exact, candidate, 0).astype(np.int64))
    if exact.all():
        return found
    rest = np.flatnonzero(~exact)
    return found.scatter(rest, _scaled_texts(values.gather(rest).cast(pl.String), digits))


def _scaled_texts(values: pl.Series, digits: int) -> pl.Series:
    """Each distinct text is read once; amounts repeat."""
    distinct = values.unique().drop_nulls()
    numbers = pl.Series([scaled_text(text, digits) for text in distinct], dtype=pl.Int64)
    return values.replace_strict(distinct, numbers, default=None, return_dtype=pl.Int64)
