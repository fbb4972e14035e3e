"""The lake: immutable Parquet by event date, read in log order as known at any time.

A path is `<root>/<table>/event_date=YYYY-MM-DD/<name>.parquet`. DuckDB and Polars read the same
files through `glob`; nothing here holds a lock.
"""

import contextlib
import datetime as dt
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.stores.files import Files, open_files
from fraud_assets.stores.log_order import asked_of, in_log_order, log_order, where, without_replayed
from fraud_assets.stores.parquet import Among, read_parquet
from fraud_assets.stores.schemas import LOG_ORDER, TABLES, arrow_schema
from fraud_assets.stores.streamed import streamed

if TYPE_CHECKING:  # its import takes a second and loads pandas, which no worker wants
    import pyarrow.dataset as ds

# Which rows of a table: (n,) of bool.
Right = Callable[[pa.Table], npt.NDArray[np.bool_]]

PARTITION_FILE = "data.parquet"
MENDED = "mended"
# A reader that listed a file which was then replaced lists again; thrice means somebody rewrites
# faster than it reads, and that is worth an error.
READ_ATTEMPTS = 3
THREADS = 4  # a history has hundreds of files, and each waits for the disk
# Files: asked for all at once, ten thousand of them hold 40 MiB until the last is read, whatever they contain.
AT_ONCE = 64
Made = TypeVar("Made")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,199}")
# Its writer was not named by earlier versions.
_APPENDED = re.compile(r"(.+?)-(\d{5})-(\d{20})(?:-.+)?\.parquet")
_PARTITION = re.compile(r"event_date=(\d{4}-\d{2}-\d{2})")


class UnknownTable(KeyError):
    """A table that no schema is declared for."""


class BusyDay(RuntimeError):
    """Somebody has written the same files; nothing was changed."""


class BadRows(ValueError):
    """Rows that do not fit their table; the message names the column."""


def start_ms(day: str) -> int:
    """Midnight UTC at which a day begins, as the lake names it."""
    return int(np.datetime64(day, "ms").astype(np.int64))


def append_name(topic: str, partition: int, first_offset: int, writer: str) -> str:
    """The file name of a sink's batch. A replay starts at the same offset, so a writer replaces its own file, and never another's.

    Another's may hold more: of an owner whose successor went further, or of the successor while the first one wakes up.
    """
    return f"{topic}-{partition:05d}-{first_offset:020d}-{writer}"


class Appended(NamedTuple):
    """What `append_name` says of a file. partition: of its topic, as `<topic>/<number>`."""

    partition: str
    first_offset: int


def appended(file_name: str) -> Appended | None:
    """What a sink's file name says; None of any other file, such as a merged one, an import's, or one written by hand."""
    said = _APPENDED.fullmatch(file_name)
    return Appended(f"{said[1]}/{int(said[2])}", int(said[3])) if said else None


class Lake:
    """Tables of one root, each with the schema of its contract.

    root: a folder or an `s3://` URI. schemas: tables besides those of the contracts.
    """

    def __init__(self, root: str | Path, schemas: Mapping[str, pa.Schema] | None = None) -> None:
        self.uri = str(root)
        self._files: Files = open_files(self.uri)
        self._schemas = {name: arrow_schema(contract) for name, contract in TABLES.items()} | dict(schemas or {})

    def schema(self, table: str) -> pa.Schema:
        """Raises UnknownTable, which lists the known ones."""
        if table not in self._schemas:
            raise UnknownTable(
                f"UnknownTable: {table!r}. Known: {', '.join(self._schemas)}. Declare it in stores/schemas.py."
            )
        return self._schemas[table]

    def glob(self, table: str) -> str:
        """A pattern for DuckDB's `read_parquet(…, hive_partitioning = true)` and Polars' `scan_parquet`."""
        self.schema(table)
        return f"{self._files.scheme}{self._folder(table)}/event_date=*/*.parquet"

    def address(self, info: pafs.FileInfo) -> str:
        """A file that `files` lists, as a reader elsewhere names it: an absolute path, or `s3://bucket/…`."""
        return f"{self._files.scheme}{info.path}"

    def dataset(self, table: str) -> "ds.Dataset":
        """The files of this moment for DuckDB, with `event_date`: `connection.register("transactions", lake.dataset(…))`.

        Filters and projections reach the files, and Arrow does the reading: also of an object store, for which DuckDB
        itself would need an extension. A row that a crash left in two files is in both: see `scan`.
        """
        import pyarrow.dataset as ds

        partitioning = ds.partitioning(pa.schema([("event_date", pa.date32())]), flavor="hive")
        return ds.dataset(
            [path for _, path in self._listed(table)],
            schema=self.schema(table).append(pa.field("event_date", pa.date32())),
            format="parquet",
            filesystem=self._files.filesystem,
            partitioning=partitioning,
            partition_base_dir=self._folder(table),
        )

    def write_partition(self, table: str, day: str, rows: pa.Table) -> None:
        """Replace a day by `rows`, at once. Raises BadRows if a row is of another day."""
        dt.date.fromisoformat(day)
        conformed = self._conform(table, rows)
        strangers = [other for other, _ in _by_day(conformed) if other != day]
        if strangers:
            raise BadRows(f"BadRows: {table} of {day} holds rows of {strangers[0]}; partition by event_time_ms in UTC.")
        ordered = in_log_order(conformed)
        self._files.replace_folder(f"{self._folder(table)}/event_date={day}", PARTITION_FILE, ordered)

    def append(self, table: str, rows: pa.Table, name: str, *, rewrite: bool = False) -> list[str]:
        """Add `rows` as files called `name`, one per event date; the dates written.

        The same name again replaces its rows, wherever they were: a batch replayed after a crash
        may end elsewhere than the first time, so what it no longer holds is removed. A replay starts
        at the same row and so is recognised; `rewrite` says that it may share no date with the first.
        """
        if not _NAME.fullmatch(name):
            raise BadRows(
                f"BadRows: file name {name!r} must start with a letter or digit (readers skip '_' and '.') and hold no '/'."
            )
        parts = dict(_by_day(self._conform(table, rows)))
        replaced = self._put([(self._path(table, day, name), part) for day, part in parts.items()])
        if rewrite or any(replaced):
            stale = [day for day in self.days(table) if day not in parts]
            self._files.delete([self._path(table, day, name) for day in stale])
        return list(parts)

    def _put(self, parts: Sequence[tuple[str, pa.Table]]) -> list[bool]:
        """Which of them replaced a file. One alone needs no thread: on a busy machine each waits for its turn."""
        if len(parts) == 1:
            return [self._files.put(*parts[0])]
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(lambda part: self._files.put(*part), parts))

    def files(self, table: str, days: Sequence[str] | None = None) -> list[tuple[str, pafs.FileInfo]]:
        """(event date, file) of every file a reader may open, ascending. days: all by default; of others nothing is listed."""
        self.schema(table)
        folders = [self._folder(table)] if days is None else [f"{self._folder(table)}/event_date={day}" for day in days]
        found = []
        for info in itertools.chain.from_iterable(self._infos(folder) for folder in folders):
            partition = _PARTITION.fullmatch(info.path.rpartition("/")[0].rpartition("/")[2])
            if partition and info.base_name.endswith(".parquet") and info.base_name[0] not in "._":
                found.append((partition[1], info))
        return sorted(found, key=lambda one: (one[0], one[1].path))

    def _infos(self, folder: str) -> list[pafs.FileInfo]:
        selector = pafs.FileSelector(folder, recursive=True, allow_not_found=True)
        infos: list[pafs.FileInfo] = self._files.filesystem.get_file_info(selector)
        return infos

    def merge(
        self, table: str, day: str, files: Sequence[pafs.FileInfo], name: str, right: Right | None = None
    ) -> int | None:
        """One file called `name` in the place of others of a day, with each of their rows once; how many.

        right: which rows to keep; all by default. None, and nothing has changed, if one of the files was replaced or is
        gone by now. Raises NewerFile.
        """
        try:
            parts = [read_parquet(self._files.filesystem, info.path, self.schema(table), whole=True) for info in files]
        except FileNotFoundError:
            return None
        rows = without_replayed(in_log_order(pa.concat_tables(parts)))
        if right is not None:
            rows = where(rows, right(rows))
        is_merged = self._files.merge(f"{self._folder(table)}/event_date={day}", files, f"{name}.parquet", rows)
        return rows.num_rows if is_merged else None

    def mend(self, table: str, day: str, right: Right) -> int:
        """Write a day again with the rows, copies among them, that are `right`; how many. What the sink adds meanwhile stays.

        Raises BusyDay if one of its files was replaced meanwhile.
        """
        files = [info for of, info in self.files(table) if of == day]
        kept = self.merge(table, day, files, MENDED, right) if files else 0
        if kept is None:
            raise BusyDay(
                f"BusyDay: a file of {table} of {day} was replaced meanwhile; nothing has changed. Mend it again."
            )
        return kept

    def days(self, table: str) -> list[str]:
        """Event dates that have files, ascending."""
        return sorted({day for day, _ in self._listed(table)})

    def scan(
        self,
        table: str,
        from_ms: int | None = None,
        to_ms: int | None = None,
        as_known_at_ms: int | None = None,
        columns: Sequence[str] | None = None,
        *,
        duplicates: bool = False,
        among: Among | None = None,
    ) -> pa.Table:
        """Rows with event time in [from_ms, to_ms) that had arrived before `as_known_at_ms`, in log order.

        columns: all by default. duplicates: also rows that the dedupe stage marked. among: a column and the values that it may
        have; rows with others are let go file by file, so a few of a long history never hold all of it, and of a file
        without any nothing but that column is read.
        """
        schema = self.schema(table)
        wanted = list(schema.names if columns is None else columns)
        chosen = [] if among is None else [among[0]]
        needed = list(dict.fromkeys([*wanted, *chosen, *LOG_ORDER, "event_time_ms", "is_duplicate"]))

        def asked(rows: pa.Table) -> pa.Table:
            found = where(rows, asked_of(rows, from_ms, to_ms, as_known_at_ms, duplicates))
            return found if among is None else found.filter(pc.is_in(found[among[0]], value_set=among[1]))

        rows = self._read(table, _day_of(from_ms), _day_of(None if to_ms is None else to_ms - 1), needed, asked, among)
        return without_replayed(in_log_order(rows)).select(wanted)

    def scan_files(self, table: str, files: Sequence[pafs.FileInfo], columns: Sequence[str]) -> pa.Table:
        """Rows of some of the files that `files` lists, as `scan` gives them. Raises FileNotFoundError if one was replaced meanwhile."""
        needed = list(dict.fromkeys([*columns, *LOG_ORDER, "event_time_ms", "is_duplicate"]))
        schema = pa.schema([self.schema(table).field(name) for name in needed])

        def part_of(info: pafs.FileInfo) -> pa.Table:
            rows = read_parquet(self._files.filesystem, info.path, schema)
            return where(rows, asked_of(rows, None, None, None, False))

        with ThreadPoolExecutor(THREADS) as pool:
            parts = [schema.empty_table(), *pool.map(part_of, files)]
        return without_replayed(in_log_order(pa.concat_tables(parts))).select(list(columns))

    def holding(
        self, table: str, among: Among, columns: Sequence[str]
    ) -> Iterator[tuple[str, pafs.FileInfo, pa.Table]]:
        """Each file with rows `among` the values of a column: its day, the file, and those rows, duplicates too.

        Raises FileNotFoundError if a file was replaced meanwhile: its rows may be in one that was not listed.
        """
        schema = pa.schema([self.schema(table).field(name) for name in dict.fromkeys([among[0], *columns])])
        for day, info in self.files(table):
            rows = read_parquet(self._files.filesystem, info.path, schema, among=among)
            found = rows.filter(pc.is_in(rows[among[0]], value_set=among[1]))
            if found.num_rows:
                yield day, info, found.select(list(columns))

    def stream(self, table: str, day: str, rows: int) -> Iterator[pa.Table]:
        """What `scan` gives of a day, a part at a time: of each file that has rows of one moment, twice `rows` are held.

        Raises FileNotFoundError when a file was replaced meanwhile: begin again.
        """
        first_ms = start_ms(day)
        paths = [path for of, path in self._listed(table) if of == day]

        def asked(part: pa.Table) -> pa.Table:
            return where(part, asked_of(part, first_ms, first_ms + DAY_MS, None, False))

        return streamed(self._files.filesystem, paths, self.schema(table), rows, asked)

    def _read(
        self, table: str, first: str | None, last: str | None, columns: list[str],
        asked: Callable[[pa.Table], pa.Table], among: Among | None,
    ) -> pa.Table:  # fmt: skip
        """The `asked` rows of all files of the days from `first` to `last`, in no order."""
        schema = pa.schema([self.schema(table).field(name) for name in columns])

        def part_of(path: str) -> pa.Table:
            rows = read_parquet(self._files.filesystem, path, schema, among=among)
            return asked(rows) if rows.num_rows else rows

        def all_parts() -> pa.Table:
            paths = [path for day, path in self._listed(table) if (first or day) <= day <= (last or day)]
            parts = [schema.empty_table()]
            with ThreadPoolExecutor(THREADS) as pool:
                for start in range(0, len(paths), AT_ONCE):
                    read = pool.map(part_of, paths[start : start + AT_ONCE])
                    parts += [part for part in read if part.num_rows]
            return pa.concat_tables(parts)

        return again_if_replaced(all_parts)

    def _listed(self, table: str) -> list[tuple[str, str]]:
        return [(day, info.path) for day, info in self.files(table)]

    def _folder(self, table: str) -> str:
        return f"{self._files.root}/{table}"

    def _path(self, table: str, day: str, name: str) -> str:
        return f"{self._folder(table)}/event_date={day}/{name}.parquet"

    def _conform(self, table: str, rows: pa.Table) -> pa.Table:
        """`rows` with the table's columns, types and order. Raises BadRows naming what does not fit."""
        schema = self.schema(table)
        unknown = [name for name in rows.column_names if name not in schema.names]
        missing = [field.name for field in schema if not field.nullable and field.name not in rows.column_names]
        if unknown or missing:
            raise BadRows(f"BadRows: {table} has no column {unknown} and lacks {missing}. Its columns: {schema.names}.")
        columns = [_column(rows, field, table) for field in schema]
        return pa.Table.from_arrays(columns, schema=schema)


def _column(rows: pa.Table, field: pa.Field, table: str) -> pa.ChunkedArray:
    if field.name not in rows.column_names:
        return pa.chunked_array([pa.nulls(rows.num_rows, field.type)])
    column = rows[field.name]
    if column.null_count and not field.nullable:
        raise BadRows(f"BadRows: {table}.{field.name} holds {column.null_count} nulls; its contract requires a value.")
    try:
        return column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise BadRows(f"BadRows: {table}.{field.name} is {column.type}, not {field.type}: {error}") from error


def again_if_replaced(read: Callable[[], Made]) -> Made:
    """A file that was listed may be merged into another before it is read: then it is listed and read again.

    Raises FileNotFoundError if that happens READ_ATTEMPTS times.
    """
    for _ in range(READ_ATTEMPTS - 1):
        with contextlib.suppress(FileNotFoundError):
            return read()
    return read()


def _day_of(time_ms: int | None) -> str | None:
    if time_ms is None:
        return None
    return str(np.datetime64(time_ms // DAY_MS, "D"))


def _by_day(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """(event date, its rows in log order), ascending by date."""
    if not rows.num_rows:
        return
    days = rows["event_time_ms"].to_numpy() // DAY_MS
    order = log_order(rows)
    order = order[np.argsort(days[order], kind="stable")]
    found, starts = np.unique(days[order], return_index=True)
    ordered = rows.take(order)
    for day, start, end in zip(found, starts, [*starts[1:], len(order)], strict=True):
        yield str(np.datetime64(int(day), "D")), ordered.slice(start, end - start)
