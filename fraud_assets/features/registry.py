"""The registry: every declared view and service, checked against each other, with their digests."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from fraud_assets.features.digests import SEMANTICS_VERSION, digest_of, request_digest
from fraud_assets.features.digests import view_digest as view_digest
from fraud_assets.features.language import BadFeature, FeatureService, FeatureView
from fraud_assets.features.layout import STATE_FORMAT, Segment, Unit, segments_of, unit_of
from fraud_assets.features.sources import Entity, Source

Named = TypeVar("Named", FeatureView, FeatureService)


class UnknownFeature(KeyError):
    """A name nobody declared; the message lists what is near."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class FeatureInfo:
    """One line of `python -m fraud_assets.features list`."""

    name: str
    entity: str
    view: str
    window: str
    ttl_ms: int | None
    digest: str
    owner: str
    hidden: bool


@dataclass(frozen=True, eq=False)
class Group:
    """All views about one entity: one packed state, one store key.

    numbers: the registry's sources and topics in order. Packed states hold their places, so a source
    that is added elsewhere must change the digest too, or old states would be read by new numbers.
    """

    entity: Entity
    units: tuple[Unit, ...]
    numbers: tuple[tuple[str, ...], tuple[str, ...]]

    @property
    def name(self) -> str:
        return self.entity.name

    @property
    def sources(self) -> tuple[Source, ...]:
        found: dict[str, Source] = {}
        for unit in self.units:
            for source in unit.sources:
                found.setdefault(source.name, source)
        return tuple(found.values())

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """Parts of the packed state."""
        return segments_of(self.units)

    @cached_property
    def digest(self) -> str:
        """Digest of everything a packed state of this group depends on."""
        return digest_of(
            [
                "group",
                SEMANTICS_VERSION,
                STATE_FORMAT,
                self.name,
                list(self.entity.keys),
                [view_digest(unit.view) for unit in self.units],
                [list(names) for names in self.numbers],
            ]
        )

    @property
    def expires(self) -> bool:
        """Whether the store may ever collect a key: not if any view has a lifetime window."""
        return all(unit.view.retention_ms is not None for unit in self.units) and not any(
            window.is_lifetime for unit in self.units for window in unit.windows
        )


class Registry:
    """Views and services by name. Raises BadFeature for names declared twice."""

    def __init__(self, views: tuple[FeatureView, ...], services: tuple[FeatureService, ...] = ()) -> None:
        self.views = _by_name(views, "view")
        self.services = _by_name(services, "service")
        self.units = tuple(unit_of(view, entity) for view in views for entity in view.entities)
        self._check_names()
        self._check_services()
        for group in self.groups:
            for segment in group.segments:
                segment.check()

    def _check_names(self) -> None:
        owner: dict[str, str] = {}
        for unit in self.units:
            for spec in unit.features:
                if spec.name in owner and not spec.name.startswith("_"):
                    raise BadFeature(
                        f"BadFeature: {spec.name} is declared by {owner[spec.name]} and by {unit.view.name}. Give one a label."
                    )
                owner[spec.name] = unit.view.name

    def _check_services(self) -> None:
        for service in self.services.values():
            unknown = [view.name for view in service.views if self.views.get(view.name) is not view]
            if unknown:
                raise BadFeature(
                    f"BadFeature: {service.name} uses {', '.join(unknown)}, not in this registry. Add the view to it."
                )
            known = {spec.name for unit in self.units if unit.view in service.views for spec in unit.features}
            for item in service.request:
                for name in item.inputs:
                    if not name.startswith("request.") and name not in known:
                        raise BadFeature(
                            f"BadFeature: {item.name} reads {name!r}, which no view of {service.name} and no earlier request feature gives.{_near(name, known)}"
                        )
                if item.name in known:
                    raise BadFeature(f"BadFeature: {item.name} is declared twice in {service.name}.")
                known.add(item.name)

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """All sources, ordered by name; the place is the source's number in rows and ties."""
        found = {source.name: source for unit in self.units for source in unit.sources}
        for service in self.services.values():
            found.setdefault(service.scored.name, service.scored)
        return tuple(found[name] for name in sorted(found))

    @cached_property
    def topics(self) -> tuple[str, ...]:
        """Every topic an event can come from, live and imported; the place is the topic's number in positions.

        Two sources may share a topic: it is one log.
        """
        names = [
            name for source in self.sources for name in (f"import.{source.table}.v1", source.topic or f"batch.{source.table}.v1")
        ]  # fmt: skip
        return tuple(dict.fromkeys(names))

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """View groups in order of first declaration."""
        found: dict[str, list[Unit]] = {}
        for unit in self.units:
            found.setdefault(unit.entity.name, []).append(unit)
        numbers = (tuple(source.name for source in self.sources), self.topics)
        return tuple(Group(units[0].entity, tuple(units), numbers) for units in found.values())

    def group(self, name: str) -> Group:
        for group in self.groups:
            if group.name == name:
                return group
        raise UnknownFeature(
            f"UnknownFeature: no view is about {name!r}. Known entities: {', '.join(g.name for g in self.groups)}."
        )

    def view(self, name: str) -> FeatureView:
        if name not in self.views:
            raise UnknownFeature(f"UnknownFeature: view {name!r}.{_near(name, self.views)}")
        return self.views[name]

    def service(self, name: str) -> FeatureService:
        if name not in self.services:
            raise UnknownFeature(f"UnknownFeature: service {name!r}.{_near(name, self.services)}")
        return self.services[name]

    def feature_names(self, service: FeatureService) -> tuple[str, ...]:
        """Columns of a service's vector, in order: views as listed, then request features."""
        return tuple(info.name for info in self.features(service) if not info.hidden)

    def features(self, service: FeatureService) -> Iterator[FeatureInfo]:
        """Every feature of a service, hidden ones included, in vector order."""
        for view in service.views:
            digest = view_digest(view)
            for unit in self.units:
                if unit.view is view:
                    for spec in unit.features:
                        yield FeatureInfo(
                            spec.name,
                            unit.entity.name,
                            view.name,
                            spec.window.label,
                            view.ttl_ms,
                            digest,
                            view.owner,
                            spec.hidden,
                        )
        for item in service.request:
            yield FeatureInfo(item.name, "request", "request", "-", None, request_digest(item), item.owner, item.hidden)

    def service_digest(self, service: FeatureService) -> str:
        """What a model's manifest names; another digest at serving time refuses the model."""
        return digest_of(
            ["service", SEMANTICS_VERSION, service.name, service.scored.name, service.scored.contract_shape,
             [view_digest(view) for view in service.views], [request_digest(item) for item in service.request]]
        )  # fmt: skip


def _by_name(items: tuple[Named, ...], noun: str) -> dict[str, Named]:
    found: dict[str, Named] = {}
    for item in items:
        if item.name in found:
            raise BadFeature(f"BadFeature: {noun} {item.name} is declared twice.")
        found[item.name] = item
    return found


def _near(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3)
    return (
        f" Did you mean {', '.join(near)}?"
        if near
        else f" Known: {', '.join(names[:12])}{' …' if len(names) > 12 else ''}."
    )
