"""Parity as served: what decisions read, recomputed from the log up to the positions they logged.

Two findings, told apart. A *mismatch*: the log up to P gives other bits than were served. A *stale
read*: P lacks an event of that key that had arrived a stated time before the decision. Decisions that
the lake does not cover yet are pending, which is no finding. Nor is one that differs and may have read events of a person who has been
erased since: the lake cannot say any more what it read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraud_assets.engine.batch import Log, Position, Spine, vectors
from fraud_assets.engine.plan import ServicePlan
from fraud_assets.engine.prepare import Columns, columns_from_events
from fraud_assets.monitoring.served import VECTOR_COLUMNS, Flags, served_vectors
from fraud_assets.monitoring.stale import stale_reads
from fraud_assets.stores.history import HistoryReader
from fraud_assets.stores.identity import identities
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.positions import STATE_COLUMNS, readable_positions
from fraud_assets.stores.publish import lake_ends
from fraud_assets.stores.receipts import Receipts
from fraud_assets.stores.served import Floats

# How long a transaction may follow its decision, or a decision's record its transaction, before the
# other half is called missing: sinks flush every few seconds.
GRACE_MS = 60_000
COLUMNS = (
    "event_time_ms", "decision_id", "transaction_id", "account_id", "request", "decided_at_ms", "broker_clock_offset_ms",
    "service_digest", "epoch", *VECTOR_COLUMNS, *STATE_COLUMNS, "degraded_reasons", "self_included", "ingested_at_ms",
)  # fmt: skip


@dataclass
class SkewReport:
    """Counts of decisions, but for `mismatched_values`. by_feature: mismatched values of each feature.

    other_vectors: those of the mismatches that have no vector of the service's width, whose values are not compared.
    checked: recomputed and compared. pending: not covered by the lake yet. missing: transactions
    without a decision. extra: decisions without a transaction. degraded: made without the
    store, so nothing was read. other_definitions: of a service digest that this code cannot compute. unreadable: what they logged of
    their states is no position, so nothing can be recomputed. erased: they differ, and their states may hold events that were erased.
    """

    decisions: int = 0
    checked: int = 0
    mismatches: int = 0
    mismatched_values: int = 0
    other_vectors: int = 0
    stale_reads: int = 0
    missing: int = 0
    extra: int = 0
    pending: int = 0
    degraded: int = 0
    self_included: int = 0
    other_definitions: int = 0
    unreadable: int = 0
    erased: int = 0
    by_feature: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)


def skew_report(lake: Lake, service: ServicePlan, from_ms: int, to_ms: int) -> SkewReport:
    """Recompute every decision with event time in [from_ms, to_ms)."""
    # Decisions first: whatever they saw had arrived before, and the log is read after them.
    rows = lake.scan("decisions", from_ms, to_ms, columns=COLUMNS)
    report = SkewReport(decisions=rows.num_rows)
    report.self_included = _count(rows["self_included"])
    own = pc.equal(rows["service_digest"], service.engine.registry.service_digest(service.service))
    report.other_definitions = rows.num_rows - _count(own)
    read = rows.filter(own)
    store_answered = pc.equal(pc.list_value_length(read["degraded_reasons"]), 0)
    report.degraded = read.num_rows - _count(store_answered)
    read = read.filter(store_answered)
    logged = readable_positions(read, service.engine.registry.topics)
    positions = [one for one in logged if one is not None]
    report.unreadable = read.num_rows - len(positions)
    read = read.filter(pa.array([one is not None for one in logged], pa.bool_()))
    covered = _covered(lake, service, positions)
    report.pending = int((~covered).sum())
    kept = np.flatnonzero(covered).astype(np.int64)
    _check(lake, service, read.take(pa.array(kept)), [positions[place] for place in kept], report)
    _pair(lake, service, rows, from_ms, to_ms, report)
    return report


def _check(
    lake: Lake, service: ServicePlan, rows: pa.Table, positions: list[dict[str, Position]], report: SkewReport
) -> None:
    report.checked = rows.num_rows
    if not rows.num_rows:
        return
    log = HistoryReader(lake, service.engine).log(service.sources)
    scored = scored_columns(service, rows)
    served, sound = served_vectors(rows, len(service.names))
    differs = mismatches(served, recomputed(service, log, rows, scored, positions)) & sound[:, np.newaxis]
    erased = differs.any(axis=1) & _may_have_read_erased(lake, service, rows, positions)
    report.erased = int(erased.sum())
    differs &= ~erased[:, np.newaxis]
    wrong = np.flatnonzero(differs.any(axis=1) | ~sound)
    report.mismatches, report.other_vectors = len(wrong), int((~sound).sum())
    report.mismatched_values = int(differs.sum())
    counts = differs.sum(axis=0)
    worst = np.argsort(-counts, kind="stable")[:20]
    report.by_feature = {service.names[place]: int(counts[place]) for place in worst if counts[place]}
    report.examples = rows["decision_id"].take(pa.array(wrong[:10])).to_pylist()
    decided = rows["decided_at_ms"].to_numpy() + rows["broker_clock_offset_ms"].to_numpy()
    report.stale_reads = int(stale_reads(service, log, scored, decided, positions).sum())


def _may_have_read_erased(
    lake: Lake, service: ServicePlan, rows: pa.Table, positions: Sequence[Mapping[str, Position]]
) -> Flags:
    """(n,) whether a state that a decision read, and that others share, reached as far as an event that was erased later.

    A state of an account, or of an account and something else, never held another's events.
    Made before the erasure, or on states that were not computed anew since: those of its epoch.
    """
    shared = {group.name for group in service.engine.registry.groups if "account_id" not in group.entity.keys}
    positions = [{name: at for name, at in groups.items() if name in shared} for groups in positions]
    found = np.zeros(len(positions), np.bool_)
    decided, epochs = rows["decided_at_ms"].to_numpy(), np.array(rows["epoch"].to_pylist())
    for record in Receipts(lake.uri).records():
        firsts = [(name.rpartition("/"), offset) for name, offset in record.first_offsets.items()]
        first_of = {(topic, int(partition)): offset for (topic, _, partition), offset in firsts}
        concerned = (decided <= record.at_ms) | (epochs == record.epoch)
        found |= concerned & np.array([_reaches(first_of, groups) for groups in positions], np.bool_)
    return found


def _reaches(first_of: Mapping[tuple[str, int], int], groups: Mapping[str, Position]) -> bool:
    return any(offset >= first_of.get(at, np.inf) for position in groups.values() for at, offset in position.items())


def scored_columns(service: ServicePlan, rows: pa.Table) -> Columns:
    """The scored events as decisions recorded them; fields that did not exist yet are null."""
    source = service.service.scored
    nothing: dict[str, Any] = dict.fromkeys(source.fields)
    events: list[Any] = [
        SimpleNamespace(**{**nothing, **msgspec.json.decode(text)}) for text in rows["request"].to_pylist()
    ]
    assert source.topic is not None
    at = [(source.topic, 0, place) for place in range(len(events))]
    return columns_from_events(service.engine, source, events, at, rows["decided_at_ms"].to_pylist())


def recomputed(
    service: ServicePlan, log: Log, rows: pa.Table, scored: Columns, positions: list[dict[str, Position]]
) -> Floats:
    """(n, n_features) from the log up to each row's positions.

    Epoch by epoch: within one, positions of a key only grow; a rebuilt store may begin further back.
    """
    found = np.empty((rows.num_rows, len(service.names)), np.float32)
    epochs = rows["epoch"].to_numpy(zero_copy_only=False)
    times = rows["event_time_ms"].to_numpy()
    for epoch in np.unique(epochs):
        places = np.flatnonzero(epochs == epoch).astype(np.int64)
        spine = Spine.at_positions(scored.take(places), times[places], [positions[place] for place in places])
        found[places] = vectors(service, log, spine).features
    return found


def mismatches(served: Floats, again: Floats) -> Flags:
    """(n, n_features) where the bits differ; any NaN equals any other, both mean null."""
    same = (served.view(np.int32) == again.view(np.int32)) | (np.isnan(served) & np.isnan(again))
    differ: Flags = np.logical_not(same)
    return differ


def _covered(lake: Lake, service: ServicePlan, positions: list[dict[str, Position]]) -> Flags:
    """Whether the lake holds everything that each decision saw."""
    ends = {at: offset for at, (offset, _) in lake_ends(lake, service.engine, np.iinfo(np.int64).max).items()}
    return np.array([_holds(ends, groups) for groups in positions], np.bool_)


def _holds(ends: Mapping[tuple[str, int], int], groups: dict[str, Position]) -> bool:
    return all(offset <= ends.get(at, -1) for position in groups.values() for at, offset in position.items())


def _pair(lake: Lake, service: ServicePlan, decisions: pa.Table, from_ms: int, to_ms: int, report: SkewReport) -> None:
    """Transactions of the live topic without a decision, and decisions whose transaction never came."""
    scored = service.service.scored
    columns = [scored.id_field, "account_id", "source_topic", "ingested_at_ms"]
    rows = lake.scan(scored.table, from_ms, to_ms, columns=columns)
    live = rows.filter(pc.equal(rows["source_topic"], scored.topic))
    if not decisions.num_rows or not live.num_rows:
        report.missing, report.extra = live.num_rows, decisions.num_rows
        return
    until = min(pc.max(live["ingested_at_ms"]).as_py(), pc.max(decisions["ingested_at_ms"]).as_py()) - GRACE_MS
    report.missing = _unpaired(live, decisions, until)
    report.extra = _unpaired(decisions, live, until)


def _unpaired(rows: pa.Table, others: pa.Table, until_ms: int) -> int:
    settled = rows.filter(pc.less(rows["ingested_at_ms"], until_ms))
    return int(settled.num_rows) - _count(pc.is_in(identities(settled), identities(others)))


def _count(flags: pa.ChunkedArray) -> int:
    return int(pc.sum(flags.cast(pa.int64())).as_py() or 0)
