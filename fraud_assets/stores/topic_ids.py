"""Which log positions speak of: topics by the ids that their broker gave them.

A topic that is deleted and made again has its name and other records; only its id tells it from the old one once it is as long.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

ANSWER_WITHIN_S = 15.0
# For brokers that start, elect, or know a topic and not yet its leader. A start that waits longer says so, and its supervisor starts it again.
PATIENCE_S = 30.0
ASK_AGAIN_S = 0.5
# Of a broker that gives none (Kafka before 2.8).
_NONE = "AAAAAAAAAAAAAAAAAAAAAA"


class Told(NamedTuple):
    """ids: of topics that are there and have one. unasked: those of which nobody could say whether they are, and why not."""

    ids: dict[str, str]
    unasked: dict[str, KafkaException]


def topic_ids(
    admin: AdminClient,
    names: Sequence[str],
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, str]:
    """Of those that exist and have one. Raises KafkaException if the broker does not say it of each within the patience.

    Who went on without an id would take the first one that he hears later for the one he began with.
    """
    found, left, deadline_s = dict[str, str](), list(names), time.monotonic() + PATIENCE_S
    while True:
        told = answered(admin.describe_topics(TopicCollection(left), request_timeout=ANSWER_WITHIN_S))
        found |= told.ids
        left = list(told.unasked)
        if not left:
            return found
        if time.monotonic() > deadline_s:
            raise told.unasked[left[0]]
        sleep(ASK_AGAIN_S)


def made_anew(ids: Mapping[str, str], others: Mapping[str, str]) -> list[str]:
    """Topics that both know and by other ids."""
    return [name for name, topic_id in ids.items() if others.get(name, topic_id) != topic_id]


def answered(asked: Mapping[str, object]) -> Told:
    """What the futures of `describe_topics` say; waits for them."""
    told = Told({}, {})
    for name, answer in asked.items():
        try:
            described = answer.result(ANSWER_WITHIN_S)  # type: ignore[attr-defined]
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                told.unasked[name] = error
            continue
        except TimeoutError:  # ours, which may come first
            told.unasked[name] = KafkaException(KafkaError(KafkaError._TIMED_OUT))
            continue
        if (topic_id := str(described.topic_id)) != _NONE:
            told.ids[name] = topic_id
    return told
