"""Proofs that ask something of the broker itself, in their short form on an Apache Kafka 4: R3d, the ids of topics."""

import pytest

from deploy.local.kafka import KAFKA
from tests.chaos.brokers import CHOSEN
from tests.chaos.proof import SHORT
from tests.chaos.proofs import PROOFS


@pytest.mark.kafka
@pytest.mark.e2e
@pytest.mark.timeout(420)
@pytest.mark.parametrize("name", ["R3d"])
def test_the_promise_holds_on_kafka(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHOSEN, KAFKA.name)
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)

    outcome = PROOFS[name].run(SHORT)

    assert outcome.passed, outcome.figure
