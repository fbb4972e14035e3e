"""Raw records to accepted events, entity records and dead letters: all decided here, once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fraud_assets.contracts.cards import CardsInIds
from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.contracts.topics import DEAD_LETTERS
from streaming.core.accept import ArrivalClock, Peak, TopicPartition, accept_all
from streaming.core.dedupe import (
    First,
    Firsts,
    History,
    Mark,
    SeenStore,
    Verdict,
    identity_hash,
    judge,
    payload_hash,
)
from streaming.core.records import Accepted, DeadLetter, Dropped, Record, Refusal, Send, dead_letter_record
from streaming.core.rekey import ReKeyer
from streaming.core.sources import SOURCES

Outcome = Accepted | DeadLetter | Dropped


@dataclass
class Routed:
    """accepted: for the lake, duplicates marked. sends: to produce, in this order."""

    accepted: list[Accepted] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    sends: list[Send] = field(default_factory=list)


class Router:
    """Routes micro-batches of the partitions this process owns.

    horizon_ms: within it of arrival time, the same identity is a duplicate. key: makes tokens of what came raw. Idempotent: records
    routed again give the same verdicts and the same records.
    """

    def __init__(
        self,
        rekeyer: ReKeyer,
        seen: SeenStore,
        history: History,
        horizon_ms: int,
        key: TokenKey,
        cards_in_ids: CardsInIds = "refuse",
    ) -> None:
        self._rekeyer = rekeyer
        self._seen = seen
        self._history = history
        self._horizon_ms = horizon_ms
        self._key = key
        self._cards_in_ids: CardsInIds = cards_in_ids
        self._clock = ArrivalClock()

    def route(self, records: Sequence[Record]) -> Routed:
        """Ordered steps: what is remembered; decode; judge; remember; re-key.

        The store is written before anything is sent: if we die between, the replay finds its own
        positions there, and the same position is no duplicate.
        """
        starts: dict[TopicPartition, int] = {}
        for record in records:
            starts.setdefault((record.topic, record.partition), record.offset)
        marks, _ = self._seen.read(list(starts), [])
        for (at, first_offset), mark in zip(starts.items(), marks, strict=True):
            self._recall(at, first_offset, mark)
        outcomes = accept_all(SOURCES, records, self._clock, self._key, self._cards_in_ids)
        judged = self._judge(outcomes, records)
        return self._routed(judged)

    def _recall(self, at: TopicPartition, first_offset: int, mark: Mark | None) -> None:
        """Trust the store if it has judged everything before this batch; else refill it from the lake."""
        goes_on = self._clock.is_at(at, first_offset)
        if mark is not None and mark.covers(first_offset):
            if not goes_on:
                self._clock.restore(at, mark.peaks, mark.complete_from)
            return
        # A mark that says too little says nothing wrong.
        peaks = list(mark.peaks) if mark is not None else []
        if first_offset > 0:
            newest_ms = self._refill(at, first_offset)
            if newest_ms is not None:
                peaks.append(Peak(first_offset - 1, newest_ms))
        if not goes_on:
            self._clock.restore(at, peaks, first_offset)

    def _refill(self, at: TopicPartition, first_offset: int) -> int | None:
        """What the lake knows of the identities before an offset into the store; the newest arrival among them."""
        firsts, newest_ms = self._history.firsts(at, first_offset, self._horizon_ms)
        _, kept = self._seen.read([], list(firsts))
        merged = {
            identity: judge(past, first, self._horizon_ms)[1]
            for (identity, first), past in zip(firsts.items(), kept, strict=True)
        }
        self._seen.write({}, merged)
        return newest_ms

    def _judge(self, outcomes: list[Outcome], records: Sequence[Record]) -> list[Outcome]:
        identities = {
            place: identity_hash(outcome.record.topic, *SOURCES[outcome.record.topic].identity(outcome.event))
            for place, outcome in enumerate(outcomes)
            if isinstance(outcome, Accepted)
        }
        distinct = list(dict.fromkeys(identities.values()))
        _, pasts = self._seen.read([], distinct)
        known: dict[bytes, Firsts] = dict(zip(distinct, pasts, strict=True))
        before = dict(known)
        judged = list[Outcome]()
        for place, outcome in enumerate(outcomes):
            if isinstance(outcome, Accepted):
                identity = identities[place]
                copy = First(outcome.record.offset, outcome.arrival_ms, payload_hash(outcome.event))
                verdict, known[identity] = judge(known[identity], copy, self._horizon_ms)
                outcome = _outcome(outcome, verdict)
            judged.append(outcome)
        ends = {(record.topic, record.partition): record.offset + 1 for record in records}
        marks = {at: Mark(end, self._clock.peaks(at), self._clock.complete_from(at)) for at, end in ends.items()}
        self._seen.write(marks, {key: firsts for key, firsts in known.items() if firsts != before[key]})
        return judged

    def _routed(self, judged: list[Outcome]) -> Routed:
        routed = Routed()
        for outcome in judged:
            if isinstance(outcome, Dropped):
                routed.dropped.append(outcome)
                continue
            if isinstance(outcome, DeadLetter):
                routed.dead_letters.append(outcome)
                routed.sends.append(dead_letter_record(DEAD_LETTERS.name, outcome))
                continue
            routed.accepted.append(outcome)
            if not outcome.is_duplicate:
                routed.sends.extend(self._rekeyer.records(outcome))
        return routed


def _outcome(accepted: Accepted, verdict: Verdict) -> Accepted | DeadLetter:
    match verdict:
        case Verdict.FIRST:
            return accepted
        case Verdict.DUPLICATE:
            return accepted._replace(is_duplicate=True)
        case Verdict.CONFLICT:
            field_name = SOURCES[accepted.record.topic].id_field
            return DeadLetter(
                accepted.record, Refusal.CONFLICTING_DUPLICATE, field_name, "seen before with another payload"
            )
