"""Views, request features and services: what aggregates are put together to."""

from collections.abc import Callable
from dataclasses import dataclass

from fraud_assets.features.aggregates import Aggregate, BadFeature, Op
from fraud_assets.features.sources import Entity, ProfileSource, Source
from fraud_assets.features.windows import MIN_LATENESS_MS


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
        resolved = tuple(item.resolved(self.name, self.entity, self.source) for item in self.aggregates)
        object.__setattr__(self, "resolved", resolved)
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
