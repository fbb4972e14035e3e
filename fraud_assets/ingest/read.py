"""A stranger's file as a frame of raw columns with line numbers; nothing is judged here but shape."""

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

LINE = "__line"
_BLOCK_BYTES = 1 << 20
_SHOWN = 60  # names of a header, and characters of a name


class UnreadableFile(ValueError):
    """A file that is no CSV or Parquet, or lacks a mapped column."""


@dataclass(frozen=True)
class RawFile:
    """rows: the mapped source columns and LINE. broken: (line, reason) of records without columns.

    A line is the record's number: in a CSV the header is 1, in a Parquet file the first row is 1.
    """

    rows: pl.DataFrame
    broken: tuple[tuple[int, str], ...] = ()

    @property
    def read(self) -> int:
        return len(self.rows) + len(self.broken)


def read_file(path: Path, columns: list[str], delimiter: str = ",") -> RawFile:
    """Read `columns` of a CSV or Parquet file. Raises UnreadableFile, which names what is missing."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist or is no file"
        raise UnreadableFile(f"UnreadableFile: {path} {what}. Send a CSV or Parquet file.")
    try:
        return _read_parquet(path, columns) if _is_parquet(path) else _read_csv(path, columns, delimiter)
    except (OSError, pa.ArrowInvalid, pl.exceptions.PolarsError) as error:
        raise UnreadableFile(
            f"UnreadableFile: {path}: {str(error).rstrip('.')}. Send CSV with a header line, or Parquet."
        ) from error


def _is_parquet(path: Path) -> bool:
    """By content: strangers' extensions lie."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _read_parquet(path: Path, columns: list[str]) -> RawFile:
    _check_columns(path, columns, pq.read_schema(path).names)
    rows = pl.read_parquet(path, columns=columns)
    return RawFile(rows.with_columns(pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias(LINE)))


def _read_csv(path: Path, columns: list[str], delimiter: str) -> RawFile:
    """Every value as the bytes that stand there: what they mean is decided by the mapping."""
    broken: list[tuple[int, str]] = []

    def keep_broken(row: pacsv.InvalidRow) -> str:
        broken.append((row.number, _why_broken(row)))
        return "skip"

    names = _header(path, delimiter)
    _check_columns(path, columns, names)
    table = pacsv.read_csv(
        _as_utf8(path),
        # Row numbers are only known on one thread.
        read_options=pacsv.ReadOptions(use_threads=False),
        parse_options=pacsv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, ignore_empty_lines=False, invalid_row_handler=keep_broken
        ),
        convert_options=pacsv.ConvertOptions(
            include_columns=columns,
            column_types=dict.fromkeys(columns, pa.binary()),
            strings_can_be_null=True,
            null_values=[""],
        ),
    )
    rows = pl.DataFrame({name: pl.Series(pl.from_arrow(table[name].cast(pa.string()))) for name in columns})
    return RawFile(rows.with_columns(_lines(len(rows), [line for line, _ in broken])), tuple(broken))


def _header(path: Path, delimiter: str) -> list[str]:
    options = pacsv.ParseOptions(delimiter=delimiter, invalid_row_handler=lambda _: "skip")
    try:
        return list(pacsv.open_csv(_as_utf8(path), parse_options=options).schema.names)
    except pa.ArrowInvalid as error:
        raise UnreadableFile(
            f"UnreadableFile: {path}: {str(error).rstrip('.')}. The first line must name the columns."
        ) from error


def _as_utf8(path: Path) -> Path | pa.BufferReader:
    """The file; one that is no UTF-8 with U+FFFD for what is none, which validation refuses by name.

    Arrow would take such bytes as they are, but for a row of too many columns: it cannot tell of that, and gives up
    the whole file.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        try:
            while block := file.read(_BLOCK_BYTES):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return pa.BufferReader(path.read_bytes().decode(errors="replace").encode())
    return path


def _check_columns(path: Path, columns: list[str], names: list[str]) -> None:
    missing = [name for name in columns if name not in names]
    if missing:
        hint = " Is its delimiter another? Set `delimiter` under [csv]." if len(names) == 1 else ""
        raise UnreadableFile(
            f"UnreadableFile: {path} has no column {', '.join(missing)}. It has: {_shown(names)}.{hint}"
        )
    twice = sorted({name for name in columns if names.count(name) > 1})
    if twice:
        raise UnreadableFile(f"UnreadableFile: {path} has two columns {', '.join(twice)}; rename one.")


def _shown(names: list[str]) -> str:
    """Names a person can read: those of a file that is no table would fill the terminal."""
    shown = [name if name.isprintable() and len(name) <= _SHOWN else f"{name[:_SHOWN]!r}…" for name in names]
    return ", ".join(shown[:_SHOWN]) + (", …" if len(shown) > _SHOWN else "")


def _why_broken(row: pacsv.InvalidRow) -> str:
    spanned = len(re.findall(r"\n", row.text)) + 1
    hint = f", over {spanned} lines: is a quote left open?" if spanned > 1 else ""
    return f"{row.actual_columns} columns instead of {row.expected_columns}{hint}"


def _lines(count: int, broken: list[int]) -> pl.Series:
    """Line numbers of the whole records: 2, 3, … without those of the broken ones."""
    every = pl.Series(LINE, range(2, count + len(broken) + 2), dtype=pl.Int64)
    return every.filter(~every.is_in(broken)) if broken else every
