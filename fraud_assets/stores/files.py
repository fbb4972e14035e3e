"""Whole Parquet files that appear at once or not at all, on a folder or an object store.

A local file is written under a hidden name, flushed to the disk, then renamed; an object is uploaded
whole, and becomes visible when its upload completes. Readers ignore names starting with `.` or `_`, so what a crash
leaves behind is never read.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.fs as pafs

from fraud_assets.stores.parquet import write_parquet

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_HIDDEN = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


class Files(Protocol):
    """What the lake asks of a place that holds files; paths are those of `filesystem`."""

    filesystem: pafs.FileSystem
    root: str
    scheme: str

    def put(self, path: str, rows: pa.Table) -> bool:
        """Write one whole file, replacing one of that name. True if there was one."""

    def replace_folder(self, folder: str, name: str, rows: pa.Table) -> None:
        """Make `folder` hold exactly one file, `name`."""

    def merge(self, folder: str, merged: Sequence[pafs.FileInfo], name: str, rows: pa.Table) -> bool:
        """Put `name`, which holds the rows of `merged`, in their place; whatever else the folder holds stays.

        False, and nothing has changed, if one of them is no longer what it was.
        """

    def delete(self, paths: list[str]) -> None:
        """Remove files; those already gone are no error."""

    def sweep(self, older_than_s: float) -> int:
        """Remove what writers that died have left under hidden names, old rows among it; how many. Younger ones may be at work."""


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


def beside(uri: str, name: str) -> str:
    """The sibling folder of that name: derived, so never inside the root itself."""
    place, options, said = uri.partition("?")
    return f"{place.rstrip('/').rpartition('/')[0] or '.'}/{name}{options}{said}"


def _in_one_request(uri: str) -> str:
    """A file of up to 10 MB is put at once, in a fifth of the time that an upload in parts takes."""
    return f"{uri}{'&' if '?' in uri else '?'}allow_delayed_open=true" if uri.startswith("s3://") else uri


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
        with _beside_others(target.parent.parent):
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
        with _alone(target.parent):
            _swap_durably(hidden, target)
        _forget(hidden)

    def merge(self, folder: str, merged: Sequence[pafs.FileInfo], name: str, rows: pa.Table) -> bool:
        """Two folders swap names, the new one with everything else of the old: not even a glob sees a row twice.

        Nobody can add a file meanwhile. The rows are written before, for that is what takes time.
        """
        target = Path(folder)
        hidden = _hidden(target.parent, target.name)
        hidden.mkdir()
        _write_flushed(hidden / name, rows)
        with _alone(target.parent):
            unchanged = _unchanged(self.filesystem, merged)
            if unchanged:
                leaving = {info.base_name for info in merged}
                for path in target.iterdir():
                    if path.name not in leaving:
                        os.link(path, hidden / path.name)
                _swap_durably(hidden, target)
        _forget(hidden)
        return unchanged

    def delete(self, paths: list[str]) -> None:
        for path in map(Path, paths):
            if path.exists():
                with _beside_others(path.parent.parent):
                    path.unlink(missing_ok=True)

    def sweep(self, older_than_s: float) -> int:
        left = [path for path in Path(self.root).rglob(".*.tmp") if _HIDDEN.fullmatch(path.name)]
        dead = [path for path in left if time.time() - _touched_s(path) > older_than_s]
        for path in dead:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        return len(dead)


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

    def merge(self, folder: str, merged: Sequence[pafs.FileInfo], name: str, rows: pa.Table) -> bool:
        """The new object first, then the others go: in between, and after a crash there, rows are in two objects."""
        if not _unchanged(self.filesystem, merged):
            return False
        self.put(f"{folder}/{name}", rows)
        others = [info for info in merged if info.base_name != name]
        self.delete([info.path for info in others if _unchanged(self.filesystem, [info])])
        return True

    def delete(self, paths: list[str]) -> None:
        for path in paths:
            try:
                self.filesystem.delete_file(path)
            except FileNotFoundError:
                continue

    def sweep(self, older_than_s: float) -> int:  # noqa: ARG002 (the protocol's)
        """An object whose writer died was never there."""
        return 0


def _unchanged(filesystem: pafs.FileSystem, files: Sequence[pafs.FileInfo]) -> bool:
    found = filesystem.get_file_info([info.path for info in files])
    return [(info.size, info.mtime_ns) for info in found] == [(info.size, info.mtime_ns) for info in files]


@contextlib.contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """Of the folder itself, which leaves no file behind; a process that dies lets go."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _beside_others(table: Path) -> contextlib.AbstractContextManager[None]:
    """For who adds or removes a file of a day: not while two of the table's folders swap names."""
    return _locked(table, fcntl.LOCK_SH)


def _alone(table: Path) -> contextlib.AbstractContextManager[None]:
    """For who swaps two folders, for the instant that it takes."""
    return _locked(table, fcntl.LOCK_EX)


def _swap_durably(hidden: Path, target: Path) -> None:
    _flush_folder(hidden)
    swap_in(hidden, target)
    _flush_folder(target.parent)


def _forget(hidden: Path) -> None:
    """What was replaced, or could not be put; there is none where the target was new."""
    if hidden.exists():
        shutil.rmtree(hidden)


def _hidden(folder: Path, name: str) -> Path:
    return folder / f".{name}.{secrets.token_hex(4)}.tmp"


def _touched_s(path: Path) -> float:
    """When it, or a file in it, was last written or renamed; now if it goes this moment."""
    try:
        found = [one.stat() for one in (path, *path.glob("*"))]
    except FileNotFoundError:
        return time.time()
    return max(max(one.st_mtime, one.st_ctime) for one in found)


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
