"""Redis without a client library's layers: commands written in one go, replies matched in order and read where the socket put them.

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
from typing import NamedTuple, Self, cast
from urllib.parse import unquote, urlsplit

import hiredis
import numpy as np
import numpy.typing as npt

from fraud_assets.stores.online_port import StoreUnavailable
from fraud_assets.stores.reply_kernels import AT, BROKEN, take_replies

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

# What a socket is asked for at least; and an arena for one payment, whose states fit into it in one go.
LEAST_ROOM, SMALL = 1 << 14, 1 << 16
# What reads a state reads words, the last of them past its end.
BEHIND = 8

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


Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]


class Arena:
    """Memory that a socket is read into: of one call, or of several one after the other, whose bytes then stay where they are.

    raw: grows; an older one keeps what it had.
    """

    def __init__(self, size: int) -> None:
        self.raw: Bytes = np.empty(size, np.uint8)
        self.used = 0

    def room(self, least: int = LEAST_ROOM) -> memoryview:
        """Where the next bytes go."""
        if len(self.raw) - BEHIND < self.used + least:
            grown = np.empty(2 * len(self.raw) + least, np.uint8)
            grown[: self.used] = self.raw[: self.used]
            self.raw = grown
        return memoryview(self.raw)[self.used : len(self.raw) - BEHIND]  # type: ignore[arg-type]  # an array is a buffer

    def put(self, data: Bytes) -> None:
        """More bytes, copied."""
        self.room(len(data))
        self.raw[self.used : self.used + len(data)] = data
        self.used += len(data)


class Strings(NamedTuple):
    """Where the strings of some replies lie in raw: see `take_replies`. refusal: what the server said instead."""

    raw: Bytes
    places: Places
    refusal: str


class _Batch:
    """Commands sent together, the future of their replies, and the loop's time at which they are late.

    arena: where the replies go, from `begin` on, which is not known before it is their turn. made: what is handed over of them. state,
    places, version_bytes: see `take_replies`.
    """

    __slots__ = ("arena", "begin", "future", "late_s", "made", "places", "state", "version_bytes")

    def __init__(
        self, expected: int, most: int, version_bytes: int, arena: Arena, made: "Callable[[_Batch], object]",
        future: "asyncio.Future[object]", late_s: float,
    ) -> None:  # fmt: skip
        self.arena, self.made, self.future, self.late_s = arena, made, future, late_s
        self.version_bytes, self.begin = version_bytes, -1
        self.state = np.array([0, expected, 0, 0], np.int64)
        self.places = np.empty((3, most), np.int64)

    def strings(self) -> Strings:
        """Of replies that are whole."""
        end, _, found, refused = self.state.tolist()
        refusal = ""
        if refused:
            refusal = self.arena.raw[refused:end].tobytes().partition(b"\r\n")[0].decode(errors="replace")
        return Strings(self.arena.raw, self.places[:, :found], refusal)

    def replies(self) -> list[Reply]:
        """As the library reads them; an error reply is an exception."""
        reader = hiredis.Reader()
        reader.feed(self.arena.raw[self.begin : self.state[AT]].tobytes())
        found = list[Reply]()
        while (reply := reader.gets()) is not False:
            found.append(reply)
        return found


class Connection(asyncio.BufferedProtocol):
    """One pipelined connection. After `connection_lost` every call raises StoreUnavailable."""

    def __init__(self) -> None:
        self._strays = Arena(SMALL)
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

    def get_buffer(self, _: int) -> memoryview:
        """The memory of whoever waits longest."""
        return (self._head().arena if self._waiting else self._strays).room()

    def buffer_updated(self, nbytes: int) -> None:
        self._timeouts = 0
        self._received += nbytes
        if not self._waiting:
            self.close()  # nobody has asked
            return
        self._waiting[0].arena.used += nbytes
        while self._waiting and self._is_whole(head := self._head()):
            self._waiting.popleft()
            self._pass_on(head)
            if not head.future.done():
                head.future.set_result(head.made(head))

    def _head(self) -> _Batch:
        """Whose replies come next; they begin where its arena ends."""
        head = self._waiting[0]
        if head.begin < 0:
            head.begin = head.state[AT] = head.arena.used
        return head

    def _is_whole(self, batch: _Batch) -> bool:
        to_come: int = take_replies(batch.arena.raw, batch.arena.used, batch.state, batch.places, batch.version_bytes)
        if to_come == BROKEN:
            self.close()  # not Redis, or out of step: nothing after this can be trusted
        return to_come == 0

    def _pass_on(self, batch: _Batch) -> None:
        """What came behind a call's replies is the next one's."""
        arena, end = batch.arena, int(batch.state[AT])
        if end == arena.used:
            return
        if not self._waiting:
            self.close()
            return
        rest, arena.used = arena.raw[end : arena.used], end
        head = self._head()
        head.arena.put(rest.copy() if head.arena is arena else rest)

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
        raw, n = b"".join(map(packed, commands)), len(commands)
        return cast("asyncio.Future[list[Reply]]", self._send(raw, n, n, 0, Arena(SMALL), _Batch.replies, timeout_s))

    def fetch(
        self, raw: bytes, n_replies: int, most: int, version_bytes: int, into: Arena, timeout_s: float
    ) -> "asyncio.Future[Strings]":
        """The strings, `most` at most, of the replies to commands that are packed already; each but the last begins with its version. Who asks for
        more into an arena waits for what it has asked before.
        """
        made = self._send(raw, n_replies, most, version_bytes, into, _Batch.strings, timeout_s)
        return cast("asyncio.Future[Strings]", made)

    def _send(
        self, raw: bytes, n_replies: int, most: int, version_bytes: int, into: Arena, made: Callable[[_Batch], object],
        timeout_s: float,
    ) -> "asyncio.Future[object]":  # fmt: skip
        if self._transport is None:
            raise StoreUnavailable("online_store_unreachable", "connection closed")
        if len(self._waiting) >= MAX_OUTSTANDING:
            raise StoreUnavailable("online_store_overloaded", f"{len(self._waiting)} calls outstanding")
        late_s = self._loop.time() + timeout_s
        batch = _Batch(n_replies, most, version_bytes, into, made, self._loop.create_future(), late_s)
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
