"""pytest fixtures that start real servers on free loopback ports, and stop them.

Loaded by tests/conftest.py. Heavy imports are inside the fixtures: most tests need no server.
"""

import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from deploy.local.postgres import Postgres
    from deploy.local.redis_cluster import RedisCluster


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Valkey of this session's own (noeviction); tests use keys of their own or flush."""
    from deploy.local.stack import running

    with running(["valkey"], tmp_path_factory.mktemp("valkey")) as stack:
        yield stack.env["REDIS_URL"]


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap address of a development broker of this session's own; tests use topics of their own."""
    from deploy.local.stack import running

    with running(["broker"], tmp_path_factory.mktemp("broker")) as stack:
        yield stack.env["KAFKA_BOOTSTRAP_SERVERS"]


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """An S3-compatible server of this session's own: the AWS_… variables by which a process finds it."""
    from deploy.local.services import S3
    from deploy.local.stack import running

    with running([S3], tmp_path_factory.mktemp("s3")) as stack:
        yield {name: value for name, value in stack.env.items() if name.startswith("AWS_")}


@pytest.fixture
def s3_uri(s3_server: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place of this test's own on the S3-compatible server, for this process and those it starts."""
    from deploy.local.s3 import BUCKET

    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture(params=["folder", "S3"])
def lake_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place for a lake: each test runs on a local folder and on the S3-compatible server."""
    uri: str = str(tmp_path / "lake") if request.param == "folder" else request.getfixturevalue("s3_uri")
    return uri


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap address of real Apache Kafka 4: KAFKA_BOOTSTRAP_SERVERS, else one of this session's own."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        yield given
        return
    from deploy.local.kafka import running_kafka

    with running_kafka(tmp_path_factory.mktemp("kafka")) as bootstrap_servers:
        yield bootstrap_servers


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A PostgreSQL of this session's own; tests take a database of it, see `postgres`."""
    from deploy.local.postgres import running_server

    with running_server() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: Any) -> "Postgres":
    """An empty database; a test that stops its server starts it again."""
    from deploy.local.postgres import empty_database

    return empty_database(postgres_server)


@pytest.fixture(scope="session", params=["broker", pytest.param("kafka_server", marks=pytest.mark.kafka)])
def bootstrap_servers(request: pytest.FixtureRequest) -> str:
    """A Kafka to test against: each test runs on the development broker and, with -m kafka, on real Kafka."""
    address: str = request.getfixturevalue(request.param)
    return address


@pytest.fixture(scope="session")
def debian_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the distribution's Redis 7.0, the oldest server we support; skips where there is none."""
    from deploy.local.services import DEBIAN_REDIS
    from deploy.local.stack import running
    from deploy.local.valkey import debian_redis_executable

    if debian_redis_executable() is None:
        pytest.skip("no redis-server on this machine (apt-get install redis-server)")
    with running([DEBIAN_REDIS], tmp_path_factory.mktemp("redis")) as stack:
        yield stack.env["REDIS_URL"]


@pytest.fixture(scope="session", params=["valkey_server", "debian_redis"])
def redis_url(request: pytest.FixtureRequest) -> str:
    """An online store to test against: the embedded default, and the compatibility floor where installed."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator["RedisCluster"]:
    """Three masters and three replicas of this session's own; a test that kills one has its own."""
    from deploy.local.redis_cluster import running_cluster

    with running_cluster(tmp_path_factory.mktemp("redis-cluster")) as cluster:
        yield cluster
