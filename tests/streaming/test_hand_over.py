"""Before partitions change hands: what is safe is committed, in little time, and the rest is read again and nowhere twice."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.edges import writer as writer_module
from tests.streaming.events import T0, record, transaction
from tests.streaming.lake_life import (
    EVERY_ROW_ONCE,
    LOG,
    TOPIC,
    Crash,
    Later,
    Process,
    World,
    resume_and_end,
    run_until,
)

STEPS = ["before the files", "between the files", "before delivery", "before the commit", "after the commit"]
WITHIN_S = 0.3


@pytest.fixture(autouse=True)
def _any_file_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "WORTH_A_FILE", 1)


class Slow:
    """The lake's thread: stops before the `at`-th partition, until the process has taken what it will hand over."""

    def __init__(self, at: int) -> None:
        self.left, self.is_there = at, threading.Event()
        self.process: Any = None

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.is_there.set()
            run_until(lambda: None, lambda: self.process.writer.recent() == [])


def with_a_batch_under_way(world: World, records: int, at: int, **more: Any) -> Process:
    """A batch of `records` is being written; `at` - 1 of its partitions have their files."""
    slow = Slow(at)
    process = slow.process = Process(world, executor=ThreadPoolExecutor(1), before_files=slow, **more)
    process.live(LOG[:records], records)
    assert slow.is_there.wait(30)
    return process


@settings(max_examples=30)
@given(
    lives=st.lists(
        st.tuples(st.integers(1, 40), st.integers(1, 20), st.integers(1, 12), st.floats(0, 2 * WITHIN_S), st.integers(1, 8)),
        min_size=1,
        max_size=6,
    )
)  # fmt: skip
def test_whoever_takes_over_each_row_is_in_one_file(
    tmp_path_factory: pytest.TempPathFactory, lives: list[tuple[int, int, int, float, int]]
) -> None:
    """Also for who knows nothing of replays: each worker has files of its own, and takes over wherever the one before it committed."""
    world = World(tmp_path_factory.mktemp("lake"))
    for place, (reads, each, every, takes_s, worth) in enumerate(lives):
        process = Process(world, worker=f"worker-{place}", takes_s=takes_s, every_s=every * takes_s)
        process.live(world.unread(LOG)[:reads], each)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(writer_module, "WORTH_A_FILE", worth)
            process.sink.hand_over(WITHIN_S)

    resume_and_end(world)

    assert world.rows_in_files() == EVERY_ROW_ONCE
    rows = world.lake.scan("transactions", duplicates=True).to_pylist()
    assert {(row["source_partition"], row["source_offset"]) for row in rows if row["is_duplicate"]} == {
        (one.partition, one.offset) for one in LOG if one.offset % 5 == 4
    }


@pytest.mark.parametrize("step", STEPS)
def test_dying_at_any_step_of_a_hand_over_changes_nothing(tmp_path: Path, step: str) -> None:
    world = World(tmp_path)
    doomed = Process(world, dies=step, executor=ThreadPoolExecutor(1), every_s=3600)
    doomed.live(LOG[:12], 12)
    with pytest.raises(Crash):
        doomed.sink.hand_over(WITHIN_S)

    resume_and_end(world)

    assert world.rows_in_files() == EVERY_ROW_ONCE


def test_no_file_is_begun_when_time_is_up(tmp_path: Path) -> None:
    """The partition with the most rows had its file within it, and is committed; the other one is read again."""
    world = World(tmp_path)
    process = Process(world, takes_s=WITHIN_S, every_s=3600)
    log = [one for one in LOG if one.partition == 1 or one.offset < 5]
    process.live(log, 40)

    process.sink.hand_over(WITHIN_S)

    assert world.committed == {(TOPIC, 1): 20}
    assert {partition for partition, _ in world.rows_in_files()} == {1}


def test_a_partition_of_few_rows_is_read_again_rather_than_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "WORTH_A_FILE", 6)
    world = World(tmp_path)
    process = Process(world, every_s=3600)
    process.live([one for one in LOG[:20] if one.partition == 1 or one.offset < 5], 40)

    process.sink.hand_over(WITHIN_S)

    assert world.committed == {(TOPIC, 1): 10}
    assert {partition for partition, _ in world.rows_in_files()} == {1}


def test_what_nobody_would_write_is_committed_without_a_file(tmp_path: Path) -> None:
    """A partition whose records were all refused owes the lake nothing."""
    world = World(tmp_path)
    process = Process(world, every_s=3600)
    process.live([record(b"junk", 0), *LOG[1:4:2]], 3)

    process.sink.hand_over(0)

    assert world.committed == {(TOPIC, 0): 1}


def test_a_batch_under_way_is_committed_as_far_as_it_came(tmp_path: Path) -> None:
    """Not a file more than was begun, and no row of those that came after it."""
    world = World(tmp_path)
    process = with_a_batch_under_way(world, 8, at=2)
    for one in LOG[8:12]:
        process.sink.take(one)

    process.sink.hand_over(0)

    assert world.committed == {(TOPIC, 0): 4}
    assert world.rows_in_files() == Counter({(0, offset): 1 for offset in range(4)})


def test_what_a_batch_under_way_has_written_is_not_written_again(tmp_path: Path) -> None:
    world, stamps = World(tmp_path), dict[Path, int]()
    process = with_a_batch_under_way(world, 8, at=2)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}

    process.sink.hand_over(WITHIN_S)

    assert stamps
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    assert world.committed == {(TOPIC, 0): 4, (TOPIC, 1): 4}
    assert world.rows_in_files() == Counter({(one.partition, one.offset): 1 for one in LOG[:8]})


def test_rows_on_top_of_a_batch_under_way_go_into_its_files(tmp_path: Path) -> None:
    """It was never committed: a replay would find its first row again, and only that name."""
    world = World(tmp_path)
    process = with_a_batch_under_way(world, 8, at=2)
    for one in LOG[8:12]:
        process.sink.take(one)
    process.sink.route_buffer()

    process.sink.hand_over(WITHIN_S)

    assert world.committed == {(TOPIC, 0): 6, (TOPIC, 1): 6}
    resume_and_end(world)
    assert world.rows_in_files() == EVERY_ROW_ONCE


def test_nothing_is_committed_whose_records_are_not_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "FILE_IN_HAND_S", 0)
    world = World(tmp_path)
    process = Process(world, every_s=3600)
    process.in_flight.undelivered = 1
    process.live(LOG[:8], 8)

    process.sink.hand_over(0)

    assert world.committed == {}


def test_a_lake_that_hangs_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what it writes when it wakes up takes nothing of what came after: the partitions are back, and are read from the last commit."""
    monkeypatch.setattr(writer_module, "FILE_IN_HAND_S", 0)
    world, thread = World(tmp_path), Later()
    process = Process(world, executor=thread)
    process.live(LOG[:8], 8)

    process.sink.hand_over(0.01)

    assert world.committed == {}
    process.live(LOG[:12], 12)
    thread.run()
    process.writer.tick()
    thread.run()
    assert world.committed == {(TOPIC, 0): 6, (TOPIC, 1): 6}
    assert world.rows_in_files() == Counter({(one.partition, one.offset): 1 for one in LOG[:12]})


def test_records_that_wait_for_their_mini_batch_are_nobodys(tmp_path: Path) -> None:
    """They are not routed any more, and come again."""
    world = World(tmp_path)
    process = Process(world)
    for one in LOG[:4]:
        process.sink.take(one)

    process.sink.hand_over(WITHIN_S)

    process.sink.flush()
    assert world.committed == {}
    assert world.sent == []


def test_a_flushed_dedupe_store_is_healed_after_a_hand_over(tmp_path: Path) -> None:
    """Rows that were dropped are in neither the lake nor memory: they are judged again with those before them."""
    world = World(tmp_path)
    first = Process(world, every_s=3600)
    first.live([record(transaction(), 0)], 1)
    first.sink.hand_over(-1)
    world.seen.marks.clear()
    world.seen.packed.clear()

    second = Process(world, worker="worker-1", every_s=3600)
    second.live([record(transaction(), 0), record(transaction(), 1, T0 + 2000)], 2)

    assert [one.is_duplicate for one in second.writer.recent()] == [False, True]
