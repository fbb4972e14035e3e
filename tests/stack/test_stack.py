"""Compose's services as processes: what of the translation can be seen without them, and with `-m stack` (make stack-test) all of it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.make_secrets import Places, drawn
from tests.stack.platform import LEFT_OUT, SERVERS, Platform, running_platform
from tests.stack.proofs import PROOFS
from tests.stack.translate import Compose, as_properties


@pytest.fixture
def compose(tmp_path: Path) -> Compose:
    return Compose(tmp_path, "127.9.9")


def test_names_become_addresses_and_ports_stay(compose: Compose) -> None:
    env = compose.env_of("worker")

    assert env["KAFKA_BOOTSTRAP_SERVERS"] == f"{compose.address['kafka']}:9092"
    assert env["AWS_ENDPOINT_URL"] == f"http://{compose.address['minio']}:9000"
    assert env["FRAUD_WORKER_METRICS_HOST"] == compose.address["worker"]
    assert compose.process("scorer").argv[-4:] == ["--host", compose.address["scorer"], "--port", "8000"]
    assert compose.address["scorer"] in compose.process("scorer").check[-1]


def test_a_service_finds_its_volumes_and_its_own_secrets_alone(compose: Compose, tmp_path: Path) -> None:
    compose.give_secrets(drawn(Places()))

    assert (
        compose.env_of("worker")["FRAUD_VAR_DIR"]
        == compose.env_of("scorer")["FRAUD_VAR_DIR"]
        == str(tmp_path / "volumes" / "data")
    )
    assert compose.env_of("worker")["PGSERVICEFILE"] == str(tmp_path / "secrets" / "worker" / "pg_decisions.conf")
    given = {file.name for file in compose.secrets_of("worker").iterdir()}
    assert given == {"pg_decisions.conf", "aws_credentials", "fraud_token_key", "redis_url"}


def test_nothing_of_a_container_is_left_in_what_is_run(compose: Compose) -> None:
    """A path or a host that was not translated would be the machine's own."""
    for name in compose.services:
        if name in LEFT_OUT or name in SERVERS:
            continue
        process = compose.process(name)
        said = [*process.argv, *process.check, *process.env.values()]
        assert not [word for word in said if word.startswith(("/data", "/run/secrets", "/app"))], name
        assert not [word for word in said for other in compose.services if f"{other}:" in word.replace("://", "/")], (
            name
        )


def test_dagsters_own_files_name_where_things_are(compose: Compose) -> None:
    home = Path(compose.env_of("dagster-code")["DAGSTER_HOME"])

    assert f"host: {compose.address['dagster-code']}" in (home / "workspace.yaml").read_text()
    assert str(compose.volume("data")) in (home / "dagster.yaml").read_text()


def test_kafkas_settings_are_made_as_its_image_makes_them(compose: Compose) -> None:
    lines = as_properties(
        {"KAFKA_LOG_DIRS": "/d", "KAFKA_A__B_C___D": "1", "KAFKA_HEAP_OPTS": "-Xmx1g", "CLUSTER_ID": "x"}
    )

    assert lines == "log.dirs=/d\na_b.c-d=1\n"
    assert f"listeners=PLAINTEXT://{compose.address['kafka']}:9092," in as_properties(compose.env_of("kafka"))


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running_platform(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.mark.stack
@pytest.mark.timeout(900)
@pytest.mark.parametrize("proof", PROOFS.values(), ids=PROOFS)
def test_the_platform_of_compose(platform: Platform, proof: Callable[[Platform], str]) -> None:
    """In their order: each begins where the one before it ended."""
    assert proof(platform)
