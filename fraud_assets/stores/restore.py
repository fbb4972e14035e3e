"""An emptied online store, filled again: the newest kept snapshot, and the log after it."""

import itertools
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from fraud_assets.contracts.topics import entity_topic
from fraud_assets.features.registry import Registry
from fraud_assets.stores.log_ends import ANSWER_WITHIN_S
from fraud_assets.stores.online_port import EpochMarker, KeySpace, OnlineStates
from fraud_assets.stores.state_files import StateFiles
from fraud_assets.stores.topic_ids import made_anew, topic_ids

KEYS_PER_WRITE = 2_000


class NoSnapshot(RuntimeError):
    """No kept snapshot leads to the present; the message says of each why."""


@dataclass(frozen=True)
class Restored:
    """marker: what was published. source: the epoch whose files were read. entities, bytes, seconds: of the loading."""

    marker: EpochMarker
    source: str
    entities: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class LogState:
    """cluster: the log's incarnation. firsts: `<topic>/<partition>` to the first offset that is still kept. topics: ids of the entity topics."""

    cluster: str
    firsts: dict[str, int]
    topics: dict[str, str] = field(default_factory=dict)


def log_state(bootstrap_servers: str, registry: Registry) -> LogState:
    """Raises NoSnapshot if no broker answers: without the log nobody knows what a snapshot lacks."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "online-store-restore", "log_level": 0})
    try:
        known = consumer.list_topics(timeout=ANSWER_WITHIN_S)
        firsts = {}
        for topic in (entity_topic(group.name).name for group in registry.groups):
            for partition in known.topics[topic].partitions if topic in known.topics else ():
                low, _ = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=ANSWER_WITHIN_S)
                firsts[f"{topic}/{partition}"] = low
        admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
        ids = topic_ids(admin, [entity_topic(group.name).name for group in registry.groups])
        return LogState(str(known.cluster_id or ""), firsts, ids)
    except KafkaException as error:
        raise NoSnapshot(f"no broker answers at {bootstrap_servers} ({error.args[0].str()})") from None
    finally:
        consumer.close()


def why_unfit(marker: EpochMarker, digests: dict[str, str], log: LogState) -> str | None:
    """Why a kept snapshot does not lead to the present; None if it does."""
    if marker.groups != digests:
        return "its states are of other definitions"
    if marker.log != log.cluster:
        return f"its positions are of another log ({marker.log})"
    if anew := made_anew(marker.topics, log.topics):
        return f"its positions are of another topic of this name ({anew[0]} was made anew)"
    gone = [at for at, first in log.firsts.items() if first > marker.resume.get(at, 0)]
    if gone:
        return f"the log after it is no longer kept ({gone[0]} begins at {log.firsts[gone[0]]})"
    return None


def restore(files: StateFiles, store: OnlineStates, registry: Registry, log: LogState, now_ms: int) -> Restored:
    """Load the newest snapshot that leads to the present under a new epoch, and publish it.

    Whoever folds resumes where the snapshot ends and filters by position, so nothing is lost or doubled.
    Raises NoSnapshot, having written nothing.
    """
    store.check()
    digests, said = KeySpace(registry).digests, list[str]()
    for marker in files.markers():
        why = why_unfit(marker, digests, log)
        if why is None:
            return _load(files, store, marker, now_ms)
        said.append(f"{marker.epoch}: {why}")
    raise NoSnapshot("; ".join(said) or "none is kept")


def _load(files: StateFiles, store: OnlineStates, marker: EpochMarker, now_ms: int) -> Restored:
    epoch = f"restored-{uuid.uuid4().hex[:12]}"
    started, entities, size = time.perf_counter(), 0, 0
    for group in marker.groups:
        for states in itertools.chain.from_iterable(map(_parts, files.read(marker.epoch, group))):
            store.load(epoch, group, states)
            entities += len(states)
            size += sum(len(packed) for _, packed in states)
    made = store.publish_epoch(epoch, log=marker.log, resume=marker.resume, now_ms=now_ms, topics=marker.topics)
    return Restored(made, marker.epoch, entities, size, time.perf_counter() - started)


def _parts(states: list[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    for first in range(0, len(states), KEYS_PER_WRITE):
        yield states[first : first + KEYS_PER_WRITE]
