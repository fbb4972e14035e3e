"""Posteriors and recommendations in Redis, shared by all processes. Every write is one script or one command: nobody's is lost."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from api.pricing.contract import Record
from api.pricing.demand import SENSITIVITIES, CategoryBelief, EventCounts, Floats
from api.shared import Shared

DAY_MS = 86_400_000
RECORD_MS = 14 * DAY_MS
"""How long an interval's price is known, and its outcome may come."""
LIVES = 20
"""Half-lives after which what nobody adds to is forgotten: a millionth of it is left."""

# Stored if nobody has counted the interval, and nobody has written since we read.
_SETTLE = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 'counted' end
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 'changed' end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5])
return 'stored'
"""

# Adds to numbers that halve with time: what came before is halved up to now, or what comes late up to what came before.
_ADD = """
local now, half_life = tonumber(ARGV[1]), tonumber(ARGV[2])
local held = redis.call('HMGET', KEYS[1], 'at', unpack(ARGV, 4 + (#ARGV - 3) / 2))
local at = tonumber(held[1] or now)
local kept, added = 1, 1
if now >= at then kept = 0.5 ^ ((now - at) / half_life) else added = 0.5 ^ ((at - now) / half_life) end
local values, n = {'at', string.format('%.0f', math.max(now, at))}, (#ARGV - 3) / 2
for i = 1, n do
    values[#values + 1] = ARGV[3 + n + i]
    values[#values + 1] = string.format('%.17g', tonumber(held[1 + i] or 0) * kept + tonumber(ARGV[3 + i]) * added)
end
redis.call('HSET', KEYS[1], unpack(values))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""

_SAID = [f"s{place}" for place in range(len(SENSITIVITIES))]
_CATEGORY_FIELDS = [*_SAID, "tickets", "visitors"]

_encode = msgspec.json.Encoder().encode
_counts = msgspec.json.Decoder(EventCounts).decode
_record = msgspec.json.Decoder(Record).decode


class Wanted(NamedTuple):
    """An event, its category, and the starts of the intervals whose recommendations are asked for."""

    event_id: str
    category: str
    intervals: tuple[int, ...]


class Known(NamedTuple):
    """records: of the intervals asked for, None where nothing was recommended. raw, counts: of the event, b'' and None at first."""

    records: list[Record | None]
    raw: bytes
    counts: EventCounts | None
    category: CategoryBelief


class Settled(NamedTuple):
    """One outcome to be learned from: the event's counts before (as read) and after, and what its category is told."""

    event_id: str
    category: str
    interval_start_ms: int
    source: str
    before: bytes
    after: EventCounts
    said: Floats
    tickets: float
    visitors: float


class PriceStore:
    """multipliers: what counts are of; those of others are apart. Raises SharedGone from every method."""

    def __init__(
        self, shared: Shared, multipliers: Sequence[float], half_life_ms: float, category_half_life_ms: float
    ) -> None:
        self._shared = shared
        grid = repr((tuple(multipliers), SENSITIVITIES.tolist()))
        self._prefix = f"fraud:price:{hashlib.sha256(grid.encode()).hexdigest()[:12]}:"
        self.half_life_ms, self.category_half_life_ms = half_life_ms, category_half_life_ms

    async def read(self, wanted: Sequence[Wanted], now_ms: int) -> list[Known]:
        """All in one round trip. now_ms: to which categories are aged."""

        async def ask() -> list[Any]:
            async with self._shared.client.pipeline(transaction=False) as pipe:
                for one in wanted:
                    keys = [self._record_key(one.event_id, start) for start in one.intervals]
                    pipe.mget([self._event_key(one.event_id), *keys])
                    pipe.hmget(self._category_key(one.category), ["at", *_CATEGORY_FIELDS])
                found: list[Any] = await pipe.execute()
            return found

        found = await self._shared.ask(ask)
        return [self._known(states, category, now_ms) for states, category in zip(found[::2], found[1::2], strict=True)]

    async def newest(self, event_id: str) -> Record | None:
        """The event's last recommendation; None for an event that had none."""

        async def ask() -> Any:
            start = await self._shared.client.zscore(self._newest_key(event_id), "at")
            return start and await self._shared.client.get(self._record_key(event_id, int(start)))

        raw = await self._shared.ask(ask)
        return _record(raw) if raw else None

    async def claim(self, made: Sequence[Record]) -> list[Record | None]:
        """The first of each event's interval stays: None where it is ours, else what another process has said already."""

        async def ask() -> list[Any]:
            async with self._shared.client.pipeline(transaction=False) as pipe:
                for one in made:
                    said = one.recommendation
                    key = self._record_key(said.event_id, said.interval_start_ms)
                    pipe.set(key, _encode(one), nx=True, get=True, px=RECORD_MS)
                    newest = self._newest_key(said.event_id)
                    pipe.zadd(newest, {"at": said.interval_start_ms}, gt=True)
                    pipe.pexpire(newest, RECORD_MS)
                found: list[Any] = await pipe.execute()
            return found

        found = await self._shared.ask(ask)
        return [None if raw is None else _record(raw) for raw in found[::3]]

    async def settle(self, outcomes: Sequence[Settled]) -> list[str]:
        """Of each: `stored`; `counted`, its interval was learned from before; `changed`, the event was since it was read."""
        if not outcomes:
            return []

        async def ask() -> list[Any]:
            async with self._shared.client.pipeline(transaction=False) as pipe:
                for one in outcomes:
                    keys = [self._event_key(one.event_id), self._outcome_key(one.event_id, one.interval_start_ms)]
                    argv: list[bytes | str | int] = [
                        one.before, _encode(one.after), int(LIVES * self.half_life_ms), one.source, 2 * RECORD_MS,
                    ]  # fmt: skip
                    pipe.eval(_SETTLE, 2, *keys, *argv)
                found: list[Any] = await pipe.execute()
            return found

        said = [raw.decode() for raw in await self._shared.ask(ask)]
        await self._tell(one for one, what in zip(outcomes, said, strict=True) if what == "stored")
        return said

    async def _tell(self, outcomes: Iterable[Settled]) -> None:
        """Their categories."""

        async def ask() -> None:
            async with self._shared.client.pipeline(transaction=False) as pipe:
                for one in outcomes:
                    half_life_ms = self.category_half_life_ms
                    values = [*one.said.tolist(), one.tickets, one.visitors]
                    argv = [one.after.at_ms, half_life_ms, int(LIVES * half_life_ms), *values, *_CATEGORY_FIELDS]
                    pipe.eval(_ADD, 1, self._category_key(one.category), *argv)
                await pipe.execute()

        await self._shared.ask(ask)

    def _known(self, states: list[bytes | None], category: list[bytes | None], now_ms: int) -> Known:
        raw, *records = states
        found = [None if one is None else _record(one) for one in records]
        return Known(found, raw or b"", _counts(raw) if raw else None, self._category(category, now_ms))

    def _category(self, held: list[bytes | None], now_ms: int) -> CategoryBelief:
        if held[0] is None:
            return CategoryBelief.nothing()
        kept = 0.5 ** (max(now_ms - int(held[0]), 0) / self.category_half_life_ms)
        values = kept * np.array([float(one or 0) for one in held[1:]])
        return CategoryBelief(values[: len(_SAID)], float(values[-2]), float(values[-1]))

    def _event_key(self, event_id: str) -> str:
        return f"{self._prefix}event:{event_id}"

    def _category_key(self, category: str) -> str:
        return f"{self._prefix}category:{category}"

    def _record_key(self, event_id: str, interval_start_ms: int) -> str:
        return f"{self._prefix}record:{interval_start_ms}:{event_id}"

    def _outcome_key(self, event_id: str, interval_start_ms: int) -> str:
        return f"{self._prefix}outcome:{interval_start_ms}:{event_id}"

    def _newest_key(self, event_id: str) -> str:
        return f"{self._prefix}newest:{event_id}"
