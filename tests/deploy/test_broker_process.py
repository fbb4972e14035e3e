"""The development broker as a process: what it refuses, what it survives, and that it never leaves a client hanging."""

import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, Producer, TopicPartition
from kio.schema.errors import ErrorCode

from deploy.local.stack import Stack, running
from tests.deploy.client import PATIENCE_S, Kafka, poll_until
from tests.deploy.rawkafka import RawKafka, batch


def start_by_hand(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.local.broker", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "localhost", "example.org", ""])
def test_it_refuses_to_listen_on_anything_but_a_loopback_address(tmp_path: Path, host: str) -> None:
    done = start_by_hand("--host", host, "--port", "0", "--data", str(tmp_path))

    assert done.returncode == 1
    assert "loopback" in done.stderr or "127.0.0.1" in done.stderr


def test_it_says_loudly_what_it_is_not(tmp_path: Path) -> None:
    with running(["broker"], tmp_path) as stack:
        said = poll_until(lambda: stack.log("broker").read_text(), "the broker says something")

    assert "DEVELOPMENT BROKER, NOT KAFKA" in said


def test_a_second_broker_on_the_same_data_is_refused(tmp_path: Path) -> None:
    with running(["broker"], tmp_path):
        done = start_by_hand("--port", "0", "--data", str(tmp_path / "broker"))

    assert done.returncode == 1
    assert "belongs to a running broker" in done.stderr


def test_acknowledged_records_offsets_and_settings_survive_a_killed_broker(tmp_path: Path) -> None:
    with running(["broker"], tmp_path) as stack:
        kafka = Kafka(stack.env["KAFKA_BOOTSTRAP_SERVERS"])
        topic, group = kafka.topic(message_timestamp_type="LogAppendTime"), kafka.unique("group")
        kafka.send(topic, [b"%d" % i for i in range(100)])
        kafka.consumer(group).commit(offsets=[TopicPartition(topic, 0, 42)], asynchronous=False)
        before = [message.timestamp() for message in kafka.read(topic, 100)]

        kill_and_wait(stack, "broker")

        again = Kafka(stack.env["KAFKA_BOOTSTRAP_SERVERS"])
        messages = again.read(topic, 100)
        [committed] = again.consumer(group).committed([TopicPartition(topic, 0)], PATIENCE_S)
        assert [message.value() for message in messages] == [b"%d" % i for i in range(100)]
        assert [message.timestamp() for message in messages] == before
        assert committed.offset == 42
        assert again.setting(topic, "message.timestamp.type") == "LogAppendTime"
        kafka.close()
        again.close()


def kill_and_wait(stack: Stack, name: str) -> None:
    """SIGKILL one service and wait until its supervisor has it ready again."""
    import psutil

    pid = stack.pid(name)
    psutil.Process(pid).kill()
    poll_until(lambda: stack.pid(name) not in (0, pid), f"{name} restarted")
    stack.wait_ready(name)


def test_an_idempotent_producer_loses_and_doubles_nothing_while_the_broker_is_killed(tmp_path: Path) -> None:
    with running(["broker"], tmp_path) as stack:
        kafka = Kafka(stack.env["KAFKA_BOOTSTRAP_SERVERS"])
        topic = kafka.topic()
        producer = kafka.producer(enable_idempotence=True)
        values = [b"%05d" % i for i in range(20_000)]
        for i, value in enumerate(values):
            producer.produce(topic, value=value)
            producer.poll(0)
            if i == len(values) // 2:
                kill_and_wait(stack, "broker")
        assert producer.flush(PATIENCE_S) == 0

        assert [message.value() for message in kafka.read(topic, len(values))] == values
        assert kafka.consumer().get_watermark_offsets(TopicPartition(topic, 0), PATIENCE_S) == (0, len(values))
        kafka.close()


def test_a_transactional_producer_is_refused_at_once(broker: str) -> None:
    producer = Producer({"bootstrap.servers": broker, "transactional.id": "t", "log_level": 0})

    with pytest.raises(KafkaException) as refused:
        producer.init_transactions(PATIENCE_S)

    assert not refused.value.args[0].retriable()


def test_a_transactional_batch_is_refused(broker: str) -> None:
    kafka = Kafka(broker)
    topic = kafka.topic()

    with RawKafka(broker) as raw:
        answer = raw.produce(topic, batch([b"x"], 1, 0, 0, attributes=0x10))

    assert answer.error_code is ErrorCode.invalid_txn_state


def test_an_unknown_version_of_api_versions_is_answered_with_what_there_is(broker: str) -> None:
    with RawKafka(broker) as raw:
        raw.send_frame(struct.pack(">hhih", 18, 99, 5, -1))
        correlation_id, code, count = struct.unpack_from(">ihi", raw.receive_frame())

    assert (correlation_id, code) == (5, ErrorCode.unsupported_version)
    assert count > 20


@pytest.mark.parametrize(
    "frame",
    [
        struct.pack(">hhih", 24, 0, 5, -1),  # AddPartitionsToTxn: an API that is not served
        struct.pack(">hhih", 0, 99, 5, -1),  # Produce in a version that does not exist
        struct.pack(">hhih", 3, 12, 5, 30_000),  # Metadata with a client id longer than the frame
        b"\xff" * 40,
    ],
)
def test_a_request_that_cannot_be_answered_closes_its_connection_and_no_other(broker: str, frame: bytes) -> None:
    with RawKafka(broker) as other, RawKafka(broker) as raw:
        raw.send_frame(frame)

        with pytest.raises(ConnectionError):
            raw.receive_frame()
        assert other.ask("find_coordinator", 2, key="g", key_type=0).error_code is ErrorCode.none


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n\r\n", struct.pack(">i", -5), struct.pack(">i", 2**31 - 1)])
def test_something_that_is_not_kafka_is_hung_up_on(broker: str, start: bytes) -> None:
    host, _, port = broker.partition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as client:
        client.sendall(start)

        assert client.recv(1) == b""
