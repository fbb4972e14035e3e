"""The broker under test."""

from collections.abc import Iterator

import pytest

from tests.deploy.client import Kafka


@pytest.fixture
def kafka(bootstrap_servers: str) -> Iterator[Kafka]:
    """The broker under test: ours, and with -m kafka the real one."""
    client = Kafka(bootstrap_servers)
    yield client
    client.close()
