"""Where events come from, and what a field of theirs is to the engine.

A source is a contract plus the names of its topic and lake table. Every field of the contract has
one of four kinds, read off its type annotation; the engine sees int64 only.
"""

import enum
import types
import typing
from dataclasses import dataclass, field
from functools import cached_property

import msgspec

# The largest number a field may hold. Sums of 2**21 events of this size fit int64 and sums of their
# squares fit 128 bits, so no aggregate can overflow; milliseconds of the year 2100 fit below it.
MAX_VALUE = 2**42


class BadSource(ValueError):
    """A source whose contract the engine cannot read, or that names a field it has not."""


class Kind(enum.StrEnum):
    """INT as it is; BOOL 0/1; CATEGORY the lexical rank of an enum's value, from 1; ID a 63-bit hash."""

    INT = "int"
    BOOL = "bool"
    CATEGORY = "category"
    ID = "id"


@dataclass(frozen=True)
class Field:
    """name and kind of one contract field; `vocabulary` is sorted, so code order is lexical order.

    bound: the largest magnitude the contract allows; for an identifier, whose hash it is, all of int64.
    """

    name: str
    kind: Kind
    vocabulary: tuple[str, ...] = ()
    nullable: bool = False
    bound: int = MAX_VALUE

    def code(self, value: str) -> int:
        """Integer code of a category's value, from 1. Raises BadSource for one it has not."""
        if value not in self.vocabulary:
            raise BadSource(f"BadSource: {value!r} is not a value of {self.name}. Known: {', '.join(self.vocabulary)}.")
        return self.vocabulary.index(value) + 1


def _field(name: str, annotation: object) -> Field | None:
    base, nullable, bound = annotation, False, MAX_VALUE
    while True:
        origin = typing.get_origin(base)
        if origin is typing.Annotated:
            base, *metas = typing.get_args(base)
            bound = min([bound, *(_bound(meta) for meta in metas if isinstance(meta, msgspec.Meta))])
        elif origin in (typing.Union, types.UnionType):
            rest = [arg for arg in typing.get_args(base) if arg is not type(None)]
            if len(rest) != 1:
                return None
            base, nullable = rest[0], True
        else:
            break
    if isinstance(base, type) and issubclass(base, enum.StrEnum):
        return Field(name, Kind.CATEGORY, tuple(sorted(member.value for member in base)), nullable, len(base))
    kinds = {bool: (Kind.BOOL, 1), int: (Kind.INT, bound), str: (Kind.ID, 2**63)}
    if not isinstance(base, type) or base not in kinds:
        return None
    kind, largest = kinds[base]
    return Field(name, kind, (), nullable, largest)


def _bound(meta: msgspec.Meta) -> int:
    """Largest magnitude between a contract's ge and le; MAX_VALUE where either is open."""
    if meta.ge is None or meta.le is None:
        return MAX_VALUE
    return int(max(abs(meta.ge), abs(meta.le)))


def contract_fields(contract: type[msgspec.Struct]) -> dict[str, Field]:
    """Fields of a contract that the engine can read, by name; lists and mappings are left out."""
    hints = typing.get_type_hints(contract, include_extras=True)
    read = {name: _field(name, hints[name]) for name in contract.__struct_fields__}
    return {name: found for name, found in read.items() if found is not None}


@dataclass(frozen=True)
class Entity:
    """Whom features are about. keys: the contract fields that name one; composite for pairs."""

    name: str
    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or not self.keys:
            raise BadSource(f"BadSource: entity {self.name!r} needs an identifier and at least one key field.")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Base of all sources.

    name: stable, part of every digest. noun: what feature names call one event ("txn").
    id_field: identity within its key, and with the payload's hash the tie-break of `last`.
    """

    name: str
    noun: str
    contract: type[msgspec.Struct]
    id_field: str
    time_field: str = "event_time_ms"
    table: str
    topic: str | None = None
    plurals: tuple[tuple[str, str], ...] = ()
    fields: dict[str, Field] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", contract_fields(self.contract))
        for name in (self.id_field, self.time_field):
            if name not in self.fields:
                raise BadSource(
                    f"BadSource: {self.name} has no field {name!r}. Fields of {self.contract.__name__}: {', '.join(self.fields)}."
                )

    def plural(self, column: str) -> str:
        """device_id → devices; `plurals` overrides it where English does not follow."""
        for name, plural in self.plurals:
            if name == column:
                return plural
        return column.removesuffix("_id").removesuffix("_token") + "s"

    @cached_property
    def contract_shape(self) -> list[list[object]]:
        """Names, kinds and vocabularies: what of the contract a digest depends on."""
        return [[item.name, item.kind.value, list(item.vocabulary), item.nullable] for item in self.fields.values()]


@dataclass(frozen=True, kw_only=True)
class StreamSource(Source):
    """Events of a topic, mirrored in a lake table of the same contract."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.topic:
            raise BadSource(
                f"BadSource: stream source {self.name} needs a topic. For files alone declare a BatchSource."
            )


@dataclass(frozen=True, kw_only=True)
class BatchSource(Source):
    """Events that exist only as a lake table: imported history."""


@dataclass(frozen=True, kw_only=True)
class LabelFactSource(Source):
    """Signed verdicts, timed by when they were known; `sign_field` is +1 or, for a retraction, -1."""

    sign_field: str | None = "sign"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sign_field is None:
            return
        sign = self.fields.get(self.sign_field)
        if sign is None or sign.kind is not Kind.INT or sign.nullable:
            raise BadSource(
                f"BadSource: {self.name} needs {self.sign_field!r}, an int that is never null, +1 or -1. For facts that nobody"
                " takes back write sign_field=None."
            )


@dataclass(frozen=True, kw_only=True)
class ProfileSource(Source):
    """Versions of slowly changing attributes; the time field is the version's valid-from."""
