"""A server of this process for what others post to it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from deploy.local.ports import LOOPBACK

Take = Callable[[bytes, BaseHTTPRequestHandler], bytes | None]


@contextmanager
def posted(take: Take) -> Iterator[str]:
    """Its URL, until the block ends. take: is given each body, and whoever has its headers; 200 is answered, with what it returns."""

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer = take(self.rfile.read(int(self.headers["Content-Length"])), self) or b""
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Whoever takes it may say so."""

    with ThreadingHTTPServer((LOOPBACK, 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever, name="posts", daemon=True)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
