"""The live driver: purchases arrive when the plan says, whether or not the platform keeps up.

Open loop: a slow answer never delays the next arrival, so a queue that builds up is measured as
latency and not hidden by a driver that politely waits. Only when more requests than `max_in_flight`
are unanswered does the driver shed arrivals, and it says how many.

A purchase is published after its decision. When the API gives none, it is published as though
approved (its issuer may still decline it): a shop whose fraud check is down keeps selling.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fraud_assets.contracts.events import Label, LabelSource, Outcome, Transaction
from fraud_assets.contracts.topics import ACTIVITY, TRANSACTIONS
from simulator.build import World
from simulator.faults import Faults, NobodyBreaks, play
from simulator.live_events import Due, Inventory, with_outcome
from simulator.places import PRICE_LEVEL
from simulator.ports import ApiLabels, NoVerdict, Scorer, Source, Verdict
from simulator.results import NO_DECISION, NOT_SENT, OutageBand, PurchaseResult, RunResult
from simulator.script import Script, without
from simulator.watcher import Watcher
from simulator.world import Ints, Names

_TICK_S = 0.02
_INVENTORY_EVERY_S = 2.0
_DRAIN_S = 10.0
_LABELS_EVERY_S = 0.5


@dataclass(frozen=True)
class RunSettings:
    """What was asked for; kept for the report."""

    rate_per_s: float
    duration_s: float
    seed: int
    targets: tuple[str, ...]
    max_in_flight: int = 2_000
    realtime: bool = False


def unwatched(_due: int, _answered: int, _in_flight: int) -> None:
    """Nobody looks on."""


@dataclass
class LiveRun:
    """One run in progress. `on_tick` is called many times a second with (due, answered, in flight).

    case_system: who is told labels; by default they are published beside the rest. starts_in_s: time left until the plan's first instant, asked once everything is prepared, so that
    event times agree with the clock.
    """

    world: World
    names: Names
    script: Script
    settings: RunSettings
    scorer: Scorer
    source: Source
    sold: Ints
    on_tick: Callable[[int, int, int], None] = unwatched
    case_system: ApiLabels | None = None
    starts_in_s: Callable[[], float] = lambda: 0.0
    faults: Faults = field(default_factory=NobodyBreaks)
    results: dict[int, PurchaseResult] = field(default_factory=dict)
    in_flight: int = 0
    in_flight_peak: int = 0

    def __post_init__(self) -> None:
        adversary = self.script.scenario.adversary
        pause_s = adversary.pause * self.settings.duration_s if adversary is not None else 0.0
        self._watcher = Watcher(adversary, pause_s) if adversary is not None else None
        self._unmade: set[int] = set()
        self._inventory = Inventory(self.world, self.names, self.sold)
        self._due = 0
        self._origin = 0.0
        self._work: set[asyncio.Task[None]] = set()
        self._stopped = asyncio.Event()

    def made(self) -> Script:
        """What was done, to be recorded: without what an adversary might have done, and with nothing after a stop."""
        return without(self.script, {row for row in range(len(self.script.purchases)) if row not in self.results})

    def stop(self) -> None:
        """No further arrivals; `run` then ends as at the plan's end."""
        self._stopped.set()

    async def run(self) -> RunResult:
        """Drive the plan to its end, or until it is stopped, and wait a little for late answers."""
        await asyncio.sleep(max(0.0, self.starts_in_s()))
        self._origin = time.perf_counter()
        ending = asyncio.Event()
        around = asyncio.create_task(self._surroundings(ending))
        told = asyncio.create_task(self._labels(ending))
        broken = asyncio.create_task(
            play(self.script.scenario.outages, self.settings.duration_s, self.faults, self._now_s)
        )
        broken.add_done_callback(self._unless_broken)
        try:
            await self._arrivals()
            if self._work:
                await asyncio.wait(self._work, timeout=_DRAIN_S)
        finally:
            ending.set()
            await around
            await told
            if self._stopped.is_set():
                broken.cancel()
            await asyncio.wait([broken])
        elapsed = self._now_s()
        await asyncio.to_thread(self.source.close)
        return self._result(elapsed, [] if broken.cancelled() else broken.result())

    def _unless_broken(self, broken: "asyncio.Task[list[OutageBand]]") -> None:
        """A run whose faults cannot be had is not the scenario's."""
        if not broken.cancelled() and broken.exception() is not None:
            self.stop()

    def _now_s(self) -> float:
        """Seconds into the run."""
        return time.perf_counter() - self._origin

    async def _arrivals(self) -> None:
        """Send each purchase at its time; everything due by now goes at once."""
        for row, planned in enumerate(self.script.purchases):
            offset = planned.offset_ms / 1000
            if (wait := offset - self._now_s()) > 0:
                await _unless(self._stopped, wait)
            if self._stopped.is_set():
                return
            self._due = row + 1
            if not self._is_made(row, offset):
                self._unmade.add(row)
                continue
            if self.in_flight >= self.settings.max_in_flight:
                self._settle(row, offset, decision=NOT_SENT, lag_s=self._now_s() - offset)
                await asyncio.sleep(0)  # shedding must not starve the answers it waits for
                continue
            self._start(row, offset)

    def _is_made(self, row: int, offset: float) -> bool:
        """All are, but for an adversary's in the ways that it is not working in."""
        way = self.script.purchases[row].way
        return way < 0 or self._watcher is None or self._watcher.sends(way, offset)

    def _start(self, row: int, offset: float) -> None:
        self.in_flight += 1
        self.in_flight_peak = max(self.in_flight_peak, self.in_flight)
        task = asyncio.create_task(self._purchase(row, offset))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _purchase(self, row: int, offset: float) -> None:
        """Ask, then publish with what became of it."""
        began = self._now_s()
        verdict: Verdict | None = None
        error: str | None = None
        try:
            verdict = await self.scorer.decide(self.script.purchases[row].request)
        except NoVerdict as failure:
            error = failure.reason
        finally:
            self.in_flight -= 1
        answered = self._now_s()
        if self._watcher is not None and verdict is not None:
            self._watcher.saw(self.script.purchases[row].way, verdict.decision, answered)
        self._settle(
            row,
            offset,
            decision=verdict.decision if verdict else NO_DECISION,
            verdict=verdict,
            error=error,
            latency_s=answered - began,
            lag_s=began - offset,
        )

    def _settle(
        self,
        row: int,
        offset: float,
        *,
        decision: str,
        lag_s: float,
        verdict: Verdict | None = None,
        error: str | None = None,
        latency_s: float | None = None,
    ) -> None:
        """Publish the purchase and note the result."""
        planned = self.script.purchases[row]
        event = with_outcome(planned.transaction, decision)
        self.source.publish(TRANSACTIONS, event)
        if event.outcome is Outcome.APPROVED:
            self._inventory.sell(planned.event, event.ticket_count)
        self.results[row] = PurchaseResult(
            **_facts(event),
            offset_s=round(offset, 3),
            is_fraud=planned.is_fraud,
            campaign=planned.campaign,
            kind=planned.kind,
            persona=planned.persona,
            attacks=planned.attacks,
            amount_usd=round(event.amount_minor / 100 / PRICE_LEVEL.get(event.currency, 1.0), 2),
            decision=decision,
            score=verdict.fraud_score if verdict else None,
            reason_codes=verdict.reason_codes if verdict else [],
            degraded_reasons=verdict.degraded_reasons if verdict else [],
            latency_ms=None if latency_s is None or error == "not_asked" else round(latency_s * 1000, 3),
            lag_ms=round(max(lag_s, 0.0) * 1000, 3),
            error=error,
        )

    async def _surroundings(self, ending: asyncio.Event) -> None:
        """Views, profiles and labels at their times, inventory now and then, confirmations always."""
        position, waiting, next_count = 0, list[Due](), _INVENTORY_EVERY_S
        while not ending.is_set():
            now_s = self._now_s()
            while position < len(self.script.around) and self._offset(self.script.around[position]) <= now_s:
                waiting.append(self.script.around[position])
                position += 1
            waiting = [due for due in waiting if not self._published(due)]
            if now_s >= next_count:
                self._publish_inventory(now_s)
                next_count = now_s + _INVENTORY_EVERY_S
            self.source.poll()
            self.on_tick(self._due, len(self.results), self.in_flight)
            await asyncio.sleep(_TICK_S)

    async def _labels(self, ending: asyncio.Event) -> None:
        while self.case_system is not None and not ending.is_set():
            await self.case_system.send()
            await asyncio.sleep(_LABELS_EVERY_S)

    def _offset(self, due: Due) -> float:
        return (due.time_ms - self.script.start_ms) / 1000

    def _published(self, due: Due) -> bool:
        """Whether this is done with. A label waits until its purchase is settled."""
        if due.row >= 0:
            if due.row in self._unmade:
                return True
            if due.row not in self.results:
                return False
            if not _still_said(due.event, self.results[due.row].outcome):
                return True
        if self.case_system is not None and isinstance(due.event, Label):
            self.case_system.say(due.event)
        else:
            self.source.publish(due.topic, due.event)
        return True

    def _publish_inventory(self, now_s: float) -> None:
        for count in self._inventory.counts(self.script.start_ms + int(now_s * 1000)):
            self.source.publish(ACTIVITY, count)

    def _result(self, elapsed_s: float, outages: list[OutageBand]) -> RunResult:
        settings, script = self.settings, self.script
        return RunResult(
            scenario=script.scenario.name,
            summary=script.scenario.summary,
            seed=settings.seed,
            rate_per_s=settings.rate_per_s,
            realtime=settings.realtime,
            duration_s=settings.duration_s,
            elapsed_s=round(elapsed_s, 3),
            started_ms=script.start_ms,
            targets=list(settings.targets),
            bands=list(script.bands),
            purchases=[self.results[row] for row in sorted(self.results)],
            published=dict(self.source.published),
            delivery_failures=self.source.failed,
            in_flight_peak=self.in_flight_peak,
            outages=outages,
            moves=self._watcher.moves if self._watcher is not None else [],
            tolerances=list(script.scenario.tolerances),
        )


async def _unless(stopped: asyncio.Event, wait_s: float) -> None:
    """Wait, or less if it is stopped meanwhile."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stopped.wait(), wait_s)


def _facts(event: Transaction) -> dict[str, Any]:
    return {
        "transaction_id": event.transaction_id,
        "account_id": event.account_id,
        "event_time_ms": event.event_time_ms,
        "amount_minor": event.amount_minor,
        "currency": event.currency,
        "outcome": str(event.outcome),
    }


def _still_said(event: object, outcome: str) -> bool:
    """What we refused moved no money and met no issuer: only a reviewer may still speak of it."""
    refused = outcome == Outcome.DECLINED_BY_US
    return not (refused and isinstance(event, Label) and event.source is not LabelSource.MANUAL_REVIEW)
