"""One aggregate of the feature language: what it computes, over which events, and what it is called."""

import enum
from dataclasses import dataclass, replace

from fraud_assets.features.checks import bound, fault, filter_fault, is_identifier
from fraud_assets.features.expressions import Col, Expr
from fraud_assets.features.sources import MAX_VALUE, Entity, Kind, LabelFactSource, ProfileSource, Source
from fraud_assets.features.windows import LIFETIME, VELOCITY, Window


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

    def resolved(self, view: str, entity: Entity, source: Source | None) -> "Aggregate":
        """The aggregate with its view's entity and source filled in, and everything checked. Raises BadFeature."""
        filled = replace(
            self,
            source=self.source or source or (self.numerator.source if self.numerator else None),
            entity=self.entity or entity,
            numerator=self.numerator.resolved(view, entity, source) if self.numerator else None,
            denominator=tuple(part.resolved(view, entity, source) for part in self.denominator),
        )
        _check_aggregate(filled, view)
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
    if item.op in ARITHMETIC and is_identifier(item.of, source):
        name = item.of.name if isinstance(item.of, Col) else item.of
        raise BadFeature(
            f"BadFeature: {view}: {item.op} of {name!r} would take hashes of identifiers for numbers. Use distinct(…)."
        )
    if item.op in ADDING and item.of is not None and bound(item.of, source) > MAX_VALUE:
        raise BadFeature(
            f"BadFeature: {view}: {item.op} adds up values that could reach {bound(item.of, source):.1e}, over {MAX_VALUE:.1e}, and"
            " its sum could overflow. Divide the expression, or give the contract's field its bounds."
        )
    if item.op is Op.MODE and not (isinstance(item.of, Col) and source.fields[item.of.name].kind is Kind.CATEGORY):
        raise BadFeature(f"BadFeature: {view}: mode takes a category (a StrEnum field), whose code it can return.")
    if item.op is Op.DISTINCT and not (isinstance(item.of, Col) or is_identifier(item.of, source)):
        raise BadFeature(
            f"BadFeature: {view}: distinct takes a field, or identifiers that stand in for each other; not an expression."
        )
