"""The embedded stack starts what is asked, restarts what crashes, and stops what it started and nothing else."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from deploy.local import probes
from deploy.local.ports import LOOPBACK, choose_ports, held_ports, is_free
from deploy.local.services import VALKEY, Context, Service, prepare_dagster
from deploy.local.stack import (
    ServiceFailed,
    ServiceMissing,
    attach,
    down,
    running,
    shut_down,
    start_all,
    start_supervisor,
    up,
)
from deploy.local.state import StackState, write_state
from tests.deploy.client import PATIENCE_S, poll_until


def shell_service(script: str, **fields: Any) -> Service:
    """A service of our own, for the ways in which services go wrong."""
    return replace(Service(name="odd", argv=lambda _: ["sh", "-c", script], probe=None), **fields)


def never_ready() -> None:
    raise probes.NotReady("the door is locked")


# -- running ---------------------------------------------------------------------------------------


def test_a_subset_of_the_services_runs_and_tells_its_addresses(tmp_path: Path) -> None:
    with running(["valkey", "broker"], tmp_path) as stack:
        client = redis.Redis.from_url(stack.env["REDIS_URL"])
        assert client.set("k", "v")
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        probes.kafka_answers(stack.env["KAFKA_BOOTSTRAP_SERVERS"])()
        assert stack.env["FRAUD_VAR_DIR"] == str(tmp_path)
        client.close()
        pids = [stack.process.pid, *(child.pid for child in stack.process.children())]

    assert len(pids) == 3
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_everything_listens_on_loopback_only(tmp_path: Path) -> None:
    with running(["valkey", "broker"], tmp_path) as stack:
        listeners = [
            connection.laddr.ip
            for child in stack.process.children()
            for connection in child.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]

    assert listeners == [LOOPBACK, LOOPBACK]


def test_two_stacks_run_beside_each_other(tmp_path: Path) -> None:
    with running(["valkey"], tmp_path / "a") as a, running(["valkey"], tmp_path / "b") as b:
        assert a.env["REDIS_URL"] != b.env["REDIS_URL"]


def test_a_crashed_service_is_restarted_with_its_data(tmp_path: Path) -> None:
    with running(["valkey"], tmp_path) as stack:
        redis.Redis.from_url(stack.env["REDIS_URL"]).set("k", "v")
        killed = stack.pid("valkey")

        os.kill(killed, signal.SIGKILL)

        poll_until(lambda: stack.pid("valkey") not in (0, killed), "another process")
        stack.wait_ready("valkey")
        assert redis.Redis.from_url(stack.env["REDIS_URL"]).get("k") == b"v"


def test_a_stopped_service_stays_stopped_until_it_is_started(tmp_path: Path) -> None:
    with running(["valkey"], tmp_path) as stack:
        stack.stop("valkey")
        assert (stack.state("valkey"), stack.pid("valkey")) == ("STOPPED", 0)

        stack.start("valkey")
        assert redis.Redis.from_url(stack.env["REDIS_URL"]).ping()


def test_a_service_that_does_not_start_is_reported_with_the_last_lines_of_its_log(tmp_path: Path) -> None:
    broken = shell_service("echo the disk is on fire; exit 3", probe=lambda _: never_ready)

    with pytest.raises(ServiceFailed) as failed, running([broken], tmp_path):
        pass

    assert "odd does not stay up" in str(failed.value)
    assert "the disk is on fire" in str(failed.value)
    assert str(tmp_path / "logs" / "odd.log") in str(failed.value)


def test_a_service_without_a_door_is_ready_once_it_has_stayed_up(tmp_path: Path) -> None:
    with running([shell_service("exec sleep 60")], tmp_path) as stack:
        assert stack.state("odd") == "RUNNING"

    with pytest.raises(ServiceFailed, match="odd does not stay up"), running([shell_service("exit 0")], tmp_path / "2"):
        pass


def test_a_service_that_is_never_ready_is_reported_with_what_was_asked(tmp_path: Path) -> None:
    mute = shell_service("echo starting; exec sleep 60", probe=lambda _: never_ready, ready_within_s=0.5)

    with pytest.raises(ServiceFailed) as failed, running([mute], tmp_path):
        pass

    assert "odd was not ready within 0.5 s: the door is locked" in str(failed.value)
    assert "| starting" in str(failed.value)


def test_a_service_whose_need_is_missing_is_not_started(tmp_path: Path) -> None:
    with (
        pytest.raises(ServiceMissing, match="worker needs valkey: start it too, or set REDIS_URL"),
        running(["worker"], tmp_path),
    ):
        pass


def test_a_need_that_has_no_address_can_only_be_started(tmp_path: Path) -> None:
    with (
        pytest.raises(ServiceMissing, match=r"dagster-webserver needs dagster-code: start it too$"),
        running(["dagster-webserver"], tmp_path),
    ):
        pass


def test_a_killed_test_run_leaves_no_servers_behind(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from deploy.local.stack import running\n"
        "with running(['valkey', 'broker'], Path(sys.argv[1])) as s:\n"
        "    print(s.process.pid, s.pid('valkey'), s.pid('broker'), flush=True); time.sleep(600)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    pids = [int(pid) for pid in run.stdout.readline().split()]
    assert len(pids) == 3

    run.kill()
    run.wait()

    poll_until(lambda: not any(map(is_running, pids)), "all gone")


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_debians_redis_can_take_valkeys_place(debian_redis: str) -> None:
    assert redis.Redis.from_url(debian_redis).info("server")["redis_version"].startswith("7.")


def test_dagsters_databases_are_there_before_several_processes_look_for_them(tmp_path: Path) -> None:
    """Webserver, code server and the first run start together; each would make what it does not find."""
    prepare_dagster(Context(tmp_path, {}, {}))

    with sqlite3.connect(tmp_path / "dagster" / "schedules" / "schedules.db") as database:
        assert len(database.execute("select * from alembic_version").fetchall()) == 1
    assert (tmp_path / "dagster" / "history" / "runs.db").exists()


# -- up and down -----------------------------------------------------------------------------------


@pytest.fixture
def left_running(tmp_path: Path) -> Iterator[Path]:
    """Stops what a test leaves behind when it fails."""
    yield tmp_path
    down(tmp_path)


def quiet(_: str) -> None:
    pass


def test_up_leaves_it_running_and_down_stops_it_but_keeps_its_data(left_running: Path) -> None:
    url = up(["valkey"], left_running, {}, quiet).env["REDIS_URL"]
    redis.Redis.from_url(url).set("k", "v")

    assert down(left_running) is True
    with pytest.raises(redis.ConnectionError):
        redis.Redis.from_url(url, retry=None).ping()
    assert down(left_running) is False

    again = up(["valkey"], left_running, {}, quiet).env["REDIS_URL"]
    assert redis.Redis.from_url(again).get("k") == b"v"


_USES_IT_TO_THE_END = """
import signal, sys, time, redis
from pathlib import Path
def leave(*_):
    client, until_s = redis.Redis.from_url(sys.argv[1], retry=None), time.monotonic() + 0.5
    while time.monotonic() < until_s:
        client.ping()
    Path(sys.argv[2]).touch()
    sys.exit()
signal.signal(signal.SIGTERM, leave)
Path(sys.argv[3]).touch()
time.sleep(600)
"""


def test_where_data_stays_servers_outlive_those_who_use_them(tmp_path: Path) -> None:
    """A worker that is told to stop writes down what it has read: in the broker and the store that are told to stop too."""
    script, ready, done = tmp_path / "user.py", tmp_path / "ready", tmp_path / "done"
    script.write_text(_USES_IT_TO_THE_END)

    def argv(context: Context) -> list[str]:
        return [sys.executable, str(script), context.env["REDIS_URL"], str(done), str(ready)]

    user = Service(name="user", needs=("valkey",), argv=argv, probe=None)
    stack = start_supervisor((VALKEY, user), tmp_path, choose_ports([0, 0]), {}, is_tethered=True)
    try:
        start_all(stack)
        poll_until(ready.exists, "its handler is there")
    finally:
        shut_down(stack.process, stack.control_socket, servers_last=True)

    assert done.exists(), stack.log("user").read_text()


def test_up_twice_is_one_stack(left_running: Path) -> None:
    first = up(["valkey"], left_running, {}, quiet)
    said: list[str] = []

    second = up(["valkey"], left_running, {}, said.append)

    assert second.process == first.process
    assert said[0] == f"already running in {left_running}"
    assert said[1].startswith("valkey") and said[1].endswith(first.env["REDIS_URL"])


def test_a_stack_that_was_cut_off_half_way_is_not_taken_for_one_that_runs(left_running: Path) -> None:
    up(["valkey"], left_running, {}, quiet).stop("valkey")

    with pytest.raises(ServiceFailed, match=r"valkey: not running.*Run `make down`"):
        up(["valkey"], left_running, {}, quiet)


def test_a_taken_port_is_replaced_by_another(left_running: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_free(VALKEY.preferred_port):
            taken.bind((LOOPBACK, VALKEY.preferred_port))
            taken.listen()

        stack = up(["valkey"], left_running, {}, quiet)

        assert stack.context.ports["valkey"] != VALKEY.preferred_port
        assert redis.Redis.from_url(stack.env["REDIS_URL"]).ping()


def test_ports_are_all_different_also_when_two_want_the_same() -> None:
    [wish] = choose_ports([0])

    ports = choose_ports([wish, wish, 0, 0])

    assert len(set(ports)) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a bound port is nobody else's, and is not held")
def test_a_held_port_is_its_servers_only_and_again_after_a_restart() -> None:
    with held_ports(3, in_a_row=True) as ports:
        assert ports == [ports[0], ports[0] + 1, ports[0] + 2]
        for port in ports:
            for _ in range(2):
                with socket.create_server((LOOPBACK, port)), socket.create_connection((LOOPBACK, port)):
                    pass
            with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
                stranger.bind((LOOPBACK, port))  # as the system does for an outgoing connection
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((LOOPBACK, port))

    assert all(map(is_free, ports))


@pytest.mark.skipif(sys.platform != "linux", reason="as above")
def test_two_holders_never_have_the_same_port() -> None:
    """A row starts anywhere, also right before a port that somebody else holds."""
    with ExitStack() as stack:
        ports = stack.enter_context(held_ports(400))
        for _ in range(100):
            ports += stack.enter_context(held_ports(3, in_a_row=True))

        assert len(set(ports)) == 700


def test_down_does_not_touch_a_process_that_only_has_the_pid(tmp_path: Path) -> None:
    innocent = subprocess.Popen(["sleep", "60"])
    try:
        (tmp_path / "run").mkdir()
        state = StackState(
            pid=innocent.pid, create_time_s=1.0, control_socket="/nowhere", services=["valkey"], ports={}, env={}
        )
        write_state(tmp_path, state)

        assert attach(tmp_path) is None
        assert down(tmp_path) is False
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


def test_the_command_line_starts_reports_and_stops(left_running: Path) -> None:
    def stack(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deploy.local.stack", *arguments, "--var", str(left_running)],
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_S,
            check=False,
            env={k: v for k, v in os.environ.items() if k not in ("KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL")},
        )

    started = stack("up", "--services", "valkey,broker")
    reported = stack("status")
    stopped = stack("down")
    nothing = stack("status")

    assert started.returncode == 0, started.stderr
    assert "redis://127.0.0.1:" in started.stdout
    assert "kafka://127.0.0.1:" in started.stdout
    assert reported.returncode == 0, reported.stdout
    assert "broker" in reported.stdout and str(Path("logs") / "broker.log") in reported.stdout
    assert stopped.returncode == 0 and "stopped" in stopped.stdout
    assert nothing.returncode == 3
