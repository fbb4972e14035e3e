"""Entity records into entity states: one read, one fold and one write per key and micro-batch."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fraud_assets.engine.plan import EnginePlan, GroupPlan, Ints
from fraud_assets.engine.prepare import rows_of
from fraud_assets.engine.state import StateEngine
from fraud_assets.stores.online_port import ABSENT, OnlineStates, Write
from streaming.core.batch import EventBatch, Update
from streaming.core.records import DeadLetter, Record, Refusal

# Two writers of one key meet only while a former owner is not quite dead; one loses each round.
MAX_ATTEMPTS = 20
# Bounds the scratch memory of a fold, which grows with its rows.
MAX_ROWS = 2_000


class Contended(RuntimeError):
    """A key was written by somebody else each time: two live owners of one partition."""


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

    def fold(self, records: Sequence[Record]) -> FoldReport:
        """Fold records of this group alone, in delivery order; see `fold_prepared`."""
        batch = EventBatch(self._plan)
        return self.fold_prepared(batch, [(record, batch.add(record)) for record in records])

    def fold_prepared(self, batch: EventBatch, added: Sequence[tuple[Record, Update | DeadLetter]]) -> FoldReport:
        """Fold records that were added to `batch`, in delivery order.

        Raises NoEpoch and StoreUnavailable, having folded a prefix or nothing: the whole batch may be
        given again, for states carry their position.
        """
        report, updates = FoldReport(), list[Update]()
        for record, outcome in added:
            if isinstance(outcome, DeadLetter):
                report.dead_letters.append(outcome)
            elif outcome.source not in self._group.sources:
                detail = f"{self._group.name} does not fold {outcome.source.name}"
                report.dead_letters.append(DeadLetter(record, Refusal.FOREIGN_ENTITY_RECORD, detail=detail))
            else:
                updates.append(outcome)
        for start in range(0, len(updates), MAX_ROWS):
            self._fold(batch, updates[start : start + MAX_ROWS], report)
        return report

    def _fold(self, batch: EventBatch, updates: list[Update], report: FoldReport) -> None:
        keys = list(dict.fromkeys(update.entity_key for update in updates))
        rows, starts = self._rows(batch, updates, keys)
        pending = list(range(len(keys)))
        for _ in range(MAX_ATTEMPTS):
            pending = self._attempt(keys, rows, starts, pending, report)
            if not pending:
                report.arrivals_ms.extend(update.arrival_ms for update in updates)
                return
            report.conflicts += len(pending)
        raise Contended(
            f"{len(pending)} states of {self._group.name} were written by somebody else {MAX_ATTEMPTS} times in a row."
            " Two workers believe they own the same partition; look for two with one group.instance.id."
        )

    def _rows(self, batch: EventBatch, updates: list[Update], keys: list[str]) -> tuple[Ints, Ints]:
        """Event rows, entity after entity, each in delivery order; and where each entity's begin."""
        rows = np.empty((len(updates), self._group.row_width), np.int64)
        for source in self._group.sources:
            rows_here = [row for row, update in enumerate(updates) if update.source is source]
            if rows_here:
                columns = batch.columns(source, [updates[row].place for row in rows_here])
                rows[rows_here] = rows_of(self._plan, self._group, columns)
        numbers = {key: number for number, key in enumerate(keys)}
        owner = np.fromiter((numbers[update.entity_key] for update in updates), np.int64, len(updates))
        order = np.argsort(owner, kind="stable")
        return rows[order], np.searchsorted(owner[order], np.arange(len(keys) + 1)).astype(np.int64)

    def _attempt(self, keys: list[str], rows: Ints, starts: Ints, pending: list[int], report: FoldReport) -> list[int]:
        """Read, fold and write the pending entities; those that somebody else wrote meanwhile."""
        read = self._states.read_many(self._group.name, [keys[number] for number in pending])
        rows, starts = _of(rows, starts, pending)
        folded = self._engine.fold_many([state.packed if state else None for state in read], rows, starts)
        counts: list[int] = np.add.reduceat(folded.applied, starts[:-1], dtype=np.int64).tolist()
        changed = [place for place, count in enumerate(counts) if count]
        made = self._states.compare_and_set(
            self._group.name,
            [Write(keys[pending[p]], (read[p] or (ABSENT,))[0], folded.packed[p]) for p in changed],
        )
        won = {place for place, is_made in zip(changed, made, strict=True) if is_made}
        lost = {place for place in changed if place not in won}
        report.written += len(won)
        for place, (count, rows_here) in enumerate(zip(counts, np.diff(starts).tolist(), strict=True)):
            if place not in lost:
                report.applied += count
                report.replayed += rows_here - count
        return [pending[place] for place in sorted(lost)]


def _of(rows: Ints, starts: Ints, pending: list[int]) -> tuple[Ints, Ints]:
    """The rows of some entities only, and where each one's begin."""
    if len(pending) == len(starts) - 1:
        return rows, starts
    parts = [rows[starts[number] : starts[number + 1]] for number in pending]
    return np.concatenate(parts), np.cumsum([0, *map(len, parts)]).astype(np.int64)
