"""A lean HTTP/1.1 client: POST JSON over a pool of kept connections.

A general client costs a millisecond of processor per request, which on a shared machine would be
measured as the platform's latency. This one does the one thing the driver needs.
"""

import asyncio
import time
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_MAX_HEAD_BYTES = 64 * 1024
# Servers close connections that nobody uses, many after five seconds. One that is picked up at just that
# moment gives a reset and not an answer, so ours are given up well before.
_IDLE_S = 3.0


class HttpFailure(Exception):
    """No usable answer; `reason` is one word for counting: refused, timeout, reset, status_503 …"""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    idle_since_s: float = 0.0

    @property
    def is_fresh(self) -> bool:
        """Not closed by the server, nor about to be."""
        return not self.reader.at_eof() and time.monotonic() - self.idle_since_s < _IDLE_S


@dataclass
class HttpClient:
    """base_url: `http://host:port`. At most `connections` requests are on their way at once.

    credential: what `Authorization: Bearer` carries; empty: no such header.
    """

    base_url: str
    timeout_s: float = 2.0
    connections: int = 128
    credential: str = field(default="", repr=False)
    _idle: list[_Connection] = field(default_factory=list)
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"base_url: {self.base_url!r} is not http://host:port")
        self._host, self._port = parts.hostname, parts.port or 80
        self._slots = asyncio.Semaphore(self.connections)
        self._who = f"Authorization: Bearer {self.credential}\r\n" if self.credential else ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._idle:
            connection.writer.close()
        self._idle.clear()

    async def post(self, path: str, body: bytes, headers: str = "") -> bytes:
        """The answer's body. headers: more of them, each `name: value` and a line's end. Raises HttpFailure for anything but a 2xx within the timeout."""
        async with self._slots:
            try:
                async with asyncio.timeout(self.timeout_s):
                    return await self._exchange(path, body, headers)
            except TimeoutError:
                raise HttpFailure("timeout") from None
            except ConnectionRefusedError:
                raise HttpFailure("refused") from None
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                raise HttpFailure("reset") from None

    async def _exchange(self, path: str, body: bytes, headers: str) -> bytes:
        """One request on an idle connection, or on a new one; it is kept only after a whole answer."""
        connection = self._kept() or await self._connect()
        answered = False
        try:
            connection.writer.write(self._head(path, len(body), headers) + body)
            status, keep, answer = await _answer(connection.reader)
            answered = keep
        finally:
            if answered:
                self._idle.append(replace(connection, idle_since_s=time.monotonic()))
            else:
                connection.writer.close()
        if not 200 <= status < 300:
            raise HttpFailure(f"status_{status}")
        return answer

    def _kept(self) -> _Connection | None:
        """The connection used last that is still good."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_fresh:
                return connection
            connection.writer.close()
        return None

    async def _connect(self) -> _Connection:
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=_MAX_HEAD_BYTES)
        return _Connection(reader, writer)

    def _head(self, path: str, length: int, headers: str) -> bytes:
        return (
            f"POST {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n{self._who}{headers}"
            f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        ).encode()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool, bytes]:
    """Status, whether the connection may be used again, body."""
    head = await reader.readuntil(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "content-length" not in headers:
        raise HttpFailure("no_content_length")
    body = await reader.readexactly(int(headers["content-length"]))
    return int(status_line.split(" ", 2)[1]), headers.get("connection", "").lower() != "close", body
