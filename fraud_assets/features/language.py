"""The feature language: frozen declarations that compute nothing.

A view says which aggregates of which events describe an entity; a service says which views and
request features make one model's vector. Batch, stream and request run these same declarations
(`fraud_assets/engine`). A wrong declaration fails here, when declared, and names the fix.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace

from fraud_assets.features.checks import bound, fault, filter_fault
from fraud_assets.features.expressions import Col, Expr
from fraud_assets.features.sources import MAX_VALUE, Entity, Kind, LabelFactSource, ProfileSource, Source
from fraud_assets.features.windows import LIFETIME, MIN_LATENESS_MS, VELOCITY, Window


class BadFeature(ValueError):
    """A declaration that cannot mean anything; the message names the feature and the way out."""


# The width of the engine's table of ratios: a numerator over one part, or over two that make a whole.
MAX_DENOMINATORS = 2


class Op(enum.StrEnum):
    """What is computed. Signed facts (label sources) allow COUNT, SUM and MEAN only."""

    COUNT = "count"
    SUM = "sum"
    MEAN = "mean"
    MIN = "min"
    MAX = "max"
    STD = "std"
    DISTINCT = "distinct"
    MODE = "mode"
    LAST = "last"
    FIRST_SEEN_AGE = "first_seen_age_s"
    SINCE_LAST = "seconds_since_last"
    PROFILE = "profile"
    PROFILE_AGE = "profile_age_s"
    RATIO = "ratio"


SIGNED_OPS = frozenset({Op.COUNT, Op.SUM, Op.MEAN})
LIFETIME_OPS = frozenset({Op.LAST, Op.FIRST_SEEN_AGE, Op.SINCE_LAST, Op.PROFILE, Op.PROFILE_AGE})
NEEDS_COLUMN = frozenset(
    {Op.SUM, Op.MEAN, Op.MIN, Op.MAX, Op.STD, Op.DISTINCT, Op.MODE, Op.LAST, Op.PROFILE, Op.PROFILE_AGE}
)
ARITHMETIC = frozenset({Op.SUM, Op.MEAN, Op.MIN, Op.MAX, Op.STD, Op.PROFILE_AGE})
ADDING = frozenset({Op.SUM, Op.MEAN, Op.STD})

# Sixteen hashes are 128 bytes a tile: above that a view of six windows outgrows 64 KiB, and past
# sixteen devices on one account the exact number no longer matters.
DEFAULT_CAP = 16
MIN_CAP = 2  # an estimate needs two order statistics
MAX_CAP = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Aggregate:
    """One aggregate over one or more windows; it yields a feature for each window.

    of: the expression aggregated. where: which events count. label: word(s) for the filter or the
    expression in the derived name. name: replaces the derived name; may hold `{window}`.
    hidden: computed for request features, never served.
    """

    op: Op
    of: Expr | None = None
    where: Expr | None = None
    windows: tuple[Window, ...] = VELOCITY
    source: Source | None = None
    entity: Entity | None = None
    label: str | None = None
    name: str | None = None
    cap: int = DEFAULT_CAP
    hidden: bool = False
    numerator: "Aggregate | None" = None
    denominator: tuple["Aggregate", ...] = ()

    def over(self, entity: Entity) -> "Aggregate":
        """The same aggregate about another entity than the view's."""
        return replace(self, entity=entity)

    def named(self, name: str) -> "Aggregate":
        return replace(self, name=name)

    def as_hidden(self) -> "Aggregate":
        return replace(self, hidden=True)

    def resolved(self, view: "FeatureView") -> "Aggregate":
        """The aggregate with the view's entity and source filled in, and everything checked."""
        filled = replace(
            self,
            source=self.source or view.source or (self.numerator.source if self.numerator else None),
            entity=self.entity or view.entity,
            numerator=self.numerator.resolved(view) if self.numerator else None,
            denominator=tuple(part.resolved(view) for part in self.denominator),
        )
        _check_aggregate(filled, view.name)
        return filled

    def feature_name(self, window: Window) -> str:
        """`{entity}_{what}_{op}_{window}`; call on a resolved aggregate."""
        if self.name is not None:
            return self.name.format(window=window.label)
        assert self.source is not None and self.entity is not None  # resolved() fills both
        subject = self.label or self._subject()
        match self.op:
            case Op.COUNT:
                words = [subject if self.label else self.source.noun, "count"]
            case Op.DISTINCT:
                words = ["distinct", self.label or self.source.plural(subject)]
            case Op.SINCE_LAST:
                words = ["seconds_since_last", self.label or self.source.noun]
            case Op.FIRST_SEEN_AGE:
                words = [self.label, "first_seen_age_s"] if self.label else ["first_seen_age_s"]
            case Op.PROFILE:
                words = [subject]
            case Op.PROFILE_AGE:
                words = [f"{subject}_age_s"]
            case Op.LAST:
                words = ["last", subject]
            case _:
                words = [subject, self.op.value]
        timeless = self.op in LIFETIME_OPS
        return "_".join([self.entity.name, *words] + ([] if timeless else [window.label]))

    def _subject(self) -> str:
        if isinstance(self.of, Col):
            return self.of.name
        if self.of is None:
            assert self.source is not None
            return self.source.noun
        raise BadFeature(
            f"BadFeature: {self.op} of an expression needs a label for its name: {self.op}(…, label='declined')."
        )


def _check_aggregate(item: Aggregate, view: str) -> None:
    if item.op is Op.RATIO:
        _check_ratio(item, view)
        return
    source = item.source
    if source is None:
        raise BadFeature(
            f"BadFeature: {view}: {item.op} has no source. Give the view source=…, or the aggregate its own."
        )
    assert item.entity is not None
    missing = [key for key in item.entity.keys if key not in source.fields]
    if missing:
        raise BadFeature(
            f"BadFeature: {view}: events of {source.name} carry no {', '.join(missing)}, so they cannot be told by {item.entity.name}."
            f" Fields: {', '.join(source.fields)}."
        )
    if item.op in NEEDS_COLUMN and item.of is None:
        raise BadFeature(f"BadFeature: {view}: {item.op} needs a column: {item.op}(col('…')).")
    if not MIN_CAP <= item.cap <= MAX_CAP:
        raise BadFeature(
            f"BadFeature: {view}: cap {item.cap} is outside {MIN_CAP}..{MAX_CAP}; it bounds every tile of the state."
        )
    if not item.windows or len(set(item.windows)) != len(item.windows):
        raise BadFeature(f"BadFeature: {view}: {item.op} needs at least one window, each once.")
    if item.op in LIFETIME_OPS and item.windows != (LIFETIME,):
        raise BadFeature(f"BadFeature: {view}: {item.op} has no window; leave windows out.")
    if isinstance(source, LabelFactSource) and source.sign_field and item.op not in SIGNED_OPS:
        raise BadFeature(
            f"BadFeature: {view}: {item.op} cannot take a fact back. Over signed facts of {source.name} use count, sum or mean."
        )
    is_profile = item.op in (Op.PROFILE, Op.PROFILE_AGE)
    if is_profile != isinstance(source, ProfileSource):
        raise BadFeature(
            f"BadFeature: {view}: profile(…) and profile_age(…) go with a ProfileSource, and nothing else does."
        )
    _check_expressions(item, source, view)
    _check_kinds(item, source, view)


def _check_ratio(item: Aggregate, view: str) -> None:
    parts = [item.numerator, *item.denominator]
    if item.numerator is None or not item.denominator:
        raise BadFeature(f"BadFeature: {view}: a ratio needs a numerator and at least one denominator.")
    if len(item.denominator) > MAX_DENOMINATORS:
        raise BadFeature(
            f"BadFeature: {view}: a ratio has at most {MAX_DENOMINATORS} denominators; sum an expression, or declare a request feature."
        )
    for part in parts:
        assert part is not None
        if part.op is Op.RATIO:
            raise BadFeature(f"BadFeature: {view}: a ratio of ratios is a request feature.")
        if part.entity != item.entity:
            raise BadFeature(
                f"BadFeature: {view}: a ratio's parts belong to one entity; across entities declare a request feature."
            )
        if len(part.windows) not in (1, len(item.windows)):
            raise BadFeature(
                f"BadFeature: {view}: the ratio has {len(item.windows)} windows and {part.op} has {len(part.windows)}."
            )


def _check_expressions(item: Aggregate, source: Source, view: str) -> None:
    wrong = fault(item.of, source) if item.of is not None else None
    if wrong is None and item.where is not None:
        wrong = filter_fault(item.where, source)
    if wrong is not None:
        raise BadFeature(f"BadFeature: {view}: {item.op}: {wrong}")


def _check_kinds(item: Aggregate, source: Source, view: str) -> None:
    if item.op in ARITHMETIC and isinstance(item.of, Col) and source.fields[item.of.name].kind is Kind.ID:
        raise BadFeature(
            f"BadFeature: {view}: {item.op} of {item.of.name!r} would take hashes of identifiers for numbers. Use distinct(…)."
        )
    if item.op in ADDING and item.of is not None and bound(item.of, source) > MAX_VALUE:
        raise BadFeature(
            f"BadFeature: {view}: {item.op} adds up values that could reach {bound(item.of, source):.1e}, over {MAX_VALUE:.1e}, and"
            " its sum could overflow. Divide the expression, or give the contract's field its bounds."
        )
    if item.op is Op.MODE and not (isinstance(item.of, Col) and source.fields[item.of.name].kind is Kind.CATEGORY):
        raise BadFeature(f"BadFeature: {view}: mode takes a category (a StrEnum field), whose code it can return.")
    if item.op is Op.DISTINCT and not isinstance(item.of, Col):
        raise BadFeature(f"BadFeature: {view}: distinct takes a field, not an expression.")


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureView:
    """Aggregates about an entity that share an owner, a time to live and a lateness.

    ttl_ms: older than this at decision time, the view is STALE and its values null; None never.
    retention_ms: when the store may collect an idle key; None for views with lifetime windows.
    lateness_ms: how late an event may be and still count (DESIGN §2's L).
    """

    name: str
    entity: Entity
    aggregates: tuple[Aggregate, ...]
    source: Source | None = None
    ttl_ms: int | None = None
    retention_ms: int | None = None
    lateness_ms: int = MIN_LATENESS_MS
    owner: str = "fraud-ml"
    description: str = ""
    resolved: tuple[Aggregate, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise BadFeature(f"BadFeature: {self.name!r} is no identifier; views are named like account_velocity.")
        if not self.aggregates:
            raise BadFeature(f"BadFeature: {self.name} has no aggregates.")
        if self.lateness_ms < MIN_LATENESS_MS:
            raise BadFeature(
                f"BadFeature: {self.name}: lateness_ms {self.lateness_ms} is below {MIN_LATENESS_MS} (10 minutes)."
            )
        if self.ttl_ms is not None and self.ttl_ms <= 0:
            raise BadFeature(f"BadFeature: {self.name}: ttl_ms must be positive, or None for never stale.")
        if self.retention_ms is not None and self.ttl_ms is not None and self.retention_ms < self.ttl_ms:
            raise BadFeature(
                f"BadFeature: {self.name}: retention_ms is shorter than ttl_ms; the store would forget live values."
            )
        object.__setattr__(self, "resolved", tuple(item.resolved(self) for item in self.aggregates))
        kinds = {isinstance(source, ProfileSource) for source in self.sources}
        if len(kinds) > 1:
            raise BadFeature(
                f"BadFeature: {self.name}: profile versions may be dated ahead and would expire the windows of other sources."
                " Give the profile a view of its own."
            )

    @property
    def entities(self) -> tuple[Entity, ...]:
        """Entities the view's aggregates are about, in order of first use."""
        found: dict[Entity, None] = {}
        for item in self.resolved:
            assert item.entity is not None
            found.setdefault(item.entity)
        return tuple(found)

    @property
    def sources(self) -> tuple[Source, ...]:
        found: dict[str, Source] = {}
        for item in self.resolved:
            for part in (item, *((item.numerator,) if item.numerator else ()), *item.denominator):
                if part.source is not None and part.op is not Op.RATIO:
                    found.setdefault(part.source.name, part.source)
        return tuple(found.values())


@dataclass(frozen=True, kw_only=True, eq=False)
class RequestFeature:
    """A pure function of the scored event and features already read.

    compute: float64 arguments in the order of `inputs`, NaN for null; returns float64. It must be
    plain arithmetic and `math`: the engine compiles it and runs it on one row or a million.
    inputs: feature names, or `request.<field>` for a field of the scored event (categories as codes,
    times in milliseconds, identifiers as hashes that are good for nothing but equality).
    """

    name: str
    compute: Callable[..., float]
    inputs: tuple[str, ...]
    owner: str = "fraud-ml"
    description: str = ""
    hidden: bool = False

    def __post_init__(self) -> None:
        if self.compute.__name__ == "<lambda>":
            raise BadFeature(f"BadFeature: {self.name}: a lambda has no source text of its own to digest; write a def.")
        arity = self.compute.__code__.co_argcount
        if arity != len(self.inputs):
            raise BadFeature(
                f"BadFeature: {self.name}: the function takes {arity} arguments and {len(self.inputs)} inputs are named."
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureService:
    """One model's vector: the views and request features, in order.

    scored: the source whose events are scored. unseen: fields of it that do not exist yet when a
    decision is due (the outcome), which no request feature may read.
    """

    name: str
    scored: Source
    views: tuple[FeatureView, ...]
    request: tuple[RequestFeature, ...] = ()
    unseen: tuple[str, ...] = ()
    description: str = ""

    def __post_init__(self) -> None:
        for item in self.request:
            for name in item.inputs:
                stem = name.removeprefix("request.")
                if name.startswith("request.") and stem not in self.visible:
                    raise BadFeature(
                        f"BadFeature: {item.name}: the scored event offers no {stem!r} at decision time. Known: {', '.join(self.visible)}."
                    )
        for view in self.views:
            for entity in view.entities:
                missing = [key for key in entity.keys if key not in self.scored.fields]
                if missing:
                    raise BadFeature(
                        f"BadFeature: {self.name}: {view.name} is about {entity.name}, but {self.scored.name} carries no {', '.join(missing)}."
                    )

    @property
    def visible(self) -> tuple[str, ...]:
        """Fields of the scored event that request features may read: those seen by then."""
        return tuple(name for name in self.scored.fields if name not in self.unseen)


def count(*, where: Expr | None = None, windows: tuple[Window, ...] = VELOCITY, label: str | None = None,
          source: Source | None = None, name: str | None = None) -> Aggregate:  # fmt: skip
    """Number of events; over signed facts, facts less retractions."""
    return Aggregate(op=Op.COUNT, where=where, windows=windows, label=label, source=source, name=name)


def _columnar(op: Op) -> Callable[..., Aggregate]:
    def make(of: Expr, *, where: Expr | None = None, windows: tuple[Window, ...] = VELOCITY, label: str | None = None,
             source: Source | None = None, name: str | None = None, cap: int = DEFAULT_CAP) -> Aggregate:  # fmt: skip
        return Aggregate(op=op, of=of, where=where, windows=windows, label=label, source=source, name=name, cap=cap)

    make.__name__ = op.value
    make.__doc__ = f"`{op.value}` of an expression over each window."
    return make


total = _columnar(Op.SUM)
mean = _columnar(Op.MEAN)
least = _columnar(Op.MIN)
most = _columnar(Op.MAX)
std = _columnar(Op.STD)
distinct = _columnar(Op.DISTINCT)
mode = _columnar(Op.MODE)


def last(of: Expr, *, where: Expr | None = None, label: str | None = None, source: Source | None = None,
         name: str | None = None) -> Aggregate:  # fmt: skip
    """The newest event's value, by (event time, source, id, payload hash); a gauge is read the same way."""
    return Aggregate(op=Op.LAST, of=of, where=where, windows=(LIFETIME,), label=label, source=source, name=name)


def first_seen_age(*, label: str | None = None, source: Source | None = None, name: str | None = None) -> Aggregate:
    """Seconds from the entity's first event to the decision, never below 0."""
    return Aggregate(op=Op.FIRST_SEEN_AGE, windows=(LIFETIME,), label=label, source=source, name=name)


def since_last(*, where: Expr | None = None, label: str | None = None, source: Source | None = None,
               name: str | None = None) -> Aggregate:  # fmt: skip
    """Seconds from the newest matching event to the decision, never below 0."""
    return Aggregate(op=Op.SINCE_LAST, where=where, windows=(LIFETIME,), label=label, source=source, name=name)


def profile(of: Expr, *, label: str | None = None, name: str | None = None) -> Aggregate:
    """An attribute of the profile version in force at the decision."""
    return Aggregate(op=Op.PROFILE, of=of, windows=(LIFETIME,), label=label, name=name)


def profile_age(of: Expr, *, label: str, name: str | None = None) -> Aggregate:
    """Seconds from an instant held in the profile (address changed, account created) to the decision."""
    return Aggregate(op=Op.PROFILE_AGE, of=of, windows=(LIFETIME,), label=label, name=name)


def ratio(numerator: Aggregate, *denominator: Aggregate, label: str, windows: tuple[Window, ...] | None = None,
          name: str | None = None) -> Aggregate:  # fmt: skip
    """`numerator / (sum of denominators)`; null where that sum is 0 or a part is null."""
    return Aggregate(
        op=Op.RATIO,
        numerator=numerator,
        denominator=denominator,
        label=label,
        name=name,
        windows=windows or numerator.windows,
    )
