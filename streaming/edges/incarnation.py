"""A topic made anew under its old name is noticed by its id, however long it is: at the start, and while the worker runs."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import structlog
from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient

from fraud_assets.contracts.topics import Topic
from fraud_assets.stores.online_port import OnlineStates, StoreUnavailable
from fraud_assets.stores.topic_ids import answered, made_anew, topic_ids
from streaming.edges.claim import LostLog
from streaming.logs import LIBRDKAFKA
from streaming.settings import WorkerSettings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

LOOK_S = 5.0


class OtherLog(LostLog):
    """A topic is not the one that was read, but another of its name."""


class KeptIds(Protocol):
    """Where the ids are that positions speak of; see LakeTopicIds and StoreTopicIds."""

    def read(self, names: Iterable[str]) -> dict[str, str]: ...
    def adopt(self, ids: Mapping[str, str]) -> None: ...


class StoreTopicIds:
    """Those of the online store's epoch."""

    def __init__(self, states: OnlineStates) -> None:
        self._states = states

    def read(self, names: Iterable[str]) -> dict[str, str]:
        ids = self._states.topic_ids()
        return {name: ids[name] for name in names if name in ids}

    def adopt(self, ids: Mapping[str, str]) -> None:
        self._states.adopt_topics(ids)


class Incarnation:
    """Compares the ids of some topics with those that are kept. way_out: for a person, one sentence."""

    def __init__(
        self, settings: WorkerSettings, group: str, topics: Iterable[Topic], kept: KeptIds, way_out: str
    ) -> None:
        self._admin = AdminClient(
            {"bootstrap.servers": settings.kafka_bootstrap_servers, "log_level": 2, "logger": LIBRDKAFKA}
        )
        self._group = group
        self._names = [topic.name for topic in topics]
        self._kept = kept
        self._way_out = way_out
        self._ids: dict[str, str] = {}
        self._asked: Mapping[str, Any] = {}
        self._asked_s = 0.0

    def check(self) -> None:
        """Before the group goes on. Topics that nobody has read yet are adopted. Raises OtherLog, and KafkaException if the broker
        does not say it of each that is there: what it says later may be of another, made meanwhile, which the group then reads.
        """
        found, self._ids = topic_ids(self._admin, self._names), self._kept.read(self._names)
        self._compare(found)
        new = self._new(found)
        if new:
            self._kept.adopt(new)
            self._ids |= new

    def tick(self) -> None:
        """Called after every poll: a consumer goes on reading a namesake where it was, without a word. Raises OtherLog."""
        if self._asked and all(answer.done() for answer in self._asked.values()):
            found, self._asked = answered(self._asked).ids, {}
            self._compare(found)
            self._ids |= self._new(found)  # the next start keeps it: what keeps it may be away just now
        elif not self._asked and time.monotonic() - self._asked_s >= LOOK_S:
            self._asked_s = time.monotonic()
            self._asked = self._admin.describe_topics(TopicCollection(self._names))

    def _new(self, found: Mapping[str, str]) -> dict[str, str]:
        """Of topics that were not there before."""
        return {name: topic_id for name, topic_id in found.items() if name not in self._ids}

    def _compare(self, found: Mapping[str, str]) -> None:
        if others := made_anew(found, self._ids):
            lost = OtherLog(f"{', '.join(others)}: made anew, not the topic that was read. {self._way_out}")
            log.error("log_lost", group=self._group, detail=str(lost))
            raise lost


@contextmanager
def nobody_decides_by(states: OnlineStates) -> Iterator[None]:
    """If the log turns out to be another: the online store's epoch is withdrawn, for no event of its entities will be folded any more."""
    try:
        yield
    except OtherLog as lost:
        try:
            states.withdraw(str(lost))
            log.error("epoch_withdrawn", detail=str(lost))
        except StoreUnavailable as error:
            log.warning("epoch_not_withdrawn", reason=error.reason)
        raise
