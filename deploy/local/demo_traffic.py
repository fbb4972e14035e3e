"""Live traffic watched through the platform's own metrics, and the wait until all of it is in the lake."""

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from fraud_assets.contracts.topics import DECISIONS, RAW_TOPICS

ROUTER_GROUP = "fraud-worker"
LABEL_GROUP = "fraud-worker-labels"
_READ = {
    ROUTER_GROUP: tuple(topic.name for topic in (*RAW_TOPICS, DECISIONS)),
    LABEL_GROUP: ("transactions.v1", "labels.v1"),
}
_ANSWER_WITHIN_S = 5.0
_LOOK_S = 0.25
# The label stage turns labels into facts, which are raw records again: quiet once is not the end.
_QUIET_LOOKS = 4


class NotDrained(RuntimeError):
    """The worker did not take up all that was sent; the message says what it lacks."""


def watch_scorer(url: str, credential: str) -> Callable[[], str]:
    """A look at the scorer's counters: what it decided since the first look, in one line."""

    def look() -> str:
        counts = decisions_of(url, credential)
        if not counts:
            return ""
        total = sum(counts.values())
        return " · ".join([f"{total:,.0f} decisions", *(f"{name} {count:,.0f}" for name, count in counts.items())])

    return look


def decisions_of(url: str, credential: str) -> dict[str, float]:
    """Decisions by action; empty while the scorer does not answer, which its own log explains."""
    return {one.labels["decision"]: one.value for one in _samples(url, credential, "fraud_decisions_total")}


def pending_of(url: str, credential: str) -> float | None:
    """Decision events that Kafka may not have yet; None while the scorer does not answer."""
    return next((one.value for one in _samples(url, credential, "fraud_decision_events_pending")), None)


def _samples(url: str, credential: str, name: str) -> list[Sample]:
    call = urllib.request.Request(f"{url}/metrics", headers={"Authorization": f"Bearer {credential}"})
    try:
        with urllib.request.urlopen(call, timeout=1.0) as response:
            text = response.read().decode()
    except (urllib.error.URLError, OSError):
        return []
    return [
        sample for family in text_string_to_metric_families(text) for sample in family.samples if sample.name == name
    ]


def await_sent(url: str, credential: str, within_s: float, tell: Callable[[str], None]) -> None:
    """Wait until every decision's event is on the broker: nothing is left in the scorer's spool and journal. Raises NotDrained."""
    deadline = time.monotonic() + within_s
    while (left := pending_of(url, credential)) != 0:
        tell("the scorer does not answer" if left is None else f"{left:,.0f} decisions to send")
        if time.monotonic() > deadline:
            raise NotDrained(f"after {within_s:g} s the scorer still has decisions to send: {left}")
        time.sleep(_LOOK_S)


def drain(bootstrap_servers: str, within_s: float, tell: Callable[[str], None]) -> int:
    """Wait until the worker has committed all raw records, so that the lake holds them; their number.

    Offsets are committed after the lake's files are written. Raises NotDrained.
    """
    deadline = time.monotonic() + within_s
    quiet = 0
    while quiet < _QUIET_LOOKS:
        behind = _look(lambda: {group: lag(bootstrap_servers, group, topics) for group, topics in _READ.items()})
        quiet = quiet + 1 if behind is not None and not any(behind.values()) else 0
        _wait(behind, deadline, within_s, tell)
    return sum(ends(bootstrap_servers, _READ[ROUTER_GROUP]).values())


def catch_up(bootstrap_servers: str, within_s: float, tell: Callable[[str], None]) -> None:
    """Wait until the worker has committed what is on the broker by now, and not what comes of it: purchases mature for as long as the
    label delay lasts, and each is then another record. Raises NotDrained.
    """
    goals = {group: ends(bootstrap_servers, topics) for group, topics in _READ.items()}
    deadline = time.monotonic() + within_s
    while True:
        behind = _look(lambda: {group: _behind(bootstrap_servers, group, goal) for group, goal in goals.items()})
        if behind is not None and not any(behind.values()):
            return
        _wait(behind, deadline, within_s, tell)


def _look(counted: Callable[[], Mapping[str, int]]) -> Mapping[str, int] | None:
    """None where the broker did not answer in time: on a busy machine it may the next time."""
    try:
        return counted()
    except KafkaException as failure:
        if failure.args[0].code() != KafkaError._TIMED_OUT:
            raise
        return None


def _wait(behind: Mapping[str, int] | None, deadline: float, within_s: float, tell: Callable[[str], None]) -> None:
    tell("the broker does not answer" if behind is None else f"{sum(behind.values()):,} records to go")
    if time.monotonic() > deadline:
        raise NotDrained(f"after {within_s:g} s still behind: {behind or 'the broker does not answer'}")
    time.sleep(_LOOK_S)


def lag(bootstrap_servers: str, group: str, topics: Iterable[str]) -> int:
    """Records of the topics that the group has not committed."""
    return _behind(bootstrap_servers, group, ends(bootstrap_servers, topics))


def _behind(bootstrap_servers: str, group: str, goal: Mapping[tuple[str, int], int]) -> int:
    """Records before the goal that the group has not committed."""
    consumer = _consumer(bootstrap_servers, group)
    try:
        found = consumer.committed([TopicPartition(*at) for at in goal], timeout=_ANSWER_WITHIN_S)
    finally:
        consumer.close()
    return sum(max(0, goal[one.topic, one.partition] - max(0, one.offset)) for one in found)


def ends(bootstrap_servers: str, topics: Iterable[str]) -> dict[tuple[str, int], int]:
    """(topic, partition) to its end offset."""
    consumer = _consumer(bootstrap_servers, "fraud-demo")
    try:
        known = consumer.list_topics(timeout=_ANSWER_WITHIN_S).topics
        return {
            (name, partition): consumer.get_watermark_offsets(
                TopicPartition(name, partition), timeout=_ANSWER_WITHIN_S
            )[1]
            for name in topics
            for partition in known[name].partitions
        }
    finally:
        consumer.close()


def _consumer(bootstrap_servers: str, group: str) -> Consumer:
    """Asks only; it never joins the group."""
    return Consumer({"bootstrap.servers": bootstrap_servers, "group.id": group, "enable.auto.commit": False})
