"""Which log positions speak of: topics by the ids that their broker gave them.

A topic that is deleted and made again has its name and other records; only its id tells it from the old one once it is as long.
"""

from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

ANSWER_WITHIN_S = 15.0
# Of a broker that gives none (Kafka before 2.8).
_NONE = "AAAAAAAAAAAAAAAAAAAAAA"


def topic_ids(admin: AdminClient, names: Sequence[str]) -> dict[str, str]:
    """Of those that exist and have one. Raises KafkaException if no broker answers."""
    return answered(admin.describe_topics(TopicCollection(list(names)), request_timeout=ANSWER_WITHIN_S))


def made_anew(ids: Mapping[str, str], others: Mapping[str, str]) -> list[str]:
    """Topics that both know and by other ids."""
    return [name for name, topic_id in ids.items() if others.get(name, topic_id) != topic_id]


def answered(asked: Mapping[str, object]) -> dict[str, str]:
    """What the futures of `describe_topics` say; waits for them. Nothing of a topic that is not there, or not just now."""
    found = {}
    for name, answer in asked.items():
        try:
            described = answer.result(ANSWER_WITHIN_S)  # type: ignore[attr-defined]
        except KafkaException:
            continue
        if (topic_id := str(described.topic_id)) != _NONE:
            found[name] = topic_id
    return found
