"""Three executions of one declaration: oracle = batch = fold-then-read, at every position of the log."""

import random
from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.engine import batch, batch_blocks
from fraud_assets.engine.batch import Spine, Vectors, vector_chunks, vectors
from fraud_assets.engine.prepare import columns_from_events
from fraud_assets.engine.request import STATUS_NAMES
from fraud_assets.features.language import Op
from fraud_assets.features.registry import Registry
from tests.domains.deals import DEALS
from tests.parity import oracle, tally
from tests.parity.executions import ANY_DEAL, Reader, Stream, batch_log, batches, in_log_order, interleaved, same_bits
from tests.parity.strategies import Logged, some_log, worlds

World = tuple[Registry, list[Logged]]


@pytest.fixture(params=[1, 8192], ids=["a key a block", "usual blocks"], autouse=True)
def block_reads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are computed in blocks; where one ends must not matter."""
    monkeypatch.setattr(batch_blocks, "SHARD_READS", request.param)
    monkeypatch.setattr(batch, "CHUNK_ROWS", request.param)


def deals_of(log: Sequence[Logged]) -> list[Logged]:
    return [item for item in log if item.source is DEALS]


def assert_row(
    found: Vectors, row: int, reader: Reader, event: msgspec.Struct, known: Sequence[oracle.Known], t: int
) -> None:
    """One row of the batch equals the oracle: features as float32, status and age of each view."""
    assert found.status is not None and found.age_s is not None
    names = {name: place for place, name in enumerate(reader.service.names)}
    for place, (group, _, unit) in enumerate(reader.service.units):
        key = oracle.key_of(unit.entity, event)
        mine = [one for one in known if key is not None and oracle.key_of(unit.entity, one.event) == key]
        expected = oracle.answer(unit.view, unit.entity, mine, t)
        assert STATUS_NAMES[found.status[row, place]] == expected.status, (unit.view.name, group.name)
        np.testing.assert_array_equal(found.age_s[row, place], np.float32(float_of(expected.age_s)))
        columns = [names[name] for name in expected.values if name in names]
        wanted = [float_of(value) for name, value in expected.values.items() if name in names]
        wrong = dict(
            zip(
                (n for n in expected.values if n in names),
                zip(found.features[row, columns].tolist(), wanted, strict=True),
                strict=True,
            )
        )
        assert same_bits(found.features[row, columns], np.array(wanted, np.float64).astype(np.float32)), (row, t, wrong)
        tally.count("batch values", len(columns))


def float_of(value: float | None) -> float:
    return float("nan") if value is None else value


@tally.examples(60)
@given(world=worlds())
def test_every_position_of_the_log_gives_the_same_vector_in_all_executions(world: World) -> None:
    """Each deal is read before it is folded, from the state and from the batch, and asked of the oracle."""
    compare_at_every_position(*world)


def compare_at_every_position(registry: Registry, log: Sequence[Logged]) -> Counter[str]:
    """How often a feature had a value, by its name, where all three executions agreed."""
    stream = Stream(registry, log)
    reader, whole = Reader(stream.plan), batch_log(stream.plan, log)
    spine = Spine.of_events(whole, DEALS.name)
    found = vectors(reader.service, whole, spine, freshness=True)
    rows = {id(item): row for row, item in enumerate(deals_of(log))}

    valued: Counter[str] = Counter()
    known: list[oracle.Known] = []
    for index in in_log_order(stream.plan, log):
        item = log[index]
        if id(item) in rows:
            row, t = rows[id(item)], item.event.event_time_ms
            read = reader.read(stream.states_of(item.event), t)
            assert same_bits(found.features[row], read.features)
            tally.count("state vectors equal to batch")
            assert_row(found, row, reader, item.event, known, t)
            values = zip(reader.service.names, read.features.tolist(), strict=True)
            valued.update(name for name, value in values if value == value)
        stream.fold([index])
        known.append(oracle.Known(item.source, item.event))
    return valued


def test_every_operation_there_is_was_compared_with_values(every_op: Registry) -> None:
    """Random registries may miss one; here each `Op` of the language had a value that all executions agreed on."""
    declared = {
        item.feature_name(window): item.op
        for view in every_op.views.values()
        for item in view.resolved
        for window in item.windows
    }
    log = some_log(every_op.sources, 60, random.Random(1))

    compared: Counter[Op] = Counter()
    for name, times in compare_at_every_position(every_op, log).items():
        compared[declared[name]] += times

    for op in Op:
        assert compared[op] > 0, f"no value of {op} was compared"
        tally.count(f"values of {op}", compared[op])


@tally.examples(60)
@given(world=worlds(), rng=st.randoms(use_true_random=True))
def test_a_row_of_entity_and_time_knows_what_had_arrived_before_that_time(world: World, rng: random.Random) -> None:
    """Spines of given rows: any times, in any order, several rows of one entity, entities the log never saw."""
    registry, log = world
    plan_of = Stream(registry, log).plan
    reader, whole = Reader(plan_of), batch_log(plan_of, log)
    rows = [rng.choice(deals_of(log)).event for _ in range(8)] if deals_of(log) else []
    rows += [msgspec.structs.replace(row, actor_id="stranger") for row in rows[:1]]
    times = [rng.choice(log).arrival_ms + rng.choice([0, 1, 60_000]) for _ in rows]
    scored = columns_from_events(plan_of, DEALS, rows, [(DEALS.topic or "", 0, n) for n in range(len(rows))], times)

    found = vectors(reader.service, whole, Spine.at_times(whole, scored, np.array(times, np.int64)), freshness=True)

    for row, (event, t) in enumerate(zip(rows, times, strict=True)):
        known = [oracle.Known(item.source, item.event) for item in log if item.arrival_ms < t]
        assert_row(found, row, reader, event, known, t)


@tally.examples(60)
@given(world=worlds(), rng=st.randoms(use_true_random=True))
def test_recomputing_up_to_the_logged_position_gives_the_served_vector(world: World, rng: random.Random) -> None:
    """Parity (b): states lag and differ by group, and each decision's own P says what it knew."""
    registry, log = world
    stream = Stream(registry, log)
    reader, whole = Reader(stream.plan), batch_log(stream.plan, log)
    asked, served = [], []
    for part in batches(interleaved(log, rng), rng):
        stream.fold(part)
        for item in rng.sample(deals_of(log), min(2, len(deals_of(log)))):
            t = item.event.event_time_ms + rng.choice([0, 1, 600_000])
            asked.append((item.event, t, stream.position_of(item.event)))
            served.append(reader.read(stream.states_of(item.event), t).features)
    order = rng.sample(range(len(asked)), len(asked))
    rows, times = [asked[i][0] for i in order], [asked[i][1] for i in order]
    scored = columns_from_events(stream.plan, DEALS, rows, [(DEALS.topic or "", 0, n) for n in range(len(rows))], times)

    spine = Spine.at_positions(scored, np.array(times, np.int64), [asked[i][2] for i in order])
    found = vectors(reader.service, whole, spine)

    for row, i in enumerate(order):
        assert same_bits(found.features[row], served[i]), asked[i]
        tally.count("served vectors recomputed")


@tally.examples(10)
@given(world=worlds())
def test_chunks_and_scratch_files_change_no_bit(world: World) -> None:
    """Above SPILL_ROWS values wait in files; the vectors are the same."""
    registry, log = world
    stream = Stream(registry, log)
    reader, whole = Reader(stream.plan), batch_log(stream.plan, log)
    spine = Spine.of_events(whole, DEALS.name)
    expected = vectors(reader.service, whole, spine)

    for limit in (10**9, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(batch, "SPILL_ROWS", limit)
            chunks = list(vector_chunks(reader.service, whole, spine))
        assert [chunk.first for chunk in chunks] == list(np.cumsum([0, *(len(c.features) for c in chunks)])[:-1])
        joined = np.concatenate([chunk.features for chunk in chunks]) if chunks else expected.features
        assert same_bits(joined, expected.features)


def test_positions_of_two_epochs_stay_apart(every_op: Registry) -> None:
    """A state rebuilt under a new epoch may hold another part of the log; each decision gets its own."""
    deals = [
        Logged(DEALS, event, "deals.v1", partition, 0, 1_000)
        for partition, event in enumerate(msgspec.structs.replace(ANY_DEAL, deal_id=name) for name in "xy")
    ]
    stream = Stream(every_op, deals)
    whole, reader = batch_log(stream.plan, deals), Reader(stream.plan)
    positions = [{"actor": {("deals.v1", 0): 0}}, {"actor": {("deals.v1", 1): 0}}]
    scored = whole.columns[DEALS.name]

    spine = Spine.at_positions(scored, scored.time, positions)

    found = vectors(reader.service, whole, spine)

    alone = [vectors(reader.service, whole, spine.take(np.array([row]))).features for row in range(2)]
    assert same_bits(found.features, np.concatenate(alone))
    both = Spine.at_positions(scored, scored.time, [{"actor": positions[0]["actor"] | positions[1]["actor"]}] * 2)
    assert not same_bits(found.features, vectors(reader.service, whole, both).features)
