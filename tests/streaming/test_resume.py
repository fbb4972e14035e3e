"""Where a group goes on: after what it has read, and nowhere if that is not there any more."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from deploy.local.fault_proxy import Fault, FaultProxy
from deploy.local.topics import ensure_topics
from fraud_assets.contracts.topics import Topic, entity_topic
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.lake_topics import LakeTopicIds
from fraud_assets.stores.online_memory import MemoryStore
from fraud_assets.stores.online_port import EpochMarker, Withdrawn
from fraud_assets.stores.topic_ids import topic_ids
from streaming.core.records import Send
from streaming.edges.broker import Sender, WrongTopic, check_arrival_stamps
from streaming.edges.claim import LostLog, claim, log_range
from streaming.edges.incarnation import Incarnation, KeptIds, OtherLog, StoreTopicIds, nobody_decides_by
from streaming.folder import held_by
from streaming.settings import WorkerSettings
from tests.streaming.live import Log, wait_for


@pytest.fixture
def settings(bootstrap_servers: str) -> WorkerSettings:
    return WorkerSettings(kafka_bootstrap_servers=bootstrap_servers)


@pytest.fixture
def topic(bootstrap_servers: str) -> Topic:
    """An entity topic of this test's own, with ten records in partition 0 of 8."""
    made = entity_topic(f"test_{uuid.uuid4().hex[:8]}")
    ensure_topics(bootstrap_servers, [made])
    sender = Sender(bootstrap_servers)
    sender.send(Send(made.name, b"one key", b"value", []) for _ in range(10))
    sender.flush()
    return made


def marker() -> EpochMarker:
    return EpochMarker(epoch="one", log="log", groups={})


def store(resume: dict[str, int]) -> MemoryStore:
    made = MemoryStore(registry())
    made.publish_epoch("one", log="log", resume=resume, now_ms=0)
    return made


def filled(log: Log, topic: Topic) -> tuple[str, int]:
    """The partition with the ten records."""
    return next(at for at, end in log.ends([topic.name]).items() if end == 10)


def commit(log: Log, group: str, at: tuple[str, int], offset: int) -> None:
    consumer = Consumer({**log.address, "group.id": group})
    consumer.commit(offsets=[TopicPartition(*at, offset)], asynchronous=False)
    consumer.close()


def test_a_new_epochs_group_starts_at_the_offsets_of_its_snapshot(settings: WorkerSettings, topic: Topic) -> None:
    log, group = Log(settings.kafka_bootstrap_servers), f"fold.{topic.name}"
    at = filled(log, topic)

    claim(settings, group, [topic], held=lambda: held_by(store({f"{at[0]}/{at[1]}": 7}), marker()))

    assert log.committed(group, [at]) == {at: 7}


def test_a_worker_that_joins_later_does_not_start_over(settings: WorkerSettings, topic: Topic) -> None:
    """The store says how far it goes, and it has gone on since its snapshot."""
    log, group = Log(settings.kafka_bootstrap_servers), f"fold.{topic.name}"
    at = filled(log, topic)
    states = store({f"{at[0]}/{at[1]}": 2})
    claim(settings, group, [topic], held=lambda: held_by(states, marker()))
    states.hold("one", {})
    states.advance({f"{at[0]}/{at[1]}": 5})
    commit(log, group, at, 5)

    assert claim(settings, group, [topic], held=lambda: held_by(states, marker()))[at] == 5
    assert log.committed(group, [at]) == {at: 5}


def test_a_store_that_lost_its_last_writes_is_folded_again_from_where_it_ends(
    settings: WorkerSettings, topic: Topic
) -> None:
    log, group = Log(settings.kafka_bootstrap_servers), f"fold.{topic.name}"
    at = filled(log, topic)
    commit(log, group, at, 9)

    assert claim(settings, group, [topic], held=lambda: held_by(store({f"{at[0]}/{at[1]}": 4}), marker()))[at] == 4
    assert log.committed(group, [at]) == {at: 4}


def test_an_epoch_of_a_version_without_positions_goes_on_from_its_groups_offsets(
    settings: WorkerSettings, topic: Topic
) -> None:
    log, group, states = Log(settings.kafka_bootstrap_servers), f"fold.{topic.name}", store({})
    at = filled(log, topic)
    commit(log, group, at, 6)
    del states.server["fs-at:one"]

    assert claim(settings, group, [topic], held=lambda: held_by(states, marker()))[at] == 6


def test_a_group_without_offsets_begins_where_the_log_does(settings: WorkerSettings, topic: Topic) -> None:
    log, group = Log(settings.kafka_bootstrap_servers), f"route.{topic.name}"
    at = filled(log, topic)

    assert set(claim(settings, group, [topic], seen=lambda: {at: 3}).values()) == {0}


def test_records_that_expired_unread_are_no_place_to_go_on_from(settings: WorkerSettings, topic: Topic) -> None:
    """Kafka's way out, the earliest that is left, would leave out events without a word."""
    log, group = Log(settings.kafka_bootstrap_servers), f"route.{topic.name}"
    at = filled(log, topic)
    log.admin.delete_records([TopicPartition(*at, 8)])[TopicPartition(*at)].result(15)
    commit(log, group, at, 5)

    with pytest.raises(LostLog, match="begins at 8, and it was read up to 5"):
        claim(settings, group, [topic])
    with pytest.raises(LostLog, match="read up to 6"):  # the group's offsets have expired too, and somebody knows
        claim(settings, f"new.{group}", [topic], seen=lambda: {at: 6})
    assert claim(settings, f"new.{group}", [topic], seen=dict)[at] == 8  # nobody ever read it: a source with a past
    assert log.committed(group, [at]) == {at: 5}


def test_a_topic_made_anew_is_not_taken_for_the_old_one(settings: WorkerSettings, topic: Topic) -> None:
    log, group = Log(settings.kafka_bootstrap_servers), f"route.{topic.name}"
    at = filled(log, topic)
    commit(log, group, at, 11)

    with pytest.raises(LostLog, match="ends at 10, and 11 records of it were read"):
        claim(settings, group, [topic])
    with pytest.raises(LostLog, match="ends at 10"):
        claim(settings, f"new.{group}", [topic], seen=lambda: {at: 12})


def made_anew(log: Log, topic: Topic, count: int) -> None:
    """Deleted and created again, with `count` records."""
    log.admin.delete_topics([topic.name])[topic.name].result(15)
    wait_for(lambda: topic.name not in log.admin.list_topics(timeout=10).topics, "the topic is gone")
    ensure_topics(log.address["bootstrap.servers"], [topic])
    for _ in range(count):
        log.send(topic.name, b"one key", b"new value")
    log.flush()


def kept_ids(where: str, tmp_path: Path) -> KeptIds:
    return LakeTopicIds(str(tmp_path)) if where == "lake" else StoreTopicIds(store({}))


@pytest.mark.parametrize("where", ["lake", "store"])
def test_a_topic_made_anew_and_longer_than_the_old_one_is_not_taken_for_it(
    where: str, settings: WorkerSettings, topic: Topic, tmp_path: Path
) -> None:
    """Offsets say nothing then. At a start, and under a worker that reads it."""
    log, kept = Log(settings.kafka_bootstrap_servers), kept_ids(where, tmp_path)
    running = Incarnation(settings, "group", [topic], kept, "Bring it back.")
    running.check()
    Incarnation(settings, "group", [topic], kept, "Bring it back.").check()  # a restart is no other log
    assert_quiet(running)

    made_anew(log, topic, 20)

    with pytest.raises(OtherLog, match=rf"{topic.name}: made anew.* Bring it back\."):
        Incarnation(settings, "group", [topic], kept, "Bring it back.").check()
    with pytest.raises(OtherLog, match=topic.name):
        assert_quiet(running)


def assert_quiet(running: Incarnation) -> None:
    """Looks once, at once."""
    running._asked_s = 0.0
    running.tick()
    assert running._asked
    wait_for(lambda: _has_looked(running), "the broker has said what it has")


def _has_looked(running: Incarnation) -> bool:
    running.tick()
    return not running._asked


def test_a_topic_that_is_away_is_not_another(settings: WorkerSettings, topic: Topic, tmp_path: Path) -> None:
    """It may come back; and one that is made for the first time is whose it is."""
    log, kept = Log(settings.kafka_bootstrap_servers), kept_ids("lake", tmp_path)
    missing = entity_topic(f"missing_{uuid.uuid4().hex[:8]}")

    running = Incarnation(settings, "group", [topic, missing], kept, "")
    running.check()
    log.admin.delete_topics([topic.name])[topic.name].result(15)
    ensure_topics(settings.kafka_bootstrap_servers, [missing])

    assert_quiet(running)
    Incarnation(settings, "group", [topic, missing], kept, "").check()
    assert set(kept.read([topic.name, missing.name])) == {topic.name, missing.name}

    made_anew(log, missing, 1)
    with pytest.raises(OtherLog, match=missing.name):
        assert_quiet(running)


@pytest.fixture
def away(settings: WorkerSettings) -> Iterator[FaultProxy]:
    """Before the broker, which cannot be reached yet."""
    host, _, port = settings.kafka_bootstrap_servers.partition(":")
    with FaultProxy(host, int(port)) as proxy:
        proxy.set(Fault.REFUSED)
        yield proxy


def test_a_broker_that_cannot_say_yet_which_topics_they_are_is_asked_again(
    away: FaultProxy, settings: WorkerSettings, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer is what all later ones are held against: it must be of the topic that the group began with."""
    monkeypatch.setattr("fraud_assets.stores.topic_ids.ANSWER_WITHIN_S", 1.0)
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{away.port}"})
    waited = list[float]()

    def then_it_can(pause_s: float) -> None:
        waited.append(pause_s)
        away.set(Fault.NONE)

    found = topic_ids(admin, [topic.name, "not-there"], sleep=then_it_can)

    assert waited
    assert found == topic_ids(AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers}), [topic.name])


def test_a_group_does_not_begin_with_topics_that_it_could_not_ask_for(
    away: FaultProxy, topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one that is made anew until it hears of it, it would keep the new id for the old one's."""
    monkeypatch.setattr("fraud_assets.stores.topic_ids.ANSWER_WITHIN_S", 1.0)
    monkeypatch.setattr("fraud_assets.stores.topic_ids.PATIENCE_S", 0.0)
    kept = kept_ids("lake", tmp_path)
    began = Incarnation(
        WorkerSettings(kafka_bootstrap_servers=f"127.0.0.1:{away.port}"), "group", [topic], kept, "Bring it back."
    )

    with pytest.raises(KafkaException):
        began.check()

    assert kept.read([topic.name]) == {}


def test_nobody_decides_by_states_whose_log_is_another() -> None:
    states = store({})

    with pytest.raises(OtherLog), nobody_decides_by(states):
        raise OtherLog("entity.card.v1: made anew.")

    with pytest.raises(Withdrawn, match=r"entity\.card\.v1: made anew"):
        states.current_epoch()


def test_a_group_tells_which_work_was_lost(settings: WorkerSettings, topic: Topic) -> None:
    """Not at a restart, and not when the work goes further than the offsets."""
    log, group = Log(settings.kafka_bootstrap_servers), f"fold.{topic.name}"
    at, told = filled(log, topic), list[Any]()
    for held, expected in ((5, []), (8, []), (3, [{at: 5}])):
        commit(log, group, at, 5)
        states = store({f"{at[0]}/{at[1]}": held})
        claim(settings, group, [topic], held=lambda states=states: held_by(states, marker()), went_back=told.append)  # type: ignore[misc]
        assert told == expected


def test_records_of_one_key_lie_in_one_partition(settings: WorkerSettings, topic: Topic) -> None:
    assert sorted(Log(settings.kafka_bootstrap_servers).ends([topic.name]).values()) == [0] * 7 + [10]


def test_a_topic_stamped_by_producers_is_refused(settings: WorkerSettings) -> None:
    """Their clocks would decide when an event arrived."""
    from confluent_kafka.admin import AdminClient, NewTopic

    wrong = entity_topic(f"wrong_{uuid.uuid4().hex[:8]}")
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    admin.create_topics([NewTopic(wrong.name, 1, 1)])[wrong.name].result(15)

    with pytest.raises(WrongTopic, match=wrong.name):
        check_arrival_stamps(settings, [wrong])


class YoungTopic:
    """A consumer whose broker does not lead yet: for a moment after a topic was made Apache Kafka says so, but not on demand."""

    def __init__(self, consumer: Any, *refusals: int) -> None:
        self._consumer, self._refusals = consumer, list(refusals)

    def get_watermark_offsets(self, *given: Any, **named: Any) -> Any:
        if self._refusals:
            raise KafkaException(KafkaError(self._refusals.pop()))
        return self._consumer.get_watermark_offsets(*given, **named)


def test_a_topic_that_was_made_a_moment_ago_is_waited_for(settings: WorkerSettings, topic: Topic) -> None:
    """`init-epoch` and a worker's start ask for its ends while its leader has not heard of it."""
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": "young"})
    young = YoungTopic(consumer, KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
    at, ends, naps = filled(Log(settings.kafka_bootstrap_servers), topic), (0, 10), list[float]()

    assert log_range(young, at, naps.append) == ends
    assert len(naps) == 2
    with pytest.raises(KafkaException):
        log_range(YoungTopic(consumer, KafkaError.UNKNOWN_TOPIC_OR_PART), at, naps.append)
    consumer.close()
