"""All entity state as of a log position, from the lake into the online store.

State is what folding the log gives, whoever folds it: this is the worker's own kernel over
columns sorted by entity. Folding what a state already holds changes nothing, so both ways of
publishing may run beside a worker: under a new epoch (`publish_snapshot`), or by bringing
the published states up to the lake (`publish_behind`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraud_assets.engine.kernels import NULL
from fraud_assets.engine.plan import EnginePlan, GroupPlan, Ints
from fraud_assets.engine.prepare import Columns, rows_of
from fraud_assets.engine.state import StateEngine
from fraud_assets.features.sources import Entity, Source
from fraud_assets.stores.frames import columns_from_arrow, needed_columns
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.online_port import ABSENT, EpochMarker, OnlineStates, Write

# Bounds the scratch memory of a fold, which grows with its rows; also the size of a pipelined write.
ROWS_PER_FOLD = 20_000
KEYS_PER_WRITE = 1_000
MAX_ATTEMPTS = 20


class Contended(RuntimeError):
    """Somebody else wrote the same keys every time."""


@dataclass(frozen=True)
class Events:
    """One source's events twice: as columns for the kernels, as text for the keys of the store."""

    columns: Columns
    text: pa.Table

    def take(self, rows: Ints) -> "Events":
        return Events(self.columns.take(rows), self.text.take(pa.array(rows)))


@dataclass(frozen=True)
class EntityRows:
    """A group's event rows, entity after entity, each in log order. starts: (n_entities + 1,)."""

    keys: list[str]
    rows: Ints
    starts: Ints


@dataclass
class GroupReport:
    """entities: with events. changed: written. rows: folded, of which `applied` were above P."""

    entities: int = 0
    changed: int = 0
    rows: int = 0
    applied: int = 0
    bytes: int = 0


def events_until(lake: Lake, plan: EnginePlan, as_known_at_ms: int | None, since_ms: int | None = None) -> list[Events]:
    """Every source's events that arrived before a time, and not before `since_ms`, in log order."""
    found = []
    for source in plan.sources:
        rows = lake.scan(source.table, as_known_at_ms=as_known_at_ms, columns=needed_columns(source))
        if since_ms is not None:
            rows = rows.filter(pc.greater_equal(rows["ingested_at_ms"], since_ms))
        found.append(Events(columns_from_arrow(plan, source, rows), _key_columns(plan, source, rows)))
    return found


def _key_columns(plan: EnginePlan, source: Source, rows: pa.Table) -> pa.Table:
    names = {key for group in plan.groups for key in group.group.entity.keys if key in source.fields}
    return rows.select(sorted(names))


def entity_rows(plan: EnginePlan, group: GroupPlan, events: Sequence[Events]) -> EntityRows:
    """The rows a worker would have folded into each entity of a group, in log order."""
    entity = group.group.entity
    names = {source.name for source in group.sources}
    own = [_naming(item, entity) for item in events if item.columns.source.name in names]
    hashed = np.concatenate([item.columns.keys(entity) for item in own])
    arrival, tp, offset = (
        np.concatenate([getattr(item.columns, name) for item in own]) for name in ("arrival_ms", "tp", "offset")
    )
    order = np.lexsort((offset, tp, arrival, hashed))
    rows = np.concatenate([rows_of(plan, group, item.columns) for item in own])[order]
    first = np.flatnonzero(np.diff(hashed[order], prepend=NULL) != 0) if len(order) else np.empty(0, np.int64)
    text = pa.chunked_array([_texts(entity, item.text).combine_chunks() for item in own])
    keys = text.take(pa.array(order[first])).to_pylist()
    return EntityRows(keys, rows, np.append(first, len(order)).astype(np.int64))


def _naming(events: Events, entity: Entity) -> Events:
    """Those that name the entity; a guest's view names no account."""
    return events.take(np.flatnonzero(events.columns.keys(entity) != NULL).astype(np.int64))


def _texts(entity: Entity, text: pa.Table) -> pa.ChunkedArray:
    """(n,) entity keys as `prepare.entity_key` writes them."""
    parts = [text[name] for name in entity.keys]
    joined = parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, "|")
    return joined if isinstance(joined, pa.ChunkedArray) else pa.chunked_array([joined])


def entity_chunks(found: EntityRows) -> Iterator[tuple[list[str], Ints, Ints]]:
    """(keys, rows, starts) of a few entities at a time."""
    first = 0
    while first < len(found.keys):
        end = int(np.searchsorted(found.starts, found.starts[first] + ROWS_PER_FOLD, side="right")) - 1
        end = min(max(end, first + 1), first + KEYS_PER_WRITE, len(found.keys))
        a, b = int(found.starts[first]), int(found.starts[end])
        yield found.keys[first:end], found.rows[a:b], found.starts[first : end + 1] - a
        first = end


def publish_snapshot(
    store: OnlineStates,
    plan: EnginePlan,
    events: Sequence[Events],
    *,
    epoch: str,
    log: str,
    resume: Mapping[str, int],
    now_ms: int,
    topics: Mapping[str, str] | None = None,
    progress: Callable[[str, GroupReport], None] | None = None,
    keep: Callable[[str, Sequence[str], Sequence[bytes]], None] | None = None,
) -> tuple[EpochMarker, dict[str, GroupReport]]:
    """Load every entity's state under a new epoch, then make it the one that everybody reads.

    keep: is given each group's keys and packed states, a few at a time.
    """
    store.check()
    reports = {}
    for group in plan.groups:
        engine, report = StateEngine(plan, group), GroupReport()
        for keys, rows, starts in entity_chunks(entity_rows(plan, group, events)):
            folded = engine.fold_many([None] * len(keys), rows, starts)
            store.load(epoch, group.name, list(zip(keys, folded.packed, strict=True)))
            if keep is not None:
                keep(group.name, keys, folded.packed)
            _count(report, keys, rows, int(folded.applied.sum()), len(keys), folded.packed)
        reports[group.name] = report
        if progress is not None:
            progress(group.name, report)
    return store.publish_epoch(epoch, log=log, resume=dict(resume), now_ms=now_ms, topics=topics), reports


def publish_behind(store: OnlineStates, plan: EnginePlan, events: Sequence[Events]) -> dict[str, GroupReport]:
    """Fold the lake's events into the published states; where the worker has done so, nothing changes.

    Raises NoEpoch if nothing is published, Contended if a key changes faster than it can be written.
    """
    store.current_epoch()
    reports = {}
    for group in plan.groups:
        engine, report = StateEngine(plan, group), GroupReport()
        for keys, rows, starts in entity_chunks(entity_rows(plan, group, events)):
            _bring_up(store, engine, keys, rows, starts, report)
        reports[group.name] = report
    return reports


def _bring_up(
    store: OnlineStates, engine: StateEngine, keys: list[str], rows: Ints, starts: Ints, report: GroupReport
) -> None:
    pending = list(range(len(keys)))
    for _ in range(MAX_ATTEMPTS):
        held = store.read_many(engine.group.name, [keys[place] for place in pending])
        parts = [rows[starts[place] : starts[place + 1]] for place in pending]
        own = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        folded = engine.fold_many([state.packed if state else None for state in held], np.concatenate(parts), own)
        applied = [int(folded.applied[a:b].sum()) for a, b in pairwise(own)]
        behind = [place for place, count in enumerate(applied) if count]
        writes = [
            Write(keys[pending[place]], state.version if (state := held[place]) else ABSENT, folded.packed[place])
            for place in behind
        ]
        made = store.compare_and_set(engine.group.name, writes)
        won = sum(applied[place] for place, done in zip(behind, made, strict=True) if done)
        written = [write.packed for write, done in zip(writes, made, strict=True) if done]
        _count(report, [], np.concatenate(parts)[:0], won, len(written), written)
        pending = [pending[place] for place, done in zip(behind, made, strict=True) if not done]
        if not pending:
            report.entities += len(keys)
            report.rows += len(rows)
            return
    raise Contended(
        f"{len(pending)} states of {engine.group.name} changed {MAX_ATTEMPTS} times in a row; is there a second worker?"
    )


def _count(
    report: GroupReport, keys: Sequence[str], rows: Ints, applied: int, changed: int, packed: Sequence[bytes]
) -> None:
    report.entities += len(keys)
    report.rows += len(rows)
    report.applied += applied
    report.changed += changed
    report.bytes += sum(len(state) for state in packed)
