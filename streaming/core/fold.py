"""Entity records into entity states: one read, one fold and one write per key and micro-batch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fraud_assets.contracts.codec import BadEvent, decode
from fraud_assets.contracts.events import Event
from fraud_assets.engine.plan import EnginePlan, GroupPlan, Ints
from fraud_assets.engine.prepare import columns_from_events, rows_of
from fraud_assets.engine.state import StateEngine
from fraud_assets.features.sources import Source
from fraud_assets.stores.online_port import ABSENT, OnlineStates, Write
from streaming.core.records import DeadLetter, Record, Refusal
from streaming.core.rekey import Origin, origin_of

# Two writers of one key meet only while a former owner is not quite dead; one loses each round.
MAX_ATTEMPTS = 20
# Bounds the scratch memory of a fold, which grows with its rows.
MAX_ROWS = 2_000


class Contended(RuntimeError):
    """A key was written by somebody else each time: two live owners of one partition."""


class Update(NamedTuple):
    """An entity record, decoded."""

    entity_key: str
    source: Source
    event: Event
    origin: Origin


@dataclass
class FoldReport:
    """applied: rows above their state's position. replayed: at or below it. conflicts: lost rounds."""

    applied: int = 0
    replayed: int = 0
    written: int = 0
    conflicts: int = 0
    arrivals_ms: list[int] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)


class GroupFolder:
    """Folds the records of one view group into its online states. One per thread."""

    def __init__(self, plan: EnginePlan, group: GroupPlan, states: OnlineStates) -> None:
        self._plan = plan
        self._group = group
        self._states = states
        self._engine = StateEngine(plan, group)
        self._by_topic = {source.topic: source for source in group.sources if source.topic}

    def fold(self, records: Sequence[Record]) -> FoldReport:
        """Fold records in delivery order. Raises NoEpoch and StoreUnavailable, having folded a prefix or nothing:

        the whole batch may be given again, for states carry their position.
        """
        report = FoldReport()
        for start in range(0, len(records), MAX_ROWS):
            updates = self._decoded(records[start : start + MAX_ROWS], report)
            if updates:
                self._fold(updates, report)
        return report

    def _decoded(self, records: Sequence[Record], report: FoldReport) -> list[Update]:
        updates = []
        for record in records:
            update = self._update(record)
            if isinstance(update, DeadLetter):
                report.dead_letters.append(update)
            else:
                updates.append(update)
        return updates

    def _update(self, record: Record) -> Update | DeadLetter:
        """What is no record of a router is refused: only a foreign producer can have written it."""
        try:
            origin = origin_of(record)
            if record.key is None or record.value is None or origin.topic not in self._by_topic:
                return DeadLetter(record, Refusal.FOREIGN_ENTITY_RECORD, detail=f"not for {self._group.name}")
            source = self._by_topic[origin.topic]
            assert issubclass(source.contract, Event)
            return Update(record.key.decode(), source, decode(source.contract, record.value), origin)
        except BadEvent as bad:
            return DeadLetter(record, bad.reason, bad.field, bad.detail)
        except ValueError as error:
            return DeadLetter(record, Refusal.FOREIGN_ENTITY_RECORD, detail=str(error))

    def _fold(self, updates: list[Update], report: FoldReport) -> None:
        keys = list(dict.fromkeys(update.entity_key for update in updates))
        rows, starts = self._rows(updates, keys)
        pending = list(range(len(keys)))
        for _ in range(MAX_ATTEMPTS):
            pending = self._attempt(keys, rows, starts, pending, report)
            if not pending:
                report.arrivals_ms.extend(update.origin.arrival_ms for update in updates)
                return
            report.conflicts += len(pending)
        raise Contended(
            f"{len(pending)} states of {self._group.name} were written by somebody else {MAX_ATTEMPTS} times in a row."
            " Two workers believe they own the same partition; look for two with one group.instance.id."
        )

    def _rows(self, updates: list[Update], keys: list[str]) -> tuple[Ints, Ints]:
        """Event rows, entity after entity, each in delivery order; and where each entity's begin."""
        rows = np.empty((len(updates), self._group.row_width), np.int64)
        for source in self._group.sources:
            places = [place for place, update in enumerate(updates) if update.source is source]
            if places:
                chosen = [updates[place] for place in places]
                columns = columns_from_events(
                    self._plan,
                    source,
                    [update.event for update in chosen],
                    [update.origin[:3] for update in chosen],
                    [update.origin.arrival_ms for update in chosen],
                )
                rows[places] = rows_of(self._plan, self._group, columns)
        numbers = {key: number for number, key in enumerate(keys)}
        owner = np.fromiter((numbers[update.entity_key] for update in updates), np.int64, len(updates))
        order = np.argsort(owner, kind="stable")
        return rows[order], np.searchsorted(owner[order], np.arange(len(keys) + 1)).astype(np.int64)

    def _attempt(self, keys: list[str], rows: Ints, starts: Ints, pending: list[int], report: FoldReport) -> list[int]:
        """Read, fold and write the pending entities; those that somebody else wrote meanwhile."""
        read = self._states.read_many(self._group.name, [keys[number] for number in pending])
        parts = [rows[starts[number] : starts[number + 1]] for number in pending]
        own_starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        folded = self._engine.fold_many(
            [state.packed if state else None for state in read], np.concatenate(parts), own_starts
        )
        counts = [int(folded.applied[a:b].sum()) for a, b in pairwise(own_starts)]
        changed = [place for place, count in enumerate(counts) if count]
        made = self._states.compare_and_set(
            self._group.name,
            [Write(keys[pending[p]], (read[p] or (ABSENT,))[0], folded.packed[p]) for p in changed],
        )
        won = {place for place, is_made in zip(changed, made, strict=True) if is_made}
        lost = [place for place in changed if place not in won]
        report.written += len(won)
        report.applied += sum(counts[place] for place in won)
        report.replayed += sum(
            len(part) - count
            for place, (part, count) in enumerate(zip(parts, counts, strict=True))
            if place not in lost
        )
        return [pending[place] for place in lost]
