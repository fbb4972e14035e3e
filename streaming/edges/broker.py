"""Quix Streams as this worker uses it: consumption, groups and checkpoints; nothing of its state.

Checkpoint, in Quix's order: sinks flush, producers flush, offsets commit. So whatever an offset
stands for has been written before it is committed, and a crash anywhere repeats, never loses. The
router commits by itself while it runs, in the same order, since a checkpoint stops the poll loop.
"""

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from quixstreams import Application
from quixstreams.models import TopicConfig
from quixstreams.sinks.base import BaseSink

from fraud_assets.contracts.topics import MAX_DEAD_LETTER_BYTES, PARTITIONER, Topic
from fraud_assets.tracing import Spans, spans_of
from streaming.core.accept import TopicPartition
from streaming.core.records import Record, Send
from streaming.edges.lag import EVERY_MS, lag_gauge
from streaming.edges.traces import tell
from streaming.logs import LIBRDKAFKA
from streaming.settings import WorkerSettings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# The shortest that brokers allow by default: a dead worker's partitions wait no longer than this.
SESSION_TIMEOUT_MS = 6_000
# A member learns of a rebalance from the answer to its next heartbeat, and the slowest holds up all others.
HEARTBEAT_MS = 400
LEAVE_WITHIN_S = 3.0
# What partitions wait at most, before they change hands, for that their records need not be read again. Half of it is enough on a quiet
# machine; on a busy one all members wait for the slowest.
HAND_OVER_S = 0.3
# Bounds how long a record waits in the router's mini-batch; each idle poll returns after it.
POLL_S = 0.02
ANSWER_WITHIN_S = 15.0
BROKER_LOSS_S = 60.0  # then the process ends, and its supervisor starts one with fresh connections


class DeliveryFailed(RuntimeError):
    """A record could not be delivered; nothing was sent after it. The process must end and replay."""


class WrongTopic(RuntimeError):
    """A topic's timestamps are the producer's, so nobody would know when an event arrived."""


class RecordSink(BaseSink):
    """A sink that is given whole records. commits: whether it does so by itself, and Quix never. spans: None where nobody asks for them."""

    commits = False
    spans: Spans | None = None

    def __init__(self) -> None:
        super().__init__(on_client_connect_success=lambda: None)  # the default logs "CONNECTED!" of nothing

    def take(self, record: Record) -> None:
        raise NotImplementedError

    def add(self, value: Any, key: Any, timestamp: int, headers: Any, topic: str, partition: int, offset: int) -> None:
        self.take(Record(topic, partition, offset, timestamp, key, value, headers or ()))

    def on_paused(self) -> None:
        """Drop what is buffered; it will be delivered again, to us or to its new owner."""
        raise NotImplementedError

    def trace(self, records: Iterable[Record], began_ns: int) -> None:
        """Spans of what is dealt with by now, of each record that belongs to a trace, where somebody asks for them."""
        if self.spans is not None:
            tell(self.spans, records, began_ns)

    def hand_over(self, within_s: float) -> None:
        """Of a sink that commits: commit what is safe within this time, and drop the rest as above."""
        raise NotImplementedError


class WorkerApp(Application):
    """An Application that tells its sink of lost partitions, has a heartbeat for mini-batches, and hands its partitions over at a stop."""

    sink: RecordSink
    spans: Spans | None = None

    def _stop_again(self) -> None:
        """Quix forgets a stop that comes between its signal handlers and its first poll, and would run for ever."""
        if self._stop_event.is_set():
            self.stop()

    def _run_dataframe(self, sink: Any = None) -> None:
        self.every_poll(self._stop_again)
        super()._run_dataframe(sink)  # returns once a stop has committed the last checkpoint
        has_successor = others(self.config.broker_address, self.config.consumer_group)
        if self.sink.commits and has_successor:
            self.sink.hand_over(HAND_OVER_S)
        elif self.sink.commits:
            self.sink.flush()  # type: ignore[no-untyped-call]
        if has_successor:
            self._leave()
        if self.spans is not None:
            self.spans.close()

    def _leave(self) -> None:
        """Return when this member is out of its group. Closed only, a static member holds its partitions until its session ends."""
        self._consumer.unsubscribe()  # type: ignore[no-untyped-call]
        deadline = time.monotonic() + LEAVE_WITHIN_S
        # Whatever a poll still brings is committed by nobody, so it is the successor's.
        while self._consumer.memberid() and time.monotonic() < deadline:
            self._consumer.poll(POLL_S)
        log.info("group_left", group=self.config.consumer_group)

    def _on_assign(self, consumer: Any, topic_partitions: Any) -> None:
        super()._on_assign(consumer, topic_partitions)
        log.info("partitions_assigned", n=len(topic_partitions))

    def _on_revoke(self, consumer: Any, topic_partitions: Any) -> None:
        """Every member does this before anybody goes on: what it takes, all partitions of the group wait."""
        started = time.perf_counter()
        if self.sink.commits and not self._failed:
            self.sink.hand_over(HAND_OVER_S)
        super()._on_revoke(consumer, topic_partitions)
        log.info(
            "partitions_revoked", n=len(topic_partitions), latency_ms=round(1000 * (time.perf_counter() - started), 2)
        )

    def _on_lost(self, consumer: Any, topic_partitions: Any) -> None:
        """Somebody else owns them by now: what is buffered of them must not be written after him."""
        self.sink.on_paused()
        super()._on_lost(consumer, topic_partitions)
        # Quix would commit the offsets of what was just dropped, should the partitions come back at once.
        self._processing_context.init_checkpoint()  # type: ignore[no-untyped-call]

    def keep_no_offsets(self) -> None:
        """For a sink that commits: Quix's checkpoint stays empty, so neither a stop nor a rebalance flushes and commits all of it."""
        self._processing_context.store_offset = lambda **_: None  # type: ignore[method-assign]

    def assigned(self) -> set[TopicPartition]:
        return {(at.topic, at.partition) for at in self._consumer.assignment()}

    def commit(self, ends: Mapping[TopicPartition, int]) -> None:
        """Commit offsets, and return when the broker has them. Raises KafkaException."""
        wanted = [KafkaPartition(*at, end) for at, end in ends.items()]
        for found in self._consumer.commit(offsets=wanted, asynchronous=False) or ():
            if found.error:
                raise KafkaException(found.error)

    def every_poll(self, task: Callable[[], None]) -> None:
        self._dataframe_registry.register_periodic_task(task)


def others(address: Any, group: str) -> bool:
    """Whether the group has more members than one: else there is nobody to hand over to, and a lone worker that starts anew finds its
    partitions without a rebalance if it stays a member.
    """
    admin = AdminClient({**address.as_librdkafka_dict(), "log_level": 2, "logger": LIBRDKAFKA})
    try:
        # Asks every broker, so that each is connected: librdkafka aborts the process where it describes a group and the coordinator's
        # connection is not there (librdkafka issue 4605).
        admin.list_consumer_groups(request_timeout=LEAVE_WITHIN_S).result(LEAVE_WITHIN_S)
        described = admin.describe_consumer_groups([group], request_timeout=LEAVE_WITHIN_S)[group]
        return len(described.result(LEAVE_WITHIN_S).members) > 1
    except (KafkaException, TimeoutError) as error:
        log.warning("group_not_described", group=group, error=str(error))
        return False


def application(
    settings: WorkerSettings, role: str, group: str, commit_interval_s: float, commit_every: int = 0
) -> WorkerApp:
    """One consumer group member. role: as `supervise.ROLES` has it; part of the static member id.

    commit_interval_s: between checkpoints; never but at a stop or a rebalance, if it is infinite. commit_every:
    records after which a checkpoint comes sooner; 0 for any number.
    """
    app = WorkerApp(
        broker_address=settings.kafka_bootstrap_servers,
        consumer_group=group,
        auto_offset_reset="error",  # a place that is not there is no place to go on from; see edges/claim.py
        commit_interval=commit_interval_s,
        commit_every=commit_every,
        consumer_poll_timeout=POLL_S,
        consumer_extra_config={
            "session.timeout.ms": SESSION_TIMEOUT_MS,
            "heartbeat.interval.ms": HEARTBEAT_MS,
            "group.instance.id": f"{settings.worker_id}-{role}",
            "statistics.interval.ms": EVERY_MS,
            "stats_cb": lag_gauge(role),
        },
        processing_guarantee="at-least-once",
        use_changelog_topics=False,
        # Quix makes a folder there even for an application without state; its default is under the working folder, which in an image
        # nobody may write to.
        state_dir=settings.var_dir / "quix",
        broker_availability_timeout=BROKER_LOSS_S,
        loglevel="WARNING",
    )
    app.spans = spans_of(settings, f"fraud-worker-{role}")
    return app


def consume(app: WorkerApp, sink: RecordSink, topics: Iterable[Topic], replication_factor: int) -> None:
    """Feed every record of `topics` to the sink; topics that are missing are created as the contract says."""
    app.sink = sink
    sink.spans = app.spans
    if sink.commits:
        app.keep_no_offsets()
    for topic in declare(app, topics, replication_factor):
        app.dataframe(topic).sink(sink)


def declare(app: WorkerApp, topics: Iterable[Topic], replication_factor: int) -> list[Any]:
    return [
        app.topic(
            topic.name,
            key_deserializer="bytes",
            value_deserializer="bytes",
            config=TopicConfig(topic.partitions, replication_factor, topic.config()),
        )
        for topic in topics
    ]


def check_arrival_stamps(settings: WorkerSettings, topics: Iterable[Topic]) -> None:
    """Raises WrongTopic unless the broker stamps what arrives: its clock is the one arrival clock."""
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers, "logger": LIBRDKAFKA})
    wanted = [ConfigResource(ResourceType.TOPIC, topic.name) for topic in topics]
    for resource, future in admin.describe_configs(wanted).items():
        found = future.result(ANSWER_WITHIN_S)["message.timestamp.type"].value
        if found != "LogAppendTime":
            raise WrongTopic(
                f"{resource.name} has message.timestamp.type={found}; set LogAppendTime and recreate the topic:"
                " records already stamped keep the producer's time."
            )


class Mark:
    """Records sent between two calls of `Sender.mark`; undelivered: how many of them are not in the log yet."""

    def __init__(self) -> None:
        self.undelivered = 0


class Sender:
    """An idempotent producer that never gives up and never leaves a gap.

    A gap would lose events for good: a state that applied offset 7 takes a replayed 6 for old.
    """

    def __init__(self, bootstrap_servers: str, patience_s: float | None = None) -> None:
        """patience_s: how long a record may wait for the broker; by default for ever."""
        self._failed: KafkaError | None = None
        self._lock = threading.Lock()  # Quix flushes sinks from another thread while partitions are revoked
        self._mark = Mark()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "enable.idempotence": True,
                "enable.gapless.guarantee": True,  # a failed record is fatal to what would follow it
                "log_level": 3,  # it warns of the guarantee above at each start
                # Unbounded for the worker: a broker that is away for an hour is waited for.
                "message.timeout.ms": 0 if patience_s is None else int(1000 * patience_s),
                "partitioner": PARTITIONER,
                "linger.ms": 5,
                "compression.type": "lz4",
                "message.max.bytes": MAX_DEAD_LETTER_BYTES,
                "logger": LIBRDKAFKA,
            }
        )

    def send(self, records: Iterable[Send]) -> None:
        """Enqueue in order. Raises DeliveryFailed if an earlier one was not delivered."""
        with self._alone():
            for record in records:
                self._enqueue(record)
            self._producer.poll(0)
            self._check()

    def _enqueue(self, record: Send) -> None:
        while True:
            self._check()
            try:
                self._producer.produce(
                    record.topic,
                    value=record.value,
                    key=record.key,
                    headers=record.headers,
                    on_delivery=functools.partial(self._delivered, self._mark),
                )
                self._mark.undelivered += 1
                return
            except BufferError:
                self._producer.poll(0.1)  # the broker is slower than we are, or away

    def mark(self) -> Mark:
        """Everything sent since the last mark."""
        with self._lock:
            made, self._mark = self._mark, Mark()
            return made

    def is_delivered(self, mark: Mark) -> bool:
        """Whether all of it is in the log; waits for nothing. Raises DeliveryFailed."""
        with self._alone():
            self._producer.poll(0)
            self._check()
            return mark.undelivered == 0

    def flush(self) -> None:
        """Return when everything sent is in the log. Raises DeliveryFailed."""
        with self._alone():
            while self._producer.flush(1.0):
                self._check()
            self._check()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """With the producer. The gap that it refuses to leave is fatal to it, and whichever call is next raises that."""
        with self._lock:
            try:
                yield
            except KafkaException as error:
                self._failed = self._failed or error.args[0]
                self._check()

    def _delivered(self, mark: Mark, error: KafkaError | None, _: Message) -> None:
        mark.undelivered -= 1
        if error is not None and self._failed is None:
            self._failed = error

    def _check(self) -> None:
        if self._failed is not None:
            raise DeliveryFailed(f"{self._failed}; the worker stops and replays from its last commit")
