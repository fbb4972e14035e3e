"""A broker whose second listener stands behind a fault proxy: who comes that way is told to go on that way, and feels what the proxy does.

On the development broker, and with -m kafka on Apache Kafka 4.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka import Producer

from deploy.local.fault_proxy import Fault, FaultProxy
from deploy.local.kafka import KAFKA
from deploy.local.ports import LOOPBACK, held_ports
from deploy.local.services import BEHIND_PORT, BROKER, PROXY_PORT, Service
from deploy.local.stack import running
from tests.deploy.client import PATIENCE_S, Kafka


class Behind(NamedTuple):
    direct: Kafka
    proxy: FaultProxy

    @property
    def through(self) -> str:
        return f"{LOOPBACK}:{self.proxy.port}"


@pytest.fixture(params=[BROKER, pytest.param(KAFKA, marks=pytest.mark.kafka)], ids=lambda one: one.name)
def behind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Behind]:
    service: Service = request.param
    with held_ports(2) as (port, proxy_port), FaultProxy(LOOPBACK, port, proxy_port) as proxy:
        settings = {BEHIND_PORT: str(port), PROXY_PORT: str(proxy_port)}
        with running([service], tmp_path, settings) as stack:
            yield Behind(Kafka(stack.env["KAFKA_BOOTSTRAP_SERVERS"]), proxy)


@pytest.mark.parametrize("fault", [Fault.HUNG, Fault.REFUSED])
def test_what_is_sent_while_the_proxy_lets_nothing_through_arrives_afterwards_once_and_in_order(
    behind: Behind, fault: Fault
) -> None:
    topic = behind.direct.topic()
    producer = Producer(
        {
            "bootstrap.servers": behind.through,
            "enable.idempotence": True,
            "linger.ms": 0,
            "reconnect.backoff.max.ms": 200,
        }
    )
    producer.produce(topic, b"0")
    assert producer.flush(PATIENCE_S) == 0

    behind.proxy.set(fault)
    for i in range(1, 20):
        producer.produce(topic, b"%d" % i)
    assert producer.flush(0.7) == 19
    # Who comes by the other door feels nothing of it.
    assert [message.value() for message in behind.direct.read(topic, 1)] == [b"0"]

    behind.proxy.set(Fault.NONE)
    assert producer.flush(PATIENCE_S) == 0
    assert [message.value() for message in behind.direct.read(topic, 20)] == [b"%d" % i for i in range(20)]


def test_each_door_tells_its_own_address(behind: Behind) -> None:
    direct, through = (
        Producer({"bootstrap.servers": address}).list_topics(timeout=PATIENCE_S).brokers.values()
        for address in (behind.direct.bootstrap_servers, behind.through)
    )

    assert [broker.port for broker in through] == [behind.proxy.port]
    assert f"{LOOPBACK}:{next(iter(direct)).port}" == behind.direct.bootstrap_servers
