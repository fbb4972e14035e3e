"""Recommends prices and learns from what became of them: reads, decides, claims, and writes down what it did."""

import time
import uuid
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from api.pricing.contract import Counted, PriceOutcome, PriceRequest, Recommendation
from api.pricing.curve import Curve, Heard, Sale
from api.pricing.decide import Knowledge, Rules, decide, kept
from api.pricing.demand import CategoryBelief, EventCounts, at_base_price, says
from api.pricing.features import EventNow, EventReader
from api.pricing.metrics import PricingMetrics
from api.pricing.price_log import PriceLog
from api.pricing.rails import prices_of
from api.pricing.store import Known, PriceStore, Settled, Wanted
from api.shared import SharedGone
from fraud_assets.contracts.prices import UNCLAIMED, OutcomeSource, PriceDecision, PricedInterval

POSTED, STREAM = OutcomeSource
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


class Sold(NamedTuple):
    """What became of an interval."""

    decision: PriceDecision
    price_minor: int
    tickets: float
    visitors: float
    source: OutcomeSource


class Pricer:
    """One per process. learn_from: as PricingSettings has it."""

    def __init__(
        self,
        rules: Rules,
        events: EventReader,
        store: PriceStore,
        price_log: PriceLog,
        metrics: PricingMetrics,
        learn_from: str,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._rules = rules
        self._events = events
        self._store = store
        self._log = price_log
        self._now_ms = now_ms
        self._metrics = metrics
        self._posted, self._stream = learn_from in ("both", POSTED), learn_from in ("both", STREAM)

    async def recommend(self, asked: Sequence[PriceRequest]) -> list[Recommendation]:
        """One price for each event and interval, whoever asks first. Never raises for a store that is gone."""
        now = await self._events.read(asked)
        try:
            made = await self._claimed(asked, now)
        except SharedGone:
            made = [kept(self._rules, one, its, [UNCLAIMED], _new_id()) for one, its in zip(asked, now, strict=True)]
            self._count(made)
            self._log.send(made, owed=False)
        return [Recommendation.of(one) for one in made]

    async def _claimed(self, asked: Sequence[PriceRequest], now: Sequence[EventNow]) -> list[PriceDecision]:
        """What holds in each event's interval: what was said of it before, else what we say now. Raises SharedGone."""
        known = await self._store.read([self._wanted(one) for one in asked], asked[0].event_time_ms)
        beliefs = await self._closed(asked, now, known)
        held = [found.decisions[0] for found in known]
        new = [
            decide(self._rules, on_sale(one, found), Knowledge(its, *belief, found.curve), _new_id())
            for one, its, found, belief, said in zip(asked, now, known, beliefs, held, strict=True)
            if said is None
        ]
        others = await self._store.claim(new, self._now_ms()) if new else []
        ours = [one for one, other in zip(new, others, strict=True) if other is None]
        self._count(ours)
        self._log.send(ours)
        self._metrics.repeated.inc(len(asked) - len(ours))
        first = iter([other or one for one, other in zip(new, others, strict=True)])
        return [said or next(first) for said in held]

    async def newest(self, event_id: str) -> Recommendation | None:
        """What holds, or held last. Raises SharedGone."""
        made = await self._store.newest(event_id)
        return Recommendation.of(made) if made else None

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
        found = await self._store.read([Wanted(one.event_id, "", (one.interval_start_ms,)) for one in outcomes], 0)
        sold = [
            Sold(decision, one.price_minor, one.tickets_sold, one.visitors, POSTED) if (decision := its.decisions[0]) else None
            for one, its in zip(outcomes, found, strict=True)
        ]  # fmt: skip
        there = [one for one in sold if one is not None]
        wanted = [Wanted(one.decision.event_id, one.decision.category.value, ()) for one in there]
        said = iter([why for why, _ in await self._settled(there, await self._store.read(wanted, 0))])
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
            if found.decisions[0] is None and (one := self._streamed(its, found.decisions[1])) is not None
        }
        settled = await self._settled(list(sold.values()), [known[place] for place in sold])
        for place, (_, after) in zip(sold, settled, strict=True):
            if after is not None:
                _, category = beliefs[place]
                told = CategoryBelief(
                    category.said + after.said, category.tickets + after.outcome.tickets_sold, category.visitors + after.visitors
                )  # fmt: skip
                beliefs[place] = self._aged(after.after, asked[place].event_time_ms), told
        return beliefs

    def _streamed(self, now: EventNow, before: PriceDecision | None) -> Sold | None:
        """The event's own counters then and now; visitors are those of its last five minutes, for as long as the interval was."""
        if before is None or now.tickets_sold is None or now.viewers is None:
            return None
        then = before.features.get("total_tickets_sold")
        tickets = now.tickets_sold - (then or 0.0)
        if tickets < 0 or not before.features:  # another store, or none was read
            return None
        visitors = now.viewers * self._rules.interval_ms / _VIEW_MS
        return Sold(before, before.price_minor, tickets, max(visitors, tickets), STREAM)

    async def _settled(self, sold: Sequence[Sold], known: Sequence[Known]) -> list[tuple[str, Settled | None]]:
        """(why not, what was stored) of each."""
        judged = [self._judged(one, found) for one, found in zip(sold, known, strict=True)]
        there = [one for one in judged if isinstance(one, Settled)]
        answers = await self._store.settle(there, known[0].curve, self._now_ms()) if there else []
        self._log.send(one.outcome for one, what in zip(there, answers, strict=True) if what == "stored")
        said = iter(answers)
        found: list[tuple[str, Settled | None]] = []
        for one, its in zip(sold, judged, strict=True):
            what = next(said) if isinstance(its, Settled) else its
            if isinstance(its, Settled) and what == "stored":
                found.append(("", its))
            else:
                found.append((COUNTED if what == "counted" else what, None))
            if one.source == STREAM:
                self._metrics.outcomes.labels(STREAM, found[-1][0] or "counted").inc()
        return found

    def _judged(self, sold: Sold, known: Known) -> Settled | str:
        """What it changes; or why it says nothing."""
        rules, made = self._rules, sold.decision
        prices = prices_of(made.base_price_minor, rules.multipliers, rules.step_minor)
        if sold.price_minor not in prices:
            return OFF_GRID
        if not sold.visitors:
            return NOBODY
        if sold.tickets >= (made.features.get("current_inventory") or np.inf):
            return CENSORED  # more would have been sold, and nobody knows how many
        place = prices.index(sold.price_minor)
        counts = self._counts(known, made.interval_end_ms)
        told = says(counts, place, sold.tickets, sold.visitors, known.category, rules.grid, rules.dispersion)
        outcome = PricedInterval(
            event_time_ms=made.event_time_ms, decision_id=made.decision_id, event_id=made.event_id, price_minor=sold.price_minor,
            tickets_sold=float(sold.tickets), visitors=float(sold.visitors), source=sold.source,
        )  # fmt: skip
        after = counts.with_outcome(place, sold.tickets, sold.visitors, told, made.event_time_ms)
        return Settled(
            outcome, made.category.value, known.raw, after, told, sold.tickets,
            at_base_price(sold.visitors, rules.multipliers[place]), self._came(made, sold.visitors, counts, known.curve),
        )  # fmt: skip

    def _came(self, made: PriceDecision, visitors: float, counts: EventCounts, curve: Curve) -> Heard:
        """What an interval's visitors say of the curve; nothing where the event has no level yet."""
        if counts.per_interval is None:
            return Heard.nothing()
        start_ms, interval_ms = made.event_time_ms, self._rules.interval_ms
        sale = Sale(min(counts.opened_ms, start_ms), made.starts_at_ms)
        level = counts.per_interval / curve.behind(start_ms, interval_ms, sale, self._rules.half_life_ms)
        return curve.heard(start_ms, sale, visitors, level)

    def _counts(self, known: Known, at_ms: int) -> EventCounts:
        return self._aged(known.counts or EventCounts.nothing(len(self._rules.multipliers), at_ms), at_ms)

    def _aged(self, counts: EventCounts, at_ms: int) -> EventCounts:
        return counts.aged(at_ms, self._store.half_life_ms, self._store.category_half_life_ms)

    def _wanted(self, asked: PriceRequest) -> Wanted:
        start_ms = self._rules.interval_start_ms(asked.event_time_ms)
        return Wanted(asked.event_id, asked.category.value, (start_ms, start_ms - self._rules.interval_ms))

    def _count(self, made: Sequence[PriceDecision]) -> None:
        for one in made:
            self._metrics.recommended.labels(one.action).inc()
            for reason in one.fallback:
                self._metrics.fallbacks.labels(reason).inc()
            for rail in one.guard_rails:
                self._metrics.rails.labels(rail.value).inc()


def on_sale(asked: PriceRequest, known: Known) -> PriceRequest:
    """Of an event that has had prices the last one is known, whatever is said: the first price is one."""
    if asked.current_price_minor is not None or (known.counts is None and known.decisions[1] is None):
        return asked
    last = known.decisions[1].price_minor if known.decisions[1] else asked.base_price_minor
    return msgspec.structs.replace(asked, current_price_minor=last)


def _new_id() -> str:
    return uuid.uuid4().hex
