"""One Parquet file: how the lake encodes its rows, and reads them back by the schema of today."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

# A column, and the values that it may have.
Among = tuple[str, pa.Array]

# Level 3 halves the files of level 1's speed-first default at no measurable cost to a daily file.
COMPRESSION_LEVEL = 3
ROW_GROUP_ROWS = 128 * 1024  # small enough for time filters to skip, large enough to compress
SAMPLE_ROWS = 1000  # enough to tell an identifier from a category


class NewerFile(ValueError):
    """A file with columns that this version would lose."""


def write_parquet(rows: pa.Table, sink: object) -> None:
    """Zstd, with the encodings that suit a log: a third of the time and half the size of the defaults."""
    dictionary, encoding = _encodings(rows)
    pq.write_table(
        rows,
        sink,
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        row_group_size=ROW_GROUP_ROWS,
        use_dictionary=dictionary,
        column_encoding=encoding,
    )


def read_parquet(
    filesystem: pafs.FileSystem, path: str, schema: pa.Schema, *, whole: bool = False, among: Among | None = None
) -> pa.Table:
    """`schema`'s columns of one file; one that it was written without is null. Raises FileNotFoundError, also half-way.

    whole: for who will write it again, raises NewerFile rather than drop a column. among: a column of `schema`; of a file
    in which no row is among them, nothing else is read and no row is given.
    Not `pyarrow.dataset`, whose import takes a second and loads pandas into the worker.
    """
    try:
        with filesystem.open_input_file(path) as source:
            file = pq.ParquetFile(source)
            there = file.schema_arrow.names
            known = [name for name in schema.names if name in there]
            found = _found(file, known, among)
    except OSError as error:
        # An object may go between two requests for parts of it, and each store says so in words of its own.
        if filesystem.get_file_info(path).type is pafs.FileType.NotFound:
            raise FileNotFoundError(path) from error
        raise
    if whole and len(there) > len(known):
        newer = ", ".join(name for name in there if name not in known)
        raise NewerFile(
            f"NewerFile: {path} has {newer}, which this version would drop. Leave it to the version that wrote it."
        )
    if found is None:
        return schema.empty_table()
    return conformed(found, schema)


def conformed(found: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of `schema`; one that a file was written without is null."""
    columns = [
        found[field.name].cast(field.type) if field.name in found.column_names else pa.nulls(len(found), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _found(file: pq.ParquetFile, known: list[str], among: Among | None) -> pa.Table | None:
    """The file's columns, in any order; None if no row is `among`."""
    if among is None or among[0] not in known:
        return file.read(columns=known, use_threads=False)
    name, values = among
    first = file.read(columns=[name], use_threads=False)
    if not pc.any(pc.is_in(first[name].cast(values.type), value_set=values)).as_py():
        return None
    rest = file.read(columns=[column for column in known if column != name], use_threads=False)
    return rest.append_column(name, first[name])


def _encodings(rows: pa.Table) -> tuple[list[str] | bool, dict[str, str] | None]:
    """Times and offsets as differences, repeating text by dictionary, identifiers by shared prefix.

    Tables with nested columns keep Arrow's defaults: their leaves have other names than the column.
    """
    if any(pa.types.is_nested(field.type) for field in rows.schema):
        return True, None
    dictionary, encoding = [], {}
    for field in rows.schema:
        if pa.types.is_integer(field.type):
            encoding[field.name] = "DELTA_BINARY_PACKED"
        elif pa.types.is_string(field.type) and _is_mostly_distinct(rows[field.name]):
            encoding[field.name] = "DELTA_BYTE_ARRAY"
        elif pa.types.is_string(field.type):
            dictionary.append(field.name)
    return dictionary, encoding


def _is_mostly_distinct(column: pa.ChunkedArray) -> bool:
    sample = column.slice(0, SAMPLE_ROWS)
    return len(sample) > 0 and len(sample.unique()) > 0.9 * len(sample)
