"""The topics of one broker: catalogue entries with their partition logs."""

import re
import uuid
from collections import ChainMap
from collections.abc import Callable, Mapping
from pathlib import Path

from kio.schema.errors import ErrorCode

from deploy.local.broker.catalog import Catalog, TopicRow
from deploy.local.broker.configs import DEFAULTS, check_config
from deploy.local.broker.errors import Refused
from deploy.local.broker.log import PartitionLog

# Kafka's own rule. Nothing a client sends becomes a path all the same: directories are named by topic id.
_LEGAL_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")
MAX_PARTITIONS = 1_000  # each holds a file open; a wrong argument must not exhaust the process


def check_name(name: str) -> str:
    """Raises Refused unless `name` is one that real Kafka accepts."""
    if not _LEGAL_NAME.fullmatch(name) or name in (".", ".."):
        raise Refused(ErrorCode.invalid_topic_exception, f"{name!r} is not a legal topic name: {_LEGAL_NAME.pattern}")
    return name


def check_partition_count(count: int) -> int:
    if not 1 <= count <= MAX_PARTITIONS:
        raise Refused(ErrorCode.invalid_partitions, f"{count} partitions; 1 to {MAX_PARTITIONS} are possible")
    return count


class Topic:
    """config: what was set; `settings` adds the defaults."""

    def __init__(self, name: str, topic_id: uuid.UUID, config: dict[str, str]) -> None:
        self.name = name
        self.id = topic_id
        self.config = config
        self.settings: Mapping[str, str] = ChainMap(self.config, dict(DEFAULTS))
        self.partitions: list[PartitionLog] = []

    @property
    def row(self) -> TopicRow:
        return TopicRow(self.id, self.name, len(self.partitions), self.config)


class Topics:
    def __init__(self, directory: Path, catalog: Catalog, clock_ms: Callable[[], int]) -> None:
        self._directory = directory
        self._catalog = catalog
        self._clock_ms = clock_ms
        self._topics: dict[str, Topic] = {}
        for row in catalog.topics():
            topic = Topic(row.name, row.id, row.config)
            self._open_partitions(topic, row.partitions)
            self._topics[row.name] = topic

    def _open_partitions(self, topic: Topic, count: int) -> None:
        starts = self._catalog.starts(topic.id)
        for index in range(len(topic.partitions), count):
            path = self._directory / topic.id.hex / str(index)
            topic.partitions.append(PartitionLog(path, topic.settings, starts.get(index, 0), self._clock_ms))

    def all(self) -> list[Topic]:
        return list(self._topics.values())

    def get(self, name: str) -> Topic:
        topic = self._topics.get(name)
        if topic is None:
            raise Refused(ErrorCode.unknown_topic_or_partition, f"no topic {name!r}")
        return topic

    def partition(self, name: str, index: int) -> PartitionLog:
        partitions = self.get(name).partitions
        if not 0 <= index < len(partitions):
            raise Refused(ErrorCode.unknown_topic_or_partition, f"{name!r} has no partition {index}")
        return partitions[index]

    def check_new(self, name: str, partitions: int, config: Mapping[str, str | None]) -> dict[str, str]:
        """The checked config of a topic that may be created. Raises Refused."""
        check_name(name)
        check_partition_count(partitions)
        if name in self._topics:
            raise Refused(ErrorCode.topic_already_exists, f"topic {name!r} already exists")
        return check_config(config)

    def create(self, name: str, partitions: int, config: dict[str, str]) -> None:
        topic = Topic(name, uuid.uuid4(), config)
        self._open_partitions(topic, partitions)
        self._catalog.save_topic(topic.row)
        self._topics[name] = topic

    def delete(self, name: str) -> None:
        topic = self.get(name)
        self._catalog.delete_topic(topic.row)
        del self._topics[name]
        for partition in topic.partitions:
            partition.delete()

    def check_growth(self, name: str, partitions: int) -> None:
        check_partition_count(partitions)
        if partitions <= len(self.get(name).partitions):
            raise Refused(ErrorCode.invalid_partitions, "the number of partitions can only be increased")

    def grow(self, name: str, partitions: int) -> None:
        topic = self.get(name)
        self._open_partitions(topic, partitions)
        self._catalog.save_topic(topic.row)

    def configure(self, name: str, config: dict[str, str]) -> None:
        topic = self.get(name)
        topic.config.clear()
        topic.config.update(config)
        self._catalog.save_topic(topic.row)

    def delete_records(self, name: str, index: int, before: int) -> int:
        """before: -1 means all. The new start offset, remembered across restarts."""
        partition = self.partition(name, index)
        start = partition.delete_records(partition.end_offset if before == -1 else before)
        self._catalog.save_start(self.get(name).id, index, start)
        return start

    def logs(self) -> list[PartitionLog]:
        return [log for topic in self._topics.values() for log in topic.partitions]

    def close(self) -> None:
        for log in self.logs():
            log.flush()
            log.close()
