"""Compaction: the same rows in fewer files, for every reader at every moment, whatever happens beside it and wherever it dies."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from fraud_assets.contracts.domains.handbook import HandbookTransaction
from fraud_assets.stores.compaction import PREFIX, TARGET_BYTES, Compacted, compact
from fraud_assets.stores.files import ObjectFiles
from fraud_assets.stores.lake import Lake, append_name
from fraud_assets.stores.parquet import NewerFile, read_parquet
from fraud_assets.stores.schemas import LogPosition, from_events

TABLE, TOPIC = "handbook_transactions", "topic.v1"
DAY_MS = 86_400_000
MONDAY, MONDAY_MS = "2018-08-06", 1_533_513_600_000
Row = tuple[int, int]


@pytest.fixture
def lake(lake_uri: str) -> Lake:
    return Lake(lake_uri)


def rows_of(partition: int, offsets: range, day: int = 0) -> pa.Table:
    """Rows of a partition, some days after Monday; each a second after the one before."""
    at = [MONDAY_MS + day * DAY_MS + offset * 1000 for offset in offsets]
    events = [
        HandbookTransaction(event_time_ms=ms, transaction_id=f"t{partition}-{offset}", customer_id="c", terminal_id="m", amount_minor=offset)
        for ms, offset in zip(at, offsets, strict=True)
    ]  # fmt: skip
    positions = [LogPosition(ms, TOPIC, partition, offset) for ms, offset in zip(at, offsets, strict=True)]
    return from_events(HandbookTransaction, events, positions)


def sink(lake: Lake, partition: int, offsets: range, day: int = 0, writer: str = "worker-0") -> None:
    """What the worker leaves of a batch."""
    lake.append(TABLE, rows_of(partition, offsets, day), append_name(TOPIC, partition, offsets[0], writer))


def scanned(lake: Lake) -> list[Row]:
    found = lake.scan(TABLE)
    return list(zip(found["source_partition"].to_pylist(), found["source_offset"].to_pylist(), strict=True))


def by_glob(lake: Lake) -> list[Row]:
    """What a plain reader sees, who knows nothing of positions."""
    found = pl.scan_parquet(lake.glob(TABLE)).select("source_partition", "source_offset").collect()
    return sorted(found.rows())


def listed(lake: Lake) -> list[tuple[str, int, int]]:
    """Which files there are; one that is written again has another time."""
    return [(info.path, info.size, info.mtime_ns) for _, info in lake.files(TABLE)]


def names(lake: Lake, day: str = MONDAY) -> list[str]:
    found = [str(info.base_name).removesuffix(".parquet") for of, info in lake.files(TABLE) if of == day]
    return [PREFIX if name.startswith(PREFIX) else name for name in found]


@pytest.fixture
def monday(lake: Lake) -> Lake:
    """Three files of one partition and two of another; the last of each is open."""
    for offsets in (range(3), range(3, 5), range(5, 9)):
        sink(lake, 0, offsets)
    for offsets in (range(10, 12), range(12, 13)):
        sink(lake, 1, offsets)
    return lake


ALL = sorted([(0, n) for n in range(9)] + [(1, n) for n in (10, 11, 12)])
OPEN = [append_name(TOPIC, 0, 5, "worker-0"), append_name(TOPIC, 1, 12, "worker-0")]


def test_closed_files_become_one_and_the_newest_of_each_partition_stays(monday: Lake) -> None:
    """A batch that dies before its commit is written again under its name: only a later one says that it was committed."""
    before = monday.scan(TABLE)

    done = compact(monday, TABLE, MONDAY)

    assert names(monday) == [PREFIX, *OPEN]
    assert monday.scan(TABLE).equals(before)
    assert by_glob(monday) == ALL
    assert (done.files_before, done.files_after, done.merged, done.rows) == (5, 3, 3, 7)


def test_a_file_is_closed_by_a_later_one_of_another_day(monday: Lake) -> None:
    sink(monday, 0, range(9, 11), day=1)
    sink(monday, 1, range(13, 14), day=1)

    compact(monday, TABLE, MONDAY)

    assert names(monday) == [PREFIX]
    assert len(names(monday, "2018-08-07")) == 2
    assert by_glob(monday) == sorted([*ALL, (0, 9), (0, 10), (1, 13)])


def test_what_came_late_is_taken_in_and_then_nothing_changes(monday: Lake) -> None:
    compact(monday, TABLE, MONDAY)
    sink(monday, 0, range(9, 10))
    before = monday.scan(TABLE)

    again = compact(monday, TABLE, MONDAY)
    files = listed(monday)
    nothing = compact(monday, TABLE, MONDAY)

    assert (again.merged, again.rows) == (2, 11)
    assert nothing == Compacted(TABLE, MONDAY, 3, 3, 0, 0, 0)
    assert listed(monday) == files
    assert monday.scan(TABLE).equals(before)


def test_what_a_failover_left_in_two_files_is_in_one_afterwards(monday: Lake) -> None:
    """A stopped owner woke up behind its successor, which had written the same rows, more of them, and gone on."""
    sink(monday, 0, range(9, 12), writer="worker-1")
    sink(monday, 0, range(9, 10))
    sink(monday, 0, range(12, 13), writer="worker-1")
    before = monday.scan(TABLE)

    compact(monday, TABLE, MONDAY)

    assert before.num_rows == 16
    assert monday.scan(TABLE).equals(before)
    assert by_glob(monday) == sorted([*ALL, *((0, n) for n in range(9, 13))])


def test_imports_and_days_written_by_hand_are_left_alone(monday: Lake) -> None:
    """Whoever made them replaces them by their name."""
    monday.append(TABLE, rows_of(2, range(4)), "import")
    monday.append(TABLE, rows_of(3, range(4)), "data")

    compact(monday, TABLE, MONDAY)
    monday.append(TABLE, rows_of(2, range(1)), "import", rewrite=True)

    assert set(names(monday)) == {PREFIX, *OPEN, "data", "import"}
    assert by_glob(monday) == sorted([*ALL, (2, 0), *((3, n) for n in range(4))])


def test_a_row_in_two_files_is_in_one_afterwards(monday: Lake) -> None:
    """A consumer group that somebody has set back writes rows again, cut at other places."""
    sink(monday, 0, range(2, 6))

    assert scanned(monday) == sorted(ALL, key=lambda row: row[1])
    compact(monday, TABLE, MONDAY)
    sink(monday, 0, range(9, 10))
    compact(monday, TABLE, MONDAY)

    assert by_glob(monday) == sorted([*ALL, (0, 9)])


def test_a_large_file_is_left_as_it_is(monday: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is merged once is not written again each night, and no more is in memory than a file's worth."""
    compact(monday, TABLE, MONDAY)
    (size,) = [info.size for _, info in monday.files(TABLE) if info.base_name.startswith(PREFIX)]
    sink(monday, 0, range(9, 10))
    monkeypatch.setattr("fraud_assets.stores.compaction.TARGET_BYTES", 2 * size)

    assert compact(monday, TABLE, MONDAY).merged == 0
    assert 2 * size < TARGET_BYTES


def test_a_file_of_a_newer_version_is_not_robbed_of_its_columns(lake: Lake) -> None:
    newer = Lake(lake.uri, {TABLE: lake.schema(TABLE).append(pa.field("mood", pa.string()))})
    for offsets in (range(2), range(2, 4), range(4, 5)):
        sink(newer, 0, offsets)
    before = listed(newer)

    with pytest.raises(NewerFile, match="mood"):
        compact(lake, TABLE, MONDAY)

    assert listed(newer) == before


# ------------------------------------------------------------------------------------------ beside it


def meanwhile(monkeypatch: pytest.MonkeyPatch, what: Callable[[], object]) -> None:
    """`what` happens once, after the first file was read and before anything is written."""
    read, pending = read_parquet, [what]

    def and_then(*arguments: Any, **options: Any) -> pa.Table:
        found = read(*arguments, **options)
        while pending:
            pending.pop()()
        return found

    monkeypatch.setattr("fraud_assets.stores.lake.read_parquet", and_then)


def test_a_file_that_the_sink_adds_meanwhile_stays(monday: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile(monkeypatch, lambda: sink(monday, 0, range(9, 12)))

    compact(monday, TABLE, MONDAY)

    assert by_glob(monday) == sorted([*ALL, (0, 9), (0, 10), (0, 11)])


def test_a_file_that_is_replaced_meanwhile_is_not_merged(monday: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile(monkeypatch, lambda: sink(monday, 0, range(3, 60)))

    done = compact(monday, TABLE, MONDAY)

    assert (done.merged, done.files_after) == (0, 5)
    assert sorted(scanned(monday)) == sorted({*ALL, *((0, n) for n in range(60))})
    assert compact(monday, TABLE, MONDAY).merged == 3


@pytest.mark.parametrize("lake_uri", ["folder"], indirect=True)
def test_a_file_that_its_owner_removes_meanwhile_does_not_come_back(
    monday: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay that ends on an earlier day than its first attempt takes the rest of that away."""
    stale = next(info.path for _, info in monday.files(TABLE) if OPEN[0] in info.path)
    owner = threading.Thread(target=lambda: monday._files.delete([stale]))
    link = os.link

    def link_and_let_it_try(source: Path, target: Path) -> None:
        link(source, target)
        if str(source) == stale:
            owner.start()
            owner.join(0.3)  # as long as it would need, were it not made to wait

    monkeypatch.setattr("fraud_assets.stores.files.os.link", link_and_let_it_try)
    compact(monday, TABLE, MONDAY)
    owner.join()

    assert names(monday) == [PREFIX, OPEN[1]]


def test_two_compactions_at_once_lose_nothing(monday: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second begins after one more file was closed, and ends before the first has written."""

    def another() -> None:
        sink(monday, 0, range(9, 10))
        assert compact(Lake(monday.uri), TABLE, MONDAY).merged == 4

    meanwhile(monkeypatch, another)
    done = compact(monday, TABLE, MONDAY)

    assert done.merged == 0
    assert by_glob(monday) == sorted([*ALL, (0, 9)])


def test_readers_beside_it_see_every_row_once_at_every_moment(lake: Lake) -> None:
    seen: list[list[Row]] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.append(scanned(lake))

    sink(lake, 0, range(2))
    sink(lake, 0, range(2, 4))
    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(10):
            sink(lake, 0, range(4 + 2 * turn, 6 + 2 * turn))
            compact(lake, TABLE, MONDAY)
    finally:
        over.set()
        reader.join()

    assert len(seen) > 1
    for rows in seen:
        assert rows == [(0, n) for n in range(len(rows))] and len(rows) >= 4


# -------------------------------------------------------------------------------------- where it dies


class Crash(Exception):
    """The process ends here."""


def die(*_arguments: object, **_options: object) -> None:
    raise Crash


@pytest.mark.parametrize("lake_uri", ["folder"], indirect=True)
@pytest.mark.parametrize(
    "step",
    [
        "fraud_assets.stores.parquet.pq.write_table",
        "fraud_assets.stores.files.os.fsync",
        "fraud_assets.stores.files._unchanged",
        "fraud_assets.stores.files.os.link",
        "fraud_assets.stores.files._swap_durably",
        "fraud_assets.stores.files.swap_in",
        "fraud_assets.stores.files._forget",
    ],
)
def test_on_a_folder_no_step_leaves_a_row_twice_or_missing(
    monday: Lake, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Not even to a glob."""
    before = monday.scan(TABLE)
    with monkeypatch.context() as patch:
        patch.setattr(step, die)
        with pytest.raises(Crash):
            compact(monday, TABLE, MONDAY)

    assert monday.scan(TABLE).equals(before)
    assert by_glob(monday) == ALL

    sink(monday, 0, range(9, 10))
    compact(monday, TABLE, MONDAY)
    assert names(monday) == [PREFIX, append_name(TOPIC, 0, 9, "worker-0"), OPEN[1]]
    assert by_glob(monday) == sorted([*ALL, (0, 9)])


def dying_after(deletions: int) -> Callable[[ObjectFiles, list[str]], None]:
    """`ObjectFiles.delete` of a process that dies after so many of them."""
    delete = ObjectFiles.delete

    def some(self: ObjectFiles, paths: list[str]) -> None:
        delete(self, paths[:deletions])
        raise Crash

    return some


@pytest.mark.parametrize("lake_uri", ["S3"], indirect=True)
@pytest.mark.parametrize("step", ["encode", "put", 0, 1, 2, 3])
def test_behind_s3_no_step_leaves_a_row_twice_or_missing(
    monday: Lake, monkeypatch: pytest.MonkeyPatch, step: str | int
) -> None:
    """To readers of the lake. A glob sees rows in two objects until the next compaction, which finds them."""
    before = monday.scan(TABLE)
    with monkeypatch.context() as patch:
        if step == "encode":
            patch.setattr("fraud_assets.stores.parquet.pq.write_table", die)
        elif step == "put":
            patch.setattr(ObjectFiles, "put", die)
        else:
            patch.setattr(ObjectFiles, "delete", dying_after(int(step)))
        with pytest.raises(Crash):
            compact(monday, TABLE, MONDAY)

    assert monday.scan(TABLE).equals(before)

    sink(monday, 0, range(9, 10))
    compact(monday, TABLE, MONDAY)
    assert names(monday) == [PREFIX, append_name(TOPIC, 0, 9, "worker-0"), OPEN[1]]
    assert by_glob(monday) == sorted([*ALL, (0, 9)])


# --------------------------------------------------------------------------------------- mending a day


def test_a_mended_day_keeps_what_the_sink_adds_meanwhile(monday: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The day again without some rows, compacted ones among them; the rest of it is nobody else's business."""
    compact(monday, TABLE, MONDAY)
    meanwhile(monkeypatch, lambda: sink(monday, 0, range(9, 12)))

    kept = monday.mend(TABLE, MONDAY, lambda rows: rows["source_offset"].to_numpy() % 2 == 0)
    again = monday.mend(TABLE, MONDAY, lambda rows: rows["source_offset"].to_numpy() != 4)

    assert (kept, again) == (7, 9)
    assert by_glob(monday) == sorted([(0, 0), (0, 2), (0, 6), (0, 8), (0, 9), (0, 10), (0, 11), (1, 10), (1, 12)])
