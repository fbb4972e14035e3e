"""`make up` and `make down` as a person uses them: a small history, the README's request, and nothing left behind.

One stack is made, asked, stopped and started again, with its usual ports taken; each test looks at a part of what happened. As in
test_demo.py, nothing is said of how long anything takes.
"""

import json
import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import redis

from deploy.local.ports import LOOPBACK, choose_ports, is_free
from deploy.local.services import CATALOGUE
from deploy.local.stack import attach, down
from deploy.local.state import read_state
from deploy.local.valkey import valkey_command
from fraud_assets.stores.lake import Lake
from tests.deploy.client import poll_until
from tests.e2e.layers import WITHOUT, layers_of, stop_each
from tests.e2e.pages import Ran, missing, run_page
from tests.e2e.processes import at_work_in

# Ten times what it takes; each step has a deadline of its own, and its message says more.
WITHIN_S = 900
# Those of test_demo.py: fewer days, or fewer purchases, train no model that passes its gates.
SMALL = "--days 32 --per-day 600"
# The rest is Dagster, which takes longest and has no part in going on.
LIVE = "valkey,broker,worker,scorer"
# In this order: the last one empties the store, and fills it again.
PAGES = ("new-hire.md", "analyst.md", "on-call.md")
# What a page says and these tests do for all pages.
UP, DOWN = f'make up ARGS="{SMALL}"', "make down"
OURS = re.compile(r"^(KAFKA_BOOTSTRAP_SERVERS|REDIS_URL|DAGSTER_HOME|(FRAUD|MLFLOW)_.*|MAKE.*|MFLAGS|ARGS)$")

pytestmark = [pytest.mark.demo, pytest.mark.timeout(3 * WITHIN_S)]


@dataclass(frozen=True)
class Story:
    """What was said, answered and alive, in the order in which it happened."""

    var_dir: Path
    taken: frozenset[int]
    up: str
    decision: Mapping[str, object]
    price: Mapping[str, object]
    dagster: str
    walked: Mapping[str, list[Ran]]
    alone: Mapping[str, str]
    started: list[psutil.Process]
    down: str
    left: list[psutil.Process]
    bystanders: dict[str, int]
    again: str
    decision_again: Mapping[str, object]
    left_again: list[psutil.Process]


@pytest.fixture(scope="module")
def story(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    home = tmp_path_factory.mktemp("up")
    var_dir = home / "var"
    with ExitStack() as stack:
        stack.callback(down, var_dir)  # what a failure leaves
        taken = stack.enter_context(taken_ports("scorer", "dagster-webserver"))
        bystanders = stack.enter_context(standing_by(home, var_dir))
        up = make(root, var_dir, "up", SMALL)
        addresses = printed(up)
        started = processes_of(var_dir)
        decision = ask(root, home, "8000/predict", addresses["scorer"])
        price = ask(root, home, "8001/price", addresses["pricing"])
        with urllib.request.urlopen(f"{addresses['dagster-webserver']}/server_info", timeout=60) as response:
            dagster = response.read().decode()
        settings = settings_of(var_dir)
        usual = {"http://127.0.0.1:8000": addresses["scorer"], "redis://127.0.0.1:6379/0": settings["REDIS_URL"]}
        pages = root / "docs" / "walkthroughs"
        walked = {name: run_page(pages / name, root, home, usual, settings, {UP, DOWN}) for name in PAGES}
        running = attach(var_dir)
        assert running is not None
        alone = stop_each(running, layers_of(root / "docs" / "reliability.md"))
        stopped = make(root, var_dir, "down")
        left = list(filter(is_alive, started))
        standing = {name: process.pid for name, process in bystanders.items() if is_alive(process)}
        again = make(root, var_dir, "up", f"--services {LIVE} {SMALL}")
        decision_again = ask(root, home, "8000/predict", printed(again)["scorer"])
        started_again = processes_of(var_dir)
        make(root, var_dir, "down")
        yield Story(
            var_dir=var_dir, taken=taken, up=up, decision=decision, price=price, dagster=dagster, walked=walked, alone=alone, started=started, down=stopped, left=left,
            bystanders=standing, again=again, decision_again=decision_again, left_again=list(filter(is_alive, started_again)),
        )  # fmt: skip


def make(root: Path, var_dir: Path, target: str, arguments: str = "") -> str:
    """What the command said. Settings of the tester's own, or of the `make` that runs this test, are not used."""
    env = {name: value for name, value in os.environ.items() if not OURS.match(name)}
    # A test installs nothing, and runs what runs it.
    argv = ["make", "-o", ".venv/.installed", f"RUN={sys.executable}", target, f"ARGS={arguments}"]
    done = subprocess.run(
        argv,
        cwd=root,
        # Candidates are compared elsewhere; here one model will do.
        env={**env, "FRAUD_VAR_DIR": str(var_dir), "FRAUD_TUNING_TRIALS": "0"},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0, f"make {target}: {done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def printed(said: str) -> dict[str, str]:
    """Addresses by service, as far as they are a browser's."""
    found = re.findall(r"^(\S+) +ready +(http://[\d.]+:\d+)", said, re.MULTILINE)
    return dict(found)


def ask(root: Path, home: Path, door: str, address: str) -> dict[str, object]:
    """The README's own words to a shell, in a folder that holds var; but for the address, which it says was printed.

    door: the usual port, and the route.
    """
    (request,) = re.findall(
        rf"^curl http://127.0.0.1:{door} .*?}}'$", (root / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    command = request.replace(f"http://127.0.0.1:{door[:4]}", address)
    done = subprocess.run(["sh", "-c", command], cwd=home, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def settings_of(var_dir: Path) -> Mapping[str, str]:
    """What the stack's own processes are given: addresses, for its ports may not be the usual ones."""
    state = read_state(var_dir)
    assert state is not None
    return state.env


def processes_of(var_dir: Path) -> list[psutil.Process]:
    """The supervisor that `up` left running, and all below it."""
    state = read_state(var_dir)
    supervisor = state.supervisor() if state else None
    assert supervisor is not None
    return [supervisor, *supervisor.children(recursive=True)]


def is_alive(process: psutil.Process) -> bool:
    """A process that has ended and that nobody has asked for yet is no longer one; a reused pid is another's."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def taken_ports(*services: str) -> Iterator[frozenset[int]]:
    """The usual ports of services, each with somebody on it: us, where nobody was."""
    wanted = frozenset(CATALOGUE[name].preferred_port for name in services)
    with ExitStack() as held:
        for port in wanted:
            with suppress(OSError):  # somebody's already
                held.enter_context(socket.create_server((LOOPBACK, port)))
        yield wanted


@contextmanager
def standing_by(home: Path, var_dir: Path) -> Iterator[Mapping[str, psutil.Process]]:
    """Two that look like the stack's own and are not: a Valkey on its usual port, and a command that a person runs on its folder."""
    usual = CATALOGUE["valkey"].preferred_port
    (port,) = [usual] if is_free(usual) else choose_ports([0])
    (home / "theirs").mkdir()
    commands = {
        "valkey": valkey_command(port, home / "theirs"),
        "command": [sys.executable, "-c", "import time; time.sleep(36_000)"],
    }
    env = {**os.environ, "FRAUD_VAR_DIR": str(var_dir)}
    started = {name: psutil.Popen(argv, env=env, stdout=subprocess.DEVNULL) for name, argv in commands.items()}
    client = redis.Redis(LOOPBACK, port)
    try:
        poll_until(lambda: answers(client), "the other Valkey answers")
        yield started
    finally:
        client.close()
        for process in started.values():
            process.kill()
            process.wait()


def answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_up_makes_a_history_of_the_size_asked_for(story: Story) -> None:
    days = Lake(str(story.var_dir / "lake")).days("transactions")

    assert "32 days of history, with fraud in them" in story.up
    # The worker adds today's.
    assert len(days) == 32, days
    (count,) = re.findall(r"([\d,]+) transactions in the lake", story.up)
    assert 10_000 < int(count.replace(",", "")) < 30_000


def test_every_service_is_said_to_be_ready(story: Story) -> None:
    assert re.findall(r"^(\S+) +ready ", story.up, re.MULTILINE) == list(CATALOGUE)
    assert f"the key of scorer and pricing is in {story.var_dir / 'api' / 'key'}" in story.up
    assert "stop with: make down" in story.up


def test_ports_that_are_taken_are_left_to_whoever_has_them(story: Story) -> None:
    ports = {int(address.rpartition(":")[2]) for address in printed(story.up).values()}

    assert len(ports) == 3
    assert not ports & story.taken
    for name in ("valkey", "scorer", "dagster-webserver"):
        assert f"{name}: port {CATALOGUE[name].preferred_port} was taken, it listens on " in story.up


def test_the_readmes_request_gets_a_decision_from_the_model_that_was_trained(story: Story) -> None:
    assert story.decision["transaction_id"] == "order-1"
    assert story.decision["decision"] in ("approve", "review", "deny")
    assert story.decision["degraded_reasons"] == []
    assert (story.var_dir / "models" / str(story.decision["model_version"]) / "manifest.json").exists()


def test_the_readmes_price_is_recommended_under_the_same_key(story: Story) -> None:
    """Nobody has heard of its event: the price stays, and the answer says why."""
    assert (story.price["event_id"], story.price["action"]) == ("opera-tonight", "keep")
    assert story.price["fallback"] == ["event_realtime_metrics_missing"]


def test_dagster_answers_at_its_address(story: Story) -> None:
    assert json.loads(story.dagster)["dagster_webserver_version"]


@pytest.mark.parametrize("name", PAGES)
def test_a_walkthrough_prints_what_its_page_shows(story: Story, name: str) -> None:
    said = {UP: story.up, DOWN: story.down}
    ran = [one._replace(printed=said.get(one.command.strip(), one.printed)) for one in story.walked[name]]

    assert sum(bool(one.shown) for one in ran) >= 3
    for one in ran:
        assert missing(one) == [], f"{one.command}\nprinted\n{one.printed}"


def test_a_new_hire_starts_and_stops_it_as_these_tests_do(story: Story) -> None:
    commands = [one.command.strip() for one in story.walked["new-hire.md"]]

    assert (commands[0], commands[-1]) == (UP, DOWN)


@pytest.mark.parametrize("layer", WITHOUT)
def test_a_layer_is_stopped_alone(story: Story, layer: str) -> None:
    """And the others go on with what they are for."""
    assert not story.alone[layer], story.alone[layer]


def test_down_ends_what_up_started_down_to_its_grandchildren(story: Story) -> None:
    supervisor, *others = story.started

    assert "stopped" in story.down
    assert len(others) > len(CATALOGUE), "services have processes of their own"
    assert supervisor not in story.left
    assert story.left == []


def test_down_ends_nobody_else(story: Story) -> None:
    """Not even another Valkey, or a command that works on the same folder."""
    assert set(story.bystanders) == {"valkey", "command"}


def test_up_again_goes_on_with_what_is_there(story: Story) -> None:
    """Nothing is made anew: the same history, and the same model on the states of the same store."""
    assert "days of history" not in story.again and "asset graph" not in story.again
    assert "the lake holds history already: --days and --per-day change nothing" in story.again
    assert story.decision_again["model_version"] == story.decision["model_version"]
    assert story.decision_again["degraded_reasons"] == []


def test_nothing_of_it_is_left_in_the_end(story: Story) -> None:
    """Also of what began beside the services; but for the command that the person runs."""
    assert story.left_again == []
    assert at_work_in(story.var_dir) == [story.bystanders["command"]]
