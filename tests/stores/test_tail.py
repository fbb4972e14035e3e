"""A table's tail: every row once however files come, are merged and are looked at, and what was read is not opened again."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.stores.compaction import compact
from fraud_assets.stores.lake import Lake, append_name, appended
from fraud_assets.stores.tail import Tail, Unread, moved, unread

T0 = 1_790_000_000_000 // DAY_MS * DAY_MS
TABLE, TOPIC = "notes", "notes.v1"
SCHEMA = pa.schema(
    [
        pa.field("event_time_ms", pa.int64(), nullable=False),
        pa.field("note", pa.string(), nullable=False),
        pa.field("ingested_at_ms", pa.int64(), nullable=False),
        pa.field("source_topic", pa.string(), nullable=False),
        pa.field("source_partition", pa.int32(), nullable=False),
        pa.field("source_offset", pa.int64(), nullable=False),
        pa.field("is_duplicate", pa.bool_(), nullable=False),
    ]
)


class Sink:
    """Batches as the worker's sink writes them, and a reader of their tail."""

    def __init__(self, folder: Path) -> None:
        self.lake, self.tail = Lake(folder, {TABLE: SCHEMA}), Tail()

    def write(self, offsets: Sequence[int], partition: int = 0, at_ms: int = T0) -> None:
        rows = [
            {
                "event_time_ms": at_ms + offset, "note": f"{partition}/{offset}", "ingested_at_ms": at_ms + offset,
                "source_topic": TOPIC, "source_partition": partition, "source_offset": offset, "is_duplicate": False,
            }
            for offset in offsets
        ]  # fmt: skip
        name = append_name(TOPIC, partition, offsets[0], "w")
        self.lake.append(TABLE, pa.Table.from_pylist(rows, schema=SCHEMA), name)

    def paths(self) -> list[Path]:
        return [Path(info.path) for _, info in self.lake.files(TABLE)]

    def found(self) -> Unread:
        return unread(self.lake, TABLE, self.tail, T0, T0 + DAY_MS, SCHEMA.names)

    def look(self) -> list[str]:
        """The notes behind the tail, which then is behind them."""
        found = self.found()
        self.tail = moved(self.tail, found.rows, found.seen)
        return list(found.rows["note"].to_pylist())


@pytest.fixture
def sink(tmp_path: Path) -> Sink:
    return Sink(tmp_path)


def unreadable(path: Path) -> None:
    """What is no Parquet file, of the same size and age: whoever opens it raises."""
    info = path.stat()
    path.write_bytes(b"\0" * info.st_size)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def test_a_name_says_what_it_was_made_of() -> None:
    said = appended(append_name("a-b.v1", 3, 70, "w-1") + ".parquet")

    assert said == ("a-b.v1/3", 70)
    assert [appended(name) for name in ("compacted-1234.parquet", "mended.parquet", "import-2026-10-01.parquet")] == [
        None
    ] * 3


def test_a_look_opens_the_last_file_of_each_partition_and_what_came_after_it(sink: Sink) -> None:
    for first in (0, 10, 20):
        sink.write(range(first, first + 10))
        sink.write(range(first, first + 10), partition=1)
    assert len(sink.look()) == 60

    sink.write(range(30, 33))
    for path in sink.paths():
        if appended(path.name).first_offset < 20:  # type: ignore[union-attr]
            unreadable(path)

    assert sink.look() == ["0/30", "0/31", "0/32"]
    assert sink.look() == []


def test_a_merged_file_is_read_once(sink: Sink) -> None:
    """By who has read its parts too: it may hold rows that came between."""
    for first in (0, 10):
        sink.write(range(first, first + 10))
    sink.look()
    sink.write(range(20, 30))
    sink.write(range(30, 40))
    compact(sink.lake, TABLE, sink.lake.days(TABLE)[0])

    assert len(sink.look()) == 20
    (merged,) = [path for path in sink.paths() if path.name.startswith("compacted-")]
    unreadable(merged)

    assert sink.look() == []


def test_who_does_not_take_all_rows_finds_the_others_again(sink: Sink) -> None:
    sink.write(range(10))
    compact(sink.lake, TABLE, sink.lake.days(TABLE)[0])
    found = sink.found()

    sink.tail = moved(sink.tail, found.rows.slice(0, 4))

    assert sink.look() == [f"0/{offset}" for offset in range(4, 10)]


def test_a_batch_that_was_written_again_with_more_rows_shows_those(sink: Sink) -> None:
    """A replay after a crash starts at the same row."""
    sink.write(range(5))
    sink.look()
    sink.write(range(8))

    assert sink.look() == ["0/5", "0/6", "0/7"]


ACTIONS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 2), st.lists(st.integers(1, 3), min_size=1, max_size=4)),
    st.tuples(st.just("look"), st.just(0), st.just([1])),
    st.tuples(st.just("compact"), st.just(0), st.just([1])),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(ACTIONS, max_size=14))
def test_every_row_is_seen_once_whatever_comes_between(actions: list[tuple[str, int, list[int]]]) -> None:
    """Batches of three partitions whose offsets have gaps, looks, and compactions."""
    with tempfile.TemporaryDirectory() as folder:
        sink, seen, written, next_offset = Sink(Path(folder)), list[str](), list[str](), [0, 0, 0]
        for what, partition, steps in [*actions, ("look", 0, [1])]:
            if what == "write":
                offsets = [next_offset[partition] + sum(steps[:place]) for place in range(len(steps))]
                next_offset[partition] += sum(steps)
                sink.write(offsets, partition)
                written += [f"{partition}/{offset}" for offset in offsets]
            elif what == "look":
                seen += sink.look()
            else:
                for day in sink.lake.days(TABLE):
                    compact(sink.lake, TABLE, day)

        assert sorted(seen) == sorted(written)
