"""Who prices the market: nobody, a rule of thumb, and the pricing service over HTTP."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from simulator.http_client import HttpClient, HttpFailure
from simulator.pricing_market import HOUR_MS, MAX_CHANGE, MULTIPLIERS, Selling, Sold, price_at

_BATCH = 200
_TRIES = 5
_PAUSE_S = 1.0


class Fixed:
    """The base price, always."""

    async def prices(self, selling: Sequence[Selling]) -> list[int]:
        return [one.event.base_price_minor for one in selling]

    async def hear(self, sold: Sequence[Sold]) -> None:
        del sold


class SellThrough:
    """A rule that shops use: dearer by a step while sales run ahead of the calendar, cheaper while they lag behind."""

    AHEAD = 0.05

    async def prices(self, selling: Sequence[Selling]) -> list[int]:
        return [self._price(one) for one in selling]

    async def hear(self, sold: Sequence[Sold]) -> None:
        del sold

    def _price(self, one: Selling) -> int:
        event = one.event
        due = (one.hour - event.opens) / (event.starts - event.opens)
        ahead = one.sold / event.capacity - due
        ladder = [price_at(event, multiplier) for multiplier in MULTIPLIERS]
        step = 1 if ahead > self.AHEAD else -1 if ahead < -self.AHEAD else 0
        place = min(range(len(ladder)), key=lambda n: abs(ladder[n] - one.price_minor)) + step
        wanted = ladder[min(max(place, 0), len(ladder) - 1)]
        return wanted if abs(wanted - one.price_minor) <= MAX_CHANGE * one.price_minor else one.price_minor


class Service:
    """`POST /price` at the beginning of each hour, `POST /price/outcome` at its end.

    began_ms: of the market's first hour. publish: tells the platform what the shop's activity says by then; prices are asked after it.
    posts: outcomes; without, the platform hears of them by the activity alone.
    """

    def __init__(
        self, client: HttpClient, began_ms: int, publish: Callable[[Sequence[Selling], int], None], *, posts: bool = True
    ) -> None:  # fmt: skip
        self._client = client
        self._began_ms = began_ms
        self._publish = publish
        self._posts = posts
        self.priced = self.counted = 0
        self.fallbacks: dict[str, int] = {}
        self.uncounted: dict[str, int] = {}

    async def prices(self, selling: Sequence[Selling]) -> list[int]:
        """Raises HttpFailure: a market without prices is no market."""
        at_ms = self._began_ms + selling[0].hour * HOUR_MS
        self._publish(selling, at_ms)
        said = await self._batches("/price", "events", "recommendations", [self._asked(one, at_ms) for one in selling])
        self.priced += len(said)
        for one in said:
            for reason in one["fallback"]:
                self.fallbacks[reason] = self.fallbacks.get(reason, 0) + 1
        return [int(one["price_minor"]) for one in said]

    async def hear(self, sold: Sequence[Sold]) -> None:
        if not self._posts:
            return
        outcomes = [
            {
                "event_id": one.event.event_id, "interval_start_ms": self._began_ms + one.hour * HOUR_MS,
                "price_minor": one.price_minor, "tickets_sold": one.tickets, "visitors": one.visitors,
            }
            for one in sold
        ]  # fmt: skip
        for one in await self._batches("/price/outcome", "outcomes", "outcomes", outcomes):
            self.counted += one["counted"]
            if not one["counted"]:
                self.uncounted[one["why"]] = self.uncounted.get(one["why"], 0) + 1

    async def _batches(self, path: str, takes: str, gives: str, items: list[dict[str, object]]) -> list[dict[str, Any]]:  # fmt: skip
        found: list[dict[str, Any]] = []
        for begin in range(0, len(items), _BATCH):
            raw = await self._sent(path, json.dumps({takes: items[begin : begin + _BATCH]}).encode())
            found += json.loads(raw)[gives]
        return found

    async def _sent(self, path: str, body: bytes) -> bytes:
        """Sent again as it is where the service could not answer: an interval has one price and counts once."""
        for _ in range(_TRIES - 1):
            try:
                return await self._client.post(path, body)
            except HttpFailure as failure:
                if failure.reason not in ("status_503", "timeout", "reset"):
                    raise
                await asyncio.sleep(_PAUSE_S)
        return await self._client.post(path, body)

    def _asked(self, one: Selling, at_ms: int) -> dict[str, object]:
        event = one.event
        return {
            "event_time_ms": at_ms, "event_id": event.event_id, "promoter_id": "market", "category": event.category.value,
            "currency": "EUR", "base_price_minor": event.base_price_minor,
            "current_price_minor": None if one.hour == event.opens else one.price_minor,
            "starts_at_ms": self._began_ms + event.starts * HOUR_MS,
        }  # fmt: skip
