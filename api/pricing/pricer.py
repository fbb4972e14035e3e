"""Recommends prices and learns from what became of them: reads, decides, claims, and says what it did in the log."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import structlog

from api.pricing.contract import Counted, PriceOutcome, PriceRequest, Recommendation, Record
from api.pricing.decide import Knowledge, Rules, decide, kept
from api.pricing.demand import CategoryBelief, EventCounts, at_base_price, says
from api.pricing.features import EventNow, EventReader
from api.pricing.metrics import PricingMetrics
from api.pricing.rails import prices_of
from api.pricing.store import Known, PriceStore, Settled, Wanted
from api.shared import SharedGone

POSTED, STREAM = "posted", "stream"
NO_POSTERIORS = "posteriors_unreachable"
COUNTED, UNKNOWN, OFF_GRID, CENSORED, NOBODY = (
    "counted_before",
    "no_recommendation",
    "price_off_grid",
    "sold_out",
    "nobody_came",
)
NOT_THIS_WAY = "learned_from_the_stream_alone"
# Two outcomes of one event in one moment are one too many for one of them.
_TRIES = 5
_VIEW_MS = 300_000

log = structlog.get_logger()


class Sold(NamedTuple):
    """What became of an interval. source: POSTED or STREAM."""

    record: Record
    price_minor: int
    tickets: float
    visitors: float
    source: str


class Pricer:
    """One per process. learn_from: as PricingSettings has it."""

    def __init__(
        self, rules: Rules, events: EventReader, store: PriceStore, metrics: PricingMetrics, learn_from: str
    ) -> None:
        self._rules = rules
        self._events = events
        self._store = store
        self._metrics = metrics
        self._posted, self._stream = learn_from in ("both", POSTED), learn_from in ("both", STREAM)

    async def recommend(self, asked: Sequence[PriceRequest]) -> list[Recommendation]:
        """One price for each event and interval, whoever asks first. Never raises for a store that is gone."""
        now = await self._events.read(asked)
        try:
            known = await self._store.read([self._wanted(one) for one in asked], asked[0].event_time_ms)
            beliefs = await self._closed(asked, now, known)
            made = [
                found.records[0] or decide(self._rules, one, Knowledge(its, *belief))
                for one, its, found, belief in zip(asked, now, known, beliefs, strict=True)
            ]
            new = [record for record, found in zip(made, known, strict=True) if found.records[0] is None]
            others = iter(await self._store.claim(new) if new else [])
        except SharedGone:
            made = [kept(self._rules, one, its, [NO_POSTERIORS]) for one, its in zip(asked, now, strict=True)]
            for record in made:
                self._tell(record)
            return [record.recommendation for record in made]
        return [
            self._said(record, found.records[0] is not None, None if found.records[0] else next(others))
            for record, found in zip(made, known, strict=True)
        ]

    async def newest(self, event_id: str) -> Recommendation | None:
        """What holds, or held last. Raises SharedGone."""
        record = await self._store.newest(event_id)
        return record.recommendation if record else None

    async def learn(self, outcomes: Sequence[PriceOutcome]) -> list[Counted]:
        """Each interval counts once, whoever says what became of it. Raises SharedGone."""
        found = [""] * len(outcomes) if self._posted else [NOT_THIS_WAY] * len(outcomes)
        left = [place for place, why in enumerate(found) if not why]
        for _ in range(_TRIES):
            if not left:
                break
            said = await self._learned([outcomes[place] for place in left])
            for place, why in zip(left, said, strict=True):
                found[place] = why
            left = [place for place, why in zip(left, said, strict=True) if why == "changed"]
        for why in found:
            self._metrics.outcomes.labels(POSTED, why or "counted").inc()
        return [
            Counted(event_id=one.event_id, interval_start_ms=one.interval_start_ms, counted=not why, why=why)
            for one, why in zip(outcomes, found, strict=True)
        ]

    async def _learned(self, outcomes: Sequence[PriceOutcome]) -> list[str]:
        """Why each was not learned from; empty where it was."""
        records = await self._store.read(
            [Wanted(one.event_id, "", (one.interval_start_ms,)) for one in outcomes], 0
        )  # fmt: skip
        sold = [
            None if found.records[0] is None
            else Sold(found.records[0], one.price_minor, one.tickets_sold, one.visitors, POSTED)
            for one, found in zip(outcomes, records, strict=True)
        ]  # fmt: skip
        there = [one for one in sold if one is not None]
        known = await self._store.read([Wanted(one.record.recommendation.event_id, one.record.category, ()) for one in there], 0)  # fmt: skip
        said = iter([why for why, _ in await self._settled(there, known)])
        return [UNKNOWN if one is None else next(said) for one in sold]

    async def _closed(
        self, asked: Sequence[PriceRequest], now: Sequence[EventNow], known: Sequence[Known]
    ) -> list[tuple[EventCounts, CategoryBelief]]:
        """What is believed of each event, with what the stream says of the interval that has just ended."""
        beliefs = [(self._counts(found, one.event_time_ms), found.category) for one, found in zip(asked, known, strict=True)]  # fmt: skip
        if not self._stream:
            return beliefs
        sold = {
            place: one
            for place, (its, found) in enumerate(zip(now, known, strict=True))
            if found.records[0] is None and (one := self._streamed(its, found.records[1])) is not None
        }
        settled = await self._settled(list(sold.values()), [known[place] for place in sold])
        for place, (_, after) in zip(sold, settled, strict=True):
            if after is not None:
                _, category = beliefs[place]
                told = CategoryBelief(
                    category.said + after.said, category.tickets + after.tickets, category.visitors + after.visitors
                )
                beliefs[place] = self._aged(after.after, asked[place].event_time_ms), told
        return beliefs

    def _streamed(self, now: EventNow, before: Record | None) -> Sold | None:
        """The event's own counters then and now; visitors are those of its last five minutes, for as long as the interval was."""
        if before is None or now.tickets_sold is None or now.viewers is None:
            return None
        then = before.recommendation.features.get("total_tickets_sold")
        tickets = now.tickets_sold - (then or 0.0)
        if tickets < 0 or not before.recommendation.features:  # another store, or none was read
            return None
        visitors = now.viewers * self._rules.interval_ms / _VIEW_MS
        return Sold(before, before.recommendation.price_minor, tickets, max(visitors, tickets), STREAM)

    async def _settled(self, sold: Sequence[Sold], known: Sequence[Known]) -> list[tuple[str, Settled | None]]:
        """(why not, what was stored) of each."""
        judged = [self._judged(one, found) for one, found in zip(sold, known, strict=True)]
        said = iter(await self._store.settle([one for one in judged if isinstance(one, Settled)]))
        found: list[tuple[str, Settled | None]] = []
        for one, its in zip(sold, judged, strict=True):
            what = next(said) if isinstance(its, Settled) else its
            if isinstance(its, Settled) and what == "stored":
                self._log_outcome(one)
                found.append(("", its))
            else:
                found.append((COUNTED if what == "counted" else what, None))
            if one.source == STREAM:
                self._metrics.outcomes.labels(STREAM, found[-1][0] or "counted").inc()
        return found

    def _judged(self, sold: Sold, known: Known) -> Settled | str:
        """What it changes; or why it says nothing."""
        rules, said = self._rules, sold.record.recommendation
        prices = prices_of(said.base_price_minor, rules.multipliers, rules.step_minor)
        if sold.price_minor not in prices:
            return OFF_GRID
        if not sold.visitors:
            return NOBODY
        if sold.tickets >= (said.features.get("current_inventory") or np.inf):
            return CENSORED  # more would have been sold, and nobody knows how many
        place, ended_ms = prices.index(sold.price_minor), said.interval_end_ms
        counts = self._counts(known, ended_ms)
        told = says(counts, place, sold.tickets, sold.visitors, known.category, rules.grid, rules.dispersion)
        return Settled(
            said.event_id, sold.record.category, said.interval_start_ms, sold.source, known.raw,
            counts.with_outcome(place, sold.tickets, sold.visitors, told), told, sold.tickets,
            at_base_price(sold.visitors, rules.multipliers[place]),
        )  # fmt: skip

    def _counts(self, known: Known, at_ms: int) -> EventCounts:
        return self._aged(known.counts or EventCounts.nothing(len(self._rules.multipliers), at_ms), at_ms)

    def _aged(self, counts: EventCounts, at_ms: int) -> EventCounts:
        return counts.aged(at_ms, self._store.half_life_ms, self._store.category_half_life_ms)

    def _wanted(self, asked: PriceRequest) -> Wanted:
        start_ms = self._rules.interval_start_ms(asked.event_time_ms)
        return Wanted(asked.event_id, asked.category.value, (start_ms, start_ms - self._rules.interval_ms))

    def _said(self, record: Record, was_known: bool, others: Record | None) -> Recommendation:
        if was_known or others is not None:
            self._metrics.repeated.inc()
            return (others or record).recommendation
        self._tell(record)
        return record.recommendation

    def _tell(self, record: Record) -> None:
        said = record.recommendation
        self._metrics.recommended.labels(said.action).inc()
        for reason in said.fallback:
            self._metrics.fallbacks.labels(reason).inc()
        for rail in said.guard_rails:
            self._metrics.rails.labels(rail.value).inc()
        log.info("price_recommended", record=record)

    def _log_outcome(self, sold: Sold) -> None:
        said = sold.record.recommendation
        log.info(
            "price_outcome",
            event_id=said.event_id,
            interval_start_ms=said.interval_start_ms,
            price_minor=sold.price_minor,
            tickets_sold=sold.tickets,
            visitors=sold.visitors,
            source=sold.source,
        )
