"""Posteriors and recommendations in Redis, shared by all processes. Every write is one script or one command: nobody's overwrites another's.

An outcome is two: its event's, and what its category and the curve learn of it. If Redis goes between them, the interval has taught its event
and not its category: one of thousands, of what halves anyway.
What is written down for the log is owed to it in the same step, so a process that dies leaves it to the others.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from api.pricing.curve import SIZE, Curve, Heard
from api.pricing.demand import SENSITIVITIES, CategoryBelief, EventCounts, Floats
from api.shared import Shared
from fraud_assets.contracts import codec
from fraud_assets.contracts.prices import PriceDecision, PricedInterval

DAY_MS = 86_400_000
RECORD_MS = 14 * DAY_MS
"""How long an interval's price is known, and its outcome may come."""
LIVES = 20
"""Half-lives after which what nobody adds to is forgotten: a millionth of it is left."""

# The first of an interval stays, and is owed to the log.
_CLAIM = """
local held = redis.call('GET', KEYS[1])
if held then return held end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], KEYS[1])
redis.call('ZADD', KEYS[3], 'GT', ARGV[4], 'at')
redis.call('PEXPIRE', KEYS[3], ARGV[2])
return false
"""

# Stored if nobody has counted the interval, and nobody has written since we read.
_SETTLE = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 'counted' end
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 'changed' end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5])
redis.call('ZADD', KEYS[3], ARGV[6], KEYS[2])
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
_CURVE_FIELDS = [f"{what}{place}" for what in ("log", "known") for place in range(SIZE)]

_encode = msgspec.json.Encoder().encode
_counts = msgspec.json.Decoder(EventCounts).decode
_decision = msgspec.json.Decoder(PriceDecision).decode


class Wanted(NamedTuple):
    """An event, its category, and the starts of the intervals whose recommendations are asked for."""

    event_id: str
    category: str
    intervals: tuple[int, ...]


class Known(NamedTuple):
    """decisions: of the intervals asked for, None where nothing was recommended. raw, counts: of the event, b'' and None at first."""

    decisions: list[PriceDecision | None]
    raw: bytes
    counts: EventCounts | None
    category: CategoryBelief
    curve: Curve


class Settled(NamedTuple):
    """One outcome to be learned from: the event's counts before (as read) and after, and what its category and the curve are told."""

    outcome: PricedInterval
    category: str
    before: bytes
    after: EventCounts
    said: Floats
    tickets: float
    visitors: float
    came: Heard


class PriceStore:
    """multipliers: what counts are of; those of others are apart. Raises SharedGone from every method."""

    def __init__(
        self, shared: Shared, multipliers: Sequence[float], half_life_ms: float, category_half_life_ms: float
    ) -> None:
        self._shared = shared
        grid = repr((tuple(multipliers), SENSITIVITIES.tolist(), SIZE))
        self._owed_key = "fraud:price:owed"
        self._prefix = f"fraud:price:{hashlib.sha256(grid.encode()).hexdigest()[:12]}:"
        self._curve_key = f"{self._prefix}curve"
        self.half_life_ms, self.category_half_life_ms = half_life_ms, category_half_life_ms

    async def read(self, wanted: Sequence[Wanted], now_ms: int) -> list[Known]:
        """All in one round trip. now_ms: to which categories are aged."""

        async def ask() -> list[Any]:
            async with self._shared.client.pipeline(transaction=False) as pipe:
                pipe.hmget(self._curve_key, ["at", *_CURVE_FIELDS])
                for one in wanted:
                    keys = [self._interval_key("decision", one.event_id, start) for start in one.intervals]
                    pipe.mget([self._event_key(one.event_id), *keys])
                    pipe.hmget(self._category_key(one.category), ["at", *_CATEGORY_FIELDS])
                found: list[Any] = await pipe.execute()
            return found

        held, *found = await self._shared.ask(ask)
        values = self._aged(held, now_ms)
        curve = Curve(*np.split(values, 2))
        return [
            self._known(states, category, now_ms, curve)
            for states, category in zip(found[::2], found[1::2], strict=True)
        ]

    async def newest(self, event_id: str) -> PriceDecision | None:
        """The event's last recommendation; None for an event that had none."""

        async def ask() -> Any:
            start = await self._shared.client.zscore(self._newest_key(event_id), "at")
            return start and await self._shared.client.get(self._interval_key("decision", event_id, int(start)))

        raw = await self._shared.ask(ask)
        return _decision(raw) if raw else None

    async def claim(self, made: Sequence[PriceDecision], now_ms: int) -> list[PriceDecision | None]:
        """The first of each event's interval stays: None where it is ours, else what another process has said already.

        What is ours is `owed` to the log from `now_ms` on.
        """

        async def ask() -> list[Any]:
            async with self._shared.client.pipeline(transaction=False) as pipe:
                for one in made:
                    keys = [self.key_of(one), self._owed_key, self._newest_key(one.event_id)]
                    pipe.eval(_CLAIM, 3, *keys, codec.encode(one), RECORD_MS, now_ms, one.event_time_ms)
                found: list[Any] = await pipe.execute()
            return found

        return [None if raw is None else _decision(raw) for raw in await self._shared.ask(ask)]

    async def owed(self, before_ms: int, at_most: int) -> list[tuple[str, bytes | None]]:
        """Keys and bytes of what was written down before then and the log has not confirmed; None of what has expired."""

        async def ask() -> list[tuple[str, bytes | None]]:
            keys: Any = await self._shared.client.zrangebyscore(self._owed_key, "-inf", before_ms, start=0, num=at_most)
            values: list[Any] = await self._shared.client.mget(keys) if keys else []
            return [(key.decode(), raw) for key, raw in zip(keys, values, strict=True)]

        return await self._shared.ask(ask)

    async def confirm(self, keys: Sequence[str]) -> None:
        """The log has these."""
        await self._shared.ask(lambda: self._shared.client.zrem(self._owed_key, *keys))

    def key_of(self, event: PriceDecision | PricedInterval) -> str:
        """Under which it is kept, and owed to the log."""
        kind = "decision" if isinstance(event, PriceDecision) else "outcome"
        return self._interval_key(kind, event.event_id, event.event_time_ms)

    async def settle(self, outcomes: Sequence[Settled], curve: Curve, now_ms: int) -> list[str]:
        """Of each: `stored`, and owed to the log from `now_ms` on; `counted`, its interval was learned from before; `changed`, the event was since it was read."""
        if not outcomes:
            return []

        async def ask() -> list[Any]:
            async with self._shared.client.pipeline(transaction=False) as pipe:
                for one in outcomes:
                    keys = [self._event_key(one.outcome.event_id), self.key_of(one.outcome), self._owed_key]
                    argv: list[bytes | str | int] = [
                        one.before, _encode(one.after), int(LIVES * self.half_life_ms), codec.encode(one.outcome), 2 * RECORD_MS, now_ms,
                    ]  # fmt: skip
                    pipe.eval(_SETTLE, 3, *keys, *argv)
                found: list[Any] = await pipe.execute()
            return found

        said = [raw.decode() for raw in await self._shared.ask(ask)]
        await self._tell([one for one, what in zip(outcomes, said, strict=True) if what == "stored"], curve)
        return said

    async def _tell(self, outcomes: Sequence[Settled], curve: Curve) -> None:
        """Their categories, and the curve that they were judged by."""
        if not outcomes:
            return
        step = curve.step(one.came for one in outcomes)
        at_ms = max(one.after.at_ms for one in outcomes)

        async def ask() -> None:
            async with self._shared.client.pipeline(transaction=False) as pipe:
                for one in outcomes:
                    values = [*one.said.tolist(), one.tickets, one.visitors]
                    self._add(pipe, self._category_key(one.category), one.after.at_ms, values, _CATEGORY_FIELDS)
                self._add(pipe, self._curve_key, at_ms, [*step.logs.tolist(), *step.known.tolist()], _CURVE_FIELDS)
                await pipe.execute()

        await self._shared.ask(ask)

    def _add(self, pipe: Any, key: str, at_ms: int, values: Sequence[float], fields: Sequence[str]) -> None:
        half_life_ms = self.category_half_life_ms
        pipe.eval(_ADD, 1, key, at_ms, half_life_ms, int(LIVES * half_life_ms), *values, *fields)

    def _known(
        self, states: list[bytes | None], category: list[bytes | None], now_ms: int, curve: Curve
    ) -> Known:  # fmt: skip
        raw, *decisions = states
        found = [None if one is None else _decision(one) for one in decisions]
        values = self._aged(category, now_ms)
        belief = CategoryBelief(values[: len(_SAID)], float(values[-2]), float(values[-1]))
        return Known(found, raw or b"", _counts(raw) if raw else None, belief, curve)

    def _aged(self, held: list[bytes | None], now_ms: int) -> Floats:
        """What is left by now of a hash that halves; zeros for one that is not there."""
        at_ms, *values = held
        kept = 0.5 ** (max(now_ms - int(at_ms or now_ms), 0) / self.category_half_life_ms)
        return np.asarray(kept * np.array([float(one or 0) for one in values]))

    def _event_key(self, event_id: str) -> str:
        return f"{self._prefix}event:{event_id}"

    def _category_key(self, category: str) -> str:
        return f"{self._prefix}category:{category}"

    def _interval_key(self, kind: str, event_id: str, interval_start_ms: int) -> str:
        return f"{self._prefix}{kind}:{interval_start_ms}:{event_id}"

    def _newest_key(self, event_id: str) -> str:
        return f"{self._prefix}newest:{event_id}"
