"""What Kafka promises about consumer groups; each test runs on the development broker and on real Kafka."""

import datetime as dt
import os
import signal
import subprocess
import sys
import time

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import ConsumerGroupListing
from kio.schema.errors import ErrorCode
from kio.schema.types import TopicName
from kio.static.primitive import i32, i64

from tests.deploy.client import PATIENCE_S, Kafka, poll_until, take
from tests.deploy.rawkafka import RawKafka

STRATEGIES = ["range", "cooperative-sticky"]
SESSION_S = 6.0


def join(kafka: Kafka, topic: str, group: str, **settings: object) -> Consumer:
    consumer = kafka.consumer(group, **settings)
    consumer.subscribe([topic])
    return consumer


def assigned(*consumers: Consumer) -> list[list[int]]:
    """Partitions each member holds now, after giving each a chance to hear from the group."""
    held = []
    for consumer in consumers:
        consumer.poll(0.05)
        held.append(sorted(partition.partition for partition in consumer.assignment()))
    return held


def wait_for_shares(consumers: list[Consumer], sizes: list[int]) -> list[list[int]]:
    """The partitions of each member, once the shares are of these sizes."""
    poll_until(lambda: sorted(map(len, assigned(*consumers))) == sorted(sizes), f"shares {sizes}")
    shares = assigned(*consumers)
    held = [partition for share in shares for partition in share]
    assert sorted(held) == list(range(sum(sizes))), "each partition has exactly one owner"
    return shares


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_members_share_the_partitions_and_hand_them_over_when_one_leaves(kafka: Kafka, strategy: str) -> None:
    topic, group = kafka.topic(partitions=4), kafka.unique("group")
    settings = {"partition_assignment_strategy": strategy}

    first = join(kafka, topic, group, **settings)
    assert wait_for_shares([first], [4]) == [[0, 1, 2, 3]]
    second = join(kafka, topic, group, **settings)
    one, other = wait_for_shares([first, second], [2, 2])
    assert {*one, *other} == {0, 1, 2, 3}
    left_at = time.monotonic()
    second.close()

    assert wait_for_shares([first], [4]) == [[0, 1, 2, 3]]
    assert time.monotonic() - left_at < SESSION_S - 1, "it said goodbye; nobody waits for its session to end"


def test_a_group_resumes_at_its_committed_offset(kafka: Kafka) -> None:
    topic, group = kafka.topic(), kafka.unique("group")
    kafka.send(topic, [b"%d" % i for i in range(10)])
    before = join(kafka, topic, group)
    last = take(before, 4)[-1]
    before.commit(message=last, asynchronous=False)
    before.close()

    after = join(kafka, topic, group)

    assert [message.value() for message in take(after, 6)] == [b"4", b"5", b"6", b"7", b"8", b"9"]


def test_uncommitted_records_are_delivered_again(kafka: Kafka) -> None:
    topic, group = kafka.topic(), kafka.unique("group")
    kafka.send(topic, [b"a", b"b"])
    before = join(kafka, topic, group)
    assert len(take(before, 2)) == 2
    before.close()

    after = join(kafka, topic, group)

    assert [message.value() for message in take(after, 2)] == [b"a", b"b"]


def test_a_static_member_that_restarts_in_time_gets_its_partitions_without_a_rebalance(kafka: Kafka) -> None:
    topic, group = kafka.topic(partitions=4), kafka.unique("group")
    stays = join(kafka, topic, group, group_instance_id="worker-0")
    leaves = join(kafka, topic, group, group_instance_id="worker-1")
    wait_for_shares([stays, leaves], [2, 2])
    [before] = assigned(leaves)
    rebalances = []
    stays.subscribe([topic], on_assign=lambda *_: rebalances.append("assign"))
    wait_for_shares([stays, leaves], [2, 2])
    rebalances.clear()

    leaves.close()  # a static member does not say goodbye
    returns = join(kafka, topic, group, group_instance_id="worker-1")
    poll_until(lambda: assigned(returns) != [[]], "the returning member has partitions")

    assert assigned(returns) == [before]
    assert assigned(stays, returns) == [assigned(stays)[0], before]
    assert not rebalances


def test_a_second_process_under_the_same_instance_id_fences_the_first(kafka: Kafka) -> None:
    topic, group = kafka.topic(), kafka.unique("group")
    kafka.send(topic, [b"a"])
    first = join(kafka, topic, group, group_instance_id="worker-0")
    assert len(take(first, 1)) == 1

    second = join(kafka, topic, group, group_instance_id="worker-0")
    assert len(take(second, 1)) == 1

    with pytest.raises(KafkaException) as fenced:
        first.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)
    assert fenced.value.args[0].code() in (KafkaError.FENCED_INSTANCE_ID, KafkaError._FENCED)


def test_a_killed_member_is_expired_and_its_partitions_go_to_the_others(kafka: Kafka, bootstrap_servers: str) -> None:
    topic, group = kafka.topic(partitions=2), kafka.unique("group")
    other = subprocess.Popen(
        [sys.executable, "-c", MEMBER, bootstrap_servers, topic, group], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "assigned\n"
        survivor = join(kafka, topic, group)
        poll_until(lambda: len(assigned(survivor)[0]) == 1, "each has one")

        killed_at = time.monotonic()
        os.kill(other.pid, signal.SIGKILL)
        poll_until(lambda: assigned(survivor) == [[0, 1]], "the survivor has both")
    finally:
        other.kill()
        other.wait()

    assert SESSION_S - 1.5 < time.monotonic() - killed_at < 2 * SESSION_S + 3


MEMBER = """
import sys
from confluent_kafka import Consumer
server, topic, group = sys.argv[1:]
consumer = Consumer({"bootstrap.servers": server, "group.id": group, "session.timeout.ms": 6000,
                     "heartbeat.interval.ms": 500})
consumer.subscribe([topic])
told = False
while True:
    consumer.poll(0.05)
    if consumer.assignment() and not told:
        told = True
        print("assigned", flush=True)
"""


def test_a_commit_from_an_older_generation_is_refused(kafka: Kafka, bootstrap_servers: str) -> None:
    topic, group = kafka.topic(), kafka.unique("group")
    member = join(kafka, topic, group)
    wait_for_shares([member], [1])

    with RawKafka(bootstrap_servers) as raw:
        zombie = commit(raw, group, topic, generation=99, member_id=member.memberid())
        stranger = commit(raw, group, topic, generation=1, member_id="nobody")
        outsider = commit(raw, group, topic, generation=-1, member_id="")

    assert zombie is ErrorCode.illegal_generation
    assert stranger is ErrorCode.unknown_member_id
    assert outsider is ErrorCode.unknown_member_id  # only members commit while there are any


def commit(raw: RawKafka, group: str, topic: str, generation: int, member_id: str) -> ErrorCode:
    from kio.schema.offset_commit.v7 import request as rq

    at = rq.OffsetCommitRequestPartition(partition_index=i32(0), committed_offset=i64(5), committed_metadata="")
    response = raw.ask(
        "offset_commit",
        7,
        group_id=group,
        generation_id_or_member_epoch=generation,
        member_id=member_id,
        topics=(rq.OffsetCommitRequestTopic(name=TopicName(topic), partitions=(at,)),),
    )
    code: ErrorCode = response.topics[0].partitions[0].error_code
    return code


def test_a_new_dynamic_member_is_given_an_id_before_it_joins(kafka: Kafka, bootstrap_servers: str) -> None:
    from kio.schema.join_group.v5 import request as rq

    with RawKafka(bootstrap_servers) as raw:
        poll_until(lambda: find_coordinator(raw) is ErrorCode.none, "the coordinator is there")
        answer = raw.ask(
            "join_group",
            5,
            group_id=kafka.unique("group"),
            session_timeout=dt.timedelta(seconds=6),
            rebalance_timeout=dt.timedelta(seconds=6),
            member_id="",
            protocol_type="consumer",
            protocols=(rq.JoinGroupRequestProtocol(name="range", metadata=b""),),
        )

    assert answer.error_code is ErrorCode.member_id_required
    assert answer.member_id


def find_coordinator(raw: RawKafka) -> ErrorCode:
    code: ErrorCode = raw.ask("find_coordinator", 2, key="group", key_type=0).error_code
    return code


def test_members_without_a_common_assignor_are_refused(kafka: Kafka) -> None:
    topic, group = kafka.topic(partitions=2), kafka.unique("group")
    wait_for_shares([join(kafka, topic, group, partition_assignment_strategy="range")], [2])

    stranger = join(kafka, topic, group, partition_assignment_strategy="roundrobin")

    refusal = poll_until(lambda: error_of(stranger), "the stranger is told")
    assert refusal.code() == KafkaError.INCONSISTENT_GROUP_PROTOCOL


def error_of(consumer: Consumer) -> KafkaError | None:
    message = consumer.poll(0.1)
    return message.error() if message is not None else None


def test_groups_are_listed_described_and_deleted(kafka: Kafka) -> None:
    topic, group = kafka.topic(), kafka.unique("group")
    member = join(kafka, topic, group, group_instance_id="worker-7")
    wait_for_shares([member], [1])
    member.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)

    [description] = [kafka.admin.describe_consumer_groups([group])[group].result(PATIENCE_S)]
    listed: list[ConsumerGroupListing] = kafka.admin.list_consumer_groups().result(PATIENCE_S).valid
    with pytest.raises(KafkaException) as busy:
        kafka.admin.delete_consumer_groups([group])[group].result(PATIENCE_S)

    assert description.state.name == "STABLE"
    assert [m.group_instance_id for m in description.members] == ["worker-7"]
    assert [p.partition for p in description.members[0].assignment.topic_partitions] == [0]
    assert group in {listing.group_id for listing in listed}
    assert busy.value.args[0].code() == KafkaError.NON_EMPTY_GROUP


def test_deleting_a_group_forgets_its_offsets(kafka: Kafka) -> None:
    topic, group = kafka.topic(), kafka.unique("group")
    member = join(kafka, topic, group)
    wait_for_shares([member], [1])
    member.commit(offsets=[TopicPartition(topic, 0, 3)], asynchronous=False)
    member.close()

    kafka.admin.delete_consumer_groups([group])[group].result(PATIENCE_S)

    [forgotten] = kafka.consumer(group).committed([TopicPartition(topic, 0)], PATIENCE_S)
    assert forgotten.offset == -1001  # librdkafka's OFFSET_INVALID
