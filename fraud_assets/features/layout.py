"""What a view keeps for an entity: accumulators, their inputs, and the most they can weigh.

Every aggregate is made of a few mergeable accumulators of fixed width in 64-bit words. Two
aggregates that need the same accumulator over the same window share it.
"""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from fraud_assets.features.checks import may_be_null
from fraud_assets.features.expressions import Col, Expr
from fraud_assets.features.language import Aggregate, BadFeature, FeatureView, Op
from fraud_assets.features.sources import Entity, LabelFactSource, Source
from fraud_assets.features.windows import LIFETIME, Window

# A view above this would make one Redis read and one write of a hot entity slower than the budget
# of a whole decision.
MAX_STATE_BYTES = 64 * 1024

# Of packed states, and part of every group's digest: a store or a kept snapshot of another format is one of other definitions.
STATE_FORMAT = 4

# Versions of a profile a state remembers; a decision older than all of them reads null everywhere.
PROFILE_VERSIONS = 4

# Bytes of a window besides its columns and their widths: how many tiles, its length of three bytes, the first tile's number.
WINDOW_HEAD = 2 + 3 + 8
# What such a length can say.
MAX_WINDOW_BYTES = 2**24 - 1

InputKey = tuple[str, str, str, str, bool, bool]

PROFILE_OPS = frozenset({Op.PROFILE, Op.PROFILE_AGE})


class Acc(enum.IntEnum):
    """Kinds of accumulator; the numbers are part of the packed format and of every digest."""

    COUNT = 0
    SUM = 1
    SQUARES = 2
    MIN = 3
    MAX = 4
    DISTINCT = 5
    MODE = 6
    LAST = 7
    PROFILE = 8


class Out(enum.IntEnum):
    """How accumulators become one float64."""

    COUNT = 0
    SUM = 1
    MEAN = 2
    STD = 3
    MIN = 4
    MAX = 5
    DISTINCT = 6
    MODE = 7
    LAST = 8
    AGE_OF_MIN = 9
    AGE_OF_MAX = 10
    PROFILE = 11
    PROFILE_AGE = 12


@dataclass(frozen=True, eq=False)
class Input:
    """One int64 column an accumulator takes of its source's events.

    of: the value, or None for 1. present: the event counts only where this is not null.
    hashed: the value is replaced by its 63-bit hash (what distinct compares).
    """

    source: Source
    of: Expr | None
    where: Expr | None
    present: Expr | None = None
    signed: bool = False
    hashed: bool = False

    def key(self) -> InputKey:
        """Equality by meaning; expressions compare into trees, so `==` cannot be used."""
        return self._key

    @cached_property
    def _key(self) -> InputKey:
        return (self.source.name, repr(self.of), repr(self.where), repr(self.present), self.signed, self.hashed)


@dataclass(frozen=True, eq=False)
class AccSpec:
    """One accumulator of a tile; `inputs` are several for a profile, one otherwise."""

    acc: Acc
    inputs: tuple[Input, ...]
    cap: int = 0

    def key(self) -> tuple[object, ...]:
        return self._key

    @cached_property
    def _key(self) -> tuple[object, ...]:
        return (self.acc, tuple(item.key() for item in self.inputs), self.cap)

    @property
    def width(self) -> int:
        """Words in the working layout."""
        match self.acc:
            case Acc.SQUARES:
                return 2
            case Acc.DISTINCT:
                return 1 + self.cap
            case Acc.MODE:
                return 1 + 2 * self.cap
            case Acc.LAST:
                return 6
            case Acc.PROFILE:
                return 1 + PROFILE_VERSIONS * (3 + len(self.inputs))
            case _:
                return 1

    @property
    def most(self) -> int:
        """Entries that a set, list or profile has room for."""
        match self.acc:
            case Acc.DISTINCT | Acc.MODE:
                return self.cap
            case Acc.LAST:
                return 1
            case Acc.PROFILE:
                return PROFILE_VERSIONS
            case _:
                return 0

    @property
    def columns(self) -> int:
        """Columns of a packed window: of a set, list or profile how many entries, then each part of an entry."""
        return 1 + (self.width - 1) // max(1, self.most)

    @property
    def worst_bytes(self) -> int:
        """Most bytes of one tile's when packed, for the largest value allowed."""
        match self.acc:
            case Acc.COUNT:
                return 5  # under 2**34 events
            case Acc.DISTINCT:
                return 2 + 8 * self.cap
            case Acc.MODE:
                return 2 + (3 + 5) * self.cap
            case _:
                return 8 * self.width


@dataclass(frozen=True, eq=False)
class OutSpec:
    """One feature of a unit: which accumulators of which window become it, and how."""

    name: str
    kind: Out
    window: Window
    accs: tuple[AccSpec, ...]
    hidden: bool = False
    field: int = 0


@dataclass(frozen=True, eq=False)
class RatioSpec:
    """A feature that divides others of the same unit: numerator / sum(denominators)."""

    name: str
    window: Window
    numerator: str
    denominators: tuple[str, ...]
    hidden: bool = False


@dataclass(frozen=True, eq=False)
class Unit:
    """A view's part about one entity: what is folded and read as one."""

    view: FeatureView
    entity: Entity
    sources: tuple[Source, ...]
    outs: tuple[OutSpec, ...]
    ratios: tuple[RatioSpec, ...]

    @property
    def features(self) -> tuple[OutSpec | RatioSpec, ...]:
        """Everything the unit yields, in vector order."""
        return (*self.outs, *self.ratios)

    @cached_property
    def windows(self) -> dict[Window, dict[tuple[object, ...], AccSpec]]:
        """Distinct accumulators of each window, in order of first use."""
        found: dict[Window, dict[tuple[object, ...], AccSpec]] = {}
        for out in self.outs:
            accs = found.setdefault(out.window, {})
            for spec in out.accs:
                accs.setdefault(spec.key(), spec)
        return found

    @property
    def worst_bytes(self) -> int:
        """Most bytes of this unit's packed state, were it alone."""
        lateness_ms = self.view.lateness_ms
        return 20 + sum(_window_bytes(window, accs, lateness_ms) for window, accs in self.windows.items())


@dataclass(frozen=True, eq=False)
class Segment:
    """Part of an entity's packed state: what its views of the same sources and lateness keep together.

    Such views see the same events, so their windows have the same tiles, and one of each is kept for all of them.
    """

    units: tuple[Unit, ...]

    @property
    def sources(self) -> tuple[Source, ...]:
        return self.units[0].sources

    @property
    def lateness_ms(self) -> int:
        return self.units[0].view.lateness_ms

    @cached_property
    def windows(self) -> dict[Window, dict[tuple[object, ...], AccSpec]]:
        """Distinct accumulators of each window, those of a kind together, as their columns are: a read then does one thing after another."""
        found: dict[Window, dict[tuple[object, ...], AccSpec]] = {}
        for unit in self.units:
            for window, accs in unit.windows.items():
                mine = found.setdefault(window, {})
                for key, spec in accs.items():
                    mine.setdefault(key, spec)
        return {window: dict(sorted(accs.items(), key=lambda item: item[1].acc)) for window, accs in found.items()}

    def check(self) -> None:
        """Raise BadFeature if one window could outgrow what its lengths can say."""
        for window, accs in self.windows.items():
            size = _window_bytes(window, accs, self.lateness_ms)
            if size > MAX_WINDOW_BYTES:
                names = ", ".join(unit.view.name for unit in self.units if window in unit.windows)
                raise BadFeature(
                    f"BadFeature: {names}: their window of {window.label} of one {self.units[0].entity.name} could reach {size:,}"
                    f" bytes together, over {MAX_WINDOW_BYTES:,}. Take smaller caps, or give one of the views another lateness."
                )


def segments_of(units: Iterable[Unit]) -> tuple[Segment, ...]:
    """The units of one entity by what they see, in order of first declaration."""
    found: dict[tuple[frozenset[str], int], list[Unit]] = {}
    for unit in units:
        found.setdefault((frozenset(source.name for source in unit.sources), unit.view.lateness_ms), []).append(unit)
    return tuple(Segment(tuple(together)) for together in found.values())


def _window_bytes(window: Window, accs: Mapping[tuple[object, ...], AccSpec], lateness_ms: int) -> int:
    """Most bytes of a packed window: its head, half a byte a width, and for each tile its number less the first's and its accumulators."""
    head = WINDOW_HEAD + (2 + sum(spec.columns for spec in accs.values()) + 1) // 2
    return head + window.max_tiles(lateness_ms) * (4 + sum(spec.worst_bytes for spec in accs.values()))


def unit_of(view: FeatureView, entity: Entity) -> Unit:
    """The part of a view about one entity. Raises BadFeature above MAX_STATE_BYTES."""
    mine = [item for item in view.resolved if item.entity == entity]
    versions = _profile_accumulator(mine)
    outs: dict[str, OutSpec] = {}
    ratios: list[RatioSpec] = []
    for item in mine:
        if item.op is not Op.RATIO:
            for out in _outputs(item, versions):
                if out.name in outs:
                    raise BadFeature(
                        f"BadFeature: {view.name}: two aggregates are both named {out.name}; give one a label or a name."
                    )
                outs[out.name] = out
    for item in mine:
        if item.op is Op.RATIO:
            ratios.extend(_ratio(item, outs))
    sources: dict[str, Source] = {}
    for out in outs.values():
        for spec in out.accs:
            sources.setdefault(spec.inputs[0].source.name, spec.inputs[0].source)
    unit = Unit(view, entity, tuple(sources.values()), tuple(outs.values()), tuple(ratios))
    if unit.worst_bytes > MAX_STATE_BYTES:
        raise BadFeature(
            f"BadFeature: {view.name}: its state of one {entity.name} could reach {unit.worst_bytes:,} bytes, over {MAX_STATE_BYTES:,}."
            " Take fewer windows, a smaller cap, or split the view."
        )
    return unit


def _profile_accumulator(items: list[Aggregate]) -> AccSpec | None:
    """All profile attributes of a unit live in one list of versions."""
    inputs: dict[tuple[object, ...], Input] = {}
    for item in items:
        if item.op in PROFILE_OPS:
            assert item.source is not None
            found = Input(item.source, item.of, None)
            inputs.setdefault(found.key(), found)
    return AccSpec(Acc.PROFILE, tuple(inputs.values())) if inputs else None


def _outputs(item: Aggregate, versions: AccSpec | None) -> list[OutSpec]:
    if item.op in PROFILE_OPS:
        assert versions is not None and item.source is not None
        kind = Out.PROFILE if item.op is Op.PROFILE else Out.PROFILE_AGE
        wanted = Input(item.source, item.of, None).key()
        field = next(place for place, known in enumerate(versions.inputs) if known.key() == wanted)
        return [OutSpec(item.feature_name(LIFETIME), kind, LIFETIME, (versions,), item.hidden, field)]
    kind, accs = _accumulators(item)
    return [OutSpec(item.feature_name(window), kind, window, accs, item.hidden) for window in item.windows]


def _accumulators(item: Aggregate) -> tuple[Out, tuple[AccSpec, ...]]:
    source = item.source
    assert source is not None
    signed = isinstance(source, LabelFactSource) and source.sign_field is not None
    time = Col(source.time_field)
    value = Input(source, item.of, item.where, signed=signed)
    clock = Input(source, time, item.where)
    plain = Input(source, None, item.where, present=_nullable(item.of, source), signed=signed)
    counted, summed = AccSpec(Acc.COUNT, (plain,)), AccSpec(Acc.SUM, (value,))
    match item.op:
        case Op.COUNT:
            return Out.COUNT, (counted,)
        case Op.SUM:
            return Out.SUM, (summed,)
        case Op.MEAN:
            return Out.MEAN, (counted, summed)
        case Op.STD:
            return Out.STD, (counted, summed, AccSpec(Acc.SQUARES, (value,)))
        case Op.MIN:
            return Out.MIN, (AccSpec(Acc.MIN, (value,)),)
        case Op.MAX:
            return Out.MAX, (AccSpec(Acc.MAX, (value,)),)
        case Op.DISTINCT:
            return Out.DISTINCT, (AccSpec(Acc.DISTINCT, (Input(source, item.of, item.where, hashed=True),), item.cap),)
        case Op.MODE:
            return Out.MODE, (AccSpec(Acc.MODE, (value,), item.cap),)
        case Op.LAST:
            return Out.LAST, (AccSpec(Acc.LAST, (value,)),)
        case Op.FIRST_SEEN_AGE:
            return Out.AGE_OF_MIN, (AccSpec(Acc.MIN, (clock,)),)
        case Op.SINCE_LAST:
            return Out.AGE_OF_MAX, (AccSpec(Acc.MAX, (clock,)),)
        case _:
            raise BadFeature(f"BadFeature: unknown operation {item.op!r}. Known: {', '.join(Op)}.")


def _nullable(of: Expr | None, source: Source) -> Expr | None:
    return of if of is not None and may_be_null(of, source) else None


def _ratio(item: Aggregate, outs: dict[str, OutSpec]) -> list[RatioSpec]:
    assert item.numerator is not None
    made = []
    for index, window in enumerate(item.windows):
        names = []
        for part in (item.numerator, *item.denominator):
            chosen = part.windows[index] if len(part.windows) == len(item.windows) else part.windows[0]
            found = _existing(part, chosen, outs)
            names.append(found)
        made.append(RatioSpec(item.feature_name(window), window, names[0], tuple(names[1:]), item.hidden))
    return made


def _existing(part: Aggregate, window: Window, outs: dict[str, OutSpec]) -> str:
    """The output that already computes a ratio's part, or a hidden one made for it."""
    kind, accs = _accumulators(part)
    wanted = (kind, window, tuple(spec.key() for spec in accs))
    for name, out in outs.items():
        if (out.kind, out.window, tuple(spec.key() for spec in out.accs)) == wanted:
            return name
    name = f"_{part.feature_name(window)}"
    if name in outs:
        raise BadFeature(
            f"BadFeature: two different parts of ratios are both named {part.feature_name(window)}; give one a label."
        )
    outs[name] = OutSpec(name, kind, window, accs, hidden=True)
    return name
