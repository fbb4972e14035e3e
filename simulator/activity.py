"""What happens around events: page views, hourly inventory counts, closings."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from simulator.build import World
from simulator.market import Market
from simulator.people import popularity_cdf
from simulator.purchases import APPROVED, Purchases
from simulator.spec import HOUR_MS, MINUTE_MS
from simulator.world import Flags, Index, Ints, Small

NOBODY = -1
_HOURS = 24
_WINDOW_SHOPPERS = 0.8  # views that lead nowhere, per purchase
_GUESTS = 0.35  # of them not signed in: known by device only


class Kind(IntEnum):
    """Index into `ACTIVITY_KINDS`."""

    VIEW = 0
    INVENTORY = 1
    EVENT_CLOSED = 2


@dataclass(frozen=True)
class ActivityRows:
    """One row per happening; -1 stands for "does not apply" and becomes null."""

    time_ms: Ints
    kind: Small
    event: Index
    account: Index
    device: Index
    inventory: Ints
    tickets_sold: Ints
    capacity: Ints

    def __len__(self) -> int:
        return len(self.time_ms)

    def take(self, rows: Ints | Flags) -> "ActivityRows":
        """The chosen rows, in that order."""
        return ActivityRows(**{name: column[rows] for name, column in vars(self).items()})


def joined(parts: list[ActivityRows]) -> ActivityRows:
    """All rows in time order."""
    whole = ActivityRows(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])})
    return whole.take(np.argsort(whole.time_ms, kind="stable"))


def _rows(time_ms: Ints, kind: Kind, event: Index, **given: Any) -> ActivityRows:
    n = len(time_ms)
    nothing: dict[str, Any] = {
        name: np.full(n, NOBODY, dtype=np.int64) for name in ("inventory", "tickets_sold", "capacity")
    }
    nobody: dict[str, Any] = {name: np.full(n, NOBODY, dtype=np.int32) for name in ("account", "device")}
    return ActivityRows(
        time_ms=time_ms, kind=np.full(n, kind, dtype=np.int8), event=event, **{**nothing, **nobody, **given}
    )


def views_before(rows: Purchases, earliest_ms: int, rng: np.random.Generator) -> ActivityRows:
    """The pages people looked at in the half hour before they bought."""
    source = np.repeat(np.arange(len(rows)), rows.browsing)
    before = 3_000 + rng.exponential(6 * MINUTE_MS, len(source)).astype(np.int64)
    time = np.maximum(rows.time_ms[source] - before, earliest_ms)
    return _rows(time, Kind.VIEW, rows.event[source], account=rows.account[source])


def window_shopping(
    world: World, market: Market, start_ms: int, span_ms: int, purchases: int, rng: np.random.Generator
) -> ActivityRows:
    """People who only look; a third of them not signed in."""
    n = int(rng.poisson(purchases * _WINDOW_SHOPPERS))
    people = world.accounts
    cdf = popularity_cdf(people.weight * people.awake(start_ms))
    account = np.searchsorted(cdf, rng.random(n), side="right").astype(np.int32)
    guest = rng.random(n) < _GUESTS
    device = np.where(guest, people.devices[account, 0], NOBODY).astype(np.int32)
    event = market.choose(people.country[account], people.category[account], rng)
    time = start_ms + rng.integers(0, span_ms, n)
    return _rows(time, Kind.VIEW, event, account=np.where(guest, NOBODY, account).astype(np.int32), device=device)


def inventory_counts(world: World, rows: Purchases, day_ms: int, sold: Ints) -> tuple[ActivityRows, Ints]:
    """An inventory count after each hour in which an event sold; also tickets sold by the day's end.

    sold: (events,) tickets sold before the day. Resale keeps a sold-out event on the market at 0 left.
    """
    n = len(sold)
    done = rows.outcome == APPROVED
    hour = np.minimum((rows.time_ms[done] - day_ms) // HOUR_MS, _HOURS - 1)
    cell = rows.event[done] * np.int64(_HOURS) + hour
    tickets = np.bincount(cell, weights=rows.tickets[done], minlength=n * _HOURS).astype(np.int64).reshape(n, _HOURS)
    running = sold[:, None] + np.cumsum(tickets, axis=1)
    event, at = np.nonzero(tickets)
    left = np.maximum(world.events.capacity[event] - running[event, at], 0)
    # Each event is counted at its own minute, a little before the hour is over.
    time = day_ms + (at + 1) * HOUR_MS - 1 - (event % 50) * 1_000
    order = np.argsort(time, kind="stable")
    counts = _rows(time[order], Kind.INVENTORY, event[order].astype(np.int32), inventory=left[order])
    return counts, running[:, -1]


def counts_every(world: World, rows: Purchases, start_ms: int, every_ms: int, sold: Ints) -> tuple[ActivityRows, Ints]:
    """A count `every_ms` of each event that sold meanwhile, as a live run takes them; also tickets sold by the end.

    rows: in time order. sold: (events,) tickets sold before them.
    """
    done = rows.take(rows.outcome == APPROVED)
    n, at = len(sold), (done.time_ms - start_ms) // every_ms
    by_event = np.lexsort((at, done.event))
    event, tickets = done.event[by_event], done.tickets[by_event].astype(np.int64)
    whole = np.cumsum(tickets)
    first = np.searchsorted(event, event)
    running = whole - whole[first] + tickets[first] + sold[event]
    cell = at[by_event] * n + event
    # Of each event and interval the last purchase has sold all that the count knows of.
    is_last = np.append(cell[1:] != cell[:-1], True) if len(cell) else np.empty(0, dtype=bool)
    left = np.maximum(world.events.capacity[event] - running, 0)[is_last]
    time = start_ms + (at[by_event][is_last] + 1) * every_ms
    order = np.argsort(time, kind="stable")
    chosen = event[is_last][order].astype(np.int32)
    counts = _rows(time[order], Kind.INVENTORY, chosen, inventory=left[order])
    return counts, sold + np.bincount(done.event, weights=done.tickets, minlength=n).astype(np.int64)


def closings(world: World, start_ms: int, end_ms: int, sold: Ints) -> ActivityRows:
    """Events that take place in [start_ms, end_ms): how many tickets of how many were sold."""
    closes = world.events.closes_ms
    event = np.flatnonzero((closes >= start_ms) & (closes < end_ms)).astype(np.int32)
    capacity = world.events.capacity[event]
    return _rows(
        closes[event], Kind.EVENT_CLOSED, event, tickets_sold=np.minimum(sold[event], capacity), capacity=capacity
    )


def opening_counts(world: World, start_ms: int, end_ms: int) -> ActivityRows:
    """What is there to sell: at on-sale, and for what is already on sale when the world starts."""
    events = world.events
    at = np.where((events.on_sale_ms < start_ms) & (start_ms == world.spec.start_ms), start_ms, events.on_sale_ms)
    event = np.flatnonzero((at >= start_ms) & (at < end_ms) & (events.closes_ms > start_ms)).astype(np.int32)
    left = events.capacity[event] - events.sold_before[event]
    return _rows(at[event], Kind.INVENTORY, event, inventory=left)
