"""Parity (a): the state at rest depends on which events arrived, never on their order or partitions."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.engine.batch import Spine, vectors
from fraud_assets.engine.prepare import columns_from_events
from fraud_assets.engine.state import UnitState
from fraud_assets.features.layout import Unit
from fraud_assets.features.registry import Registry
from fraud_assets.features.windows import Window
from tests.domains.deals import DEALS
from tests.parity import oracle, tally
from tests.parity.executions import ANY_DEAL, Reader, Stream, batch_log, batches, interleaved, same_bits
from tests.parity.strategies import ARRIVAL_START_MS, Logged, worlds

AtRest = dict[tuple[str, str], tuple[UnitState, ...]]


def rearranged(log: Sequence[Logged], rng: random.Random, partitions: int) -> list[Logged]:
    """The same events in another arrival order, over other partitions, at other offsets."""
    shuffled = rng.sample(list(log), len(log))
    offsets: dict[tuple[str, int], int] = {}
    found = []
    for item in shuffled:
        place = (item.topic, rng.randrange(partitions))
        offsets[place] = offsets.get(place, -1) + rng.randint(1, 3)
        found.append(replace(item, partition=place[1], offset=offsets[place]))
    return found


def folded(registry: Registry, log: Sequence[Logged], rng: random.Random) -> Stream:
    stream = Stream(registry, log)
    for batch in batches(interleaved(log, rng), rng):
        stream.fold(batch)
    return stream


def at_rest(stream: Stream) -> AtRest:
    return {(group, key): stream.engines[group].at_rest(packed) for (group, key), packed in stream.states.items()}


@tally.examples(90)
@given(world=worlds(), rng=st.randoms(use_true_random=True))
def test_any_arrival_order_and_partitioning_gives_the_same_state_at_rest(
    world: tuple[Registry, list[Logged]], rng: random.Random
) -> None:
    """Equal newest times and equal tiles of every window, word for word."""
    registry, log = world
    expected = at_rest(folded(registry, log, rng))

    for partitions in (1, 3):
        again = at_rest(folded(registry, rearranged(log, rng, partitions), rng))
        assert again == expected
        tally.count("states at rest", len(expected))


@tally.examples(40)
@given(world=worlds(), rng=st.randoms(use_true_random=True))
def test_states_of_any_arrival_order_read_as_the_batch_over_the_log_as_it_was(
    world: tuple[Registry, list[Logged]], rng: random.Random
) -> None:
    """After the last arrival, for every entity, then and at times around its events: the same bits."""
    registry, log = world
    stream = folded(registry, rearranged(log, rng, 3), rng)
    reader, whole = Reader(stream.plan), batch_log(stream.plan, log)
    entities = itertools.product(("a0", "a1"), (None, "p0", "p1"))
    rows = [msgspec.structs.replace(ANY_DEAL, actor_id=actor, place_id=place) for actor, place in entities]
    after = max((item.arrival_ms for item in log), default=ARRIVAL_START_MS) + 1
    around = [item.event.event_time_ms + rng.choice([0, 1, 600_000]) for item in rng.sample(log, min(3, len(log)))]

    asked = [(row, t) for row in rows for t in (after, *around)]
    scored = columns_from_events(
        stream.plan, DEALS, [row for row, _ in asked], [(DEALS.topic or "", 0, n) for n in range(len(asked))], [after] * len(asked)
    )  # fmt: skip
    everything = Spine.at_times(whole, scored, np.full(len(asked), after, np.int64))
    found = vectors(reader.service, whole, replace(everything, time=np.array([t for _, t in asked], np.int64)))

    for (row, t), features in zip(asked, found.features, strict=True):
        assert same_bits(reader.read(stream.states_of(row), t).features, features), (row, t)
        tally.count("rearranged states read as the batch")


@tally.examples(40)
@given(world=worlds(), rng=st.randoms(use_true_random=True))
def test_the_tiles_at_rest_are_those_the_rule_keeps(world: tuple[Registry, list[Logged]], rng: random.Random) -> None:
    """A tile exists exactly where a known event lies at or after floor(newest − window − lateness)."""
    registry, log = world
    stream = folded(registry, log, rng)

    for (name, key), units in at_rest(stream).items():
        known = stream.known(name, key)
        for unit, found in zip(registry.group(name).units, units, strict=True):
            mine = [one.time for one in known if one.source.name in {source.name for source in unit.sources}]
            assert found.newest == max(mine, default=None)
            for window in unit.windows:
                assert set(found.tiles[window.label]) == expected_tiles(unit, window, mine)
                tally.count("windows at rest")


def expected_tiles(unit: Unit, window: Window, times: Sequence[int]) -> set[int]:
    if window.is_lifetime:
        return {0} if times else set()
    newest, h = max(times, default=0), window.tile_ms
    floor = oracle.floor(newest - window.length_ms - unit.view.lateness_ms, h)
    return {time // h for time in times if oracle.floor(time, h) >= floor}


@tally.examples(90)
@given(world=worlds(), rng=st.randoms(use_true_random=True))
def test_merging_states_of_disjoint_events_equals_folding_them_all(
    world: tuple[Registry, list[Logged]], rng: random.Random
) -> None:
    """What Spark partitions and split backfills rest on: merge(state(A), state(B)) = state(A and B)."""
    registry, log = world
    side = [rng.randrange(2) for _ in log]
    left, right = (folded(registry, [item for item, s in zip(log, side, strict=True) if s == k], rng) for k in (0, 1))
    expected = at_rest(folded(registry, log, rng))

    for owner in expected:
        states = [stream.states[owner] for stream in (left, right) if owner in stream.states]
        engine = left.engines[owner[0]]
        whole = engine.merge(*states) if len(states) == 2 else states[0]
        assert engine.at_rest(whole) == expected[owner]
        tally.count("merges at rest", len(states) - 1)


@tally.examples(20)
@given(world=worlds(max_size=15), rng=st.randoms(use_true_random=True))
def test_merging_takes_the_higher_position_of_each_partition(
    world: tuple[Registry, list[Logged]], rng: random.Random
) -> None:
    """A merged state filters a replay of either side's events."""
    registry, log = world
    side = [rng.randrange(2) for _ in log]
    left, right = (folded(registry, [item for item, s in zip(log, side, strict=True) if s == k], rng) for k in (0, 1))

    for owner in left.states.keys() & right.states.keys():
        engine = left.engines[owner[0]]
        one, other = engine.position(left.states[owner]), engine.position(right.states[owner])
        merged = engine.position(engine.merge(left.states[owner], right.states[owner]))
        assert merged == {tp: max(one.get(tp, -1), other.get(tp, -1)) for tp in one | other}
