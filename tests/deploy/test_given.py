"""Somebody else's servers in the place of ours: none is started, everybody is told the address, and used ones are refused."""

import configparser
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from confluent_kafka import Producer

from deploy.local.demo_run import Demo, Traffic, supervised
from deploy.local.given import OWNER_KEY, UnfitServer, refuse_elsewhere, take_servers
from deploy.local.probes import groups_are_consuming
from deploy.local.services import CATALOGUE, WORKER_GROUPS
from deploy.local.stack import Stack, attach, down, running
from deploy.local.topics import ensure_platform_topics, used_topics
from deploy.local.world import World
from fraud_assets.stores.online import OnlineStore
from tests.deploy.client import PATIENCE_S

VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A second broker, named as its owner would; nobody has written to it."""
    with running(["broker"], tmp_path / "theirs") as stack:
        monkeypatch.setenv(VARIABLE, stack.env[VARIABLE])
        monkeypatch.delenv("REDIS_URL", raising=False)
        yield stack.env[VARIABLE]


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    return Demo(tmp_path / "demo", World(), Traffic())


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Path]:
    """Stops what a test leaves behind when it fails."""
    yield tmp_path / "ours"
    down(tmp_path / "ours")


def told(stack: Stack) -> dict[str, bool]:
    """Whether each service of a stack is configured with an address, by its name."""
    config = configparser.RawConfigParser()
    config.read(stack.context.var_dir / "run" / "supervisord.conf")
    programs = [name for name in config.sections() if name.startswith("program:")]
    return {
        name.removeprefix("program:"): f'{VARIABLE}="{stack.env[VARIABLE]}"' in config[name]["environment"]
        for name in programs
    }


def command(verb: str, var_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "deploy.local.stack", verb, "--var", str(var_dir), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)


def write_a_record(servers: str) -> None:
    ensure_platform_topics(servers)
    assert used_topics(servers) == []
    producer = Producer({"bootstrap.servers": servers})
    producer.produce("transactions.v1", b"{}")
    assert producer.flush(PATIENCE_S) == 0


@pytest.mark.timeout(420)
def test_up_starts_no_broker_and_the_worker_is_at_work_on_the_given_one(theirs: str, ours: Path) -> None:
    done = command("up", ours, "--services", "valkey,broker,worker")

    assert done.returncode == 0, done.stderr
    assert f"given  {VARIABLE}={theirs}" in done.stdout
    stack = attach(ours)
    assert stack is not None
    assert {child.pid for child in stack.process.children()} == {stack.pid("valkey"), stack.pid("worker")}
    assert not (ours / "broker").exists()
    assert told(stack) == {"valkey": True, "worker": True}
    groups_are_consuming(theirs, *WORKER_GROUPS)()


def test_a_demo_configures_everybody_else_with_the_given_address(theirs: str, demo: Demo) -> None:
    with supervised(demo.var_dir, {}) as stack:
        assert stack.env[VARIABLE] == theirs
        assert told(stack) == dict.fromkeys(CATALOGUE.keys() - {"broker"}, True)


def test_without_one_a_demo_has_a_broker_of_its_own(theirs: str, demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)

    with supervised(demo.var_dir, {}) as stack:
        assert stack.env[VARIABLE] != theirs
        assert told(stack) == dict.fromkeys(CATALOGUE, True)


def test_a_demo_refuses_a_broker_that_holds_an_earlier_run(theirs: str, demo: Demo) -> None:
    """Its folder is wiped, that log is not; the worker would go on from another world's offsets."""
    write_a_record(theirs)

    with (
        pytest.raises(UnfitServer, match=rf"{theirs} holds records of an earlier run \(transactions.v1\)"),
        supervised(demo.var_dir, {}),
    ):
        pytest.fail("it began")

    assert not (demo.var_dir / "run").exists()


def test_up_goes_on_with_the_run_of_its_own_folder_and_refuses_anothers(theirs: str, ours: Path) -> None:
    first = command("up", ours, "--services", "valkey,broker")
    write_a_record(theirs)
    command("down", ours)

    again = command("up", ours, "--services", "valkey,broker")
    another = command("up", ours.parent / "another", "--services", "valkey,broker")

    assert (first.returncode, again.returncode, another.returncode) == (0, 0, 1), (first, again)
    assert another.stderr.startswith(f"the stack did not start: {theirs} holds records of an earlier run")
    assert "Delete the platform's topics there, name another Kafka, or unset KAFKA_BOOTSTRAP_SERVERS." in another.stderr
    assert not (ours.parent / "another").exists()


def test_a_redis_that_holds_another_folders_states_is_refused_until_it_is_emptied(
    store: OnlineStore, valkey_server: str, tmp_path: Path
) -> None:
    """Whose states say of a customer what never happened here would be asked for each decision."""
    given, client = {"REDIS_URL": valkey_server}, redis.Redis.from_url(valkey_server)

    with pytest.raises(UnfitServer, match=r"holds the states of an earlier run .* Empty it \(FLUSHDB\), name another"):
        take_servers(given, tmp_path / "ours")
    assert client.get(OWNER_KEY) is None and not (tmp_path / "ours").exists()

    client.flushdb()
    take_servers(given, tmp_path / "ours")
    store.publish_epoch("e2", log="", resume={}, now_ms=2)
    take_servers(given, tmp_path / "ours")
    with pytest.raises(UnfitServer, match="earlier run"):
        take_servers(given, tmp_path / "another")
    client.close()


@pytest.mark.parametrize(
    ("variable", "address"),
    [(VARIABLE, "127.0.0.1:{port}"), ("REDIS_URL", "redis://shop:secret@127.0.0.1:{port}/0")],
)
def test_a_given_server_that_does_not_answer_is_named_without_its_password(
    variable: str, address: str, free_port: int, tmp_path: Path
) -> None:
    with pytest.raises(UnfitServer, match=rf"no (broker|Redis) answers at \S*127.0.0.1:{free_port}") as refused:
        take_servers({variable: address.format(port=free_port)}, tmp_path)

    assert "secret" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_stack_whose_states_were_elsewhere_is_refused() -> None:
    """It would fill one store, and its processes read another."""
    refuse_elsewhere({"REDIS_URL": "redis://h"})
    with pytest.raises(UnfitServer, match="unset FRAUD_ONLINE_STORE_URL"):
        refuse_elsewhere({"FRAUD_ONLINE_STORE_URL": "redis+cluster://h:1"})
