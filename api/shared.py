"""What scorer processes share beside states: claims of idempotency keys and counts of requests, in the same Redis.

redis-py, not the states' own reader: only requests that ask for it, or one in many, come here. A server that hangs, is slow
or gone costs one request its patience and the others nothing: until it is back it is asked on the side, and everybody else
goes on without.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import redis.asyncio
import redis.exceptions
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from api.tasks import ended

# Redis answers in a fifth of a millisecond. With as long again, and more, for a store that hangs, a payment still has its
# decision within 50 ms.
PATIENCE_S = 0.015
# If the event loop itself was late, as in a storm of requests, the reply may lie unread in the socket. Giving up then would cost
# the storm its single decision.
LATE_TURNS_S = (0.001, 0.001, 0.001)
# Of a connection, where nobody waits with a payment in hand.
TIMEOUT_S = 0.25
CONNECTIONS = 16
ASK_AGAIN_S = 0.1
# Written, not only read: a server that is full, or a replica now, is none for us.
PROBE = "fraud:shared:probe"

# The last is uvloop's word for a transport that is closed already.
GONE = (redis.exceptions.RedisError, OSError, TimeoutError, RuntimeError)
# Of the command that was sent, which a wrong key or script may be; the next one is answered.
REFUSED = (redis.exceptions.ResponseError, redis.exceptions.DataError)
# But for these, which every write hears: full, a replica, a cluster without its nodes, a disk that fails, replicas that are gone.
REFUSES_ALL = (
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.ClusterDownError,
)
REFUSES_ALL_WORDS = ("MISCONF ", "NOREPLICAS ", "BUSY ")
# More than are under way at once; each is a command of an instant.
OWED = 1_000

T = TypeVar("T")

log = structlog.get_logger()


class SharedGone(RuntimeError):
    """No answer from Redis in time, or none just now. The caller decides without it."""


class NotAsked(SharedGone):
    """It is known to be gone: nothing was sent."""


class Refused(SharedGone):
    """Redis is there and does not do this: nobody else goes without it."""


class Shared:
    """A pool of connections, and whether there is anybody at their other end.

    patience_s: how long who asks waits; a connection that has no answer by then is given up.
    """

    def __init__(self, url: str, patience_s: float = PATIENCE_S) -> None:
        timeout_s = max(TIMEOUT_S, patience_s)
        self.pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
        )
        self.client = redis.asyncio.Redis(connection_pool=self.pool)
        self._patience_s = patience_s
        self._probe: asyncio.Task[None] | None = None  # while Redis is gone
        self._owed: list[Callable[[], Awaitable[object]]] = []

    async def ask(self, call: Callable[[], Awaitable[T]], patience_s: float | None = None) -> T:
        """Raises SharedGone: at once while Redis is known to be gone, else after the patience at the latest."""
        if self._probe is not None:
            raise NotAsked
        try:
            return await _soon(call, self._patience_s if patience_s is None else patience_s)
        except Refused as error:
            log.warning("shared_store_refused", why=type(error.__cause__).__name__)
            raise
        except SharedGone as error:
            if self._probe is None:  # several may have asked at once
                log.warning("shared_store_gone", why=type(error.__cause__).__name__ if error.__cause__ else "late")
                self._probe = asyncio.get_running_loop().create_task(self._until_back())
            raise

    def when_back(self, call: Callable[[], Awaitable[object]]) -> None:
        """To be done once Redis is back, if it is gone: what it may have taken without our hearing of it is put right."""
        if self._probe is not None and len(self._owed) < OWED:
            self._owed.append(call)

    async def _until_back(self) -> None:
        """Asked on the side, so that no payment waits for the answer."""
        try:
            while True:
                await asyncio.sleep(ASK_AGAIN_S)
                with contextlib.suppress(SharedGone):
                    await _soon(lambda: self.client.set(PROBE, b"", px=1_000), self._patience_s)
                    break
            await self._settle()
            log.info("shared_store_back")
        finally:
            self._probe = None

    async def _settle(self) -> None:
        """What is owed, one after the other: before anybody asks again. Once, for it runs out by itself in any case."""
        owed, self._owed = self._owed, []
        with contextlib.suppress(SharedGone):
            for call in owed:
                with contextlib.suppress(Refused):
                    await _soon(call, self._patience_s)

    async def close(self) -> None:
        await ended(self._probe)
        await self.client.aclose()
        await self.pool.disconnect()


async def _soon(call: Callable[[], Awaitable[T]], patience_s: float) -> T:
    """Raises SharedGone, or Refused; the cause is what the client library said, if it said anything."""
    asked = asyncio.ensure_future(call())
    try:
        for wait_s in (patience_s, *LATE_TURNS_S):
            done, _ = await asyncio.wait([asked], timeout=wait_s)
            if done:
                return asked.result()
        raise SharedGone
    except SharedGone:
        raise
    except GONE as error:
        raise (Refused if _is_of_one_command(error) else SharedGone) from error
    finally:
        asked.cancel()


def _is_of_one_command(error: Exception) -> bool:
    if not isinstance(error, REFUSED) or isinstance(error, REFUSES_ALL):
        return False
    return not str(error).startswith(REFUSES_ALL_WORDS)
