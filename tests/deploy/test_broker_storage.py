"""The log on disk: what survives a kill, a torn write, a clock that goes back, and retention."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from kio.schema.errors import ErrorCode

from deploy.local.broker.catalog import Catalog, Committed
from deploy.local.broker.configs import DEFAULTS
from deploy.local.broker.errors import Refused
from deploy.local.broker.log import PartitionLog
from deploy.local.broker.records import Header, read_header
from deploy.local.broker.topics import Topics
from tests.deploy.rawkafka import batch

HOUR_MS = 3_600_000


class Clock:
    def __init__(self, now_ms: int = 1_000_000_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


class OpenLog(Protocol):
    """Opens the one log of a test again, as a restart does."""

    def __call__(self, start_offset: int = 0, **settings: str) -> PartitionLog: ...


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_log(tmp_path: Path, clock: Clock) -> Iterator[OpenLog]:
    """Opens the same log again and again, as restarts do."""
    opened = []

    def open_it(start_offset: int = 0, **settings: str) -> PartitionLog:
        config = {"message.timestamp.type": "LogAppendTime"} | {k.replace("_", "."): v for k, v in settings.items()}
        log = PartitionLog(tmp_path / "log", {**DEFAULTS, **config}, start_offset, clock)
        opened.append(log)
        return log

    yield open_it
    for log in opened:
        log.close()


def headers(log: PartitionLog) -> Iterator[Header]:
    """All batches from the start on, as a reader meets them."""
    offset = log.start_offset
    while offset < log.end_offset:
        data = log.read(offset, 1 << 20)
        at = 0
        while (header := read_header(data, at)) is not None:
            yield header
            at += header.size
        offset = header_end(data)


def header_end(data: bytes) -> int:
    at, ends = 0, []
    while (header := read_header(data, at)) is not None:
        at += header.size
        ends.append(header.last_offset + 1)
    return ends[-1]


def segments(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "log").glob("*.log"))


def test_what_was_appended_is_there_after_a_kill(open_log: OpenLog) -> None:
    log = open_log()
    log.append(batch([b"a", b"b"]))
    log.append(batch([b"c"]))

    again = open_log()  # nothing was flushed or closed

    assert again.end_offset == 3
    assert [header.base_offset for header in headers(again)] == [0, 2]


@pytest.mark.parametrize("lost_bytes", [1, 20, 60, 70])
def test_a_torn_tail_is_cut_off_and_its_offset_is_used_again(
    open_log: OpenLog, tmp_path: Path, lost_bytes: int
) -> None:
    log = open_log()
    log.append(batch([b"whole"]))
    log.append(batch([b"torn"]))
    path = segments(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:-lost_bytes])

    again = open_log()

    assert again.end_offset == 1
    assert again.append(batch([b"next"])).base_offset == 1
    assert open_log().end_offset == 2


def test_a_batch_with_a_wrong_checksum_ends_the_log(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    log.append(batch([b"whole"]))
    log.append(batch([b"damaged"]))
    path = segments(tmp_path)[0]
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)

    assert open_log().end_offset == 1


def test_append_time_does_not_go_back_when_the_clock_does_nor_over_a_restart(open_log: OpenLog, clock: Clock) -> None:
    log = open_log()
    times = [log.append(batch([b"x"])).append_time_ms]
    clock.now_ms -= HOUR_MS
    times.append(log.append(batch([b"x"])).append_time_ms)
    times.append(open_log().append(batch([b"x"])).append_time_ms)
    clock.now_ms += 2 * HOUR_MS
    times.append(open_log().append(batch([b"x"])).append_time_ms)

    assert times == [10**12, 10**12, 10**12, 10**12 + HOUR_MS]


def test_a_producer_is_remembered_over_a_restart(open_log: OpenLog) -> None:
    first = batch([b"a"], producer_id=7, epoch=0, sequence=0)
    stored = open_log().append(first)

    again = open_log()

    assert again.append(first) == stored
    assert again.end_offset == 1


def test_the_last_five_batches_of_a_producer_are_recognised_and_an_older_one_is_refused(open_log: OpenLog) -> None:
    log = open_log()
    batches = [batch([b"x"], producer_id=7, epoch=0, sequence=i) for i in range(6)]
    for records in batches:
        log.append(records)

    assert [log.append(records).base_offset for records in batches[1:]] == [1, 2, 3, 4, 5]
    with pytest.raises(Refused) as refused:
        log.append(batches[0])
    assert refused.value.code is ErrorCode.out_of_order_sequence_number


def test_sequences_wrap_around_at_the_largest_int32(open_log: OpenLog) -> None:
    log = open_log()
    log.append(batch([b"a", b"b"], producer_id=7, epoch=0, sequence=2**31 - 2))

    assert log.append(batch([b"c"], producer_id=7, epoch=0, sequence=0)).base_offset == 2


def test_retention_drops_whole_segments_older_than_the_topic_allows(
    open_log: OpenLog, clock: Clock, tmp_path: Path
) -> None:
    log = open_log(retention_ms=str(HOUR_MS), segment_bytes="100")
    for _ in range(3):
        log.append(batch([b"x" * 50]))
        clock.now_ms += HOUR_MS // 2

    log.apply_retention()
    assert (log.start_offset, log.end_offset) == (1, 3)

    clock.now_ms += HOUR_MS
    log.apply_retention()
    assert (log.start_offset, log.end_offset) == (3, 3)
    assert len(segments(tmp_path)) == 1
    assert open_log().append(batch([b"x"])).base_offset == 3


def test_retention_by_size_keeps_at_least_what_the_topic_allows(open_log: OpenLog) -> None:
    log = open_log(retention_bytes="250", segment_bytes="100")
    for _ in range(10):
        log.append(batch([b"x" * 50]))

    log.apply_retention()

    assert 250 <= log.size < 250 + 2 * 130
    assert log.end_offset == 10


def test_a_topic_that_is_not_to_delete_keeps_everything(open_log: OpenLog, clock: Clock) -> None:
    log = open_log(cleanup_policy="compact", segment_bytes="100")
    log.append(batch([b"x"]))
    clock.now_ms += 10**12

    log.apply_retention()

    assert log.start_offset == 0


def test_reading_outside_the_log_is_refused(open_log: OpenLog) -> None:
    log = open_log()
    log.append(batch([b"a"]))

    assert log.read(1, 100) == b""  # the end: nothing yet
    for offset in (-1, 2):
        with pytest.raises(Refused) as refused:
            log.read(offset, 100)
        assert refused.value.code is ErrorCode.offset_out_of_range


def test_a_read_gives_at_least_one_batch_and_no_more_than_fit(open_log: OpenLog) -> None:
    log = open_log()
    size = len(batch([b"x" * 10]))
    for _ in range(5):
        log.append(batch([b"x" * 10]))

    assert [len(log.read(0, limit)) // size for limit in (1, size, 2 * size - 1, 2 * size, 100 * size)] == [
        1,
        1,
        1,
        2,
        5,
    ]


def test_offsets_of_deleted_records_are_not_given_out_again(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    for _ in range(3):
        log.append(batch([b"x"]))
    log.delete_records(3)
    segments(tmp_path)[0].write_bytes(b"")  # a power cut took the records

    assert open_log(start_offset=3).append(batch([b"x"])).base_offset == 3


def test_topics_settings_starts_and_committed_offsets_survive_a_restart(tmp_path: Path, clock: Clock) -> None:
    catalog = Catalog(tmp_path / "catalog.sqlite")
    topics = Topics(tmp_path / "logs", catalog, clock)
    topics.create("t", 2, {"retention.ms": "5"})
    for _ in range(3):
        topics.partition("t", 1).append(batch([b"x"]))
    topics.delete_records("t", 1, 2)
    catalog.commit_offsets("g", [Committed("t", 1, 2, "note")])

    catalog_again = Catalog(tmp_path / "catalog.sqlite")
    again = Topics(tmp_path / "logs", catalog_again, clock)

    assert again.get("t").config == {"retention.ms": "5"}
    assert (again.partition("t", 1).start_offset, again.partition("t", 1).end_offset) == (2, 3)
    assert catalog_again.committed("g") == {("t", 1): Committed("t", 1, 2, "note")}
    assert catalog_again.cluster_id == catalog.cluster_id
    assert catalog_again.next_producer_id() != catalog.next_producer_id()
    for opened in (topics, again):
        opened.close()


def test_nothing_a_client_names_becomes_a_path(tmp_path: Path, clock: Clock) -> None:
    catalog = Catalog(tmp_path / "catalog.sqlite")
    topics = Topics(tmp_path / "logs", catalog, clock)

    for name in ("../escape", "/etc/passwd", "..", ""):
        with pytest.raises(Refused):
            topics.check_new(name, 1, {})
    topics.create("Legal.name_1-2", 1, {})

    assert [path.name for path in (tmp_path / "logs").iterdir()] == [topics.get("Legal.name_1-2").id.hex]
    topics.close()
