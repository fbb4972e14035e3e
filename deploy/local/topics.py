"""Creates the platform's topics, and refuses to work on ones that would break its promises.

python -m deploy.local.topics --bootstrap-servers 127.0.0.1:9092
"""

import argparse
import time
from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from fraud_assets.contracts.topics import DEAD_LETTERS, DECIDED_TOPICS, RAW_TOPICS, Topic, entity_topic

PLATFORM_TOPICS: tuple[Topic, ...] = (*RAW_TOPICS, *DECIDED_TOPICS, DEAD_LETTERS)
_ANSWER_WITHIN_S = 15.0
# Of syslog, as librdkafka has it; 6 would be information.
_WARNINGS = 4


class TopicMismatch(RuntimeError):
    """A topic exists and is not what the contract says; nothing was changed."""


def ensure_platform_topics(bootstrap_servers: str) -> None:
    """Every topic of the contract and one for each entity type of the feature registry."""
    ensure_topics(bootstrap_servers, _platform_topics())


def _platform_topics() -> list[Topic]:
    return [*PLATFORM_TOPICS, *map(entity_topic, entity_groups())]


def _admin(bootstrap_servers: str) -> AdminClient:
    """At its end a client says now and then, as information, what it throws away; a person reads what is printed here."""
    return AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": _WARNINGS})


def cluster_id(bootstrap_servers: str, within_s: float) -> str:
    """The name that a Kafka was given when it was made, "" if it does not say. Raises KafkaException where none answers."""
    return str(_admin(bootstrap_servers).list_topics(timeout=within_s).cluster_id or "")


def used_topics(bootstrap_servers: str) -> list[str]:
    """Names of the platform's topics that have ever had a record; also of those whose records have expired."""
    admin = _admin(bootstrap_servers)
    known = admin.list_topics(timeout=_ANSWER_WITHIN_S).topics
    names = [topic.name for topic in _platform_topics() if topic.name in known]
    asked = {TopicPartition(name, number): OffsetSpec.latest() for name in names for number in known[name].partitions}
    ends = admin.list_offsets(asked, request_timeout=_ANSWER_WITHIN_S) if asked else {}
    return sorted({at.topic for at, end in ends.items() if end.result(_ANSWER_WITHIN_S).offset > 0})


def entity_groups() -> list[str]:
    """Names of the entity types that have features, as the registry declares them."""
    # Here, so that whoever only wants `ensure_topics` does not load the feature catalogue.
    from fraud_assets.features.catalogue.ticketing import registry

    return [group.name for group in registry().groups]


def ensure_topics(bootstrap_servers: str, topics: Iterable[Topic], replication_factor: int = 1) -> None:
    """Create what is missing, with explicit settings; leave alone what is right.

    More partitions than declared and other retention are an operator's choice. Raises TopicMismatch
    for fewer partitions (keys would move when they are added) and for another timestamp type (the
    broker's clock is the arrival clock).
    """
    admin = _admin(bootstrap_servers)
    wanted = {topic.name: topic for topic in topics}
    existing = set(admin.list_topics(timeout=_ANSWER_WITHIN_S).topics) & set(wanted)
    _create(admin, [topic for name, topic in wanted.items() if name not in existing], replication_factor)
    _wait_until_visible(admin, wanted)
    problems = [*_partition_problems(admin, wanted), *_timestamp_problems(admin, wanted)]
    if problems:
        raise TopicMismatch(f"{bootstrap_servers}: " + "; ".join(problems))


def _create(admin: AdminClient, missing: list[Topic], replication_factor: int) -> None:
    if not missing:
        return
    requests = [NewTopic(topic.name, topic.partitions, replication_factor, config=topic.config()) for topic in missing]
    for future in admin.create_topics(requests, operation_timeout=_ANSWER_WITHIN_S).values():
        try:
            future.result(_ANSWER_WITHIN_S)
        except KafkaException as error:
            # Two processes may start at once; the checks that follow look at the winner's topic.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def _wait_until_visible(admin: AdminClient, wanted: dict[str, Topic]) -> None:
    """Real Kafka answers a creation before all of its metadata knows of it."""
    deadline = time.monotonic() + _ANSWER_WITHIN_S
    while missing := set(wanted) - set(admin.list_topics(timeout=_ANSWER_WITHIN_S).topics):
        if time.monotonic() > deadline:
            raise TopicMismatch(f"created but not visible after {_ANSWER_WITHIN_S:g} s: {sorted(missing)}")
        time.sleep(0.05)


def _partition_problems(admin: AdminClient, wanted: dict[str, Topic]) -> list[str]:
    found = admin.list_topics(timeout=_ANSWER_WITHIN_S).topics
    return [
        f"{name} has {len(found[name].partitions)} partitions, the contract says {topic.partitions}: "
        "drain and recreate it, adding partitions would move keys"
        for name, topic in wanted.items()
        if len(found[name].partitions) < topic.partitions
    ]


def _timestamp_problems(admin: AdminClient, wanted: dict[str, Topic]) -> list[str]:
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in wanted]
    problems = []
    for resource, future in admin.describe_configs(resources).items():
        found = future.result(_ANSWER_WITHIN_S)["message.timestamp.type"].value
        expected = wanted[resource.name].config()["message.timestamp.type"]
        if found != expected:
            problems.append(
                f"{resource.name} has message.timestamp.type={found}, the contract says {expected}: "
                "recreate it, records already stamped keep their time"
            )
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.local.topics", description=__doc__)
    parser.add_argument("--bootstrap-servers", required=True)
    arguments = parser.parse_args()
    ensure_platform_topics(arguments.bootstrap_servers)
    print(f"topics of the platform are in order on {arguments.bootstrap_servers}")


if __name__ == "__main__":
    main()
