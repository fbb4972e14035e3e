"""The proxy's faults, on a real Valkey."""

import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.local.fault_proxy import Fault, FaultProxy


@pytest.fixture
def proxy(valkey_server: str) -> Iterator[FaultProxy]:
    address = urlsplit(valkey_server)
    assert address.hostname is not None and address.port is not None
    with FaultProxy(address.hostname, address.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[redis.Redis]:
    client = redis.Redis(port=proxy.port, socket_timeout=0.3, socket_connect_timeout=0.3, retry=Retry(NoBackoff(), 0))
    yield client
    client.close()


def test_without_a_fault_bytes_pass_unchanged(client: redis.Redis) -> None:
    value = bytes(range(256)) * 1_000
    client.set("fault-proxy", value)
    assert client.get("fault-proxy") == value
    client.delete("fault-proxy")


def test_slow_delays_both_ways(proxy: FaultProxy, client: redis.Redis) -> None:
    client.ping()
    proxy.set(Fault.SLOW, 0.05)
    began = time.monotonic()
    client.ping()
    assert time.monotonic() - began >= 0.1


def test_hung_answers_nobody_and_goes_on_where_it_stopped(proxy: FaultProxy, client: redis.Redis) -> None:
    client.ping()
    proxy.set(Fault.HUNG)
    with pytest.raises(redis.TimeoutError):
        client.ping()
    proxy.set(Fault.NONE)
    assert client.ping()


def test_refused_resets_open_connections_and_takes_no_new_ones(proxy: FaultProxy, client: redis.Redis) -> None:
    client.ping()
    proxy.set(Fault.REFUSED)
    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            client.ping()
    proxy.set(Fault.NONE)
    assert client.ping()


def test_cut_resets_a_connection_in_the_middle_of_what_it_sends(proxy: FaultProxy, client: redis.Redis) -> None:
    proxy.set(Fault.CUT, after_bytes=100_000)
    assert client.set("fault-proxy", bytes(50_000))
    with pytest.raises(redis.ConnectionError):
        client.set("fault-proxy", bytes(200_000))
    proxy.set(Fault.NONE)
    assert client.strlen("fault-proxy") == 50_000
    client.delete("fault-proxy")


ENDED_EARLY = """
import socket
from deploy.local.fault_proxy import Fault, FaultProxy

with socket.create_server(("127.0.0.1", 0)) as server:
    for fault in (Fault.HUNG, Fault.SLOW):
        with FaultProxy(*server.getsockname()) as proxy:
            client = socket.create_connection(("127.0.0.1", proxy.port))
            far, _ = server.accept()
            proxy.set(fault, delay_s=60)
            client.sendall(b"?")
"""


def test_a_proxy_that_ends_while_it_holds_bytes_back_leaves_nothing_pending() -> None:
    """Asyncio complains at the process's end of tasks that were pending when their loop went."""
    ended = subprocess.run([sys.executable, "-c", ENDED_EARLY], capture_output=True, text=True, check=True, timeout=60)

    assert ended.stderr == ""
