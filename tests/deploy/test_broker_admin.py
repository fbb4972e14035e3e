"""What Kafka promises about topics and their settings; each test runs on the development broker and on real Kafka."""

import datetime as dt
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)
from kio.schema.create_topics.v4 import request as create_rq
from kio.schema.errors import ErrorCode
from kio.schema.types import TopicName
from kio.static.primitive import i16, i32

from tests.deploy.client import PATIENCE_S, Kafka, poll_until
from tests.deploy.rawkafka import RawKafka


def create(kafka: Kafka, name: str, partitions: int = 1, replicas: int = 1, **config: str) -> None:
    settings = {key.replace("_", "."): value for key, value in config.items()}
    kafka.admin.create_topics([NewTopic(name, partitions, replicas, config=settings)])[name].result(PATIENCE_S)


def refusal(action: Callable[[], object]) -> int:
    with pytest.raises(KafkaException) as refused:
        action()
    code: int = refused.value.args[0].code()
    return code


def test_a_topic_has_the_partitions_and_settings_it_was_created_with(kafka: Kafka) -> None:
    topic = kafka.topic(partitions=3, message_timestamp_type="LogAppendTime", retention_ms="1234567")

    assert kafka.partitions(topic) == [0, 1, 2]
    assert kafka.setting(topic, "message.timestamp.type") == "LogAppendTime"
    assert kafka.setting(topic, "retention.ms") == "1234567"
    assert kafka.setting(topic, "cleanup.policy") == "delete"  # a default


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../escape", "a b", "ü", "x" * 250, "nul\0"])
def test_illegal_topic_names_are_refused(bootstrap_servers: str, name: str) -> None:
    topic = create_rq.CreatableTopic(
        name=TopicName(name), num_partitions=i32(1), replication_factor=i16(1), assignments=(), configs=()
    )
    with RawKafka(bootstrap_servers) as raw:
        response = raw.ask("create_topics", 4, topics=(topic,), timeout=dt.timedelta(seconds=10))

    assert response.topics[0].error_code is ErrorCode.invalid_topic_exception


def test_a_topic_cannot_be_created_twice(kafka: Kafka) -> None:
    topic = kafka.topic()

    assert refusal(lambda: create(kafka, topic)) == KafkaError.TOPIC_ALREADY_EXISTS


@pytest.mark.parametrize("value", ["Sometime", ""])
def test_invalid_settings_are_refused(kafka: Kafka, value: str) -> None:
    name = kafka.unique("topic")

    assert refusal(lambda: create(kafka, name, message_timestamp_type=value)) == KafkaError.INVALID_CONFIG
    assert name not in kafka.admin.list_topics(timeout=PATIENCE_S).topics


def test_unknown_settings_are_refused(kafka: Kafka) -> None:
    assert refusal(lambda: create(kafka, kafka.unique("topic"), retention_weeks="2")) == KafkaError.INVALID_CONFIG


def test_more_replicas_than_brokers_are_refused(kafka: Kafka) -> None:
    assert refusal(lambda: create(kafka, kafka.unique("topic"), replicas=2)) == KafkaError.INVALID_REPLICATION_FACTOR


def test_a_deleted_topic_is_gone_and_its_namesake_is_empty(kafka: Kafka) -> None:
    topic = kafka.topic()
    kafka.send(topic, [b"old"])
    [before] = kafka.admin.describe_topics(TopicCollection([topic])).values()

    kafka.admin.delete_topics([topic])[topic].result(PATIENCE_S)
    poll_until(lambda: topic not in kafka.admin.list_topics(timeout=PATIENCE_S).topics, "gone")
    create(kafka, topic)
    poll_until(lambda: kafka.partitions(topic) == [0], "back")

    [after] = kafka.admin.describe_topics(TopicCollection([topic])).values()
    assert str(after.result(PATIENCE_S).topic_id) != str(before.result(PATIENCE_S).topic_id)
    kafka.send(topic, [b"new"])
    assert [message.value() for message in kafka.read(topic, 1)] == [b"new"]


def test_partitions_can_be_added_but_not_removed(kafka: Kafka) -> None:
    topic = kafka.topic(partitions=2)

    kafka.admin.create_partitions([NewPartitions(topic, 4)])[topic].result(PATIENCE_S)
    poll_until(lambda: kafka.partitions(topic) == [0, 1, 2, 3], "four partitions")

    fewer = kafka.admin.create_partitions([NewPartitions(topic, 3)])[topic]
    assert refusal(lambda: fewer.result(PATIENCE_S)) == KafkaError.INVALID_PARTITIONS


def test_a_setting_can_be_changed_and_taken_back(kafka: Kafka) -> None:
    topic = kafka.topic(retention_ms="5000000")

    def alter(operation: AlterConfigOpType, value: str | None) -> None:
        entry = ConfigEntry("retention.ms", value, incremental_operation=operation)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        next(iter(kafka.admin.incremental_alter_configs([resource]).values())).result(PATIENCE_S)

    def setting_once_it_is_not(old: str) -> str:
        poll_until(lambda: kafka.setting(topic, "retention.ms") != old, f"not {old} any more")
        return kafka.setting(topic, "retention.ms")

    alter(AlterConfigOpType.SET, "6000000")
    assert setting_once_it_is_not("5000000") == "6000000"
    alter(AlterConfigOpType.DELETE, None)
    assert setting_once_it_is_not("6000000") == "604800000"  # the default


def test_settings_of_an_unknown_topic_are_an_error(kafka: Kafka) -> None:
    assert refusal(lambda: kafka.setting(kafka.unique("nobody"), "retention.ms")) == KafkaError.UNKNOWN_TOPIC_OR_PART
