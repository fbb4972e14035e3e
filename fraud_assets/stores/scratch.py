"""Arrays in files without a name: the system holds of them what memory has room for, and takes them back however the process ends."""

import mmap
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def array_on_disk(shape: tuple[int, ...], dtype: npt.DTypeLike, folder: Path | None = None) -> npt.NDArray[Any]:
    """Zeros, whose room is taken at once: a disk that is full says so here. folder: the system's temporary one. Raises OSError."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape)) * kind.itemsize
    if not size:
        return np.empty(shape, kind)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, size)
        return _mapped(file.fileno(), kind).reshape(shape)


class ColumnOnDisk:
    """A column of which nobody knows how long it will be. Raises OSError."""

    def __init__(self, dtype: npt.DTypeLike, folder: Path | None = None) -> None:
        self._dtype = np.dtype(dtype)
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  # closed by `whole`
        self._length = 0

    def append(self, values: npt.NDArray[Any]) -> None:
        """Values of the column's own type."""
        np.ascontiguousarray(values, self._dtype).tofile(self._file)
        self._length += len(values)

    def whole(self) -> npt.NDArray[Any]:
        """(n,) all of it; nothing can be appended any more."""
        with self._file:
            return _mapped(self._file.fileno(), self._dtype) if self._length else np.empty(0, self._dtype)


def _mapped(descriptor: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The file's content for as long as the array lives. Not `np.memmap`, which compiled code takes for another type."""
    return np.frombuffer(mmap.mmap(descriptor, 0), dtype)
