"""What a table has got since somebody last looked, for the price of what is new: by the names of files.

A sink's file says at which offset of its partition it begins, and its partition's next file begins behind its last row. So a file is
read to its end once its successor's first offset is no further than what was read; only the last ones are opened. Of
files that have no such name (compaction and people make few of them) those are remembered that were read.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.stores.lake import Lake, again_if_replaced, appended

POSITION = ("source_topic", "source_partition", "source_offset")


class Tail(msgspec.Struct, frozen=True):
    """How far a reader has come; JSON-able. offsets: "<topic>/<partition>" to the last row read. whole: other files, read to their end."""

    offsets: dict[str, int] = {}
    whole: tuple[str, ...] = ()


class Unread(msgspec.Struct, frozen=True):
    """rows: behind the tail, in log order. seen: the other files that they are from, or that hold nothing new."""

    rows: pa.Table
    seen: tuple[str, ...]


def unread(lake: Lake, table: str, tail: Tail, from_ms: int, to_ms: int, columns: Sequence[str]) -> Unread:
    """Rows behind the tail, of files of the event days from `from_ms` to `to_ms`, both included.

    A batch over midnight is two files; who looks between them misses what the second has of it. Nothing is seen twice.
    """
    days = [str(np.datetime64(day, "D")) for day in range(from_ms // DAY_MS, to_ms // DAY_MS + 1)]
    wanted = list(dict.fromkeys([*columns, *POSITION]))

    def read() -> Unread:
        listed = [info for _, info in lake.files(table, days)]
        rows = lake.scan_files(table, list(_behind(listed, tail)), wanted)
        others = tuple(sorted(_mark(info) for info in listed if appended(info.base_name) is None))
        return Unread(_where_behind(rows, tail.offsets).select(list(columns)), others)

    return again_if_replaced(read)


def moved(tail: Tail, rows: pa.Table, seen: tuple[str, ...] | None = None) -> Tail:
    """The tail once these rows were read; seen: of `unread`, once all of its rows were."""
    last = rows.group_by(list(POSITION[:2])).aggregate([(POSITION[2], "max")]).to_pylist()
    offsets = {f"{one[POSITION[0]]}/{one[POSITION[1]]}": one[f"{POSITION[2]}_max"] for one in last}
    return Tail({**tail.offsets, **offsets}, tail.whole if seen is None else seen)


def _behind(listed: Iterable[pafs.FileInfo], tail: Tail) -> Iterable[pafs.FileInfo]:
    """Files that may hold rows behind the tail."""
    known, begins = set(tail.whole), defaultdict[str, set[int]](set)
    sinks = []
    for info in listed:
        said = appended(info.base_name)
        if said is not None:
            begins[said.partition].add(said.first_offset)
            sinks.append((said, info))
        elif _mark(info) not in known:
            yield info
    last = {name: _last_begun(sorted(firsts), tail.offsets.get(name, -1)) for name, firsts in begins.items()}
    yield from (info for said, info in sinks if said.first_offset >= last[said.partition])


def _last_begun(firsts: Sequence[int], read: int) -> int:
    """Where the file begins that the offset `read` is in: all before it are read to their end."""
    begun = [first for first in firsts if first <= read + 1]
    return begun[-1] if begun else firsts[0]


def _where_behind(rows: pa.Table, offsets: Mapping[str, int]) -> pa.Table:
    read, partition = np.full(len(rows), -1, np.int64), rows["source_partition"].to_numpy()
    for key, last in offsets.items():
        topic, _, number = key.rpartition("/")
        read[pc.equal(rows["source_topic"], topic).to_numpy() & (partition == int(number))] = last
    return rows.filter(pa.array(rows["source_offset"].to_numpy() > read))


def _mark(info: pafs.FileInfo) -> str:
    """A file, and that it is still what it was."""
    return f"{info.path.rpartition('event_date=')[2]} {info.size} {info.mtime_ns}"
