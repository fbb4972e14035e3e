"""Between the engine's NumPy and the columnar world: Arrow in, Arrow, Polars, pandas and PyTorch out.

The engine knows none of them. Hand-over is without a copy where the other side allows it.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fraud_assets.engine.batch import Vectors
from fraud_assets.engine.kernels import NULL
from fraud_assets.engine.plan import PARTITION_BITS, EnginePlan, Ints
from fraud_assets.engine.prepare import BadValue, Columns, check_range, hash64
from fraud_assets.features.sources import Field, Kind, Source

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import torch

Floats = npt.NDArray[np.float32]


def columns_from_arrow(plan: EnginePlan, source: Source, rows: pa.Table) -> Columns:
    """Columns of a lake table's rows, in the order given. Raises BadValue, naming the field."""
    fields = {name: field_from_arrow(field, rows[name], source) for name, field in source.fields.items()}
    return Columns(
        source,
        fields,
        _integers(rows["ingested_at_ms"]),
        topic_codes(plan, rows["source_topic"], rows["source_partition"]),
        _integers(rows["source_offset"]),
    )


def needed_columns(source: Source) -> list[str]:
    """Lake columns that `columns_from_arrow` reads; asking for no others keeps a scan small."""
    return [*source.fields, "ingested_at_ms", "source_topic", "source_partition", "source_offset"]


def field_from_arrow(field: Field, column: pa.ChunkedArray, source: Source) -> Ints:
    """(n,) int64 codes of one field: hash, lexical rank, 0/1 or the number; NULL where null."""
    match field.kind:
        case Kind.ID:
            return _by_dictionary(column, hash64)
        case Kind.CATEGORY:
            return _by_dictionary(column, lambda text: _code(field, text, source))
        case _:
            found = _integers(column)
            check_range(found, field.name, source)
            return found


def topic_codes(plan: EnginePlan, topics: pa.ChunkedArray, partitions: pa.ChunkedArray) -> Ints:
    """(n,) `EnginePlan.topic_code` of each row."""
    codes = _by_dictionary(topics, lambda topic: plan.topic_code(topic, 0) >> PARTITION_BITS)
    return (codes << PARTITION_BITS) | _integers(partitions)


def _code(field: Field, text: str, source: Source) -> int:
    if text not in field.vocabulary:
        raise BadValue(f"BadValue: {source.name}.{field.name} is {text!r}; known: {', '.join(field.vocabulary)}.")
    return field.code(text)


def _by_dictionary(column: pa.ChunkedArray, code: Callable[[str], int]) -> Ints:
    """Encode each distinct text once."""
    encoded = pc.dictionary_encode(column.combine_chunks())
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    codes = np.array([code(text) for text in encoded.dictionary.to_pylist()] + [NULL], np.int64)
    places: Ints = encoded.indices.fill_null(len(codes) - 1).to_numpy(zero_copy_only=False)
    found: Ints = codes[places]
    return found


def _integers(column: pa.ChunkedArray) -> Ints:
    found: Ints = pc.fill_null(column.cast(pa.int64()), NULL).to_numpy().astype(np.int64, copy=False)
    return found


def to_arrow(names: tuple[str, ...], features: Floats) -> pa.Table:
    """One float32 column a feature; NaN stays NaN, as the model sees it."""
    columns = np.ascontiguousarray(features.T)
    return pa.table([pa.array(column) for column in columns], names=list(names))


def to_polars(names: tuple[str, ...], features: Floats) -> "pl.DataFrame":
    """The vectors as a Polars frame, sharing Arrow's memory."""
    import polars as pl

    return pl.DataFrame(pl.from_arrow(to_arrow(names, features)))


def to_pandas(names: tuple[str, ...], features: Floats) -> "pd.DataFrame":
    """The vectors as a pandas frame over the same memory."""
    import pandas as pd

    return pd.DataFrame(features, columns=list(names), copy=False)


def to_torch(features: Floats) -> "torch.Tensor":
    """The vectors as a tensor over the same memory. Needs the `torch` extra."""
    import torch

    return torch.from_numpy(features)


# Wide float32 rows gain nothing from dictionaries and statistics, which double the time to write them.
# With bytes of equal weight together LZ4 packs them within a tenth of zstd's fast levels, in two thirds
# of the time, and the writer has one thread: docs/adr/0006.
_WIDE_PARQUET = {
    "compression": "lz4",
    "use_dictionary": False,
    "write_statistics": False,
    "write_batch_size": 65_536,
}
ROW_GROUP_ROWS = 65_536


def write_vectors(
    path: Path,
    names: tuple[str, ...],
    chunks: Iterator[Vectors],
    beside: Mapping[str, pa.Array | pa.ChunkedArray] | None = None,
) -> int:
    """Stream vectors to one Parquet file; returns the rows written.

    beside: whole columns (ids, labels) to write before the features. The next row group is computed
    while one is written, and the file has its name only when it is whole.
    """
    whole = pa.table(dict(beside or {}))
    draft = path.with_name(f".{path.name}.draft")
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([*whole.schema, *(pa.field(name, pa.float32(), nullable=False) for name in names)])
    rows = 0
    with (
        pq.ParquetWriter(draft, schema, use_byte_stream_split=list(names), **_WIDE_PARQUET) as writer,
        ThreadPoolExecutor(1) as pool,
    ):
        waiting: Future[None] | None = None
        for group in _row_groups(names, chunks):
            if waiting is not None:
                waiting.result()
            tables = whole.slice(rows, len(group)), group
            waiting = pool.submit(_write_row_group, writer, schema, *tables)
            rows += len(group)
        if waiting is not None:
            waiting.result()
    draft.replace(path)
    return rows


def _row_groups(names: tuple[str, ...], chunks: Iterator[Vectors]) -> Iterator[pa.Table]:
    """Chunks put together to row groups that a reader can skip or take in one go."""
    held: list[pa.Table] = []
    for chunk in chunks:
        held.append(to_arrow(names, chunk.features))
        if sum(map(len, held)) >= ROW_GROUP_ROWS:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def _write_row_group(writer: pq.ParquetWriter, schema: pa.Schema, beside: pa.Table, features: pa.Table) -> None:
    whole = pa.Table.from_arrays([*beside.columns, *features.columns], schema=schema)
    writer.write_table(whole, row_group_size=len(features))
