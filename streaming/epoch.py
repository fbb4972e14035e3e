"""The first epoch of a world in which nothing has happened yet."""

import time
import uuid

from confluent_kafka import Consumer

from fraud_assets.contracts.topics import RAW_TOPICS, entity_topic
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_port import EpochMarker, NoEpoch
from streaming.edges.broker import ANSWER_WITHIN_S
from streaming.edges.claim import log_range
from streaming.logs import LIBRDKAFKA
from streaming.settings import WorkerSettings


class NotEmpty(RuntimeError):
    """Something has happened already, so an empty online store would tell a lie."""


def init_epoch(settings: WorkerSettings) -> EpochMarker:
    """Publish an epoch of no entities. Raises NotEmpty if the log, the lake or the store holds a world."""
    features = registry()
    states = OnlineStore.connect(settings.online_store_url, features)
    try:
        marker = states.current_epoch()
        raise NotEmpty(f"the online store holds epoch {marker.epoch} already; there is nothing to do.")
    except NoEpoch:
        pass
    _refuse_history(settings)
    topics = [*(topic.name for topic in RAW_TOPICS), *(entity_topic(group.name).name for group in features.groups)]
    filled = [name for name in topics if _holds_records(settings.kafka_bootstrap_servers, name)]
    if filled:
        raise NotEmpty(
            f"{', '.join(filled)} hold records, so the world is not new. Materialize online_store_snapshot instead:"
            " it publishes an epoch with the offsets to resume from."
        )
    now_ms = time.time_ns() // 1_000_000
    return states.publish_epoch(f"first-{uuid.uuid4().hex[:8]}", log=uuid.uuid4().hex, resume={}, now_ms=now_ms)


def _refuse_history(settings: WorkerSettings) -> None:
    lake = Lake(settings.lake_uri)
    filled = [table for table in ("transactions", "activity", "profiles", "label_facts") if lake.days(table)]
    if filled:
        raise NotEmpty(
            f"the lake holds {', '.join(filled)}, which an empty online store would deny."
            " Materialize online_store_snapshot instead."
        )


def _holds_records(bootstrap_servers: str, topic: str) -> bool:
    """Whether anything was ever appended; a topic that is not there holds nothing."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "fraud-worker-init", "logger": LIBRDKAFKA})
    try:
        found = consumer.list_topics(topic, timeout=ANSWER_WITHIN_S).topics[topic]
        partitions = [] if found.error else list(found.partitions)
        return any(log_range(consumer, (topic, partition))[1] > 0 for partition in partitions)
    finally:
        consumer.close()
