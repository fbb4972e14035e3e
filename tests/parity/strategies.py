"""Random registries and random logs for the parity suite.

A registry is drawn first, then events whose times lie on, just before and just after the tiles
of a few sizes, so that most of them are ties, late, or at a boundary of some window.

Hypothesis draws the sizes, which it can shrink, and one seed; the seed draws the rest. Drawing every
field by Hypothesis gave logs of eight events, in which no mode had a tie and no set reached its cap.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from fraud_assets.features.expressions import UNIT, Expr, col, cosine, sine
from fraud_assets.features.language import Aggregate, BadFeature, FeatureService, FeatureView, Op, ratio
from fraud_assets.features.registry import Registry
from fraud_assets.features.sources import Entity, Kind, Source
from fraud_assets.features.windows import (
    DAY_MS,
    HOUR_MS,
    LIFETIME,
    MIN_LATENESS_MS,
    MINUTE_MS,
    SECOND_MS,
    days,
    hours,
    minutes,
    seconds,
)
from tests.domains.deals import (
    ACTOR,
    BIGGEST,
    DEALS,
    ENTITIES,
    PINGS,
    SIGNED,
    TRAITS,
    UNSIGNED,
    Deal,
    Event,
    Flavour,
    Ping,
    Trait,
    Verdict,
)

WINDOWS = (seconds(1), seconds(90), minutes(7), hours(1), hours(24), days(30), LIFETIME)
CAPS = (2, 3, 5)

# Imported history ends at this arrival time; the live log begins after it.
ARRIVAL_START_MS = 1_700_000_000_000


@dataclass(frozen=True)
class Logged:
    """One event where and when its raw topic holds it."""

    source: Source
    event: Event
    topic: str
    partition: int
    offset: int
    arrival_ms: int


# ------------------------------------------------------------------------------------ declarations


def numbers(source: Source, rng: random.Random) -> Expr:
    """An expression with an integer value: a field, arithmetic with and between fields, a comparison."""
    names = [name for name, item in source.fields.items() if item.kind is Kind.INT and item.bound <= BIGGEST]
    flags = [name for name, item in source.fields.items() if item.kind is Kind.BOOL]
    a, b = col(rng.choice(names)), col(rng.choice(names))
    made: list[Expr] = [a, a, a * rng.choice([-1, 2, 3]), a - b, a // rng.choice([b, 7]), a % rng.choice([b, 5]),
                        a.or_else(b), a.or_else(rng.choice([0, -1])), sine(a * 1_000_000), cosine(a * 1_000_003) * sine(b) // UNIT]  # fmt: skip
    return rng.choice([*made, conditions(source, rng), col(rng.choice(flags or names))])


def conditions(source: Source, rng: random.Random) -> Expr:
    """A filter over any kind of field, nulls included, sometimes two joined by & or |."""
    leaves: list[Expr] = []
    for name, item in source.fields.items():
        if item.kind is Kind.INT and item.bound <= BIGGEST:
            leaves += [col(name) >= 0, col(name) != 3, col(name) < 5, col(name) <= -1, col(name) > 1]
        elif item.kind is Kind.BOOL:
            leaves += [col(name) == True, col(name) != True]  # noqa: E712  # a tree, not a truth value
        elif item.kind is Kind.CATEGORY:
            leaves += [col(name).is_in("sweet", "sour"), col(name) != "umami", col(name) < "salty"]
        elif name == "place_id":
            leaves += [col(name) == "p0", col(name) != "p0"]
    one, other = rng.choice(leaves), rng.choice(leaves)
    return rng.choice([one, one, one & other, one | other])


def _aggregated(op: Op, source: Source, rng: random.Random) -> Expr | None:
    match op:
        case Op.COUNT | Op.FIRST_SEEN_AGE | Op.SINCE_LAST:
            return None
        case Op.MODE:
            return col(rng.choice([name for name, item in source.fields.items() if item.kind is Kind.CATEGORY]))
        case Op.DISTINCT:
            return rng.choice([col(rng.choice(list(source.fields))), col("place_id").or_else(col("actor_id"))])
        case _:
            return numbers(source, rng)


def plain_aggregate(name: str, entity: Entity, sources: Sequence[Source], rng: random.Random) -> Aggregate:
    source = rng.choice(sources)
    ops = [Op.COUNT, Op.SUM, Op.MEAN]
    if source is not SIGNED:
        ops += [Op.MIN, Op.MAX, Op.STD, Op.DISTINCT, Op.LAST, Op.FIRST_SEEN_AGE, Op.SINCE_LAST]
    if source in (DEALS, PINGS):
        ops.append(Op.MODE)
    op = rng.choice(ops)
    timeless = op in (Op.LAST, Op.FIRST_SEEN_AGE, Op.SINCE_LAST)
    return Aggregate(
        op=op,
        of=_aggregated(op, source, rng),
        where=None if op is Op.FIRST_SEEN_AGE or rng.random() < 0.4 else conditions(source, rng),
        windows=(LIFETIME,) if timeless else tuple(rng.sample(WINDOWS, rng.randint(1, 3))),
        source=source,
        entity=entity,
        name=name if timeless else f"{name}_{{window}}",
        cap=rng.choice(CAPS),
    )


def profile_aggregate(name: str, rng: random.Random) -> Aggregate:
    op = rng.choice([Op.PROFILE, Op.PROFILE_AGE])
    of = "since_ms" if op is Op.PROFILE_AGE else rng.choice(["level", "flag", "since_ms"])
    return Aggregate(op=op, of=col(of), windows=(LIFETIME,), source=TRAITS, entity=ACTOR, name=name)


def some_ratio(name: str, parts: Sequence[Aggregate], rng: random.Random) -> Aggregate:
    numerator = rng.choice(parts)
    fitting = [part for part in parts if len(part.windows) in (1, len(numerator.windows))]
    below = [rng.choice(fitting) for _ in range(rng.randint(1, 2))]
    return ratio(numerator, *below, label="share", name=f"{name}_{{window}}")


def some_view(name: str, aggregates: int, rng: random.Random) -> FeatureView:
    """A view of one entity whose state stays within bounds; aggregates that would break them are left out."""
    if rng.random() < 0.2:
        profiles = [profile_aggregate(f"{name}_p{n}", rng) for n in range(min(3, aggregates))]
        return _declared(name, ACTOR, profiles, rng)
    entity = rng.choice(ENTITIES)
    sources = rng.choice([(DEALS,), (DEALS, PINGS), (SIGNED,), (DEALS, SIGNED), (PINGS, UNSIGNED)])
    parts = [plain_aggregate(f"{name}_a{n}", entity, sources, rng) for n in range(aggregates)]
    if rng.random() < 0.5:
        parts.append(some_ratio(f"{name}_r", parts, rng))
    return _declared(name, entity, parts, rng)


def _declared(name: str, entity: Entity, aggregates: Sequence[Aggregate], rng: random.Random) -> FeatureView:
    ttl = rng.choice([None, None, SECOND_MS, HOUR_MS, 40 * DAY_MS])
    lateness = rng.choice([MIN_LATENESS_MS, HOUR_MS])
    kept: list[Aggregate] = []
    for item in aggregates:
        try:
            Registry((_view(name, entity, [*kept, item], ttl, lateness),))
        except BadFeature as refused:
            if "over 65,536" not in str(refused):
                raise
        else:
            kept.append(item)
    return _view(name, entity, kept or [Aggregate(op=Op.LAST, of=col("event_time_ms"), windows=(LIFETIME,), source=DEALS, name=f"{name}_l")], ttl, lateness)  # fmt: skip


def _view(name: str, entity: Entity, aggregates: Sequence[Aggregate], ttl: int | None, lateness: int) -> FeatureView:
    return FeatureView(name=name, entity=entity, aggregates=tuple(aggregates), ttl_ms=ttl, lateness_ms=lateness)


# ------------------------------------------------------------------------------------------- logs

TILES_MS = (SECOND_MS, MINUTE_MS, 5 * MINUTE_MS, 10 * MINUTE_MS, 30 * MINUTE_MS, HOUR_MS, 12 * HOUR_MS, 5 * DAY_MS)
HUGE = (BIGGEST, -BIGGEST, BIGGEST - 1, 2**31, -(2**32) - 1)
FLAVOURS = list(Flavour)


def number(rng: random.Random) -> int:
    return rng.choice(HUGE) if rng.random() < 0.2 else rng.randint(-3, 9)


def event_of(source: Source, time: int, base: int, serial: int, rng: random.Random) -> Event:
    actor, place = rng.choice(["a0", "a0", "a0", "a1"]), rng.choice([None, "p0", "p0", "p1"])
    # One id in five is shared, so that `last` must decide by payload.
    id_ = f"id{serial}" if rng.random() < 0.8 else "shared"
    maybe = rng.choice([None, number(rng)])
    if source is DEALS:
        return Deal(
            event_time_ms=time, deal_id=id_, actor_id=actor, place_id=place, size=number(rng), extra=maybe,
            flavour=rng.choice(FLAVOURS), mood=rng.choice([None, *FLAVOURS]), flag=rng.random() < 0.5,
        )  # fmt: skip
    if source is PINGS:
        return Ping(event_time_ms=time, ping_id=id_, actor_id=actor, place_id=place, level=maybe, flavour=rng.choice(FLAVOURS))  # fmt: skip
    if source is TRAITS:
        since = base + rng.randint(-3, 9) * 1_234_567
        return Trait(event_time_ms=time, trait_id=id_, actor_id=actor, since_ms=since, level=maybe, flag=rng.random() < 0.5)  # fmt: skip
    sign = rng.choice([1, 1, -1]) if source is SIGNED else 1
    return Verdict(
        event_time_ms=time, fact_id=id_, actor_id=actor, place_id=place, size=number(rng), is_bad=rng.random() < 0.5, sign=sign
    )  # fmt: skip


def some_log(sources: Sequence[Source], size: int, rng: random.Random) -> list[Logged]:
    """Events in arrival order over two partitions of each topic, with gaps between offsets.

    A shorter log of the same seed is the beginning of the longer one, so that failures shrink.
    """
    base = rng.choice([0, -5 * DAY_MS, ARRIVAL_START_MS, 1_699_920_000_000])
    tiles = rng.sample(TILES_MS, 3)
    found: list[Logged] = []
    offsets: dict[tuple[str, int], int] = {}
    arrival = ARRIVAL_START_MS
    for serial in range(size):
        source = rng.choice(sources)
        time = base + rng.randint(-2, 4) * rng.choice(tiles) + rng.choice([0, 0, -1, 1])
        event = event_of(source, time, base, serial, rng)
        place = (source.topic or f"batch.{source.table}.v1", rng.randint(0, 1))
        offsets[place] = offsets.get(place, -1) + rng.choice([1, 1, 3])
        arrival += rng.choice([0, 1, 1000])
        found.append(Logged(source, event, *place, offsets[place], arrival))
    return found


@st.composite
def worlds(draw: st.DrawFn, max_size: int = 50) -> tuple[Registry, list[Logged]]:
    """A registry and a log of the sources it reads."""
    rng = draw(st.randoms(use_true_random=True))
    # Sampled, for integers() prefers the small ones by far.
    count, size = draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from([1, 3, 5, 7, 9]))
    events = draw(st.sampled_from([0, 1, 2, 5, *range(10, max_size)]))
    found = tuple(some_view(f"v{n}", size, rng) for n in range(count))
    registry = Registry(found, (FeatureService(name="service", scored=DEALS, views=found),))
    read = {source.name for unit in registry.units for source in unit.sources}
    return registry, some_log([source for source in registry.sources if source.name in read], events, rng)
