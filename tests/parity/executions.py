"""The engine, driven as the worker and the scorer drive it, and compared with the oracle bit for bit."""

import random
import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from fraud_assets.engine.batch import Log
from fraud_assets.engine.plan import EnginePlan, GroupPlan, Ints, ServicePlan
from fraud_assets.engine.prepare import columns_from_events, entity_key, rows_of
from fraud_assets.engine.request import STATUS_NAMES, RequestReader
from fraud_assets.engine.state import StateEngine
from fraud_assets.features.registry import Registry
from tests.domains.deals import Deal, Flavour
from tests.parity import oracle, tally
from tests.parity.strategies import Logged

Place = tuple[str, int]

# The services of this suite have no request features, so nothing of the scored event is read.
ANY_DEAL = Deal(
    event_time_ms=0, deal_id="d", actor_id="a", place_id=None, size=0, extra=None, flavour=Flavour.SWEET, mood=None, flag=False
)  # fmt: skip


def interleaved(log: Sequence[Logged], rng: random.Random, replay: float = 0.15) -> list[int]:
    """Indices into `log` in a delivery order that keeps each partition's order, with at-least-once replays."""
    queues: dict[Place, list[int]] = defaultdict(list)
    for index, item in enumerate(log):
        queues[(item.topic, item.partition)].append(index)
    next_of = dict.fromkeys(queues, 0)
    delivered = []
    while open_ := [place for place in queues if next_of[place] < len(queues[place])]:
        place = rng.choice(open_)
        if rng.random() < replay:
            next_of[place] = max(0, next_of[place] - rng.randrange(4))
        delivered.append(queues[place][next_of[place]])
        next_of[place] += 1
    return delivered


def batches(items: Sequence[int], rng: random.Random, largest: int = 6) -> Iterable[Sequence[int]]:
    at = 0
    while at < len(items):
        size = rng.randint(1, largest)
        yield items[at : at + size]
        at += size


class Stream:
    """Packed states of every (group, entity), folded as the worker folds: one write per key per micro-batch."""

    def __init__(self, registry: Registry, log: Sequence[Logged]) -> None:
        self.log = log
        self.plan = EnginePlan(registry)
        self.engines = {group.name: StateEngine(self.plan, group) for group in self.plan.groups}
        self.states: dict[tuple[str, str], bytes] = {}
        self.positions: dict[tuple[str, str], dict[Place, int]] = defaultdict(dict)
        self.rows = {group.name: self._rows(group) for group in self.plan.groups}

    def _rows(self, group: GroupPlan) -> dict[int, tuple[str, Ints]]:
        """Key and row of every event of the log that is about an entity of the group."""
        listened = {source.name for source in group.sources}
        found = {}
        for index, item in enumerate(self.log):
            key = entity_key(group.group.entity, item.event) if item.source.name in listened else None
            if key is not None:
                columns = columns_from_events(
                    self.plan, item.source, [item.event], [(item.topic, item.partition, item.offset)], [item.arrival_ms]
                )
                found[index] = (key, rows_of(self.plan, group, columns)[0])
        return found

    def fold(self, batch: Sequence[int]) -> list[tuple[str, str]]:
        """Fold one micro-batch; returns the (group, key) it touched."""
        touched: list[tuple[str, str]] = []
        for group in self.plan.groups:
            of_key: dict[str, list[int]] = defaultdict(list)
            for index in batch:
                if index in self.rows[group.name]:
                    of_key[self.rows[group.name][index][0]].append(index)
            if of_key:
                self._fold_keys(group, of_key)
            touched.extend((group.name, key) for key in of_key)
        return touched

    def _fold_keys(self, group: GroupPlan, of_key: dict[str, list[int]]) -> None:
        rows = np.stack([self.rows[group.name][index][1] for indices in of_key.values() for index in indices])
        starts = np.cumsum([0, *(len(indices) for indices in of_key.values())]).astype(np.int64)
        folded = self.engines[group.name].fold_many(
            [self.states.get((group.name, key)) for key in of_key], rows, starts
        )
        for (key, indices), packed in zip(of_key.items(), folded.packed, strict=True):
            self.states[(group.name, key)] = packed
            position = self.positions[(group.name, key)]
            for index in indices:
                place = (self.log[index].topic, self.log[index].partition)
                position[place] = max(position.get(place, -1), self.log[index].offset)

    def states_of(self, event: msgspec.Struct) -> list[bytes | None]:
        """The state of every group for the entities a scored event names, in the order a reader takes them."""
        keys = [(group.name, entity_key(group.group.entity, event)) for group in self.plan.groups]
        return [None if key is None else self.states.get((name, key)) for name, key in keys]

    def position_of(self, event: msgspec.Struct) -> dict[str, dict[Place, int]]:
        """The logged P of a decision on `event`: by view group, what each state held when it was read."""
        keys = {group.name: entity_key(group.group.entity, event) for group in self.plan.groups}
        return {name: dict(self.positions[(name, key)]) for name, key in keys.items() if key is not None}

    def known(self, group: str, key: str) -> list[oracle.Known]:
        """Every event of the entity at or below the position of its state."""
        position = self.positions[(group, key)]
        return [
            oracle.Known(self.log[index].source, self.log[index].event)
            for index, (owner, _) in self.rows[group].items()
            if owner == key
            and self.log[index].offset <= position.get((self.log[index].topic, self.log[index].partition), -1)
        ]


class Reader:
    """Reads one service's values, float64 before they become the vector."""

    def __init__(self, plan: EnginePlan) -> None:
        (service,) = plan.registry.services.values()
        self.service = ServicePlan(plan, service)
        self.reader = RequestReader(self.service)

    def read(self, states: Sequence[bytes | None], t: int) -> "Read":
        served = self.reader.read(states, ANY_DEAL, t)
        values = dict(zip(self.service.slots, self.reader._values.tolist(), strict=True))
        status = dict(zip(self.reader.unit_names, zip(served.status, served.age_s, strict=True), strict=True))
        return Read(
            values, {name: (STATUS_NAMES[code], float(age)) for name, (code, age) in status.items()}, served.features
        )


class Read:
    def __init__(self, values: dict[str, float], status: dict[str, tuple[str, float]], features: "np.ndarray") -> None:
        self.values, self.status, self.features = values, status, features


def batch_log(plan: EnginePlan, log: Sequence[Logged]) -> Log:
    """The log as the batch execution takes it: columns of each source, arrivals in any order."""
    found = []
    for source in plan.sources:
        items = [item for item in log if item.source.name == source.name]
        positions = [(item.topic, item.partition, item.offset) for item in items]
        arrivals = [item.arrival_ms for item in items]
        found.append(columns_from_events(plan, source, [item.event for item in items], positions, arrivals))
    return Log(plan, found)


def in_log_order(plan: EnginePlan, log: Sequence[Logged]) -> list[int]:
    """Indices of the log by (arrival, topic, partition, offset), topics in the registry's order."""
    topics = plan.registry.topics
    return sorted(
        range(len(log)),
        key=lambda i: (log[i].arrival_ms, topics.index(log[i].topic), log[i].partition, log[i].offset),
    )


def bits(value: float | None) -> bytes:
    """The float's eight bytes; every null is one."""
    return b"null" if value is None or value != value else struct.pack("<d", value)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal float32 bits; every NaN is one null."""
    return bool(np.all((a.view(np.int32) == b.view(np.int32)) | (np.isnan(a) & np.isnan(b))))


def assert_equal(values: dict[str, float], expected: dict[str, float | None], where: object) -> None:
    """Every value equals the oracle's bit for bit; counts them."""
    wrong = {name: (values[name], value) for name, value in expected.items() if bits(values[name]) != bits(value)}
    assert not wrong, f"(engine, oracle) differ {where}: {wrong}"
    tally.count("reads", len(expected))
