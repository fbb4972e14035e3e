"""Whole Parquet files that appear at once or not at all, on a folder or an object store.

A local file is written under a hidden name, flushed to the disk, then renamed; an object is uploaded
whole, and becomes visible when its upload completes. Readers ignore names starting with `.` or `_`, so what a crash
leaves behind is never read.
"""

import ctypes
import errno
import os
import secrets
import shutil
import sys
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

# Level 3 halves the files of level 1's speed-first default at no measurable cost to a daily file.
COMPRESSION_LEVEL = 3
ROW_GROUP_ROWS = 128 * 1024  # small enough for time filters to skip, large enough to compress
SAMPLE_ROWS = 1000  # enough to tell an identifier from a category
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


class Files(Protocol):
    """What the lake asks of a place that holds files; paths are those of `filesystem`."""

    filesystem: pafs.FileSystem
    root: str
    scheme: str

    def put(self, path: str, rows: pa.Table) -> bool:
        """Write one whole file, replacing one of that name. True if there was one."""

    def replace_folder(self, folder: str, name: str, rows: pa.Table) -> None:
        """Make `folder` hold exactly one file, `name`."""

    def delete(self, paths: list[str]) -> None:
        """Remove files; those already gone are no error."""


class UnknownPlace(ValueError):
    """An address that is no place for files."""


def open_files(uri: str) -> Files:
    """`s3://bucket/prefix`, `file://…` or a local path. Raises UnknownPlace.

    Endpoint, region and credentials of an S3-compatible store are the client's own: AWS_ENDPOINT_URL, AWS_REGION,
    AWS_ACCESS_KEY_ID and so on, or the machine's role. So a notebook's DuckDB, Polars or aws command has the same.
    """
    if "://" in uri and not uri.startswith("file://"):
        try:
            filesystem, root = pafs.FileSystem.from_uri(_in_one_request(uri))
        except pa.ArrowInvalid as error:
            raise UnknownPlace(f"UnknownPlace: {uri}: {error}. Write a folder, or s3://bucket/prefix.") from error
        if not root:
            raise UnknownPlace(f"UnknownPlace: {uri} names no bucket. Write a folder, or s3://bucket/prefix.")
        return ObjectFiles(filesystem, root, uri.split("://")[0] + "://")
    return LocalFiles(Path(uri.removeprefix("file://")))


def _in_one_request(uri: str) -> str:
    """A file of up to 10 MB is put at once, in a fifth of the time that an upload in parts takes."""
    return f"{uri}{'&' if '?' in uri else '?'}allow_delayed_open=true" if uri.startswith("s3://") else uri


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


def read_parquet(filesystem: pafs.FileSystem, path: str, schema: pa.Schema) -> pa.Table:
    """`schema`'s columns of one file; one that it was written without is null.

    Not `pyarrow.dataset`, whose import takes a second and loads pandas into the worker.
    """
    with filesystem.open_input_file(path) as source:
        file = pq.ParquetFile(source)
        known = [name for name in schema.names if name in file.schema_arrow.names]
        found = file.read(columns=known, use_threads=False)
    columns = [
        found[field.name].cast(field.type) if field.name in known else pa.nulls(found.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


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


class LocalFiles:
    """A local folder. Renames are atomic, and durable once the parent folder is flushed."""

    scheme = ""

    def __init__(self, root: Path) -> None:
        self.filesystem = pafs.LocalFileSystem()
        self.root = str(root.absolute())

    def put(self, path: str, rows: pa.Table) -> bool:
        """Write one whole file, replacing one of that name. True if there was one.

        The hidden name lives beside the partition, not in it: `replace_folder` may swap the
        partition away meanwhile.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        hidden = _hidden(target.parent.parent, target.name)
        _write_flushed(hidden, rows)
        replaced = target.exists()
        hidden.replace(target)
        _flush_folder(target.parent)
        return replaced

    def replace_folder(self, folder: str, name: str, rows: pa.Table) -> None:
        """Swap in a new folder with one file; no reader ever sees it half-written."""
        target = Path(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        hidden = _hidden(target.parent, target.name)
        hidden.mkdir()
        _write_flushed(hidden / name, rows)
        _flush_folder(hidden)
        swap_in(hidden, target)
        _flush_folder(target.parent)
        if hidden.exists():  # it now holds what was replaced
            shutil.rmtree(hidden)

    def delete(self, paths: list[str]) -> None:
        for path in paths:
            Path(path).unlink(missing_ok=True)


class ObjectFiles:
    """An S3-compatible store. One object appears whole; several cannot be swapped at once."""

    def __init__(self, filesystem: pafs.FileSystem, root: str, scheme: str) -> None:
        self.filesystem = filesystem
        self.root = root.rstrip("/")
        self.scheme = scheme

    def put(self, path: str, rows: pa.Table) -> bool:
        """Encoded whole before the upload begins: closing a stream completes it, also when an error closes it half-way."""
        whole = pa.BufferOutputStream()
        write_parquet(rows, whole)
        replaced = self.filesystem.get_file_info(path).type is pafs.FileType.File
        with self.filesystem.open_output_stream(path) as sink:
            sink.write(whole.getvalue())
        return bool(replaced)

    def replace_folder(self, folder: str, name: str, rows: pa.Table) -> None:
        """New object first, then the others go: in between a reader may see both, never neither."""
        kept = f"{folder}/{name}"
        self.put(kept, rows)
        found = self.filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
        self.delete([info.path for info in found if info.path != kept])

    def delete(self, paths: list[str]) -> None:
        for path in paths:
            try:
                self.filesystem.delete_file(path)
            except FileNotFoundError:
                continue


def _hidden(folder: Path, name: str) -> Path:
    return folder / f".{name}.{secrets.token_hex(4)}.tmp"


def _write_flushed(path: Path, rows: pa.Table) -> None:
    with path.open("wb") as sink:
        write_parquet(rows, sink)
        sink.flush()
        os.fsync(sink.fileno())


def _flush_folder(folder: Path) -> None:
    """A rename survives a power cut only once the folder that holds the name is on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def swap_in(hidden: Path, target: Path) -> None:
    """Give a whole folder the name of another; what had the name is `hidden` afterwards, or gone."""
    if not target.exists():
        hidden.rename(target)
    elif not _exchange(hidden, target):
        # No atomic swap here (not Linux, or an old file system): for an instant the partition is
        # missing, which readers notice, rather than half-written, which they would not.
        replaced = _hidden(target.parent, target.name)
        target.rename(replaced)
        hidden.rename(target)
        shutil.rmtree(replaced)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(first))
