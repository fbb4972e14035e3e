"""States: how large they can get, and what they remember beside tiles."""

import random

import numpy as np
import pytest

from fraud_assets.engine.kernels import NULL, ROW_INPUTS, ROW_TIME
from fraud_assets.engine.plan import EnginePlan, Ints
from fraud_assets.engine.state import StateEngine
from fraud_assets.engine.tile_kernels import RECENT
from fraud_assets.features.catalogue import handbook, sparkov, ticketing
from fraud_assets.features.layout import Acc, Unit
from fraud_assets.features.registry import Registry
from fraud_assets.features.sources import MAX_VALUE
from fraud_assets.features.windows import DAY_MS
from tests.domains.every_op import make_registry

NEWEST = 4_102_444_799_999  # the last millisecond a contract allows: the longest tile numbers
BIG_COUNT = 2**33

UNITS = [
    pytest.param(registry, unit, id=f"{unit.view.name}@{unit.entity.name}")
    for registry in (ticketing.registry(), handbook.registry(), sparkov.registry(), make_registry())
    for unit in registry.units
    if unit.worst_bytes > 4_000 or registry.units[0].view.name == "deals_view"
]


def worst_rows(plan: EnginePlan, unit: Unit, rng: random.Random) -> Ints:
    """Events that fill every tile of every window with numbers that weigh the most."""
    group = plan.group(unit.entity.name)
    times = {NEWEST}
    for window in unit.windows:
        for tile in range(window.max_tiles(unit.view.lateness_ms)):
            times.add(NEWEST - tile * window.tile_ms)
    caps = [spec.cap for accs in unit.windows.values() for spec in accs.values()]
    each = max(1, *caps) + 2
    rows = np.full((len(times) * each, group.row_width), NULL, np.int64)
    rows[:, 0] = np.repeat(sorted(times), each)
    rows[:, 1], rows[:, 2] = plan.topic_code(plan.registry.topics[-1], 2**20 - 1), np.arange(len(rows)) + 2**40
    rows[:, 3] = plan.source_number(unit.sources[0])
    rows[:, 4:6] = [[rng.getrandbits(63) for _ in range(2)] for _ in rows]
    for place, item in enumerate(group.inputs):
        if item.of is None:
            rows[:, ROW_INPUTS + place] = BIG_COUNT // each
        elif item.hashed:
            rows[:, ROW_INPUTS + place] = [rng.getrandbits(63) for _ in rows]
        else:
            rows[:, ROW_INPUTS + place] = MAX_VALUE
    return rows


@pytest.mark.parametrize(("registry", "unit"), UNITS)
def test_the_worst_state_packs_within_the_bytes_the_registry_promised(registry: Registry, unit: Unit) -> None:
    """Every tile there, every set over its cap, every number near its bound: 64 KiB was checked against this."""
    alone = Registry((unit.view,))
    plan = EnginePlan(alone)
    engine = StateEngine(plan, plan.group(unit.entity.name))
    mine = next(found for found in alone.units if found.entity == unit.entity)

    (packed,) = engine.fold(None, worst_rows(plan, mine, random.Random(1))).packed

    (found,) = engine.at_rest(packed)
    assert sum(map(len, found.tiles.values())) >= sum(w.max_tiles(unit.view.lateness_ms) - 1 for w in mine.windows)
    head = 1 + 1 + 2 * 10 + 8 * RECENT
    assert len(packed) - head <= mine.worst_bytes <= 3 * len(packed)


@pytest.fixture
def engine() -> StateEngine:
    plan = EnginePlan(make_registry())
    return StateEngine(plan, plan.group("actor"))


def deals(engine: StateEngine, count: int, first: int = 0) -> Ints:
    rows = np.full((count, engine.group.row_width), NULL, np.int64)
    rows[:, 0] = 1_700_000_000_000 + np.arange(count) * 1000
    rows[:, 1], rows[:, 2] = engine.plan.topic_code("deals.v1", 0), np.arange(first, first + count)
    rows[:, 3] = next(n for n, source in enumerate(engine.plan.sources) if source.name == "deals")
    rows[:, 4] = 1000 + np.arange(first, first + count)
    return rows


def test_folding_tells_which_rows_were_new(engine: StateEngine) -> None:
    """The worker counts replays by this; a replay in the same micro-batch is one too."""
    rows = deals(engine, 3)
    first = engine.fold(None, rows[[0, 1, 1]])
    again = engine.fold(first.packed[0], rows)
    assert first.applied.tolist() == [True, True, False]
    assert again.applied.tolist() == [False, False, True]


def test_many_entities_fold_as_each_alone(engine: StateEngine) -> None:
    rows = deals(engine, 9)
    starts = np.array([0, 2, 2, 9], np.int64)
    before = engine.fold(None, deals(engine, 2, first=-5)).packed[0]
    together = engine.fold_many([None, before, before], rows, starts)
    alone = [engine.fold(state, rows[a:b]).packed[0] for state, a, b in ((None, 0, 2), (before, 2, 2), (before, 2, 9))]
    assert together.packed == alone


@pytest.mark.parametrize("room", [1, 100, 1_000])
def test_a_fold_makes_more_room_where_it_has_none(engine: StateEngine, room: int) -> None:
    """A row can widen the columns of all tiles before it; what was folded by then stays, and is folded once."""
    rows, starts = deals(engine, 9), np.array([0, 2, 2, 9], np.int64)
    rows[-1, ROW_INPUTS:] = MAX_VALUE
    before = engine.fold(None, deals(engine, 40, first=-50)).packed[0]
    together = engine.fold_many([None, before, before], rows, starts)

    engine._out = np.empty(room, np.uint8)
    engine._reserve = lambda size, rows: None  # type: ignore[method-assign]
    again = engine.fold_many([None, before, before], rows, starts)

    assert again.packed == together.packed
    assert again.applied.tolist() == together.applied.tolist()
    merged = engine.merge(before, together.packed[0])
    engine._out = np.empty(room, np.uint8)
    assert engine.merge(before, together.packed[0]) == merged


@pytest.mark.parametrize("seed", range(5))
def test_a_state_has_the_same_bytes_however_its_rows_came_together(engine: StateEngine, seed: int) -> None:
    """Also after outliers have expired: a column is as narrow as what it holds, whatever it held."""
    rng = random.Random(seed)
    rows = deals(engine, 60)
    rows[:, ROW_TIME] += np.sort([rng.randrange(60 * DAY_MS) for _ in rows])
    rows[:, ROW_TIME] -= [rng.choice([0, 0, 0, 300_000]) for _ in rows]
    rows[:, ROW_INPUTS:] = [
        [rng.choice([NULL, 0, 1, -128, rng.getrandbits(rng.randrange(1, 41))]) for _ in engine.group.inputs]
        for _ in rows
    ]

    alone, by_five = None, None
    for n in range(len(rows)):
        alone = engine.fold(alone, rows[n : n + 1]).packed[0]
    for n in range(0, len(rows), 5):
        by_five = engine.fold(by_five, rows[n : n + 5]).packed[0]

    assert alone == by_five == engine.fold(None, rows).packed[0]


def test_rows_of_another_width_are_refused(engine: StateEngine) -> None:
    with pytest.raises(ValueError, match=r"rows of actor have \d+ columns, got shape \(1, 3\)"):
        engine.fold(None, np.zeros((1, 3), np.int64))


def test_a_state_remembers_its_last_scored_ids_newest_first(engine: StateEngine) -> None:
    """So that a scorer can tell that it reads its own transaction; older ones are forgotten."""
    packed = engine.fold(None, deals(engine, RECENT + 3)).packed[0]
    raw = np.frombuffer(packed, np.uint8)
    # One position, so the ids follow the version, the count and one (partition, offset) pair.
    at = 2
    for _ in range(2):
        while raw[at] & 128:
            at += 1
        at += 1
    ids = np.frombuffer(packed[at : at + 8 * RECENT], "<i8").tolist()
    assert ids == [1000 + RECENT + 2 - n for n in range(RECENT)]


def test_every_accumulator_is_packed_in_these_tests() -> None:
    """A new accumulator must be added to the registry of this suite."""
    kept = {spec.acc for unit in make_registry().units for accs in unit.windows.values() for spec in accs.values()}
    assert kept == set(Acc)
