"""What a contract says of its fields, as far as columns can fill them."""

from dataclasses import dataclass
from functools import cache

import msgspec

from fraud_assets.contracts.events import Event


class NotFlat(TypeError):
    """A contract that holds more than plain values."""


@dataclass(frozen=True)
class Field:
    """One contract field: its plain type, bounds, and the value it has when nobody maps it."""

    name: str
    type: type
    nullable: bool
    default: object
    ge: int | None = None
    le: int | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    vocabulary: tuple[str, ...] = ()


@cache
def contract_fields(contract: type[Event]) -> tuple[Field, ...]:
    """Fields of a flat contract. Raises NotFlat for one with lists or mappings, which no columns can fill."""
    info = msgspec.inspect.type_info(contract)
    assert isinstance(info, msgspec.inspect.StructType)
    return tuple(_field(item) for item in info.fields)


def _field(item: msgspec.inspect.Field) -> Field:
    options = item.type.types if isinstance(item.type, msgspec.inspect.UnionType) else (item.type,)
    kind = next(option for option in options if not isinstance(option, msgspec.inspect.NoneType))
    if isinstance(kind, msgspec.inspect.Metadata):
        kind = kind.type
    nullable = len(options) > 1
    default = None if item.required or item.default is msgspec.NODEFAULT else item.default
    match kind:
        case msgspec.inspect.IntType(ge=ge, le=le):
            return Field(item.name, int, nullable, default, ge=ge, le=le)
        case msgspec.inspect.StrType(min_length=shortest, max_length=longest, pattern=pattern):
            return Field(item.name, str, nullable, default, min_length=shortest, max_length=longest, pattern=pattern)
        case msgspec.inspect.EnumType(cls=cls):
            return Field(item.name, str, nullable, default, vocabulary=tuple(member.value for member in cls))
        case msgspec.inspect.BoolType():
            return Field(item.name, bool, nullable, default)
        case _:
            raise NotFlat(f"{item.name} is a {type(kind).__name__}; only flat contracts can be filled from columns")
