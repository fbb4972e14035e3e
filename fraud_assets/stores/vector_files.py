"""Point-in-time vectors streamed to Parquet: one file, or a folder of files that are written side by side."""

import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fraud_assets.engine.batch import DEFAULT_THREADS, Vectors
from fraud_assets.stores.files import swap_in
from fraud_assets.stores.frames import to_arrow

# Wide float32 rows gain nothing from dictionaries and statistics, which double the time to write them.
# With bytes of equal weight together LZ4 packs them within a tenth of zstd's fast levels, in two thirds
# of the time, and a file's writer has one thread: docs/adr/0006.
_WIDE_PARQUET = {
    "compression": "lz4",
    "use_dictionary": False,
    "write_statistics": False,
    "write_batch_size": 65_536,
}
ROW_GROUP_ROWS = 65_536

Beside = Mapping[str, pa.Array | pa.ChunkedArray]


def write_vectors(path: Path, names: tuple[str, ...], chunks: Iterator[Vectors], beside: Beside | None = None) -> int:
    """Stream vectors to Parquet; returns the rows written.

    path: a name that ends in `.parquet` is one file; any other is a folder of files `part-<first row>.parquet`,
    a row group each, two written at a time. beside: whole columns (ids, labels) to write before the features.
    The next row group is computed while others are written, and nothing has its name before it is whole.
    """
    whole = pa.table(dict(beside or {}))
    schema = pa.schema([*whole.schema, *(pa.field(name, pa.float32(), nullable=False) for name in names)])
    groups = _row_groups(schema, names, chunks, whole)
    draft = path.with_name(f".{path.name}.draft")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        rows = _write_file(draft, schema, groups)
        draft.replace(path)
        return rows
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    rows = _write_parts(draft, schema, groups)
    swap_in(draft, path)
    shutil.rmtree(draft, ignore_errors=True)
    return rows


def _row_groups(
    schema: pa.Schema, names: tuple[str, ...], chunks: Iterator[Vectors], beside: pa.Table
) -> Iterator[pa.Table]:
    """Chunks put together to row groups that a reader can skip or take in one go."""
    held: list[pa.Table] = []
    first = rows = 0
    for chunk in chunks:
        held.append(to_arrow(names, chunk.features))
        rows += len(chunk.features)
        if rows - first >= ROW_GROUP_ROWS:
            yield _joined(schema, beside.slice(first, rows - first), held)
            held, first = [], rows
    if held:
        yield _joined(schema, beside.slice(first, rows - first), held)


def _joined(schema: pa.Schema, beside: pa.Table, held: list[pa.Table]) -> pa.Table:
    return pa.Table.from_arrays([*beside.columns, *pa.concat_tables(held).columns], schema=schema)


def _write_file(path: Path, schema: pa.Schema, groups: Iterator[pa.Table]) -> int:
    with _writer(path, schema) as writer:
        return _write_each(groups, 1, lambda _, group: writer.write_table(group, row_group_size=len(group)))


def _write_parts(folder: Path, schema: pa.Schema, groups: Iterator[pa.Table]) -> int:
    def write(first: int, group: pa.Table) -> None:
        with _writer(folder / f"part-{first:012d}.parquet", schema) as writer:
            writer.write_table(group, row_group_size=max(1, len(group)))

    rows = _write_each(groups, DEFAULT_THREADS, write)
    if not rows:
        write(0, schema.empty_table())
    return rows


def _write_each(groups: Iterator[pa.Table], threads: int, write: Callable[[int, pa.Table], None]) -> int:
    """Give each group and its first row to `write`, `threads` at a time; returns the rows."""
    rows = 0
    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for group in groups:
            # Encoding is behind: what waits would only fill memory.
            if len(waiting) == threads:
                waiting.popleft().result()
            waiting.append(pool.submit(write, rows, group))
            rows += len(group)
        for one in waiting:
            one.result()
    return rows


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    floats = [field.name for field in schema if field.type == pa.float32()]
    return pq.ParquetWriter(path, schema, use_byte_stream_split=floats, **_WIDE_PARQUET)
