"""Folding into packed states, and reading them for a request: how many updates a second, how many µs.

Two months of payments, activity, profiles and label facts are folded in order of arrival, in micro-batches as the worker folds them, into
every group of fraud_scoring, one thread, states kept as the bytes the store would hold. Then one request of typical
entities is read again and again, and one whose entities are the busiest of all.
"""

import statistics
import time
from collections.abc import Iterable

import numpy as np

from benchmarks.engine_training_set import log_of
from benchmarks.measure import report
from fraud_assets.contracts.events import Category, Outcome, PaymentMethod, Tier, Transaction
from fraud_assets.engine.kernels import NULL
from fraud_assets.engine.plan import EnginePlan, GroupPlan, Ints, ServicePlan
from fraud_assets.engine.prepare import Columns, rows_of
from fraud_assets.engine.request import RequestReader
from fraud_assets.engine.state import StateEngine
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry

ROWS = 200_000
MICRO_BATCH = 1_000
PASSES = 3
READS = 3_000

States = dict[int, bytes]


def fold_group(engine: EnginePlan, group: GroupPlan, log: list[Columns]) -> tuple[States, float, int]:
    """(states by entity, median seconds, updates) of folding every event that names one into a group."""
    folder, (keys, rows) = StateEngine(engine, group), events_of(engine, group, log)
    folder.fold(None, rows[:1])
    taken = []
    for _ in range(PASSES):
        states, seconds = fold_rows(folder, keys, rows)
        taken.append(seconds)
    return states, statistics.median(taken), len(rows)


def events_of(engine: EnginePlan, group: GroupPlan, log: list[Columns]) -> tuple[Ints, Ints]:
    """(key, row) of the events that a group folds, by arrival."""
    mine = [columns for columns in log if columns.source in group.sources]
    keys = np.concatenate([columns.keys(group.group.entity) for columns in mine])
    rows = np.concatenate([rows_of(engine, group, columns) for columns in mine])
    order = np.argsort(np.concatenate([columns.arrival_ms for columns in mine]), kind="stable")
    order = order[keys[order] != NULL]
    return keys[order], rows[order]


def fold_rows(folder: StateEngine, keys: Ints, rows: Ints) -> tuple[States, float]:
    """(states by entity, seconds) of folding rows, in micro-batches, into nothing."""
    states: States = {}
    started = time.perf_counter()
    for first in range(0, len(rows), MICRO_BATCH):
        batch = keys[first : first + MICRO_BATCH]
        order = np.argsort(batch, kind="stable")
        by_entity = batch[order]
        starts = np.flatnonzero(np.diff(by_entity, prepend=by_entity[0] - 1, append=by_entity[-1] + 1))
        entities = by_entity[starts[:-1]].tolist()
        folded = folder.fold_many([*map(states.get, entities)], rows[first : first + MICRO_BATCH][order], starts)
        states.update(zip(entities, folded.packed, strict=True))
    return states, time.perf_counter() - started


def typical(time_ms: int) -> Transaction:
    """A payment whose own fields cost what a real one's do."""
    return Transaction(
        event_time_ms=time_ms, transaction_id="t", account_id="a", event_id="e", promoter_id="p", device_id="d", ip_token="k0:aa",
        ip_country="DE", card_token="k0:bb", payment_method=PaymentMethod.CARD, amount_minor=4_200, currency="EUR", ticket_count=2,
        tier=Tier.STANDARD, category=Category.SPORT, billing_country="DE", lat_e6=52_500_000, lon_e6=13_400_000, outcome=Outcome.APPROVED,
    )  # fmt: skip


def read_us(service: ServicePlan, states: list[bytes | None], time_ms: int) -> tuple[float, float]:
    """(median, 99th percentile) µs of one request's vector."""
    reader, event = RequestReader(service), typical(time_ms)
    reader.read(states, event, time_ms, "t")
    taken = []
    for _ in range(READS):
        started = time.perf_counter_ns()
        reader.read(states, event, time_ms, "t")
        taken.append((time.perf_counter_ns() - started) / 1e3)
    return statistics.median(taken), float(np.percentile(taken, 99))


def main() -> None:
    engine = EnginePlan(registry())
    service = ServicePlan(engine, FRAUD_SCORING)
    log = log_of(engine, ROWS)
    made = {group.name: fold_group(engine, group, log) for group in engine.groups}
    seconds = sum(taken for _, taken, _ in made.values())
    updates = sum(count for *_, count in made.values())
    per_group = {name: round(count / taken) for name, (_, taken, count) in made.items()}
    sizes = {name: round(statistics.mean(map(len, states.values()))) for name, (states, *_) in made.items()}
    report("engine.fold", updates / seconds, None, None, "updates/s", updates, by_group=per_group, mean_bytes=sizes)
    latest = int(log[0].time[-1]) + 1
    groups = [made[group.name][0].values() for group in service.groups]
    median = [statistics.median_low(sorted(map(len, states))) for states in groups]
    common: list[bytes | None] = [_of_size(states, size) for states, size in zip(groups, median, strict=True)]
    largest: list[bytes | None] = [max(states, key=len) for states in groups]
    typical_us, worst_us = read_us(service, common, latest), read_us(service, largest, latest)
    report(
        "engine.read", typical_us[0], None, None, "µs", READS, p99=round(typical_us[1], 1), features=len(service.names),
        entities=sum(state is not None for state in common), bytes=sum(map(len, filter(None, common))),
        worst_us=round(worst_us[0], 1), worst_bytes=sum(map(len, filter(None, largest))),
    )  # fmt: skip


def _of_size(states: Iterable[bytes], size: int) -> bytes:
    return next(state for state in states if len(state) == size)


if __name__ == "__main__":
    main()
