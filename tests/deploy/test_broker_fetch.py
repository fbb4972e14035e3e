"""What a waiting fetch reads, and that its hand-packed answer is what the schema would have written."""

import asyncio
import datetime as dt
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kio.schema.errors import ErrorCode
from kio.schema.fetch.v11 import request as rq
from kio.schema.fetch.v11 import response as rs
from kio.schema.types import BrokerId, TopicName
from kio.serial import entity_reader, entity_writer
from kio.static.primitive import i8, i32, i32Timedelta, i64

from deploy.local.broker.catalog import Catalog
from deploy.local.broker.fetching import Fetch, Read
from deploy.local.broker.topics import Topics
from tests.deploy.rawkafka import batch


@pytest.fixture
def topics(tmp_path: Path) -> Iterator[Topics]:
    made = Topics(tmp_path / "logs", Catalog(tmp_path / "catalog.db"), lambda: 1_700_000_000_000)
    made.create("one", 3, {"message.timestamp.type": "LogAppendTime"})
    made.create("two", 1, {})
    yield made
    made.close()


def request(
    asked: dict[str, dict[int, int]], *, min_bytes: int = 1, wait_s: float = 30.0, max_bytes: int = 10**6
) -> rq.FetchRequest:
    """asked: topic to partition to offset."""
    wanted = tuple(
        rq.FetchTopic(
            topic=TopicName(topic),
            partitions=tuple(
                rq.FetchPartition(partition=i32(index), fetch_offset=i64(offset), partition_max_bytes=i32(max_bytes))
                for index, offset in partitions.items()
            ),
        )
        for topic, partitions in asked.items()
    )
    max_wait: Any = dt.timedelta(seconds=wait_s)
    return rq.FetchRequest(
        replica_id=BrokerId(-1),
        max_wait=i32Timedelta.parse(max_wait),
        min_bytes=i32(min_bytes),
        max_bytes=i32(max_bytes),
        isolation_level=i8(0),
        session_id=i32(0),
        session_epoch=i32(-1),
        topics=wanted,
        forgotten_topics_data=(),
        rack_id="",
    )


def decoded(answer: bytes) -> rs.FetchResponse:
    response, size = entity_reader(rs.FetchResponse)(answer, 0)
    assert size == len(answer)
    return response


def test_the_packed_answer_is_what_the_schema_would_write(topics: Topics) -> None:
    topics.partition("one", 1).append(batch([b"a", b"bc"]))

    answer = Fetch(topics, request({"one": {0: 0, 1: 0, 2: 5}, "two": {0: 0, 7: 0}, "none": {0: 0}})).answer()

    again = io.BytesIO()
    entity_writer(rs.FetchResponse)(again, decoded(answer))
    assert again.getvalue() == answer
    found = {
        (str(topic.topic), int(part.partition_index)): part
        for topic in decoded(answer).responses
        for part in topic.partitions
    }
    assert {at: part.error_code for at, part in found.items() if part.error_code is not ErrorCode.none} == {
        ("one", 2): ErrorCode.offset_out_of_range,
        ("two", 7): ErrorCode.unknown_topic_or_partition,
        ("none", 0): ErrorCode.unknown_topic_or_partition,
    }
    assert found["one", 1].high_watermark == 2
    assert found["one", 1].records == topics.partition("one", 1).read(0, 10**6)
    assert found["one", 0].records == b""


def watch_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Places of the partitions that any fetch reads from now on."""
    places: list[int] = []
    read = Fetch._read

    def watched(fetch: Fetch, place: int) -> Read:
        places.append(place)
        return read(fetch, place)

    monkeypatch.setattr(Fetch, "_read", watched)
    return places


async def waiting(fetch: Fetch) -> asyncio.Task[None]:
    task = asyncio.create_task(fetch.wait())
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def soon(task: asyncio.Task[None]) -> bool:
    """Whether it ends once everybody has had a turn."""
    for _ in range(5):
        await asyncio.sleep(0)
    return task.done()


def test_an_append_makes_a_waiting_fetch_read_its_own_partition_and_no_other(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def live() -> bytes:
        fetch = Fetch(topics, request({"one": {0: 0, 1: 0, 2: 0}}))
        task = await waiting(fetch)
        reads = watch_reads(monkeypatch)
        topics.partition("two", 0).append(batch([b"of another fetch"]))
        assert not await soon(task)
        assert reads == []

        topics.partition("one", 1).append(batch([b"a"]))
        assert await soon(task)

        assert reads == [1]
        return fetch.answer()

    (topic,) = decoded(asyncio.run(live())).responses
    assert [len(part.records or b"") > 0 for part in topic.partitions] == [False, True, False]


def test_a_fetch_waits_for_its_min_bytes_over_all_its_partitions(topics: Topics) -> None:
    size = len(batch([b"a"]))

    async def live() -> bytes:
        fetch = Fetch(topics, request({"one": {0: 0, 1: 0}}, min_bytes=2 * size + 1))
        task = await waiting(fetch)
        for index in (0, 1):
            topics.partition("one", index).append(batch([b"a"]))
            assert not await soon(task)
        topics.partition("one", 0).append(batch([b"a"]))
        assert await soon(task)
        return fetch.answer()

    (topic,) = decoded(asyncio.run(live())).responses
    assert [len(part.records or b"") for part in topic.partitions] == [2 * size, size]


def test_a_fetch_ends_with_its_max_wait_and_listens_no_longer(topics: Topics) -> None:
    fetch = Fetch(topics, request({"one": {0: 0}}, wait_s=0.01))

    asyncio.run(fetch.wait())

    assert not topics.partition("one", 0).on_append
    assert decoded(fetch.answer()).responses[0].partitions[0].records == b""


def test_the_bytes_of_an_answer_are_bounded_also_while_it_waits(topics: Topics) -> None:
    """One batch more than fits is answered, or a large one could never be read."""
    size = len(batch([b"a"]))
    for index in (0, 1, 2):
        topics.partition("one", index).append(batch([b"a"]))

    answer = decoded(Fetch(topics, request({"one": {0: 0, 1: 0, 2: 0}}, max_bytes=size)).answer())

    assert [len(part.records or b"") for part in answer.responses[0].partitions] == [size, 0, 0]
