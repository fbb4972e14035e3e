"""Arrow schemas of the lake, derived from the contracts in this one place.

A column that is declared twice drifts: every table's schema is computed from its msgspec contract,
plus the same five columns that say when and where the log got the row.
"""

import types
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import msgspec
import pyarrow as pa

from fraud_assets.contracts.domains.handbook import (
    HandbookCustomer,
    HandbookLabelFact,
    HandbookTerminal,
    HandbookTransaction,
)
from fraud_assets.contracts.domains.sparkov import SparkovLabelFact, SparkovTransaction
from fraud_assets.contracts.erased import ErasedDecision
from fraud_assets.contracts.events import Activity, Decision, Event, Explanation, Label, LabelFact, Profile, Transaction
from fraud_assets.contracts.prices import PriceDecision, PricedInterval
from fraud_assets.stores.row_values import rows_of

TABLES: Mapping[str, type[Event]] = {
    "transactions": Transaction,
    "activity": Activity,
    "profiles": Profile,
    "labels": Label,
    "label_facts": LabelFact,
    "decisions": Decision,
    "explanations": Explanation,
    "erased_decisions": ErasedDecision,
    "price_decisions": PriceDecision,
    "price_outcomes": PricedInterval,
    "handbook_transactions": HandbookTransaction,
    "handbook_labels": HandbookLabelFact,
    "handbook_customers": HandbookCustomer,
    "handbook_terminals": HandbookTerminal,
    "sparkov_transactions": SparkovTransaction,
    "sparkov_labels": SparkovLabelFact,
}

E = TypeVar("E", bound=Event)


class LogPosition(msgspec.Struct, frozen=True):
    """When and where the log got an event, and the verdict of the dedupe stage.

    ingested_at_ms: the topic's append time, as a running maximum per partition.
    """

    ingested_at_ms: int
    source_topic: str
    source_partition: int
    source_offset: int
    is_duplicate: bool = False


POSITION_COLUMNS = (
    pa.field("ingested_at_ms", pa.int64(), nullable=False),
    pa.field("source_topic", pa.string(), nullable=False),
    pa.field("source_partition", pa.int32(), nullable=False),
    pa.field("source_offset", pa.int64(), nullable=False),
    pa.field("is_duplicate", pa.bool_(), nullable=False),
)
LOG_ORDER = ("ingested_at_ms", "source_topic", "source_partition", "source_offset")

_SCALARS: Mapping[object, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.large_binary(),  # plain ones end at 2 GiB a column: a day of 1.4 million vectors
    object: pa.string(),  # free-form values are kept as the JSON they came in
}


class UnmappedType(TypeError):
    """A contract's field has a type that no column type is declared for."""


@cache
def arrow_schema(contract: type[Event]) -> pa.Schema:
    """The lake's columns of a contract: its fields in order, then the log position."""
    return pa.schema([*_fields(contract), *POSITION_COLUMNS])


def from_events(contract: type[Event], events: Sequence[Event], positions: Sequence[LogPosition]) -> pa.Table:
    """One row per event, with its position. Raises ValueError if the two do not pair up."""
    columns = [
        pa.array(_values([getattr(event, field.name) for event in events], field.type), field.type)
        for field in _fields(contract)
    ]
    columns += [pa.array([getattr(at, field.name) for at in positions], field.type) for field in POSITION_COLUMNS]
    if len(events) != len(positions):
        raise ValueError(f"from_events: {len(events)} events but {len(positions)} positions; pass one for each.")
    return pa.Table.from_arrays(columns, schema=arrow_schema(contract))


def to_events(contract: type[E], table: pa.Table) -> list[E]:
    """The contract's structs again, in the table's order.

    A file written before a field was added has null there, and the field its default.
    """
    fields = _fields(contract)
    rows = rows_of(table.select([field.name for field in fields]))
    json_names = _json_columns(contract)
    late = [field.name for field in fields if not field.nullable and table[field.name].null_count]
    for row in rows:
        for name in json_names:
            row[name] = msgspec.json.decode(row[name])
        for name in late:
            if row[name] is None:
                del row[name]
    return [msgspec.convert(row, contract) for row in rows]


@cache
def _fields(contract: type[msgspec.Struct]) -> tuple[pa.Field, ...]:
    hints = get_type_hints(contract, include_extras=True)
    return tuple(_field(name, hints[name], contract) for name in contract.__struct_fields__)


def _field(name: str, hint: object, owner: type) -> pa.Field:
    base, nullable = _unwrap(hint)
    kind = _column_type(base, f"{owner.__name__}.{name}")
    if nullable and pa.types.is_struct(kind):
        # Parquet's writer looks for nulls in what is inside of one that is null itself, too.
        kind = pa.struct([field.with_nullable(True) for field in kind])
    return pa.field(name, kind, nullable=nullable)


def _unwrap(hint: object) -> tuple[object, bool]:
    """The type without Annotated and None, and whether None was there."""
    nullable = False
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif get_origin(hint) in (Union, types.UnionType):
            rest = [part for part in get_args(hint) if part is not type(None)]
            if len(rest) != 1:
                return hint, nullable  # a union of several types: _column_type refuses it by name
            hint, nullable = rest[0], True
        else:
            return hint, nullable


def _column_type(base: object, where: str) -> pa.DataType:
    if isinstance(base, type) and issubclass(base, Enum):
        return pa.string()
    if isinstance(base, type) and issubclass(base, msgspec.Struct):
        return pa.struct(_fields(base))
    if base in _SCALARS:
        return _SCALARS[base]
    origin, arguments = get_origin(base), get_args(base)
    if origin is list:
        return pa.list_(_field("item", arguments[0], list))
    if origin is dict:
        if arguments[1] is object:
            return pa.string()
        return pa.map_(pa.string(), _field("value", arguments[1], dict))
    raise UnmappedType(f"UnmappedType: {where} is {base!r}. Add its column type to stores/schemas.py.")


@cache
def _json_columns(contract: type[Event]) -> tuple[str, ...]:
    """Fields that hold free-form values, stored as JSON text."""
    hints = {name: _unwrap(hint)[0] for name, hint in get_type_hints(contract, include_extras=True).items()}
    free_form = [
        name
        for name, base in hints.items()
        if base is object or (get_origin(base) is dict and object in get_args(base))
    ]
    return tuple(name for name in contract.__struct_fields__ if name in free_form)


def _values(values: list[object], column_type: pa.DataType) -> list[object]:
    return values if _is_as_it_is(column_type) else [_to_column(value, column_type) for value in values]


def _is_as_it_is(column_type: pa.DataType) -> bool:
    """Numbers, lists of them, and bytes: Arrow takes what the contract holds.

    A decision has hundreds of them. Looked at one by one they took most of the time of a batch of the
    worker, in which its router waits for the interpreter lock.
    """
    if pa.types.is_list(column_type):
        return bool(pa.types.is_primitive(column_type.value_type))
    return bool(pa.types.is_primitive(column_type) or pa.types.is_large_binary(column_type))


def _to_column(value: object, column_type: pa.DataType) -> object:
    if pa.types.is_string(column_type) and not isinstance(value, str | None):
        return msgspec.json.encode(value, order="sorted").decode()
    if pa.types.is_map(column_type):
        return list(cast("dict[str, object]", msgspec.to_builtins(value)).items())
    if pa.types.is_list(column_type):
        return _values(list(cast("Iterable[Any]", value)), column_type.value_type)
    if isinstance(value, msgspec.Struct):
        return {field.name: _to_column(getattr(value, field.name), field.type) for field in column_type}
    return value
