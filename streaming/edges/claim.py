"""Where a consumer group goes on: after what it has read, if that is still where the log ends for it.

A log that begins behind that place has lost records that nobody read; one that ends before it is not the log that was read.
Going on from either would leave out events without a word, so the process ends and says so.
"""

import time
from collections.abc import Callable, Iterable, Mapping

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from fraud_assets.contracts.topics import Topic
from streaming.edges.broker import ANSWER_WITHIN_S, SESSION_TIMEOUT_MS
from streaming.logs import LIBRDKAFKA
from streaming.settings import WorkerSettings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

At = tuple[str, int]
# Only members commit while there are any, and a static member that died is one until its session ends.
EMPTY_WITHIN_S = 2 * SESSION_TIMEOUT_MS / 1_000
RETRY_S = 0.5
# Of a topic that was made a moment ago: its metadata names a leader that has not heard of it yet.
NOT_LEADING_YET = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)


class LostLog(RuntimeError):
    """The log is not, or no longer whole, the one that was read; the message says where."""


def claim(
    settings: WorkerSettings,
    group: str,
    topics: Iterable[Topic],
    *,
    held: Callable[[], Callable[[At], int | None]] = lambda: lambda _: None,
    seen: Callable[[], Mapping[At, int]] = dict,
    went_back: Callable[[Mapping[At, int]], None] = lambda _: None,
) -> dict[At, int]:
    """The next offset of each partition, committed for the group. Raises LostLog.

    held: asks how far the group's work goes, of the place that holds it; the group goes back to there if that place lost something.
    went_back: is told, before the offsets are, of partitions of which the place that holds the work has lost some; and how far it went.
    seen: asks how far a partition was read by somebody, for a group that has no offset of it (any more): it begins where the log does.
    """
    consumer = Consumer(
        {"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": group, "logger": LIBRDKAFKA}
    )
    try:
        there = consumer.list_topics(timeout=ANSWER_WITHIN_S).topics
        asked = [
            TopicPartition(one.name, partition) for one in topics for partition in sorted(there[one.name].partitions)
        ]
        deadline = time.monotonic() + EMPTY_WITHIN_S
        while True:
            found = {(at.topic, at.partition): at.offset for at in consumer.committed(asked, timeout=ANSWER_WITHIN_S)}
            # Asked after the offsets, which follow it: else another worker that goes on would look like a loss.
            holds, others = held(), seen() if min(found.values()) < 0 else {}
            starts = {at: _start(consumer, at, offset, holds(at), others.get(at)) for at, offset in found.items()}
            moved = {at: start for at, start in starts.items() if start != found[at]}
            if back := {at: found[at] for at, start in moved.items() if start < found[at]}:
                went_back(back)
            if not moved or _is_committed(consumer, moved, deadline):
                break
            time.sleep(RETRY_S)  # another worker may do it meanwhile
        if moved:
            log.info("group_starts", group=group, partitions=len(moved), gone_back=len(back))
        return starts
    except LostLog as lost:
        log.error("log_lost", group=group, detail=str(lost))
        raise
    finally:
        consumer.close()


def log_range(consumer: Consumer, at: At, sleep: Callable[[float], None] = time.sleep) -> tuple[int, int]:
    """The first offset that a partition has, and the one after its last. Raises KafkaException."""
    tries = Retrying(
        retry=retry_if_exception(_is_not_led_yet), stop=stop_after_delay(ANSWER_WITHIN_S), wait=wait_fixed(RETRY_S),
        sleep=sleep, reraise=True,
    )  # fmt: skip
    low, high = tries(consumer.get_watermark_offsets, TopicPartition(*at), timeout=ANSWER_WITHIN_S)
    return low, high


def _is_not_led_yet(error: BaseException) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() in NOT_LEADING_YET


def _start(consumer: Consumer, at: At, committed: int, held: int | None, seen: int | None) -> int:
    low, high = log_range(consumer, at)
    own = [offset for offset in (committed, held) if offset is not None and offset >= 0]
    told = [*own, seen] if committed < 0 and seen is not None else own
    _check(at, told, low, high)
    return min(own, default=low)


def _check(at: At, read: list[int], low: int, high: int) -> None:
    """Every word about what was read must lie in what there is."""
    if read and max(read) > high:
        raise LostLog(
            f"{at[0]}/{at[1]} ends at {high}, and {max(read)} records of it were read: it was made anew or cut off."
            " Bring the old topic back; or begin a new world: new topics, lake and online store."
        )
    if read and min(read) < low:
        raise LostLog(
            f"{at[0]}/{at[1]} begins at {low}, and it was read up to {min(read)}: records are gone that nobody read. If a backup has"
            " them, send them again; then set the offsets of the group to the beginning. States are made of the lake by"
            " `python -m streaming rebuild-online --force`."
        )


def _is_committed(consumer: Consumer, starts: Mapping[At, int], deadline: float) -> bool:
    """False if the group has members, and there is time to wait for the end of their sessions."""
    try:
        consumer.commit(offsets=[TopicPartition(*at, start) for at, start in starts.items()], asynchronous=False)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.UNKNOWN_MEMBER_ID or time.monotonic() > deadline:
            raise
        return False
    return True
