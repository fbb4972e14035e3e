"""Where the worker resumes after a snapshot: never behind anything that the lake lacks."""

import time
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from fraud_assets.stores import log_ends
from fraud_assets.stores.log_ends import CLOCK_MARGIN_MS, Resume, resume_after

LOG_APPEND = {"message.timestamp.type": "LogAppendTime"}
FAR_MS = 10 * CLOCK_MARGIN_MS


@pytest.fixture
def log(broker: str, request: pytest.FixtureRequest) -> tuple[str, str, str]:
    """A raw and an entity topic of this test's own, three records in each; (bootstrap, raw, entity)."""
    raw, entity = f"raw.{request.node.name}"[:60], f"entity.{request.node.name}"[:60]
    admin = AdminClient({"bootstrap.servers": broker})
    for future in admin.create_topics([NewTopic(name, 1, 1, config=LOG_APPEND) for name in (raw, entity)]).values():
        future.result(15)
    producer = Producer({"bootstrap.servers": broker})
    for topic in (raw, entity):
        for number in range(3):
            producer.produce(topic, str(number).encode())
    assert producer.flush(15) == 0
    return broker, raw, entity


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_a_lake_that_holds_the_whole_log_resumes_behind_what_is_old(log: tuple[str, str, str]) -> None:
    broker, raw, entity = log

    found = resume_after(broker, [raw], [entity], {(raw, 0): (2, now_ms())}, now_ms() + FAR_MS)

    assert found.offsets == {f"{entity}/0": 3}
    assert found.log


def test_a_lake_that_lags_resumes_before_what_it_lacks(log: tuple[str, str, str]) -> None:
    broker, raw, entity = log

    found = resume_after(broker, [raw], [entity], {(raw, 0): (1, now_ms())}, now_ms() + FAR_MS)

    assert found.offsets == {f"{entity}/0": 0}


def test_what_arrives_between_two_questions_is_not_left_out(
    log: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lake was read before it came, so the worker must fold it."""
    broker, raw, entity = log

    class Interrupted(Consumer):  # type: ignore[misc]  # untyped
        def offsets_for_times(self, *asked: Any, **options: Any) -> list[TopicPartition]:
            found: list[TopicPartition] = super().offsets_for_times(*asked, **options)
            producer = Producer({"bootstrap.servers": broker})
            producer.produce(entity, b"meanwhile")
            assert producer.flush(15) == 0
            return found

    monkeypatch.setattr(log_ends, "Consumer", Interrupted)
    found = resume_after(broker, [raw], [entity], {(raw, 0): (2, now_ms())}, now_ms() + FAR_MS)

    assert found.offsets == {f"{entity}/0": 3}


def test_a_partition_the_lake_has_nothing_of_resumes_from_the_beginning(log: tuple[str, str, str]) -> None:
    broker, raw, entity = log

    assert resume_after(broker, [raw], [entity], {}, now_ms() + FAR_MS).offsets == {f"{entity}/0": 0}


def test_without_a_broker_there_is_only_the_beginning() -> None:
    assert resume_after("127.0.0.1:1", ["raw"], ["entity"], {}, now_ms()) == Resume()
