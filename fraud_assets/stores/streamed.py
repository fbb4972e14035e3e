"""A day's files read side by side, by arrival: in log order, and never the whole day in memory.

Each file is in log order, and files of several partitions are of one time. A row can be given when no file can have an earlier one:
of every file that has rows of this moment a part is held, and no other is open.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from fraud_assets.stores.log_order import in_log_order, without_replayed
from fraud_assets.stores.parquet import conformed

ARRIVAL = "ingested_at_ms"
# Of a column, read from a file at a time. Without it, and with what Arrow reads ahead, a row group is in memory at once: a
# hundred megabytes of each file of a compacted day.
BUFFER_BYTES = 256 * 1024

Asked = Callable[[pa.Table], pa.Table]


def streamed(
    filesystem: pafs.FileSystem, paths: Sequence[str], schema: pa.Schema, rows: int, asked: Asked
) -> Iterator[pa.Table]:
    """The `asked` rows of the files, a part at a time, in log order, each log position once.

    Of copies in two files the one in the first file stays, as for `Lake.scan`.

    rows: how many of a file are read at once. Raises FileNotFoundError if one is gone by the time it is read.
    """
    waiting = [_File(filesystem, path, schema, rows, asked) for path in paths]
    waiting.sort(key=_reaches, reverse=True)
    files = list[_File]()
    while waiting or files:
        # Who says least of what comes holds the others back. A day has thousands of files, and few are of one time.
        while waiting and (not files or waiting[-1].reaches_ms <= min(map(_reaches, files))):
            files.append(waiting.pop())
        min(files, key=_reaches).go_on()
        horizon_ms = min(map(_reaches, [*files, *waiting[-1:]]))
        parts = [part for file in sorted(files, key=_path) for part in file.before(horizon_ms)]
        files = [file for file in files if not file.is_done]
        if parts:
            yield without_replayed(in_log_order(pa.concat_tables(parts)))


class _File:
    """One file, of which nothing later than `reaches_ms` may be given yet. Opened for its first row's arrival, and again to read."""

    def __init__(self, filesystem: pafs.FileSystem, path: str, schema: pa.Schema, rows: int, asked: Asked) -> None:
        self.path = path
        self.reaches_ms: float = _first_arrival(filesystem, path)
        self._filesystem, self._schema, self._rows, self._asked = filesystem, schema, rows, asked
        self._parts: Iterator[pa.RecordBatch] | None = None
        self._held = list[pa.Table]()

    @property
    def is_done(self) -> bool:
        return self.reaches_ms == np.inf and not self._held

    def go_on(self) -> None:
        """Reads the next part, or comes to the end."""
        self._parts = self._parts or self._read()
        try:
            part = next(self._parts, None)
        except OSError as error:  # an object that goes while it is open is no FileNotFoundError
            if self._filesystem.get_file_info(self.path).is_file:
                raise
            raise FileNotFoundError(self.path) from error
        if part is None:
            self.reaches_ms = np.inf
            return
        found = conformed(pa.Table.from_batches([part]), self._schema)
        self.reaches_ms = max(self.reaches_ms, found[ARRIVAL][-1].as_py())
        found = self._asked(found)
        if found.num_rows:
            self._held.append(found)

    def before(self, horizon_ms: float) -> Iterator[pa.Table]:
        """Lets go of the rows that came before."""
        kept = []
        for part in self._held:
            at = int(np.searchsorted(part[ARRIVAL].to_numpy(), horizon_ms))
            if at:
                yield part.slice(0, at)
            if at < part.num_rows:
                kept.append(part.slice(at))
        self._held = kept

    def _read(self) -> Iterator[pa.RecordBatch]:
        with self._filesystem.open_input_file(self.path) as source:
            file = pq.ParquetFile(source, buffer_size=BUFFER_BYTES, pre_buffer=False)
            known = [name for name in self._schema.names if name in file.schema_arrow.names]
            yield from file.iter_batches(self._rows, columns=known, use_threads=False)


def _first_arrival(filesystem: pafs.FileSystem, path: str) -> float:
    """By the file's own statistics; a file without any is read from the start."""
    with filesystem.open_input_file(path) as source:
        said = pq.ParquetFile(source).metadata
    lowest = [
        column.statistics.min
        for group in map(said.row_group, range(said.num_row_groups))
        for column in map(group.column, range(group.num_columns))
        if column.path_in_schema == ARRIVAL and column.statistics is not None and column.statistics.has_min_max
    ]
    return min(lowest, default=-np.inf)


def _reaches(file: _File) -> float:
    return file.reaches_ms


def _path(file: _File) -> str:
    return file.path
