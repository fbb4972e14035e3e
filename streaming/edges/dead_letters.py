"""The dead-letter topic as a person reads it, and the log of what was sent again.

A replay is remembered in a topic of its own: begun before a record is sent, sent after the broker has it. The log's
order decides between two people who replay the same letter at once, so no lock is needed.
"""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from fraud_assets.contracts.topics import DEAD_LETTER_REPLAYS, DEAD_LETTERS
from streaming.core.dead_letters import (
    Letter,
    NotALetter,
    Receipt,
    Replays,
    Step,
    Wanted,
    letter_of,
    ours,
    replay_record,
)
from streaming.core.records import Record, Send
from streaming.edges.broker import DeliveryFailed, Sender

# A person waits: longer than this without an answer and there is nobody.
ANSWER_WITHIN_S = 8.0


class BrokerAway(RuntimeError):
    """No broker answered, or it stopped answering."""


class NoSuchLetter(LookupError):
    """Nothing lies at that place; the message says what does."""


class Letters:
    """Reads the dead letters and the log of replays, and sends letters again. Close it."""

    def __init__(self, bootstrap_servers: str, replication_factor: int = 1) -> None:
        self._bootstrap = bootstrap_servers
        self._replication_factor = replication_factor
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": "fraud-dead-letters",  # never joined and nothing is committed: places are assigned
                "enable.auto.commit": False,
                "enable.partition.eof": True,  # the last offsets may hold no record
                "fetch.wait.max.ms": 20,  # a person waits, and the end of a partition is found often
                "log_level": 0,  # what is wrong is said once, by us
                "fetch.message.max.bytes": 2 * DEAD_LETTERS.max_bytes,
            }
        )

    def close(self) -> None:
        self._consumer.close()

    def find(self, wanted: Wanted) -> tuple[list[Letter], int]:
        """Letters in the order of their refusal, and how many records there are no letters of a worker."""
        letters, strangers = list[Letter](), 0
        for record in self._read(DEAD_LETTERS.name, wanted.since_ms):
            try:
                letter = letter_of(record)
            except NotALetter:
                strangers += 1
                continue
            if wanted.takes(letter):
                letters.append(letter)
        return letters, strangers

    def one(self, partition: int, offset: int) -> Letter:
        """Raises NoSuchLetter, NotALetter, BrokerAway."""
        if partition not in self._partitions(DEAD_LETTERS.name):
            raise NoSuchLetter(f"there is no dead letter {partition}/{offset}: the topic has no such partition")
        low, high = self._kept(DEAD_LETTERS.name, partition)
        held = f"partition {partition} holds {low} to {high - 1}" if high > low else f"partition {partition} is empty"
        if low <= offset < high:
            record = next(self._from(DEAD_LETTERS.name, partition, offset), None)
            if record is not None and record.offset == offset:
                return letter_of(record)
        raise NoSuchLetter(f"there is no dead letter {partition}/{offset}: {held}")

    def replays(self) -> Replays:
        return Replays.of(self._receipts(dict.fromkeys(self._partitions(DEAD_LETTER_REPLAYS.name), 0)))

    def replay(self, letters: Sequence[Letter]) -> list[Letter]:
        """Send letters of distinct positions again; those sent, for another call may have begun one just before.

        Ordered steps: say what is begun; look who was first; send; say what was sent. A crash in between leaves
        a replay that is begun and not confirmed. Raises BrokerAway, also when it is not known what arrived.
        """
        self._declare_log()
        ends = self._ends(DEAD_LETTER_REPLAYS.name)
        run = uuid.uuid4().hex
        sender = Sender(self._bootstrap, patience_s=ANSWER_WITHIN_S)
        self._note(sender, letters, run, Step.BEGUN)
        won = ours(run, self._receipts(ends))
        sent = [letter for letter in letters if letter.source in won]
        self._send(sender, [replay_record(letter) for letter in sent])
        self._note(sender, sent, run, Step.SENT)
        return sent

    def _note(self, sender: Sender, letters: Sequence[Letter], run: str, step: Step) -> None:
        now_ms = time.time_ns() // 1_000_000
        receipts = [Receipt(source=one.source, letter=one.name, run=run, step=step, at_ms=now_ms) for one in letters]
        # One key, so one partition, so one order, whatever an operator made of the topic.
        self._send(sender, [Send(DEAD_LETTER_REPLAYS.name, b"", msgspec.json.encode(one), []) for one in receipts])

    def _send(self, sender: Sender, records: list[Send]) -> None:
        try:
            sender.send(records)
            sender.flush()
        except DeliveryFailed as error:
            raise BrokerAway(
                f"the broker at {self._bootstrap} did not take a record within its time ({error})"
            ) from None

    def _declare_log(self) -> None:
        if self._partitions(DEAD_LETTER_REPLAYS.name):
            return
        admin = AdminClient({"bootstrap.servers": self._bootstrap, "log_level": 0})
        topic = DEAD_LETTER_REPLAYS
        made = NewTopic(topic.name, topic.partitions, self._replication_factor, config=topic.config())
        try:
            admin.create_topics([made])[topic.name].result(ANSWER_WITHIN_S)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
        deadline = time.monotonic() + ANSWER_WITHIN_S
        while not self._partitions(topic.name):
            if time.monotonic() > deadline:
                raise BrokerAway(f"{topic.name} was created and is not there yet; try again")
            time.sleep(0.05)

    def _receipts(self, firsts: Mapping[int, int]) -> list[Receipt]:
        """Those from an offset of each partition on."""
        records = (record for at, first in firsts.items() for record in self._from(DEAD_LETTER_REPLAYS.name, at, first))
        return [msgspec.json.decode(record.value or b"", type=Receipt) for record in records]

    def _ends(self, topic: str) -> dict[int, int]:
        """By partition, where the next record goes."""
        return {at: self._kept(topic, at)[1] for at in self._partitions(topic)}

    def _kept(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset that is kept, and end. Raises BrokerAway."""
        with _answered(self._bootstrap):
            low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=ANSWER_WITHIN_S)
        return low, high

    def _read(self, topic: str, since_ms: int | None) -> Iterator[Record]:
        for partition in self._partitions(topic):
            first = 0
            if since_ms is not None:
                with _answered(self._bootstrap):
                    asked = [TopicPartition(topic, partition, since_ms)]
                    (at,) = self._consumer.offsets_for_times(asked, timeout=ANSWER_WITHIN_S)
                if at.offset < 0:
                    continue  # nothing that young
                first = at.offset
            yield from self._from(topic, partition, first)

    def _partitions(self, topic: str) -> list[int]:
        """None of a topic that is not there. Raises BrokerAway."""
        with _answered(self._bootstrap):
            found = self._consumer.list_topics(timeout=ANSWER_WITHIN_S).topics.get(topic)
        return [] if found is None or found.error else sorted(found.partitions)

    def _from(self, topic: str, partition: int, offset: int) -> Iterator[Record]:
        """Records from an offset (or the first that is kept) to what is now the end."""
        low, high = self._kept(topic, partition)
        position = max(offset, low)
        if position >= high:
            return
        with _answered(self._bootstrap):
            self._consumer.assign([TopicPartition(topic, partition, position)])
            while position < high:
                message = self._next()
                if message is None:
                    return
                position = (message.offset() or 0) + 1
                yield _as_record(message)

    def _next(self) -> Message | None:
        """None at the end, as the broker says it: the last offsets may be of no record."""
        message = self._consumer.poll(ANSWER_WITHIN_S)
        if message is None:
            raise BrokerAway(f"the broker at {self._bootstrap} stopped answering")
        error = message.error()
        if error is None:
            return message
        if error.code() == KafkaError._PARTITION_EOF:
            return None
        raise KafkaException(error)


@contextmanager
def _answered(bootstrap_servers: str) -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        said = error.args[0].str()
        raise BrokerAway(f"no broker answers at {bootstrap_servers} ({said})") from None


def _as_record(message: Message) -> Record:
    headers: Any = message.headers() or ()
    key: Any = message.key()
    value: Any = message.value()
    place = (message.topic() or "", message.partition() or 0, message.offset() or 0, message.timestamp()[1])
    return Record(*place, key, value, headers)
