"""Somebody else's broker in the place of ours: none is started, everybody is told its address, and a used one is refused."""

import configparser
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from deploy.local.bootstrap import World
from deploy.local.demo_run import Demo, Traffic, supervised
from deploy.local.demo_steps import StepFailed
from deploy.local.probes import groups_are_consuming
from deploy.local.services import CATALOGUE, WORKER_GROUPS
from deploy.local.stack import Stack, attach, down, running
from deploy.local.topics import ensure_platform_topics, used_topics
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


@pytest.mark.timeout(420)
def test_up_starts_no_broker_and_the_worker_is_at_work_on_the_given_one(theirs: str, ours: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "deploy.local.stack",
        "up",
        "--services",
        "valkey,broker,worker",
        "--var",
        str(ours),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode == 0, done.stderr
    assert f"given  {VARIABLE}={theirs}" in done.stdout
    stack = attach(ours)
    assert stack is not None
    assert {child.pid for child in stack.process.children()} == {stack.pid("valkey"), stack.pid("worker")}
    assert not (ours / "broker").exists()
    assert told(stack) == {"valkey": True, "worker": True}
    groups_are_consuming(theirs, *WORKER_GROUPS)()


def test_a_demo_configures_everybody_else_with_the_given_address(theirs: str, demo: Demo) -> None:
    with supervised(demo) as stack:
        assert stack.env[VARIABLE] == theirs
        assert told(stack) == dict.fromkeys(CATALOGUE.keys() - {"broker"}, True)


def test_without_one_a_demo_has_a_broker_of_its_own(theirs: str, demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)

    with supervised(demo) as stack:
        assert stack.env[VARIABLE] != theirs
        assert told(stack) == dict.fromkeys(CATALOGUE, True)


def test_a_demo_refuses_a_broker_that_holds_an_earlier_run(theirs: str, demo: Demo) -> None:
    """Its folder is wiped, that log is not; the worker would go on from another world's offsets."""
    ensure_platform_topics(theirs)
    assert used_topics(theirs) == []
    producer = Producer({"bootstrap.servers": theirs})
    producer.produce("transactions.v1", b"{}")
    assert producer.flush(PATIENCE_S) == 0

    with (
        pytest.raises(StepFailed, match=rf"{theirs} holds records of an earlier run \(transactions.v1\)"),
        supervised(demo),
    ):
        pytest.fail("it began")

    assert not (demo.var_dir / "run").exists()
