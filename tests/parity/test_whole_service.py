"""The production service over a simulated fortnight: 340 features and more, batch against states, bit for bit.

The random registries of this suite have no request features; here every feature that is served is read
from folded states just before its transaction is folded, and compared with the batch.
"""

from collections import defaultdict
from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from fraud_assets.contracts.events import ActivityKind
from fraud_assets.engine.batch import Log, Spine, vectors
from fraud_assets.engine.plan import EnginePlan, GroupPlan, Ints, ServicePlan
from fraud_assets.engine.prepare import entity_key, rows_of
from fraud_assets.engine.request import RequestReader
from fraud_assets.engine.state import StateEngine
from fraud_assets.features.catalogue.sources import ACTIVITY, TRANSACTIONS
from fraud_assets.features.catalogue.ticketing import EVENT_PRICING
from fraud_assets.features.sources import Source
from fraud_assets.stores.history import HistoryReader
from fraud_assets.stores.lake import Lake
from tests.history import Past, make_past
from tests.parity import tally
from tests.parity.executions import same_bits

Event = tuple[int, Source, int, msgspec.Struct]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Past:
    return make_past(tmp_path_factory.mktemp("past"), rate_per_day=60)


@pytest.fixture(scope="module")
def past(made: Past) -> tuple[ServicePlan, Log, list[Event]]:
    """The service, the log, and every event as a struct: (rank, source, place in its columns, event)."""
    log = HistoryReader(made.lake, made.plan).log(made.service.sources)
    events: list[Event] = []
    for name, columns in log.columns.items():
        structs = structs_of(made.lake, columns.source)
        events.extend((int(rank), columns.source, place, structs[place]) for place, rank in enumerate(log.ranks[name]))
    return made.service, log, sorted(events, key=lambda event: event[0])


def structs_of(lake: Lake, source: Source) -> list[msgspec.Struct]:
    """A lake table's rows as its contract, in log order, as the worker decodes them."""
    names = set(source.contract.__struct_fields__)
    rows = lake.scan(source.table).to_pylist()
    return [
        msgspec.convert({name: value for name, value in row.items() if name in names}, source.contract) for row in rows
    ]


class Worker:
    """States of every group, folded one event at a time."""

    def __init__(self, plan: EnginePlan, log: Log, groups: Sequence[GroupPlan] = ()) -> None:
        self.groups = {group.name: (group, StateEngine(plan, group)) for group in groups or plan.groups}
        self.rows: dict[tuple[str, str], Ints] = {
            (group.name, source.name): rows_of(plan, group, log.columns[source.name])
            for group in plan.groups
            for source in group.sources
            if source.name in log.columns
        }
        self.states: dict[tuple[str, str], bytes] = defaultdict(bytes)

    def fold(self, event: Event) -> None:
        _, source, place, struct = event
        for name, (group, engine) in self.groups.items():
            key = entity_key(group.group.entity, struct) if (name, source.name) in self.rows else None
            if key is not None:
                row = self.rows[(name, source.name)][place : place + 1]
                self.states[(name, key)] = engine.fold(self.states[(name, key)] or None, row).packed[0]

    def states_for(self, reader: RequestReader, struct: msgspec.Struct) -> list[bytes | None]:
        keys = [(group.name, entity_key(group.group.entity, struct)) for group in reader.groups]
        return [None if key is None else self.states.get((name, key)) for name, key in keys]


def test_every_served_feature_is_the_same_from_states_and_from_the_batch(
    past: tuple[ServicePlan, Log, list[Event]],
) -> None:
    """Request features included; a transaction is not yet in the states when it is scored, and is afterwards."""
    service, log, events = past
    worker, reader = Worker(service.engine, log), RequestReader(service)
    scored = service.service.scored
    found = vectors(service, log, Spine.of_events(log, scored.name), freshness=True)
    assert found.status is not None and found.age_s is not None

    for event in events:
        _, source, place, struct = event
        if source is scored:
            t, own_id = int(log.columns[source.name].time[place]), str(getattr(struct, source.id_field))
            read = reader.read(worker.states_for(reader, struct), struct, t, own_id)
            assert_same(read.features, found.features[place], service.names)
            assert read.status.tolist() == found.status[place].tolist()
            np.testing.assert_array_equal(read.age_s.astype(np.float32), found.age_s[place])
            assert not read.self_included
            worker.fold(event)
            assert reader.read(worker.states_for(reader, struct), struct, t, own_id).self_included
        else:
            worker.fold(event)


def test_what_pricing_reads_of_an_event_is_the_same_from_states_and_from_the_batch(
    made: Past, past: tuple[ServicePlan, Log, list[Event]]
) -> None:
    """Just before each payment, page view, inventory count and closing, as of its time."""
    _, log, events = past
    service = ServicePlan(made.plan, EVENT_PRICING)
    reader = RequestReader(service)
    worker = Worker(made.plan, log, reader.groups)
    seen = log.columns[ACTIVITY.name]
    found = {
        TRANSACTIONS.name: vectors(service, log, Spine.of_events(log, TRANSACTIONS.name)).features,
        ACTIVITY.name: vectors(service, log, Spine.at_times(log, seen, seen.time)).features,
    }

    last_ms, compared = 0, set[str]()
    for event in events:
        _, source, place, struct = event
        t = int(log.columns[source.name].time[place])
        # Of one moment a row without a decision knows nothing.
        if source is TRANSACTIONS or (source is ACTIVITY and t > last_ms):
            read = reader.read(worker.states_for(reader, struct), struct, t, "")
            assert_same(read.features, found[source.name][place], service.names)
            compared |= {f"{source.name} {getattr(struct, 'kind', '')}".strip(), *_known(read.features, service.names)}
        last_ms = max(last_ms, t)
        worker.fold(event)

    kinds = {f"{ACTIVITY.name} {kind.value}" for kind in ActivityKind}
    assert compared >= {TRANSACTIONS.name, *kinds, *service.names}


def _known(values: np.ndarray, names: tuple[str, ...]) -> list[str]:
    return [name for name, value in zip(names, values, strict=True) if value == value]


def assert_same(read: np.ndarray, batch: np.ndarray, names: tuple[str, ...]) -> None:
    wrong = {
        name: (float(a), float(b)) for name, a, b in zip(names, read, batch, strict=True) if not same_bits(a[None], b[None])
    } if not same_bits(read, batch) else {}  # fmt: skip
    assert not wrong, f"(state, batch) differ: {wrong}"
    tally.count("served values", len(names))


def test_copies_that_the_worker_marked_change_no_vector(made: Past, past: tuple[ServicePlan, Log, list[Event]]) -> None:
    """Every third event of every source was delivered again, later in its log; the lake keeps both, the batch one."""
    service, log, _ = past
    before = vectors(service, log, Spine.of_events(log, service.service.scored.name)).features
    copies = {source.table: marked_copies(made.lake.scan(source.table)) for source in service.sources}

    for table, rows in copies.items():
        made.lake.append(table, rows, "copies")

    again = HistoryReader(made.lake, made.plan).log(service.sources)
    after = vectors(service, again, Spine.of_events(again, service.service.scored.name)).features
    for table, rows in copies.items():
        kept, whole = made.lake.scan(table), made.lake.scan(table, duplicates=True)
        assert rows.num_rows and whole.num_rows == kept.num_rows + rows.num_rows
    assert after.shape == before.shape
    assert same_bits(after, before)
    tally.count("values beside marked copies", before.size)


def marked_copies(rows: pa.Table) -> pa.Table:
    """A third of the rows as the router writes what it has seen before: at other offsets, a minute later."""
    some = rows.take(np.arange(0, rows.num_rows, 3))
    changed = {
        "source_offset": pa.array(some["source_offset"].to_numpy() + rows.num_rows),
        "ingested_at_ms": pa.array(some["ingested_at_ms"].to_numpy() + 60_000),
        "is_duplicate": pa.array(np.ones(some.num_rows, bool)),
    }
    for name, column in changed.items():
        some = some.set_column(some.schema.get_field_index(name), name, column)
    return some
