"""A server to be asked by the benchmarks' client."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from deploy.local.ports import LOOPBACK

WITHIN_S = 20.0
BODIES = {"/degraded": b'{"degraded_reasons":["online_store_timeout"]}', "/scored": b'{"fraud_score":0.25}'}


@dataclass
class Shop:
    """A server whose answers are `reply(n)` for the n-th request: a status, or None to hang up; and what it has seen."""

    reply: Callable[[int], int | None]
    port: int = 0
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    at_once: int = 0
    most_at_once: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def until(self, many: int) -> None:
        """Returns once so many requests have come."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.bodies) >= many, WITHIN_S), len(self.bodies)

    def served(self, body: bytes) -> int | None:
        with self.changed:
            number = len(self.bodies)
            self.bodies.append(body)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.changed.notify_all()
        status = self.reply(number)
        with self.changed:
            self.at_once -= 1
        return status


@contextmanager
def opened(reply: Callable[[int], int | None] = lambda _: 200) -> Iterator[Shop]:
    shop = Shop(reply)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            shop.connections += 1

        def do_POST(self) -> None:
            status = shop.served(self.rfile.read(int(self.headers["Content-Length"])))
            if status is None:
                self.close_connection = True
                return
            answer = BODIES.get(self.path, b"{}")
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    shop.port = server.server_port
    try:
        yield shop
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
