"""Small files of closed days become few: the worker's sink leaves one every few seconds for each partition.

The rule. A file of the sink is *closed* once its partition has a later one, on any day: the sink begins a batch when the one
before it is committed, so no replay comes back to that offset. An owner that was stopped may still wake up and write its file
again, or a second one of rows that its successor has written: then the next run finds it, and each row is one again, unless
its other copy is in a file that is large enough to be left alone. Only closed files are merged, and files that an earlier compaction
made; those of imports, and a day that was written by hand, are somebody else's, who replaces them by their name.

A merged file's name is a digest of what it was made of. So two compactions at once never write over each other, and a log
position is one row for every reader of the lake, in however many files it is (`Lake.scan`).
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow.fs as pafs

from fraud_assets.stores.lake import Lake, appended

PREFIX = "compacted-"
# Of a file on the disk: decisions are five times as large in memory, and one batch is held there at a time.
TARGET_BYTES = 128 * 1024 * 1024


@dataclass(frozen=True)
class Compacted:
    """files_before, files_after: of the whole day. merged: files that went into others; rows, bytes: of those."""

    table: str
    day: str
    files_before: int
    files_after: int
    merged: int
    rows: int
    bytes: int


def compact(lake: Lake, table: str, day: str) -> Compacted:
    """Merge what is closed of a day. May run at any time, beside the sink and beside readers, and again after a crash."""
    listed = lake.files(table)
    merged = rows = size = made = 0
    for batch in _batches(_closed(listed, day)):
        found = lake.merge(table, day, batch, _name(batch))
        if found is not None:  # else somebody was here first: the next run finds what is left
            merged, rows, size, made = (
                merged + len(batch),
                rows + found,
                size + sum(info.size for info in batch),
                made + 1,
            )
    before = sum(of == day for of, _ in listed)
    return Compacted(table, day, before, before - merged + made, merged, rows, size)


def _closed(listed: Iterable[tuple[str, pafs.FileInfo]], day: str) -> list[pafs.FileInfo]:
    """Files of the day that nobody will write again, and that are small."""
    newest: dict[str, int] = defaultdict(int)
    own, sinks = [], []
    for of, info in listed:
        written = appended(info.base_name)
        if written:
            partition, first = written
            newest[partition] = max(newest[partition], first)
            sinks.append((of, partition, first, info))
        elif of == day and info.base_name.startswith(PREFIX):
            own.append(info)
    closed = [info for of, partition, first, info in sinks if of == day and first < newest[partition]]
    return [info for info in (*own, *closed) if info.size < TARGET_BYTES // 2]


def _batches(files: Iterable[pafs.FileInfo]) -> Iterator[list[pafs.FileInfo]]:
    """Two files or more, together at most as large as a file should be; neighbours in the log stay neighbours."""
    batch, size = list[pafs.FileInfo](), 0
    for info in sorted(files, key=lambda one: str(one.base_name)):
        if batch and size + info.size > TARGET_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(info)
        size += info.size
    if len(batch) > 1:
        yield batch


def _name(batch: Iterable[pafs.FileInfo]) -> str:
    made_of = "\n".join(f"{info.base_name} {info.size} {info.mtime_ns}" for info in batch)
    return f"{PREFIX}{hashlib.sha256(made_of.encode()).hexdigest()[:16]}"
