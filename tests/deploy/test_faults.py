"""The fault proxy takes orders over HTTP, and does them."""

import socket
import socketserver
import threading
from collections.abc import Iterator

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from deploy.local.fault_proxy import FaultProxy
from deploy.local.faults import create_app
from deploy.local.ports import free_port

Client = TestClient[Litestar]


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while said := self.request.recv(100):
            self.request.sendall(said)


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with FaultProxy("127.0.0.1", server.server_address[1], free_port()) as made:
            yield made
        server.shutdown()


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[Client]:
    with TestClient(create_app({"store": proxy})) as made:
        yield made


def echoed(port: int, patience_s: float) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=patience_s) as connection:
        connection.settimeout(patience_s)
        connection.sendall(b"?")
        return connection.recv(1) == b"?"


def test_an_order_is_done_and_taken_back(client: Client, proxy: FaultProxy) -> None:
    assert echoed(proxy.port, 10)

    assert client.post("/faults", json={"dependency": "store", "fault": "refused"}).status_code == 200
    with pytest.raises(ConnectionRefusedError):
        echoed(proxy.port, 10)

    assert client.post("/faults", json={"dependency": "store", "fault": "hung"}).status_code == 200
    with pytest.raises(TimeoutError):
        echoed(proxy.port, 0.3)

    assert client.post("/faults", json={"dependency": "store", "fault": "none"}).status_code == 200
    assert echoed(proxy.port, 10)


@pytest.mark.parametrize(
    ("order", "status", "said"),
    [
        ({"dependency": "broker", "fault": "hung"}, 404, "known: store"),
        ({"dependency": "store", "fault": "sulking"}, 400, "sulking"),
        ({"dependency": "store", "fault": "slow", "delay_ms": -1}, 400, "delay_ms"),
        ({"dependency": "store", "fault": "slow", "for_s": 1}, 400, "for_s"),
    ],
)
def test_an_order_that_cannot_be_done_says_why(
    client: Client, order: dict[str, object], status: int, said: str
) -> None:
    answer = client.post("/faults", json=order)

    assert answer.status_code == status
    assert said in answer.text
