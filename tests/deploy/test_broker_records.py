"""What Kafka promises about records; each test runs on the development broker and on real Kafka."""

import time

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec
from kio.schema.errors import ErrorCode

from tests.deploy.client import PATIENCE_S, Kafka, take
from tests.deploy.rawkafka import RawKafka, batch


def test_a_record_comes_back_with_its_key_value_headers_and_offset(kafka: Kafka) -> None:
    topic = kafka.topic()

    kafka.send(topic, [b"first"], key=b"k", headers={"trace": b"1"})
    kafka.send(topic, [b""], key=b"tombstone-like")

    first, second = kafka.read(topic, 2)
    assert (first.key(), first.value(), first.headers(), first.offset()) == (b"k", b"first", [("trace", b"1")], 0)
    assert (second.key(), second.value(), second.offset()) == (b"tombstone-like", b"", 1)


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_batches_of_every_compression_keep_their_order(kafka: Kafka, codec: str) -> None:
    topic = kafka.topic(message_timestamp_type="LogAppendTime")
    values = [b"%06d" % i for i in range(2_000)]
    producer = kafka.producer(compression_type=codec)

    for value in values:
        producer.produce(topic, value=value)
    assert producer.flush(PATIENCE_S) == 0

    assert [message.value() for message in kafka.read(topic, 2_000)] == values


def test_log_append_time_is_the_brokers_clock_whatever_the_producer_says(kafka: Kafka) -> None:
    topic = kafka.topic(message_timestamp_type="LogAppendTime")
    before_ms = time.time() * 1000 - 1

    reports = kafka.send(topic, [b"old", b"new"], timestamp=1_000)

    after_ms = time.time() * 1000 + 1
    for message in (*kafka.read(topic, 2), *reports):
        kind, time_ms = message.timestamp()
        assert kind == TIMESTAMP_LOG_APPEND_TIME
        assert before_ms <= time_ms <= after_ms


def test_log_append_time_never_goes_back_within_a_partition(kafka: Kafka) -> None:
    topic = kafka.topic(message_timestamp_type="LogAppendTime")

    for i in range(50):
        kafka.send(topic, [b"%d" % i], timestamp=10_000_000 - i)

    times = [message.timestamp()[1] for message in kafka.read(topic, 50)]
    assert times == sorted(times)


def test_create_time_is_the_producers(kafka: Kafka) -> None:
    topic = kafka.topic(message_timestamp_type="CreateTime")
    an_hour_ago_ms = time.time_ns() // 1_000_000 - 3_600_000

    kafka.send(topic, [b"x"], timestamp=an_hour_ago_ms)

    assert kafka.read(topic, 1)[0].timestamp() == (TIMESTAMP_CREATE_TIME, an_hour_ago_ms)


def test_a_record_is_found_by_its_append_time(kafka: Kafka) -> None:
    topic = kafka.topic(message_timestamp_type="LogAppendTime")
    kafka.send(topic, [b"a"])
    first_ms = kafka.read(topic, 1)[0].timestamp()[1]
    while time.time() * 1000 < first_ms + 5:
        kafka.partitions(topic)
    kafka.send(topic, [b"b"])
    second_ms = kafka.read(topic, 1, offset=1)[0].timestamp()[1]

    consumer = kafka.consumer()
    times = [first_ms, first_ms + 1, second_ms, second_ms + 1]
    found = [consumer.offsets_for_times([TopicPartition(topic, 0, ms)], PATIENCE_S)[0].offset for ms in times]

    assert found == [0, 1, 1, -1]  # -1 is "end": nothing is that new


def test_the_ends_of_a_partition_are_reported(kafka: Kafka) -> None:
    topic = kafka.topic(partitions=2)
    kafka.send(topic, [b"a", b"b", b"c"], partition=1)

    asked = {TopicPartition(topic, 1): spec for spec in [OffsetSpec.latest()]}
    latest = next(iter(kafka.admin.list_offsets(asked).values())).result(PATIENCE_S)

    assert latest.offset == 3
    assert kafka.consumer().get_watermark_offsets(TopicPartition(topic, 0), PATIENCE_S) == (0, 0)
    assert kafka.consumer().get_watermark_offsets(TopicPartition(topic, 1), PATIENCE_S) == (0, 3)


def test_a_retried_batch_is_stored_once_and_answered_with_its_first_offset(
    bootstrap_servers: str, kafka: Kafka
) -> None:
    topic = kafka.topic()
    with RawKafka(bootstrap_servers) as raw:
        producer_id, epoch = raw.producer_id()
        batches = [batch([b"a", b"b"], producer_id, epoch, sequence=2 * i) for i in range(3)]

        answers = [raw.produce(topic, records) for records in (*batches, *batches)]

        assert [answer.error_code for answer in answers] == [ErrorCode.none] * 6
        assert [answer.base_offset for answer in answers] == [0, 2, 4, 0, 2, 4]
    assert kafka.consumer().get_watermark_offsets(TopicPartition(topic, 0), PATIENCE_S) == (0, 6)


def test_a_gap_in_the_sequence_is_refused(bootstrap_servers: str, kafka: Kafka) -> None:
    topic = kafka.topic()
    with RawKafka(bootstrap_servers) as raw:
        producer_id, epoch = raw.producer_id()
        raw.produce(topic, batch([b"a"], producer_id, epoch, sequence=0))

        skipped = raw.produce(topic, batch([b"c"], producer_id, epoch, sequence=2))

    assert skipped.error_code is ErrorCode.out_of_order_sequence_number


def test_an_older_producer_epoch_is_refused(bootstrap_servers: str, kafka: Kafka) -> None:
    topic = kafka.topic()
    with RawKafka(bootstrap_servers) as raw:
        producer_id, epoch = raw.producer_id()
        raw.produce(topic, batch([b"a"], producer_id, epoch + 1, sequence=0))

        zombie = raw.produce(topic, batch([b"b"], producer_id, epoch, sequence=0))

    assert zombie.error_code is ErrorCode.invalid_producer_epoch


def test_a_corrupt_batch_is_refused_and_nothing_is_stored(bootstrap_servers: str, kafka: Kafka) -> None:
    topic = kafka.topic()
    damaged = bytearray(batch([b"amount=100"]))
    damaged[-3] ^= 1

    with RawKafka(bootstrap_servers) as raw:
        answer = raw.produce(topic, bytes(damaged))

    assert answer.error_code is ErrorCode.corrupt_message
    assert kafka.consumer().get_watermark_offsets(TopicPartition(topic, 0), PATIENCE_S) == (0, 0)


def test_a_record_larger_than_the_topic_allows_is_refused(kafka: Kafka) -> None:
    topic = kafka.topic(max_message_bytes="1000")

    with pytest.raises(KafkaException) as refused:
        kafka.send(topic, [b"x" * 2_000])

    assert refused.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE


def test_deleted_records_are_gone_and_reading_resumes_at_the_new_start(kafka: Kafka) -> None:
    topic = kafka.topic()
    kafka.send(topic, [b"%d" % i for i in range(10)])

    deleted = kafka.admin.delete_records([TopicPartition(topic, 0, 4)])
    assert next(iter(deleted.values())).result(PATIENCE_S).low_watermark == 4

    consumer = kafka.consumer()
    consumer.assign([TopicPartition(topic, 0, 0)])
    assert [message.value() for message in take(consumer, 6)] == [b"4", b"5", b"6", b"7", b"8", b"9"]


def test_reading_from_the_middle_of_a_batch_starts_exactly_there(kafka: Kafka) -> None:
    topic = kafka.topic()
    kafka.send(topic, [b"%d" % i for i in range(100)])

    assert [message.value() for message in kafka.read(topic, 3, offset=57)] == [b"57", b"58", b"59"]


def test_a_topic_that_does_not_exist_is_an_error_and_is_not_created(kafka: Kafka) -> None:
    name = kafka.unique("nobody")
    producer = kafka.producer(**{"message.timeout.ms": 3_000})
    errors: list[KafkaError] = []

    producer.produce(name, value=b"x", on_delivery=lambda error, _: errors.append(error))
    producer.flush(PATIENCE_S)

    # Which of the two depends on whether librdkafka gives up on the name or on the message first.
    assert errors[0].code() in (KafkaError._UNKNOWN_TOPIC, KafkaError._MSG_TIMED_OUT)
    assert name not in kafka.admin.list_topics(timeout=PATIENCE_S).topics
