"""What scorer processes share beside states: claims of idempotency keys and counts of requests, in the same Redis.

redis-py, not the states' own reader: only requests that ask for it, or one in many, come here. A server
that is gone costs one request its timeout and the others nothing, until it is asked again.
"""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

# Redis answers in a fifth of a millisecond; what takes longer is our own event loop in a storm of requests,
# and giving up then would cost the storm its single decision.
TIMEOUT_S = 0.25
CONNECTIONS = 16
WAIT_S = 1.0  # for one of the connections
ASK_AGAIN_S = 0.5

# The last is uvloop's word for a transport that is closed already.
GONE = (redis.exceptions.RedisError, OSError, TimeoutError, RuntimeError)

T = TypeVar("T")


class SharedGone(RuntimeError):
    """No answer from Redis, or none just now. The caller decides without it."""


class Shared:
    """A pool of connections and the memory of its last failure."""

    def __init__(self, url: str, now_s: Callable[[], float] = time.monotonic) -> None:
        self.pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=WAIT_S,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self.client = redis.asyncio.Redis(connection_pool=self.pool)
        self._now_s = now_s
        self._gone_until_s = 0.0

    async def ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """Raises SharedGone."""
        if self._now_s() < self._gone_until_s:
            raise SharedGone
        try:
            return await call()
        except GONE as error:
            self._gone_until_s = self._now_s() + ASK_AGAIN_S
            raise SharedGone from error

    async def close(self) -> None:
        await self.client.aclose()
        await self.pool.disconnect()
