"""The edge to Kafka: what was sent can be asked for without waiting, and what was lost is not committed."""

import random
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from deploy.local.topics import ensure_topics
from fraud_assets.contracts.topics import Topic, entity_topic
from streaming.core.records import Record, Send
from streaming.edges.broker import (
    HAND_OVER_S,
    DeliveryFailed,
    Mark,
    RecordSink,
    Sender,
    WorkerApp,
    application,
    consume,
)
from streaming.edges.claim import claim
from streaming.settings import WorkerSettings
from tests.streaming.live import Log, wait_for


class Buffer(RecordSink):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[Record] = []

    def take(self, record: Record) -> None:
        self.records.append(record)

    def flush(self) -> None:
        self.records.clear()

    def on_paused(self) -> None:
        self.records.clear()


def test_a_mark_is_delivered_once_the_log_has_what_was_sent_before_it(bootstrap_servers: str) -> None:
    topic = entity_topic(f"test_{uuid.uuid4().hex[:8]}")
    ensure_topics(bootstrap_servers, [topic])
    sender = Sender(bootstrap_servers)
    sender.send(Send(topic.name, b"key", b"value", []) for _ in range(10))

    mark = sender.mark()
    assert mark.undelivered == 10
    wait_for(lambda: sender.is_delivered(mark), "delivered")

    assert sum(Log(bootstrap_servers).ends([topic.name]).values()) == 10


def test_a_mark_does_not_wait_for_what_is_sent_after_it(bootstrap_servers: str) -> None:
    sender = Sender(bootstrap_servers)

    mark = sender.mark()
    sender._mark.undelivered += 1

    assert sender.is_delivered(mark)


def gave_up(sender: Sender, mark: Mark) -> bool:
    try:
        sender.is_delivered(mark)
    except DeliveryFailed:
        return True
    return False


def sends_nothing_more(sender: Sender, mark: Mark, topic: str) -> bool:
    """Every call raises, and what was to follow the lost record is not even in the producer's queue."""
    for call in (
        lambda: sender.send([Send(topic, b"key", b"next", [])]),
        sender.flush,
        lambda: sender.is_delivered(mark),
    ):
        with pytest.raises(DeliveryFailed, match="replays from its last commit"):
            call()
    return sender.mark().undelivered == len(sender._producer) == 0


def test_nothing_is_sent_after_a_record_that_the_broker_refused(bootstrap_servers: str) -> None:
    topic = entity_topic(f"test_{uuid.uuid4().hex[:8]}")
    ensure_topics(bootstrap_servers, [topic])
    sender = Sender(bootstrap_servers)
    sender.send([Send(topic.name, b"key", b"before", [])])
    sender.flush()

    sender.send([Send(topic.name, b"key", random.Random(1).randbytes(topic.max_bytes + 1), [])])
    mark = sender.mark()
    wait_for(lambda: gave_up(sender, mark), "the refusal is known")

    assert sends_nothing_more(sender, mark, topic.name)
    assert sum(Log(bootstrap_servers).ends([topic.name]).values()) == 1


def test_nothing_is_sent_after_a_record_for_which_patience_ended(free_port: int) -> None:
    sender = Sender(f"127.0.0.1:{free_port}", patience_s=0.5)
    sender.send([Send("entity.test.v1", b"key", b"lost", [])])
    mark = sender.mark()
    assert mark.undelivered == 1

    wait_for(lambda: gave_up(sender, mark), "patience ends")

    assert sends_nothing_more(sender, mark, "entity.test.v1")


def test_quix_keeps_its_folder_with_all_other_state(var_dir: Path) -> None:
    """Its default lies under the working folder, which in an image nobody may write to."""
    app = application(WorkerSettings(), "router", "group", commit_interval_s=5.0)

    assert Path(app.config.state_dir) == var_dir / "quix"


def test_offsets_of_what_was_dropped_with_lost_partitions_are_not_committed() -> None:
    """Quix keeps them, and would commit them if the partitions came back before the next record."""
    app = application(WorkerSettings(), "router", "group", commit_interval_s=5.0)
    app.sink = Buffer()
    context = app._processing_context
    context.init_checkpoint()  # type: ignore[no-untyped-call]
    app.sink.take(Record("transactions.v1", 0, 7, 0, b"a", b"{}"))
    context.store_offset("transactions.v1", 0, 7)

    app._on_lost(None, [TopicPartition("transactions.v1", 0)])

    assert app.sink.records == []
    assert context.checkpoint.empty()


class Committing(Buffer):
    """Commits by itself, and has nothing to commit."""

    commits = True

    def __init__(self) -> None:
        super().__init__()
        self.asked_s: list[float] = []
        self.taken: list[Record] = []

    def take(self, record: Record) -> None:
        self.taken.append(record)

    def hand_over(self, within_s: float) -> None:
        self.asked_s.append(within_s)


@contextmanager
def another_member(bootstrap_servers: str, group: str, topic: str) -> Iterator[None]:
    """Somebody who could take partitions over."""
    member = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": group,
            "partition.assignment.strategy": "range",
            "enable.auto.commit": False,
        }
    )
    member.subscribe([topic])
    done, joined = threading.Event(), threading.Event()

    def poll() -> None:
        while not done.is_set():
            member.poll(0.05)
            if member.assignment():
                joined.set()
        member.close()

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        assert joined.wait(30)
        yield
    finally:
        done.set()
        thread.join()


def a_topic(bootstrap_servers: str, group: str, monkeypatch: pytest.MonkeyPatch) -> Topic:
    """One whose beginning the group, which has nobody, knows for its place."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", bootstrap_servers)
    topic = entity_topic(f"test_{group}")
    ensure_topics(bootstrap_servers, [topic])
    claim(WorkerSettings(), group, [topic])
    return topic


@contextmanager
def stopped_after(
    bootstrap_servers: str, group: str, topic: Topic, sink: RecordSink, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WorkerApp]:
    """A worker that runs beside the block, and is told to stop at its end."""
    app = application(WorkerSettings(), "router", group, commit_interval_s=5.0)
    monkeypatch.setattr(app, "_setup_signal_handlers", lambda: None)  # signals are pytest's
    consume(app, sink, [topic], 1)
    with ThreadPoolExecutor(1) as thread:
        ended = thread.submit(app.run)
        try:
            yield app
        finally:
            app.stop()
            ended.result(60)


def members_after_a_stop(
    bootstrap_servers: str, group: str, topic: Topic, monkeypatch: pytest.MonkeyPatch, sink: RecordSink | None = None
) -> set[str]:
    """Static names in the group after a worker of it has run and stopped."""
    app = application(WorkerSettings(), "router", group, commit_interval_s=5.0)
    monkeypatch.setattr(app, "_setup_signal_handlers", lambda: None)  # signals are pytest's
    consume(app, sink or Buffer(), [topic], 1)
    app.run(timeout=0.5)  # until nothing has come for so long, once it has partitions
    log = Log(bootstrap_servers)
    found = log.admin.describe_consumer_groups([group])[group].result(10)
    return {member.group_instance_id for member in found.members if member.group_instance_id}


def test_a_worker_that_is_told_to_stop_while_it_starts_stops(
    bootstrap_servers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its signal handlers are there before it runs, and Quix would forget what they heard."""
    name = uuid.uuid4().hex[:8]
    topic = a_topic(bootstrap_servers, name, monkeypatch)
    app = application(WorkerSettings(), "router", name, commit_interval_s=5.0)
    monkeypatch.setattr(app, "_setup_signal_handlers", app.stop)
    consume(app, Buffer(), [topic], 1)

    with ThreadPoolExecutor(1) as thread:
        ended = thread.submit(app.run)
        done, _ = wait([ended], timeout=30)
        app.stop()  # or a failure would never end

    assert done == {ended}


def test_a_worker_that_stops_leaves_its_partitions_to_the_others_at_once(
    bootstrap_servers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A static member that only closes would hold them until its session ends."""
    name = uuid.uuid4().hex[:8]
    topic = a_topic(bootstrap_servers, name, monkeypatch)

    with another_member(bootstrap_servers, name, topic.name):
        assert members_after_a_stop(bootstrap_servers, name, topic, monkeypatch) == set()


def test_a_lone_worker_that_stops_keeps_its_place(bootstrap_servers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would work meanwhile, and so it finds its partitions again without a rebalance."""
    name = uuid.uuid4().hex[:8]
    topic = a_topic(bootstrap_servers, name, monkeypatch)

    assert members_after_a_stop(bootstrap_servers, name, topic, monkeypatch) == {"worker-0-router"}


def test_of_a_sink_that_commits_quix_commits_nothing_at_a_revoke_or_a_stop(
    bootstrap_servers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has not committed comes again, to it or to the new owner."""
    name = uuid.uuid4().hex[:8]
    topic, log, sink = a_topic(bootstrap_servers, name, monkeypatch), Log(bootstrap_servers), Committing()
    for number in range(64):
        log.send(topic.name, f"k{number}".encode(), b"{}")
    log.flush()

    with stopped_after(bootstrap_servers, name, topic, sink, monkeypatch) as app:
        wait_for(lambda: len(sink.taken) == 64, "all is read")
        with another_member(bootstrap_servers, name, topic.name):
            wait_for(lambda: len(sink.taken) > 64, "what stays here is read again")
            app.stop()
            wait_for(lambda: len(sink.asked_s) > 1, "it hands over at its stop too")

    seen = Counter(one[:3] for one in sink.taken)
    assert set(seen.values()) == {1, 2}
    assert set(sink.asked_s) == {HAND_OVER_S}
    assert set(log.committed(name, list(log.ends([topic.name]))).values()) == {0}


def test_a_lone_sink_that_commits_finishes_at_a_stop(bootstrap_servers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nobody to hurry for."""
    name = uuid.uuid4().hex[:8]
    topic, sink = a_topic(bootstrap_servers, name, monkeypatch), Committing()
    sink.records.append(Record(topic.name, 0, 0, 0, b"a", b"{}"))

    assert members_after_a_stop(bootstrap_servers, name, topic, monkeypatch, sink) == {"worker-0-router"}

    assert sink.records == []
