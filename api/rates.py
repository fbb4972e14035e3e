"""How much a key may ask, counted for all processes together.

`limits` keeps a sliding window in Redis; asking it for every payment would double a payment's round trips.
So a process takes a tenth of a second's worth at once and spends it by itself: the window is never
exceeded, and what is taken and not spent within a second is lost to the key, at most a tenth.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from api.access import Caller
from api.contract import MAX_BATCH
from api.errors import TooMany
from api.shared import TIMEOUT_S, Shared, SharedGone

WINDOW_S = 10  # bursts of this length at full rate are nobody's business
LEASE_S = 1.0
LEASES_PER_S = 10
# A key that is over its limit is told so without asking Redis again; a storm of refused requests costs it nothing.
REFUSE_S = 0.25


@dataclass
class _Purse:
    """What one key may still spend in this process."""

    tokens: int = 0
    until_s: float = 0.0
    refused_until_s: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def spend(self, cost: int, now_s: float) -> bool:
        if self.tokens < cost or now_s >= self.until_s:
            return False
        self.tokens -= cost
        return True


class Rates:
    """Limits of keys, in transactions or labels a second; `default_per_s` for keys that name none."""

    def __init__(
        self, url: str, shared: Shared, default_per_s: int, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        options: dict[str, Any] = {"connection_pool": shared.pool}  # typed narrower than documented
        storage = RedisStorage(f"async+{url}", implementation="redispy", **options)
        self._together = SlidingWindowCounterRateLimiter(storage)
        self._alone = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared = shared
        self._default_per_s = default_per_s
        self._now_s = now_s
        self._purses: dict[str, _Purse] = {}

    async def start(self) -> None:
        """Connected, and its script known there, before a payment waits for both. A Redis that is gone is no matter."""
        with contextlib.suppress(SharedGone):
            window = RateLimitItemPerSecond(1, WINDOW_S)
            await self._shared.ask(lambda: self._together.hit(window, "nobody", cost=1), TIMEOUT_S)

    async def spend(self, caller: Caller, cost: int) -> None:
        """Usually without waiting for anything. Raises TooMany."""
        if cost <= 0:
            return
        # All tokens of a client share one limit: they come and go by the minute.
        name = f"{caller.client}/{caller.key_id}"
        purse = self._purses.get(name)
        if purse is None:
            purse = self._purses[name] = _Purse()
        if not purse.spend(cost, self._now_s()):
            async with purse.lock:
                await self._refill(purse, name, caller.rate_per_s or self._default_per_s, cost)

    async def _refill(self, purse: _Purse, name: str, per_s: int, cost: int) -> None:
        now_s = self._now_s()
        if purse.spend(cost, now_s):  # whoever waited before us has brought enough
            return
        if now_s < purse.refused_until_s:
            raise TooMany
        # Any key may send one whole batch.
        window = RateLimitItemPerSecond(max(per_s * WINDOW_S, MAX_BATCH), WINDOW_S)
        left = purse.tokens if now_s < purse.until_s else 0
        lease = max(per_s // LEASES_PER_S, cost - left)
        for amount in dict.fromkeys((lease, cost - left)):
            if await self._take(window, name, amount):
                purse.tokens, purse.until_s = left + amount - cost, now_s + LEASE_S
                return
        purse.refused_until_s = now_s + REFUSE_S
        raise TooMany

    async def _take(self, window: RateLimitItemPerSecond, name: str, amount: int) -> bool:
        """Without Redis each process counts for itself: a key may then have its limit from each."""
        try:
            return await self._shared.ask(lambda: self._together.hit(window, name, cost=amount))
        except SharedGone:
            return await self._alone.hit(window, name, cost=amount)
