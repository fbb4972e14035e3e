"""Random registries and random logs for the parity suite.

A registry is drawn first, then events whose times lie on, just before and just after the tiles
of a few sizes, so that most of them are ties, late, or at a boundary of some window.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from hypothesis import assume
from hypothesis import strategies as st

from fraud_assets.features.expressions import Expr, col
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
from tests.parity.domain import (
    ACTOR,
    BIGGEST,
    DEALS,
    ENTITIES,
    PINGS,
    SIGNED,
    TRAITS,
    UNSIGNED,
    Deal,
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
    event: msgspec.Struct
    topic: str
    partition: int
    offset: int
    arrival_ms: int


# ------------------------------------------------------------------------------------ declarations


def numbers(source: Source) -> st.SearchStrategy[Expr]:
    """Expressions with an integer value: fields, arithmetic with and between them, comparisons."""
    names = [name for name, item in source.fields.items() if item.kind is Kind.INT and item.bound <= BIGGEST]
    field = st.sampled_from(names).map(col)
    return st.one_of(
        field,
        st.builds(lambda a, n: a * n, field, st.sampled_from([-1, 2, 3])),
        st.builds(lambda a, b: a - b, field, field),
        st.builds(lambda a, b: a // b, field, st.one_of(field, st.just(7))),
        st.builds(lambda a, b: a % b, field, st.one_of(field, st.just(5))),
        conditions(source),
        st.sampled_from([name for name, item in source.fields.items() if item.kind is Kind.BOOL] or names).map(col),
    )


def conditions(source: Source) -> st.SearchStrategy[Expr]:
    """Filters over every kind of field, nulls included, joined by & and |."""
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
    leaf = st.sampled_from(leaves)
    return st.one_of(leaf, st.builds(lambda a, b: a & b, leaf, leaf), st.builds(lambda a, b: a | b, leaf, leaf))


def _aggregated(op: Op, source: Source, entity: Entity) -> st.SearchStrategy[Expr | None]:
    match op:
        case Op.COUNT | Op.FIRST_SEEN_AGE | Op.SINCE_LAST:
            return st.none()
        case Op.MODE:
            return st.sampled_from([col(name) for name, item in source.fields.items() if item.kind is Kind.CATEGORY])
        case Op.DISTINCT:
            return st.sampled_from([col(name) for name in source.fields])
        case _:
            return numbers(source)


@st.composite
def plain_aggregates(draw: st.DrawFn, name: str, entity: Entity, sources: Sequence[Source]) -> Aggregate:
    source = draw(st.sampled_from(list(sources)))
    ops = [Op.COUNT, Op.SUM, Op.MEAN]
    if source is not SIGNED:
        ops += [Op.MIN, Op.MAX, Op.STD, Op.DISTINCT, Op.LAST, Op.FIRST_SEEN_AGE, Op.SINCE_LAST]
    if source in (DEALS, PINGS):
        ops.append(Op.MODE)
    op = draw(st.sampled_from(ops))
    timeless = op in (Op.LAST, Op.FIRST_SEEN_AGE, Op.SINCE_LAST)
    return Aggregate(
        op=op,
        of=draw(_aggregated(op, source, entity)),
        where=None if op is Op.FIRST_SEEN_AGE else draw(st.none() | conditions(source)),
        windows=(LIFETIME,)
        if timeless
        else tuple(draw(st.lists(st.sampled_from(WINDOWS), min_size=1, max_size=3, unique=True))),
        source=source,
        entity=entity,
        name=name if timeless else f"{name}_{{window}}",
        cap=draw(st.sampled_from(CAPS)),
    )


@st.composite
def profile_aggregates(draw: st.DrawFn, name: str) -> Aggregate:
    op = draw(st.sampled_from([Op.PROFILE, Op.PROFILE_AGE]))
    of = (
        col("since_ms") if op is Op.PROFILE_AGE else draw(st.sampled_from([col("level"), col("flag"), col("since_ms")]))
    )
    return Aggregate(op=op, of=of, windows=(LIFETIME,), source=TRAITS, entity=ACTOR, name=name)


@st.composite
def ratios(draw: st.DrawFn, name: str, parts: Sequence[Aggregate]) -> Aggregate:
    numerator = draw(st.sampled_from(list(parts)))
    fitting = [part for part in parts if len(part.windows) in (1, len(numerator.windows))]
    below = draw(st.lists(st.sampled_from(fitting), min_size=1, max_size=2))
    return ratio(numerator, *below, label="share", name=f"{name}_{{window}}")


@st.composite
def views(draw: st.DrawFn, name: str) -> FeatureView:
    """A view of one entity whose state stays within bounds; aggregates that would break them are dropped."""
    if draw(st.integers(0, 5)) == 0:
        found = tuple(draw(profile_aggregates(f"{name}_p{n}")) for n in range(draw(st.integers(1, 3))))
        return _view(draw, name, ACTOR, found)
    entity = draw(st.sampled_from(ENTITIES))
    sources = draw(st.sampled_from([(DEALS,), (DEALS, PINGS), (SIGNED,), (DEALS, SIGNED), (PINGS, UNSIGNED)]))
    parts = [draw(plain_aggregates(f"{name}_a{n}", entity, sources)) for n in range(draw(st.integers(1, 5)))]
    if draw(st.booleans()):
        parts.append(draw(ratios(f"{name}_r", parts)))
    return _view(draw, name, entity, tuple(parts))


def _view(draw: st.DrawFn, name: str, entity: Entity, aggregates: tuple[Aggregate, ...]) -> FeatureView:
    ttl = draw(st.sampled_from([None, None, SECOND_MS, HOUR_MS, 40 * DAY_MS]))
    lateness = draw(st.sampled_from([MIN_LATENESS_MS, HOUR_MS]))
    while True:
        view = FeatureView(name=name, entity=entity, aggregates=aggregates, ttl_ms=ttl, lateness_ms=lateness)
        try:
            Registry((view,))
        except BadFeature as refused:
            if "over 65,536" not in str(refused):
                raise
            aggregates = aggregates[:-1]
            assume(aggregates)
        else:
            return view


@st.composite
def registries(draw: st.DrawFn) -> Registry:
    found = tuple(draw(views(f"v{n}")) for n in range(draw(st.integers(1, 3))))
    return Registry(found, (FeatureService(name="service", scored=DEALS, views=found),))


# ------------------------------------------------------------------------------------------- logs

TILES_MS = (SECOND_MS, MINUTE_MS, 5 * MINUTE_MS, 10 * MINUTE_MS, 30 * MINUTE_MS, HOUR_MS, 12 * HOUR_MS, 5 * DAY_MS)
SMALL = st.integers(-3, 9)
HUGE = st.sampled_from([BIGGEST, -BIGGEST, BIGGEST - 1, 2**31, -(2**32) - 1])
NUMBERS = st.one_of(SMALL, SMALL, SMALL, HUGE)
FLAVOURS = st.sampled_from(list(Flavour))


@st.composite
def times(draw: st.DrawFn, base: int) -> int:
    tile = draw(st.sampled_from(TILES_MS))
    return base + draw(st.integers(-2, 4)) * tile + draw(st.sampled_from([0, 0, -1, 1]))


@st.composite
def events(draw: st.DrawFn, sources: Sequence[Source], base: int, number: int) -> tuple[Source, msgspec.Struct]:
    source = draw(st.sampled_from(list(sources)))
    time, actor = draw(times(base)), draw(st.sampled_from(["a0", "a0", "a1"]))
    place = draw(st.sampled_from([None, "p0", "p0", "p1"]))
    # One id in five is shared, so that `last` must decide by payload.
    id_ = f"id{number}" if draw(st.integers(0, 4)) else "shared"
    if source is DEALS:
        return source, Deal(
            event_time_ms=time, deal_id=id_, actor_id=actor, place_id=place, size=draw(NUMBERS),
            extra=draw(st.none() | NUMBERS), flavour=draw(FLAVOURS), mood=draw(st.none() | FLAVOURS), flag=draw(st.booleans()),
        )  # fmt: skip
    if source is PINGS:
        return source, Ping(
            event_time_ms=time, ping_id=id_, actor_id=actor, place_id=place, level=draw(st.none() | NUMBERS), flavour=draw(FLAVOURS)
        )  # fmt: skip
    if source is TRAITS:
        return source, Trait(
            event_time_ms=time, trait_id=id_, actor_id=actor, since_ms=base + draw(SMALL) * 1_234_567, level=draw(st.none() | NUMBERS),
            flag=draw(st.booleans()),
        )  # fmt: skip
    sign = draw(st.sampled_from([1, 1, -1])) if source is SIGNED else 1
    return source, Verdict(
        event_time_ms=time, fact_id=id_, actor_id=actor, place_id=place, size=draw(NUMBERS), is_bad=draw(st.booleans()), sign=sign
    )  # fmt: skip


@st.composite
def logs(draw: st.DrawFn, sources: Sequence[Source], max_size: int = 30) -> list[Logged]:
    """Events in arrival order over two partitions of each topic, with gaps between offsets."""
    base = draw(st.sampled_from([0, -5 * DAY_MS, ARRIVAL_START_MS, 1_699_920_000_000]))
    count = draw(st.integers(0, max_size))
    found, arrival, offsets = [], ARRIVAL_START_MS, {}
    for number in range(count):
        source, event = draw(events(sources, base, number))
        topic = source.topic or f"batch.{source.table}.v1"
        place = (topic, draw(st.integers(0, 1)))
        offsets[place] = offsets.get(place, -1) + draw(st.sampled_from([1, 1, 3]))
        arrival += draw(st.sampled_from([0, 1, 1000]))
        found.append(Logged(source, event, *place, offsets[place], arrival))
    return found


@st.composite
def worlds(draw: st.DrawFn, max_size: int = 30) -> tuple[Registry, list[Logged]]:
    """A registry and a log of the sources it reads."""
    registry = draw(registries())
    return registry, draw(logs([source for source in registry.sources if source in _read(registry)], max_size))


def _read(registry: Registry) -> set[Source]:
    return {source for unit in registry.units for source in unit.sources}
