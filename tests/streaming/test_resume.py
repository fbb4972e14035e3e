"""Where a folder starts: at the offsets of the epoch's snapshot, once, and then where it stopped."""

import uuid

import pytest
from confluent_kafka import Consumer, TopicPartition

from deploy.local.topics import ensure_topics
from fraud_assets.contracts.topics import entity_topic
from fraud_assets.stores.online_port import EpochMarker
from streaming.core.records import Send
from streaming.edges.broker import Sender, WrongTopic, check_arrival_stamps
from streaming.folder import resume_at
from streaming.settings import WorkerSettings
from tests.streaming.live import Log


@pytest.fixture
def settings(bootstrap_servers: str) -> WorkerSettings:
    return WorkerSettings(kafka_bootstrap_servers=bootstrap_servers)


@pytest.fixture
def topic(bootstrap_servers: str) -> str:
    """An entity topic of this test's own, with ten records in partition 0 of 8."""
    made = entity_topic(f"test_{uuid.uuid4().hex[:8]}")
    ensure_topics(bootstrap_servers, [made])
    sender = Sender(bootstrap_servers)
    sender.send(Send(made.name, b"one key", b"value", []) for _ in range(10))
    sender.flush()
    return made.name


def marker(epoch: str, resume: dict[str, int]) -> EpochMarker:
    return EpochMarker(epoch=epoch, log="log", groups={}, resume=resume)


def test_a_new_epochs_group_starts_at_the_offsets_of_its_snapshot(settings: WorkerSettings, topic: str) -> None:
    log, group = Log(settings.kafka_bootstrap_servers), f"fold.{topic}"
    ((_, partition), _) = next(item for item in log.ends([topic]).items() if item[1] == 10)

    resume_at(settings, group, marker("one", {f"{topic}/{partition}": 7}))

    assert log.committed(group, [(topic, partition)]) == {(topic, partition): 7}


def test_a_worker_that_joins_later_does_not_start_over(settings: WorkerSettings, topic: str) -> None:
    """The snapshot's offsets are for whoever is first; afterwards the group's own count."""
    log, group = Log(settings.kafka_bootstrap_servers), f"fold.{topic}"
    resume_at(settings, group, marker("one", {f"{topic}/0": 2}))
    consumer = Consumer({**log.address, "group.id": group})
    consumer.commit(offsets=[TopicPartition(topic, 0, 5)], asynchronous=False)
    consumer.close()

    resume_at(settings, group, marker("one", {f"{topic}/0": 2}))

    assert log.committed(group, [(topic, 0)]) == {(topic, 0): 5}


def test_records_of_one_key_lie_in_one_partition(settings: WorkerSettings, topic: str) -> None:
    assert sorted(Log(settings.kafka_bootstrap_servers).ends([topic]).values()) == [0] * 7 + [10]


def test_a_topic_stamped_by_producers_is_refused(settings: WorkerSettings) -> None:
    """Their clocks would decide when an event arrived."""
    from confluent_kafka.admin import AdminClient, NewTopic

    wrong = entity_topic(f"wrong_{uuid.uuid4().hex[:8]}")
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    admin.create_topics([NewTopic(wrong.name, 1, 1)])[wrong.name].result(15)

    with pytest.raises(WrongTopic, match=wrong.name):
        check_arrival_stamps(settings, [wrong])
