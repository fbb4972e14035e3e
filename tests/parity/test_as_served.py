"""Parity (b): what a reader sees of a folded state equals the oracle on the events the state knows.

Every comparison is of all the views' features, bit for bit, at many times: before, at and after the
newest event, on the edges of tiles and windows, and after everything has expired.
"""

import random
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fraud_assets.features.registry import Registry
from tests.parity import oracle, tally
from tests.parity.executions import Reader, Stream, assert_equal, batches, bits, interleaved
from tests.parity.strategies import Logged, worlds


def times_to_ask(known: Sequence[oracle.Known], registry: Registry, rng: random.Random, how_many: int) -> list[int]:
    """Times around the newest event, off by a window, a tile or the lateness, and a millisecond either way."""
    newest = max((one.time for one in known), default=1_700_000_000_000)
    windows = [window for unit in registry.units for window in unit.windows if not window.is_lifetime]
    steps = [
        0,
        *(unit.view.lateness_ms for unit in registry.units),
        *(unit.view.ttl_ms or 0 for unit in registry.units),
    ]
    steps += [window.length_ms for window in windows] + [window.tile_ms for window in windows]
    return [
        newest + rng.choice([1, 1, 1, -1]) * rng.choice(steps) + rng.choice([0, 0, 1, -1, 999, -(newest % 1000)])
        for _ in range(how_many)
    ]


def assert_reads_as_the_oracle(stream: Stream, reader: Reader, owner: tuple[str, str], t: int) -> None:
    """All units about one entity at `t`; entities of other groups are unknown to the request."""
    name, key = owner
    states = [stream.states.get(owner) if group.name == name else None for group in reader.service.groups]
    read = reader.read(states, t)
    known = stream.known(name, key)
    for group, _, unit in reader.service.units:
        expected = oracle.answer(unit.view, unit.entity, known if group.name == name else [], t)
        status, age_s = read.status[f"{unit.view.name}@{group.name}"]
        assert (status, bits(age_s)) == (expected.status, bits(expected.age_s))
        assert_equal(read.values, expected.values, f"at {t} for {owner}")
        served = {
            place: expected.values[column]
            for place, column in enumerate(reader.service.names)
            if column in expected.values
        }
        wanted = np.array([np.nan if value is None else value for value in served.values()], np.float64).astype(
            np.float32
        )
        np.testing.assert_array_equal(read.features[list(served)], wanted)


@tally.examples(100)
@given(world=worlds(), rng=st.randoms(use_true_random=True))
def test_a_read_equals_the_oracle_after_every_micro_batch(
    world: tuple[Registry, list[Logged]], rng: random.Random
) -> None:
    """Ties, late and very late events, replays, two partitions a topic, batches of any size."""
    registry, log = world
    stream = Stream(registry, log)
    reader = Reader(stream.plan)

    for batch in batches(interleaved(log, rng), rng):
        for owner in stream.fold(batch):
            for t in times_to_ask(stream.known(*owner), registry, rng, 3):
                assert_reads_as_the_oracle(stream, reader, owner, t)


@tally.examples(30)
@given(world=worlds(), rng=st.randoms(use_true_random=True))
def test_a_position_is_the_highest_offset_delivered_for_the_key(
    world: tuple[Registry, list[Logged]], rng: random.Random
) -> None:
    """P of a state is per entity key: offsets of other keys' events never appear in it."""
    registry, log = world
    stream = Stream(registry, log)

    for batch in batches(interleaved(log, rng), rng):
        for name, key in stream.fold(batch):
            told = stream.engines[name].position(stream.states[(name, key)])
            held = stream.positions[(name, key)]
            assert told == {f"{topic}/{partition}": offset for (topic, partition), offset in held.items()}


@tally.examples(30)
@given(world=worlds(), rng=st.randoms(use_true_random=True))
def test_a_replay_changes_not_one_byte(world: tuple[Registry, list[Logged]], rng: random.Random) -> None:
    """Delivery is at least once; an offset at or below P folds to the same packed state."""
    registry, log = world
    stream = Stream(registry, log)
    order = interleaved(log, rng, replay=0.0)
    for batch in batches(order, rng):
        stream.fold(batch)
    before = dict(stream.states)

    stream.fold(rng.sample(order, len(order)))

    assert stream.states == before


@tally.examples(30)
@given(world=worlds(), rng=st.randoms(use_true_random=True))
def test_micro_batches_of_any_size_fold_to_the_same_bytes(
    world: tuple[Registry, list[Logged]], rng: random.Random
) -> None:
    """One event at a time, all at once, or anything between: equal states, counters included."""
    registry, log = world
    order = interleaved(log, rng)
    one_by_one, at_once, between = Stream(registry, log), Stream(registry, log), Stream(registry, log)

    for index in order:
        one_by_one.fold([index])
    at_once.fold(order)
    for batch in batches(order, rng):
        between.fold(batch)

    assert one_by_one.states == at_once.states == between.states


def test_an_unknown_entity_is_missing_and_all_its_values_are_null(every_op: Registry) -> None:
    """Unknown is null, never 0; only a known entity with an empty window counts 0."""
    reader = Reader(Stream(every_op, []).plan)

    read = reader.read([None] * len(reader.service.groups), 0)

    assert np.isnan(read.features).all()
    assert {status for status, _ in read.status.values()} == {"MISSING"}
