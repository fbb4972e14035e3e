"""A webhook that remembers which alerts it was told of."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

from deploy.local.ports import LOOPBACK


class Told(msgspec.Struct, frozen=True):
    """receiver: of Alertmanager's configuration."""

    receiver: str
    alert: str
    status: str
    labels: dict[str, str]
    annotations: dict[str, str]


class Receiver:
    """url: to post to; what is posted is in `told`."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://{LOOPBACK}:{server.server_port}"
        self.told: list[Told] = []

    def has(self, alert: str, receiver: str) -> bool:
        return any((one.alert, one.receiver, one.status) == (alert, receiver, "firing") for one in list(self.told))


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Until the block ends."""

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = msgspec.json.decode(self.rfile.read(int(self.headers["Content-Length"])))
            receiver.told += [
                Told(said["receiver"], one["labels"]["alertname"], one["status"], one["labels"], one["annotations"])
                for one in said["alerts"]
            ]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Said in `told`."""

    with ThreadingHTTPServer((LOOPBACK, 0), Hook) as server:
        receiver = Receiver(server)
        thread = threading.Thread(target=server.serve_forever, name="alert-receiver", daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
