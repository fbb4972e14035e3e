"""A person's rows in the lake and in the tables beside it, and each file written again without them.

A file is replaced at once by one of its name, so a reader sees the old or the new one, and of a run that was killed the next
finds what is left. Rows in the feature views are found by the log positions of transactions, which go last and stay in the receipt.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

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
from fraud_assets.stores.lake import BusyDay, Lake, again_if_replaced
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
DEAD_S = 60  # a writer holds a hidden file for as long as it takes to write one

Flags = npt.NDArray[np.bool_]
Step = Callable[[str], None]


class Found(NamedTuple):
    """rows: by place. links: heads of decisions that are in a chain. first_offsets: the lowest of each "<topic>/<partition>".

    payments: log offsets of the person's transactions, by the same names.
    """

    rows: dict[str, int]
    links: list[str]
    first_offsets: dict[str, int]
    payments: dict[str, set[int]]


# Told what is about to go; when it returns, a receipt vouches for that.
Begin = Callable[[Found], None]
Held = list[tuple[str, pafs.FileInfo, pa.Table]]


class Tables:
    """Of one account. step: told before each file is replaced. payments: offsets of transactions that may be in the lake no more."""

    def __init__(self, lake: Lake, account_id: str, step: Step, payments: Mapping[str, set[int]]) -> None:
        self._lake = lake
        self._account_id = account_id
        self._among = (ACCOUNT, pa.array([account_id]))
        self._step = step
        self._payments = {name: set(offsets) for name, offsets in payments.items()}
        named = [name for name in TABLES if ACCOUNT in lake.schema(name).names]
        self._tables = sorted(named, key=lambda name: name == LAST)

    def find(self) -> Found:
        """What there is now."""
        parts = [self._found(table, self._held(table)) for table in self._tables]
        rows, firsts = dict[str, int](), dict[str, int]()
        for part in parts:
            rows |= part.rows
            firsts |= {name: min(offset, firsts.get(name, offset)) for name, offset in part.first_offsets.items()}
        for name, _, _, count in self._beside():
            rows[name] = rows.get(name, 0) + count
        links = sorted({link for part in parts for link in part.links})
        return Found(rows, links, firsts, {name: set(offsets) for name, offsets in self._payments.items()})

    def erase(self, receipt: str, begin: Begin) -> dict[str, int]:
        """Rows that went, by place. Raises BusyDay if somebody writes one of the files all the time."""
        gone = dict[str, int]()
        for name, files, path, _ in self._beside():
            gone[name] = gone.get(name, 0) + self._rewrite(name, files, path)
        for table in self._tables:
            if count := self._erase_of(table, receipt, begin):
                gone[f"lake {table}"] = count
        return gone

    def sweep(self) -> dict[str, int]:
        """Leftovers of writers that died, which no reader sees and which may hold old rows; how many went."""
        roots = [self._lake.uri, *(beside(self._lake.uri, root) for root in BESIDE)]
        count = sum(open_files(root).sweep(DEAD_S) for root in roots)
        return {"leftovers of crashes": count} if count else {}

    def _held(self, table: str) -> Held:
        columns = LINK if table == TABLE else PLACE
        held = again_if_replaced(lambda: list(self._lake.holding(table, self._among, columns)))
        for _, _, rows in held if table == LAST else ():
            for topic, partition, offset in _places(rows):
                self._payments.setdefault(f"{topic}/{partition}", set()).add(offset)
        return held

    def _found(self, table: str, held: Held) -> Found:
        links, firsts, payments = list[str](), dict[str, int](), dict[str, set[int]]()
        for _, _, rows in held:
            for topic, partition, offset in _places(rows):
                name = f"{topic}/{partition}"
                firsts[name] = min(offset, firsts.get(name, offset))
                if table == LAST:
                    payments.setdefault(name, set()).add(offset)
            if table == TABLE:
                chained = rows.filter(_chained(rows)).to_pylist()
                links += [str(Head(row["chain_id"], row["chain_position"], row["sha256"])) for row in chained]
        count = sum(rows.num_rows for _, _, rows in held)
        return Found({f"lake {table}": count} if count else {}, links, firsts, payments)

    def _erase_of(self, table: str, receipt: str, begin: Begin) -> int:
        """Of each file only the rows that were seen in it: what came since has neither receipt nor link, and is for the next round."""
        gone = 0
        for _ in range(ATTEMPTS):
            held = self._held(table)
            if not held:
                return gone
            begin(self._found(table, held))
            if table == TABLE:
                self._keep_links(receipt, held)
            for day, info, rows in held:
                self._step(f"lake {table}")
                name = info.base_name.removesuffix(".parquet")
                if self._lake.merge(table, day, [info], name, self._others(set(_places(rows)))) is not None:
                    gone += rows.num_rows
        raise _busy(table)

    def _others(self, seen: set[tuple[str, int, int]]) -> Callable[[pa.Table], Flags]:
        def right(rows: pa.Table) -> Flags:
            own = _true(pc.equal(rows[ACCOUNT], self._account_id))
            at = np.flatnonzero(own)
            own[at] = [place in seen for place in _places(rows.select(PLACE).take(pa.array(at)))]
            return ~own

        return right

    def _keep_links(self, receipt: str, held: Held) -> None:
        """Under the receipt's name, so that a run that goes on after a crash writes what is left under another."""
        rows = pa.concat_tables([_links(rows, receipt) for _, _, rows in held])
        if rows.num_rows:
            self._step(f"lake {ERASED}")
            self._lake.append(ERASED, rows, f"{receipt}-{_digest(rows)}")

    def _beside(self) -> list[tuple[str, Files, str, int]]:
        """Each file beside the lake that has rows of the person: its table, where it lies, and how many."""
        return again_if_replaced(lambda: list(self._listed_beside()))

    def _listed_beside(self) -> Iterator[tuple[str, Files, str, int]]:
        for root in BESIDE:
            files = open_files(beside(self._lake.uri, root))
            selector = pafs.FileSelector(files.root, recursive=True, allow_not_found=True)
            for info in files.filesystem.get_file_info(selector):
                inner = info.path.removeprefix(files.root).strip("/").split("/")
                if not info.is_file or not info.path.endswith(".parquet") or any(part[0] in "._" for part in inner):
                    continue
                file = pq.ParquetFile(info.path, filesystem=files.filesystem)
                flags = self._flags(file.schema_arrow.names, partial(_columns, file))
                if flags is not None and flags.any():
                    yield f"{root} {inner[0]}", files, info.path, int(flags.sum())

    def _rewrite(self, name: str, files: Files, path: str) -> int:
        """The file without the person, unless somebody else has written it since it was read: then it is read again."""
        for _ in range(ATTEMPTS):
            info = files.filesystem.get_file_info(path)
            if not info.is_file:
                return 0
            try:
                whole = pq.read_table(path, filesystem=files.filesystem, partitioning=None)
            except FileNotFoundError:
                continue
            flags = self._flags(whole.column_names, whole.select)
            if flags is None or not flags.any():
                return 0
            self._step(name)
            if files.merge(path.rpartition("/")[0], [info], info.base_name, whole.filter(pa.array(~flags))):
                return int(flags.sum())
        raise _busy(name)

    def _flags(self, names: list[str], read: Callable[[list[str]], pa.Table]) -> Flags | None:
        """(n,) the person's rows, by whichever columns say so; None for a table that says of no one whose it is."""
        for column in (ACCOUNT, f"row_{ACCOUNT}"):
            if column in names:
                return _true(pc.equal(read([column])[column], self._account_id))
        if "row_id" in names:  # `stores/identity.py`
            return _true(pc.starts_with(read(["row_id"])["row_id"], f"{self._account_id}\x00"))
        return self._by_place(read(list(PLACE))) if {"transaction_id", *PLACE} <= set(names) else None

    def _by_place(self, rows: pa.Table) -> Flags:
        offsets = pa.array(sorted(set[int]().union(*self._payments.values())), pa.int64())
        flags = _true(pc.is_in(rows["source_offset"], value_set=offsets))
        at = np.flatnonzero(flags)
        flags[at] = [
            offset in self._payments.get(f"{topic}/{partition}", ())
            for topic, partition, offset in _places(rows.take(pa.array(at)))
        ]
        return flags


def _busy(what: str) -> BusyDay:
    return BusyDay(
        f"BusyDay: files of {what} are written as often as they are rewritten; nothing is lost. Repeat the command."
    )


def _columns(file: pq.ParquetFile, names: list[str]) -> pa.Table:
    return file.read(columns=names)


def _true(flags: pa.ChunkedArray) -> Flags:
    return np.array(pc.fill_null(flags, False).to_numpy(zero_copy_only=False), np.bool_)


def _places(rows: pa.Table) -> Iterator[tuple[str, int, int]]:
    return zip(*(rows[name].to_pylist() for name in PLACE), strict=True)


def _chained(rows: pa.Table) -> pa.ChunkedArray:
    """Links; a copy that was delivered twice is none."""
    return pc.and_(pc.not_equal(pc.fill_null(rows["chain_id"], ""), ""), pc.invert(rows["is_duplicate"]))


def _links(rows: pa.Table, receipt: str) -> pa.Table:
    kept = rows.filter(_chained(rows))
    midnight = pa.array(kept["event_time_ms"].to_numpy() // DAY_MS * DAY_MS)
    at = kept.column_names.index("event_time_ms")
    kept = kept.set_column(at, "event_time_ms", midnight)
    return kept.append_column("receipt", pa.array([receipt] * kept.num_rows, pa.string())).append_column(
        "schema_version", pa.array(np.ones(kept.num_rows, np.int64))
    )


def _digest(rows: pa.Table) -> str:
    return hashlib.sha256("\n".join(sorted(rows["sha256"].to_pylist())).encode()).hexdigest()[:16]
