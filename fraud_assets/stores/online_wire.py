"""Redis without a client library's layers: commands written in one go, replies matched in order.

redis-py's async client spends 110 µs on a read that the server answers in 20; on the scorer's path
that is half of the request. redis-py stays right for everything else.
"""

import asyncio
import math
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, cast
from urllib.parse import unquote, urlsplit

import hiredis

from fraud_assets.stores.online_port import StoreUnavailable

# More replies outstanding than this and the server is not answering; queueing more only costs memory.
MAX_OUTSTANDING = 4_096
# After this many timeouts with no reply in between the connection is given up: what a hung server
# still owes us must not delay what the next one answers.
TIMEOUTS_TO_GIVE_UP = 3
# How long the event loop stays awake for a reply. Most come sooner, and on a virtual machine to be woken takes as long as the reply.
AWAKE_S = 0.0004
# If the event loop itself was late, the reply may lie unread in the socket: one more turn to read it.
GRACE_S = 0.001
# A long reply does not fit into a socket: while it is coming, it gets so many of those turns.
MORE_TURNS = 10

Word = str | bytes | int
Reply = object

# hiredis declares tuples of one word; it packs any number.
packed = cast("Callable[[tuple[Word, ...]], bytes]", hiredis.pack_command)


@dataclass(frozen=True)
class Address:
    """host, port, database, and credentials of a `redis://` or `rediss://` URL."""

    host: str
    port: int
    database: int
    username: str
    password: str
    tls: bool

    @classmethod
    def of(cls, url: str) -> Self:
        """Raises ValueError, without the URL's password, for another scheme."""
        parts = urlsplit(url)
        if parts.scheme not in ("redis", "rediss"):
            raise ValueError(f"REDIS_URL has scheme {parts.scheme!r}; use redis:// or rediss://")
        return cls(
            parts.hostname or "127.0.0.1",
            parts.port or 6379,
            int(parts.path.strip("/") or 0),
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            parts.scheme == "rediss",
        )

    def greeting(self) -> list[tuple[Word, ...]]:
        """What a new connection says first; PING last, so that a server still loading is not taken for ready."""
        commands: list[tuple[Word, ...]] = []
        if self.password:
            commands.append(("AUTH", *((self.username,) if self.username else ()), self.password))
        if self.database:
            commands.append(("SELECT", self.database))
        return [*commands, ("PING",)]


class _Batch:
    """Commands sent together, the future of their replies, and the loop's time at which they are late."""

    __slots__ = ("expected", "future", "late_s", "replies")

    def __init__(self, expected: int, future: "asyncio.Future[list[Reply]]", late_s: float) -> None:
        self.expected = expected
        self.future = future
        self.late_s = late_s
        self.replies: list[Reply] = []


class Connection(asyncio.Protocol):
    """One pipelined connection. After `connection_lost` every call raises StoreUnavailable."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._waiting: deque[_Batch] = deque()
        self._transport: asyncio.Transport | None = None
        self._timeouts = 0
        self._received = 0
        self._loop = asyncio.get_running_loop()
        # One for all that is outstanding: a timer a call would cost each a tenth of its time.
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_s = math.inf  # uvloop forgets this of a handle whose time has come and whose turn has not
        self._awake_until_s = 0.0  # by `perf_counter`: the loop's own clock has milliseconds
        self._is_awake = False
        self.lost: asyncio.Future[None] = self._loop.create_future()

    @classmethod
    async def open(cls, address: Address, timeout_s: float) -> Self:
        """Connected and greeted. Raises StoreUnavailable."""
        loop = asyncio.get_running_loop()
        context = ssl.create_default_context() if address.tls else None
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await loop.create_connection(cls, address.host, address.port, ssl=context)
        except (OSError, TimeoutError) as error:
            raise StoreUnavailable("online_store_unreachable", str(error) or "connect timed out") from error
        try:
            for reply in await connection.call(address.greeting(), timeout_s):
                if isinstance(reply, Exception):
                    raise StoreUnavailable("online_store_refused", str(reply))
        except StoreUnavailable:
            connection.close()
            raise
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, since uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._timeouts = 0
        self._received += len(data)
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._deliver(reply)
        except hiredis.ProtocolError:
            self.close()  # not Redis, or out of step: nothing after this can be trusted

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        while self._waiting:
            future = self._waiting.popleft().future
            if not future.done():
                future.set_exception(StoreUnavailable("online_store_unreachable", str(exc or "connection closed")))
        if not self.lost.done():
            self.lost.set_result(None)

    def close(self) -> None:
        """At once: what is outstanding fails."""
        if self._transport is not None:
            self._transport.abort()

    def call(self, commands: Sequence[tuple[Word, ...]], timeout_s: float) -> "asyncio.Future[list[Reply]]":
        """Replies of all commands, sent in one write. An error reply is an exception in the list.

        The future raises StoreUnavailable if they are not all there in time.
        """
        return self.send(b"".join(map(packed, commands)), len(commands), timeout_s)

    def send(self, raw: bytes, n_replies: int, timeout_s: float) -> "asyncio.Future[list[Reply]]":
        """`call` of commands that are packed already."""
        if self._transport is None:
            raise StoreUnavailable("online_store_unreachable", "connection closed")
        if len(self._waiting) >= MAX_OUTSTANDING:
            raise StoreUnavailable("online_store_overloaded", f"{len(self._waiting)} calls outstanding")
        batch = _Batch(n_replies, self._loop.create_future(), self._loop.time() + timeout_s)
        self._waiting.append(batch)
        self._transport.write(raw)
        if batch.late_s < self._wakes_s:
            self._wake_at(batch.late_s)
        self._awake_until_s = time.perf_counter() + AWAKE_S
        if not self._is_awake:
            self._stay_awake()
        return batch.future

    def _stay_awake(self) -> None:
        """Come again in the loop's next turn: then it looks at its sockets and does not sleep on them."""
        self._is_awake = bool(self._waiting) and time.perf_counter() < self._awake_until_s
        if self._is_awake:
            self._loop.call_soon(self._stay_awake)

    def _deliver(self, reply: Reply) -> None:
        if not self._waiting:
            self.close()
            return
        batch = self._waiting[0]
        batch.replies.append(reply)
        if len(batch.replies) == batch.expected:
            self._waiting.popleft()
            if not batch.future.done():
                batch.future.set_result(batch.replies)

    def _wake_at(self, when_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._wakes_s = self._loop.call_at(when_s, self._almost_late), when_s

    def _almost_late(self) -> None:
        self._timer = self._loop.call_later(GRACE_S, self._late, self._loop.time(), self._received, MORE_TURNS)

    def _late(self, now_s: float, received: int, more_turns: int) -> None:
        """What was due by `now_s` and is not here is given up, unless it is coming; then the next that may be late."""
        if self._received > received and more_turns:
            self._timer = self._loop.call_later(GRACE_S, self._late, now_s, self._received, more_turns - 1)
            return
        self._timer, self._wakes_s = None, math.inf
        late = [batch for batch in self._waiting if batch.late_s <= now_s and not batch.future.done()]
        for batch in late:
            batch.future.set_exception(StoreUnavailable("online_store_timeout", "no reply in time"))
        self._timeouts += len(late)
        if self._timeouts >= TIMEOUTS_TO_GIVE_UP:
            self.close()
        waiting = [batch.late_s for batch in self._waiting if not batch.future.done()]
        if waiting:
            self._wake_at(min(waiting))
