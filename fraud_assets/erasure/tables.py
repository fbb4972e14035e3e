"""A person's rows in the lake and in the tables beside it, and each file written again without them.

A file is replaced at once by one of its name, so a reader sees the old or the new one, and of a run that was killed the next
finds what is left. Transactions go last: their log positions are what finds their rows in the feature views.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from fraud_assets.contracts.chain import Head
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.stores.decision_chains import ERASED, TABLE
from fraud_assets.stores.files import Files, beside, open_files
from fraud_assets.stores.lake import BusyDay, Lake
from fraud_assets.stores.schemas import TABLES

ACCOUNT = "account_id"
BESIDE = ("features", "labels", "training")
PLACE = ("source_topic", "source_partition", "source_offset")
LINK = (
    "chain_id",
    "chain_position",
    "previous_sha256",
    "sha256",
    "event_time_ms",
    "is_duplicate",
    "ingested_at_ms",
    *PLACE,
)
LAST = "transactions"
# A sink that writes the same file again and again while it is rewritten is an account that is still paying.
ATTEMPTS = 5

Flags = npt.NDArray[np.bool_]
Step = Callable[[str], None]


class Found(NamedTuple):
    """rows: by place. links: heads of decisions that are in a chain. first_offsets: the lowest of each "<topic>/<partition>"."""

    rows: dict[str, int]
    links: list[str]
    first_offsets: dict[str, int]


class Tables:
    """Of one account. step: told before each file is replaced."""

    def __init__(self, lake: Lake, account_id: str, step: Step = lambda _: None) -> None:
        self._lake = lake
        self._account_id = account_id
        self._among = (ACCOUNT, pa.array([account_id]))
        self._step = step
        named = [name for name in TABLES if ACCOUNT in lake.schema(name).names]
        self._tables = sorted(named, key=lambda name: name == LAST)

    def find(self) -> Found:
        """What there is now."""
        rows, links, firsts = dict[str, int](), list[str](), dict[str, int]()
        for table in self._tables:
            for _, _, held in self._lake.holding(table, self._among, PLACE):
                rows[f"lake {table}"] = rows.get(f"lake {table}", 0) + held.num_rows
                for topic, partition, offset in _places(held):
                    name = f"{topic}/{partition}"
                    firsts[name] = min(offset, firsts.get(name, offset))
        for _, _, held in self._lake.holding(TABLE, self._among, LINK):
            links += [str(Head(row["chain_id"], row["chain_position"], row["sha256"])) for row in _chained(held)]
        for name, _, _, gone in self._beside():
            rows[name] = rows.get(name, 0) + int(gone.sum())
        return Found(rows, sorted(set(links)), firsts)

    def erase(self, receipt: str) -> dict[str, int]:
        """Rows that went, by place. Raises BusyDay if somebody writes one of the files all the time."""
        gone = dict[str, int]()
        for name, files, path, flags in self._beside():
            self._step(name)
            whole = pq.read_table(path, filesystem=files.filesystem, partitioning=None)
            files.put(path, whole.filter(pa.array(~flags)))
            gone[name] = gone.get(name, 0) + int(flags.sum())
        for table in self._tables:
            if table == TABLE:
                self._keep_links(receipt)
            count = self._erase_of(table)
            if count:
                gone[f"lake {table}"] = count
        return gone

    def _erase_of(self, table: str) -> int:
        gone = 0
        for _ in range(ATTEMPTS):
            held = list(self._lake.holding(table, self._among, [ACCOUNT]))
            if not held:
                return gone
            for day, info, rows in held:
                self._step(f"lake {table}")
                name = info.base_name.removesuffix(".parquet")
                if self._lake.merge(table, day, [info], name, self._others) is not None:
                    gone += rows.num_rows
        raise BusyDay(
            f"BusyDay: files of {table} are written as often as they are rewritten; nothing is lost. Repeat the command."
        )

    def _others(self, rows: pa.Table) -> Flags:
        flags: Flags = pc.invert(pc.fill_null(pc.equal(rows[ACCOUNT], self._account_id), False)).to_numpy()
        return flags

    def _keep_links(self, receipt: str) -> None:
        """Under the receipt's name, so that a run that goes on after a crash writes what is left under another."""
        parts = [_links(held, receipt) for _, _, held in self._lake.holding(TABLE, self._among, LINK)]
        rows = pa.concat_tables(parts) if parts else None
        if rows is not None and rows.num_rows:
            self._step(f"lake {ERASED}")
            self._lake.append(ERASED, rows, f"{receipt}-{_digest(rows)}")

    def _beside(self) -> Iterator[tuple[str, Files, str, Flags]]:
        """Each file beside the lake that has rows of the person: its table, where it lies, and which rows."""
        ids, places = self._transactions()
        for root in BESIDE:
            files = open_files(beside(self._lake.uri, root))
            selector = pafs.FileSelector(files.root, recursive=True, allow_not_found=True)
            for info in files.filesystem.get_file_info(selector):
                inner = info.path.removeprefix(files.root).strip("/").split("/")
                if not info.is_file or not info.path.endswith(".parquet") or any(part[0] in "._" for part in inner):
                    continue
                flags = self._flags(pq.ParquetFile(info.path, filesystem=files.filesystem), ids, places)
                if flags is not None and flags.any():
                    yield f"{root} {inner[0]}", files, info.path, flags

    def _transactions(self) -> tuple[pa.Array, set[tuple[str, int, int]]]:
        ids, places = list[str](), set[tuple[str, int, int]]()
        for _, _, held in self._lake.holding(LAST, self._among, ["transaction_id", *PLACE]):
            ids += held["transaction_id"].to_pylist()
            places |= set(_places(held))
        return pa.array(ids, pa.string()), places

    def _flags(self, file: pq.ParquetFile, ids: pa.Array, places: set[tuple[str, int, int]]) -> Flags | None:
        """(n,) the person's rows, by whichever columns say so; None for a table that says of no one whose it is."""
        names = file.schema_arrow.names
        for column in (ACCOUNT, f"row_{ACCOUNT}"):
            if column in names:
                return self._equal(file.read(columns=[column])[column])
        if "row_id" in names:  # `stores/identity.py`
            return _true(pc.starts_with(file.read(columns=["row_id"])["row_id"], f"{self._account_id}\x00"))
        if {"transaction_id", *PLACE} <= set(names):
            rows = file.read(columns=["transaction_id", *PLACE])
            flags = _true(pc.is_in(rows["transaction_id"], value_set=ids))
            for at in np.flatnonzero(flags):
                flags[at] = next(_places(rows.slice(int(at), 1))) in places
            return flags
        return None

    def _equal(self, column: pa.ChunkedArray) -> Flags:
        return _true(pc.equal(column, self._account_id))


def _true(flags: pa.ChunkedArray) -> Flags:
    return np.array(pc.fill_null(flags, False).to_numpy(zero_copy_only=False), np.bool_)


def _places(rows: pa.Table) -> Iterator[tuple[str, int, int]]:
    return zip(*(rows[name].to_pylist() for name in PLACE), strict=True)


def _chained(rows: pa.Table) -> Iterator[Mapping[str, Any]]:
    """Links; a copy that was delivered twice is none."""
    return (row for row in rows.to_pylist() if row["chain_id"] and not row["is_duplicate"])


def _links(rows: pa.Table, receipt: str) -> pa.Table:
    kept = rows.filter(pc.and_(pc.greater(pc.fill_null(rows["chain_position"], 0), 0), pc.invert(rows["is_duplicate"])))
    midnight = pa.array(kept["event_time_ms"].to_numpy() // DAY_MS * DAY_MS)
    at = kept.column_names.index("event_time_ms")
    kept = kept.set_column(at, "event_time_ms", midnight)
    return kept.append_column("receipt", pa.array([receipt] * kept.num_rows, pa.string())).append_column(
        "schema_version", pa.array(np.ones(kept.num_rows, np.int64))
    )


def _digest(rows: pa.Table) -> str:
    return hashlib.sha256("\n".join(sorted(rows["sha256"].to_pylist())).encode()).hexdigest()[:16]
