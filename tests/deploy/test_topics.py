"""deploy/local/topics.py makes the contract's topics, or says why a topic that is there will not do."""

import dagster as dg
import pytest

from deploy.local.topics import PLATFORM_TOPICS, TopicMismatch, ensure_platform_topics, ensure_topics, entity_groups
from fraud_assets.contracts.topics import Topic, entity_topic
from tests.deploy.client import PATIENCE_S, Kafka


def declared(kafka: Kafka, partitions: int = 2, retention_ms: int = 3_600_000) -> Topic:
    return Topic(name=kafka.unique("contract"), key="", contract=None, partitions=partitions, retention_ms=retention_ms)


def test_every_topic_of_the_contract_exists_afterwards_with_its_settings(kafka: Kafka) -> None:
    ensure_platform_topics(kafka.bootstrap_servers)

    found = kafka.admin.list_topics(timeout=PATIENCE_S).topics
    for topic in (*PLATFORM_TOPICS, *map(entity_topic, entity_groups())):
        assert len(found[topic.name].partitions) == topic.partitions
        for name, value in topic.config().items():
            assert kafka.setting(topic.name, name) == value


def test_entity_topics_are_kept_for_two_snapshots() -> None:
    """The worker resumes behind the newest snapshot; where a night failed, behind the one before."""
    from fraud_assets.defs.serving.assets import online_store_snapshot

    days = online_store_snapshot.partitions_def
    assert isinstance(days, dg.DailyPartitionsDefinition)
    window = days.time_window_for_partition_key("2026-10-14")
    period_ms = (window.end - window.start).total_seconds() * 1_000

    for group in entity_groups():
        assert entity_topic(group).retention_ms >= 2 * period_ms > 0


def test_doing_it_again_changes_nothing(kafka: Kafka) -> None:
    topic = declared(kafka)
    ensure_topics(kafka.bootstrap_servers, [topic])
    kafka.send(topic.name, [b"kept"], partition=0)

    ensure_topics(kafka.bootstrap_servers, [topic])

    assert [message.value() for message in kafka.read(topic.name, 1)] == [b"kept"]


def test_fewer_partitions_than_declared_are_an_error_that_names_the_topic(kafka: Kafka) -> None:
    topic = declared(kafka, partitions=4)
    kafka.create(topic.name, partitions=3, config=topic.config())

    with pytest.raises(TopicMismatch, match=f"{topic.name} has 3 partitions, the contract says 4"):
        ensure_topics(kafka.bootstrap_servers, [topic])

    assert kafka.partitions(topic.name) == [0, 1, 2]


def test_another_timestamp_type_is_an_error(kafka: Kafka) -> None:
    topic = declared(kafka)
    kafka.create(topic.name, partitions=2, config={**topic.config(), "message.timestamp.type": "CreateTime"})

    with pytest.raises(TopicMismatch, match=r"message\.timestamp\.type=CreateTime, the contract says LogAppendTime"):
        ensure_topics(kafka.bootstrap_servers, [topic])


def test_more_partitions_and_another_retention_are_the_operators_choice(kafka: Kafka) -> None:
    topic = declared(kafka, partitions=2)
    kafka.create(topic.name, partitions=3, config={**topic.config(), "retention.ms": "1000000"})

    ensure_topics(kafka.bootstrap_servers, [topic])

    assert kafka.setting(topic.name, "retention.ms") == "1000000"
