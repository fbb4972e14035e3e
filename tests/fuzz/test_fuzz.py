"""The short form of `make fuzz`, and that each of its two halves sees what it looks for."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.fuzz.messages import KINDS
from tests.fuzz.openapi import check
from tests.fuzz.run import fuzz
from tests.fuzz.sockets import send_all


@pytest.mark.e2e
def test_nothing_thrown_at_a_running_scorer_makes_it_fail(tmp_path: Path) -> None:
    """No 5xx, no answer that its own document does not know, no growth; and it decides on a payment afterwards."""
    result = fuzz(tmp_path, openapi=200, sockets=300, seed=7, roles=("nobody", "score", "all"), corners=False)

    assert result.failures == []
    assert result.openapi_cases >= 200
    assert set(result.kinds) == KINDS
    assert {200, 400, 401, 413, 422} <= set(result.statuses)
    assert result.accepted > 0


class Broken(BaseHTTPRequestHandler):
    """Has a document, and fails at what it documents."""

    document = json.dumps(
        {
            "openapi": "3.1.0",
            "info": {"title": "broken", "version": "0"},
            "paths": {"/x": {"get": {"responses": {"200": {"description": "never"}}}}},
        }
    ).encode()

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/schema" else 500)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.document)))
        self.end_headers()
        self.wfile.write(self.document)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's word
        """Not on the test's output."""


@contextmanager
def broken() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_server_that_fails_is_found_out_through_its_document(tmp_path: Path) -> None:
    with broken() as port:
        found = check(f"http://127.0.0.1:{port}", {}, 1, 1, tmp_path, corners=False)

    assert "Server error" in found.failures[0]


def test_a_server_that_fails_is_found_out_through_its_socket() -> None:
    """Every 5xx, with the message that brought it."""

    async def failing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 no\r\n\r\n")
        writer.close()

    async def run() -> list[str]:
        server = await asyncio.start_server(failing, "127.0.0.1", 0)
        async with server:
            return (await send_all(server.sockets[0].getsockname()[1], 1, 20, "k.v")).failures

    failures = asyncio.run(run())

    assert len(failures) > 10
    assert "answered [500]" in failures[0]
