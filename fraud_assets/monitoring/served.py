"""Vectors that decisions were made from, a table of them at a time; one of them alone: `stores/served.py`."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fraud_assets.stores.served import FLOAT32, Floats

Flags = npt.NDArray[np.bool_]

# A decision has either: no number in the one, or null in the other, as in all files of before there was `vector`.
VECTOR_COLUMNS = ("features", "vector")


def served_vectors(rows: pa.Table, width: int) -> tuple[Floats, Flags]:
    """(n, width) as served, NaN for null; and (n,) whether a row's vector is of that width. Of another all is NaN.

    rows: VECTOR_COLUMNS of the lake's decisions.
    """
    numbers, texts = (rows[name].combine_chunks() for name in VECTOR_COLUMNS)
    as_numbers = _flags(pc.and_(pc.is_null(texts), pc.equal(pc.list_value_length(numbers), width)))
    none = pc.equal(pc.list_value_length(numbers), 0)
    as_bytes = _flags(pc.and_(none, pc.equal(pc.binary_length(texts), width * FLOAT32.itemsize)))
    served = np.full((rows.num_rows, width), np.nan, np.float32)
    served[as_numbers] = _of_numbers(numbers.filter(pa.array(as_numbers))).reshape(-1, width)
    served[as_bytes] = np.frombuffer(b"".join(texts.filter(pa.array(as_bytes)).to_pylist()), FLOAT32).reshape(-1, width)
    return served, as_numbers | as_bytes


def _of_numbers(lists: pa.ListArray) -> Floats:
    values = pc.fill_null(lists.flatten(), float("nan")).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):  # what no float32 holds becomes infinite, and equals no recomputation
        found: Floats = values.astype(np.float32)
    return found


def _flags(column: pa.Array) -> Flags:
    found: Flags = pc.fill_null(column, fill_value=False).to_numpy(zero_copy_only=False)
    return found
