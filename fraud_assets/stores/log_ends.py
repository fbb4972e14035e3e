"""Where the entity topics must be read from, after a snapshot taken from the lake.

Everything the lake lacks lies at or behind the answer. Too early costs a replay, which states filter
by their position; too late would lose events, so every doubt goes to the earlier offset.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from fraud_assets.stores.topic_ids import topic_ids

ANSWER_WITHIN_S = 5.0
# Broker clocks may step back by a little between an event's append and its entity record's.
CLOCK_MARGIN_MS = 60_000

LastRow = tuple[int, int]


@dataclass(frozen=True)
class Resume:
    """offsets: `<entity topic>/<partition>` to the first offset not yet in the states; absent ones
    mean the earliest. log: the incarnation of the log, "" if no broker answered. topics: ids of the entity topics.
    """

    offsets: Mapping[str, int] = field(default_factory=dict)
    log: str = ""
    topics: Mapping[str, str] = field(default_factory=dict)


def resume_after(
    bootstrap_servers: str,
    raw_topics: Sequence[str],
    entity_topics: Sequence[str],
    lake_ends: Mapping[tuple[str, int], LastRow],
    now_ms: int,
) -> Resume:
    """Offsets of the entity topics to resume from.

    lake_ends: (topic, partition) to (offset, arrival ms) of the lake's last row. now_ms: taken before
    the lake was read. Without a broker there is nothing to resume from but the beginning.
    """
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "online-store-snapshot", "log_level": 0})
    try:
        known = consumer.list_topics(timeout=ANSWER_WITHIN_S)
        # Before the offsets: of a topic that is made anew in between, they are no offsets of this id.
        ids = topic_ids(AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0}), entity_topics)
        partitions = {name: sorted(known.topics[name].partitions) for name in known.topics}
        limits = [now_ms]
        for topic in raw_topics:
            for partition in partitions.get(topic, []):
                at = lake_ends.get((topic, partition))
                _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=ANSWER_WITHIN_S)
                limits.append(_covered_until(at, end, now_ms))
        wanted = [(name, partition) for name in entity_topics for partition in partitions.get(name, [])]
        since = max(min(limits) - CLOCK_MARGIN_MS, 0)
        return Resume(_offsets_at(consumer, wanted, since), str(known.cluster_id or ""), ids)
    except KafkaException:
        return Resume()
    finally:
        consumer.close()


def _covered_until(last: LastRow | None, end: int, now_ms: int) -> int:
    """Until when the lake holds everything of a partition."""
    if end == 0 or (last is not None and last[0] + 1 >= end):
        return now_ms
    return 0 if last is None else last[1]


def _offsets_at(consumer: Consumer, wanted: Sequence[tuple[str, int]], since_ms: int) -> dict[str, int]:
    if not wanted:
        return {}
    # Before the question: what arrives between the two is young, the lake may lack it, and it lies behind this end.
    ends = {at: consumer.get_watermark_offsets(TopicPartition(*at), timeout=ANSWER_WITHIN_S)[1] for at in wanted}
    asked = [TopicPartition(topic, partition, since_ms) for topic, partition in wanted]
    found = {}
    for at in consumer.offsets_for_times(asked, timeout=ANSWER_WITHIN_S):
        if at.error:
            raise KafkaException(at.error)
        is_none_so_young = at.offset in (-1, OFFSET_END)
        found[f"{at.topic}/{at.partition}"] = ends[at.topic, at.partition] if is_none_so_young else at.offset
    return found
