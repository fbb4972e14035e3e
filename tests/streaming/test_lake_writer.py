"""The lake is written while routing goes on: what that may not change, and what it is for."""

import contextlib
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.stores.compaction import compact
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

STEPS = ["before the files", "between the files", "before delivery", "before the commit", "after the commit", ""]


def die_and_resume(world: World, step: str, each: int) -> Counter[tuple[int, int]]:
    """A life that ends well, one that ends at `step`, and one without trouble; how often each row is in files.

    What is marked and what was sent is asserted here.
    """
    Process(world).live(LOG[:9], 9)
    doomed = Process(world, dies=step)
    with contextlib.suppress(Crash):
        doomed.live(world.unread(LOG)[:25], each)

    resume_and_end(world)

    rows = world.lake.scan("transactions", duplicates=True).to_pylist()
    assert {(row["source_partition"], row["source_offset"]) for row in rows if row["is_duplicate"]} == {
        (one.partition, one.offset) for one in LOG if one.offset % 5 == 4
    }
    origins = {
        (send.topic, dict(send.headers)["source_partition"], dict(send.headers)["source_offset"]) for send in world.sent
    }
    assert len(origins) == 9 * sum(one.offset % 5 != 4 for one in LOG)
    return world.rows_in_files()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("each", [3, 8, 40])
def test_dying_while_a_batch_is_written_beside_routing_changes_nothing(tmp_path: Path, step: str, each: int) -> None:
    assert die_and_resume(World(tmp_path), step, each) == EVERY_ROW_ONCE


@pytest.mark.parametrize("step", STEPS)
def test_dying_while_a_batch_is_written_to_an_object_store_changes_nothing(s3_uri: str, step: str) -> None:
    assert die_and_resume(World(s3_uri), step, 8) == EVERY_ROW_ONCE


@settings(max_examples=20)
@given(
    lives=st.lists(st.tuples(st.integers(1, 40), st.integers(4, 20), st.sampled_from(STEPS)), min_size=1, max_size=5)
)
def test_whatever_lives_and_deaths_each_row_is_in_one_file(
    tmp_path_factory: pytest.TempPathFactory, lives: list[tuple[int, int, str]]
) -> None:
    """Each life reads some records in chunks of its own and dies at some step, or simply stops."""
    world = World(tmp_path_factory.mktemp("lake"))
    for reads, each, step in lives:
        try:
            Process(world, dies=step).live(world.unread(LOG)[:reads], each)
        except Crash:
            continue

    resume_and_end(world)

    assert world.rows_in_files() == EVERY_ROW_ONCE


@settings(max_examples=20)
@given(lives=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 8), st.sampled_from(STEPS)), min_size=1, max_size=5))
def test_compaction_between_lives_and_deaths_neither_loses_nor_doubles_a_row(
    tmp_path_factory: pytest.TempPathFactory, lives: list[tuple[int, int, str]]
) -> None:
    """Whatever it merged was committed: no replay comes back to its name, and no replay is needed for its rows."""
    world, merged = World(tmp_path_factory.mktemp("lake")), 0
    for reads, each, step in [*lives, (len(LOG), 3, "")]:
        with contextlib.suppress(Crash):
            Process(world, dies=step).live(world.unread(LOG)[:reads], each)
        for day in world.lake.days("transactions"):
            merged += compact(world.lake, "transactions", day).merged

    resume_and_end(world)

    assert world.rows_in_files() == EVERY_ROW_ONCE
    assert world.lake.scan("transactions", duplicates=True).num_rows == len(LOG)
    assert merged > 0


def test_routing_goes_on_while_the_lake_is_slow(tmp_path: Path) -> None:
    """A lake that does not answer delays its own files and the commits, and no entity record."""
    world, lake_answers = World(tmp_path), threading.Event()
    process = Process(world, executor=ThreadPoolExecutor(1), before_files=lambda: lake_answers.wait(60))

    process.live(LOG[:2], 2)
    sent = []
    for one in LOG[2:]:
        process.live([one], 1)
        sent.append(len(world.sent))

    assert not world.committed
    assert sent[-1] == 9 * sum(one.offset % 5 != 4 for one in LOG)
    lake_answers.set()
    run_until(process.writer.tick, lambda: world.committed == {(TOPIC, 0): 20, (TOPIC, 1): 20})
    assert world.rows_in_files() == EVERY_ROW_ONCE


def test_offsets_are_committed_only_when_their_files_are_complete(tmp_path: Path) -> None:
    world, thread = World(tmp_path), Later()
    process = Process(world, executor=thread)
    process.live(LOG[:8], 4)
    process.live(LOG[8:12], 4)
    assert not world.committed

    thread.run()
    assert sum(world.rows_in_files().values()) == 4
    process.writer.tick()

    assert world.committed == {(TOPIC, 0): 2, (TOPIC, 1): 2}


def test_offsets_are_committed_only_when_what_was_sent_is_delivered(tmp_path: Path) -> None:
    """Nobody waits for it meanwhile: the broker may be slow, and there is more to route."""
    world = World(tmp_path)
    process = Process(world)
    in_flight = process.in_flight
    in_flight.undelivered = 1
    process.live(LOG[:12], 4)
    assert not world.committed

    in_flight.undelivered = 0
    process.writer.tick()

    assert world.committed == {(TOPIC, 0): 2, (TOPIC, 1): 2}


def test_a_batch_begins_only_after_the_commit_of_the_one_before(tmp_path: Path) -> None:
    """Its files are named by what a replay would find first."""
    world, thread = World(tmp_path), Later()
    process = Process(world, executor=thread)
    process.live(LOG[:12], 4)

    assert len(thread.queue) == 1
    thread.run()
    process.writer.tick()

    assert len(thread.queue) == 1
    thread.run()
    assert sum(world.rows_in_files().values()) == 12


def test_a_lake_that_falls_far_behind_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows wait in memory, and memory ends."""
    monkeypatch.setattr(writer_module, "MAX_ROWS", 10)
    world = World(tmp_path)
    process = Process(world, executor=ThreadPoolExecutor(1), every_s=3600)

    for start in range(0, len(LOG), 5):
        process.live(LOG[start : start + 5], 5)
        assert len(process.writer.recent()) <= 15

    assert sum(world.committed.values()) >= len(LOG) - 15


def test_what_the_lake_raises_ends_the_process_before_anything_is_committed(tmp_path: Path) -> None:
    world = World(tmp_path)

    with pytest.raises(Crash):
        Process(world, dies="before the files").live(LOG, 8)

    assert not world.committed


def test_a_lost_partitions_batch_is_given_up_and_never_committed(tmp_path: Path) -> None:
    """Its new owner writes the same rows."""
    world, thread = World(tmp_path), Later()
    process = Process(world, executor=thread)
    process.live(LOG[:8], 8)

    process.sink.on_paused()
    thread.run()
    process.writer.tick()

    assert not world.committed
    assert not list(tmp_path.rglob("*.parquet"))
    assert not process.writer.recent()


@pytest.mark.parametrize("further", [12, 8, 5])
def test_an_owner_that_wakes_up_behind_its_successor_takes_no_row_away(tmp_path: Path, further: int) -> None:
    """Stopped with its file in hand, past its session; its file holds less than the successor's, as much, or more."""
    world, thread = World(tmp_path), Later()
    stopped = Process(world, executor=thread)
    stopped.live(LOG[:8], 8)
    successor = Process(world, worker="worker-1")
    successor.live(LOG[:further], further)
    successor.live(LOG[further : further + 12], 12)
    successor.sink.flush()
    routed = LOG[: further + 12]

    thread.run()

    rows = world.lake.scan("transactions", duplicates=True).to_pylist()
    arrivals = {(row["source_partition"], row["source_offset"]): row["ingested_at_ms"] for row in rows}
    assert len(rows) == len(routed)
    assert arrivals == {(one.partition, one.offset): one.timestamp_ms for one in routed}


def test_rows_that_the_lake_lacks_still_heal_a_flushed_dedupe_store(tmp_path: Path) -> None:
    """Redis loses everything while a batch is on its way: the copies of its rows are found out all the same."""
    world, thread = World(tmp_path), Later()
    process = Process(world, executor=thread)
    first, copy = record(transaction(), 0), record(transaction(), 1, T0 + 2000)
    process.live([first], 1)
    world.seen.marks.clear()
    world.seen.packed.clear()

    process.live([copy], 1)

    assert [one.is_duplicate for one in process.writer.recent()] == [False, True]
