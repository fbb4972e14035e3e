"""Events to int64: the `prepare` step that every execution shares.

A source's events become `Columns` (one int64 array per contract field); `rows` evaluates the
inputs a group declared and gives the event rows that state and batch fold. Nothing here rounds:
floats, booleans where a number is due and out-of-range values are refused by name.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import attrgetter

import msgspec
import numpy as np

from fraud_assets.engine.circle import QUARTER_E6, sines
from fraud_assets.engine.jit import kernel
from fraud_assets.engine.kernels import NULL, ROW_INPUTS, mix63
from fraud_assets.engine.plan import EnginePlan, GroupPlan, Ints
from fraud_assets.features.checks import is_identifier
from fraud_assets.features.expressions import COSINE, Binary, Circular, Col, Expr, Lit
from fraud_assets.features.layout import Input
from fraud_assets.features.sources import MAX_VALUE, Entity, Field, Kind, LabelFactSource, Source


class BadValue(ValueError):
    """A field no aggregate can take; the message names source, field and bound."""


@lru_cache(maxsize=1 << 16)
def hash64(text: str) -> int:
    """63-bit hash of an identifier, the same in every process and on every machine.

    BLAKE2b rather than a fast hash: an attacker who could make two devices collide would hide one.
    """
    return hash_once(text)


def hash_once(text: str) -> int:
    """`hash64` of what hardly comes again: keeping it takes as long as making it, and puts out what does come again."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def hash_column(values: Sequence[str | None]) -> Ints:
    """hash64 of every value, NULL for None; each distinct value is hashed once."""
    known = {text: hash64(text) for text in {text for text in values if text is not None}}
    return np.fromiter((NULL if text is None else known[text] for text in values), np.int64, len(values))


@dataclass(frozen=True)
class Columns:
    """Events of one source as int64 columns, in log order.

    fields: (n,) per contract field; NULL where absent. arrival_ms, tp, offset: (n,) when and where
    each arrived (tp is `EnginePlan.topic_code`).
    """

    source: Source
    fields: Mapping[str, Ints]
    arrival_ms: Ints
    tp: Ints
    offset: Ints

    def __len__(self) -> int:
        return len(self.arrival_ms)

    @property
    def time(self) -> Ints:
        return self.fields[self.source.time_field]

    @property
    def ids(self) -> Ints:
        return self.fields[self.source.id_field]

    def take(self, chosen: Ints | slice) -> "Columns":
        """The chosen events, in the order given."""
        return Columns(
            self.source,
            {name: column[chosen] for name, column in self.fields.items()},
            self.arrival_ms[chosen],
            self.tp[chosen],
            self.offset[chosen],
        )

    def payload(self) -> Ints:
        """(n,) hash of every field: the last tie-break of `last` and of profile versions."""
        found = np.zeros(len(self), np.int64)
        for name in sorted(self.fields):
            fold_hash(found, self.fields[name])
        return found

    def keys(self, entity: Entity) -> Ints:
        """(n,) hash of the entity each event is about; NULL where it names none."""
        found = self.fields[entity.keys[0]]
        for name in entity.keys[1:]:
            found = found.copy()
            combine_keys(found, self.fields[name])
        return found


@kernel
def fold_hash(found, column):
    for i in range(len(found)):
        found[i] = mix63(found[i] * 31 + mix63(column[i]))


@kernel
def combine_keys(found, other):
    for i in range(len(found)):
        if found[i] == NULL or other[i] == NULL:
            found[i] = NULL
        else:
            found[i] = mix63(found[i] * 31 + mix63(other[i]))


def entity_key(entity: Entity, event: msgspec.Struct) -> str | None:
    """The key of the entity an event is about, as stores and topics write it; None if it names none.

    Parts of a pair are joined by `|`; one that holds a `|` is escaped, so no two pairs share a key.
    """
    if len(entity.keys) == 1:
        value = getattr(event, entity.keys[0])
        return None if value is None else str(value)
    parts = []
    for name in entity.keys:
        value = getattr(event, name)
        if value is None:
            return None
        parts.append(escaped(str(value)))
    return "|".join(parts)


def escaped(text: str) -> str:
    """As a part of a pair's key."""
    return text if "|" not in text and "%" not in text else text.replace("%", "%25").replace("|", "%7C")


class EntityKeys:
    """`entity_key` of some entities for many events at a time: each field is read and escaped once for all of them."""

    def __init__(self, entities: Sequence[Entity]) -> None:
        names = list(dict.fromkeys(name for entity in entities for name in entity.keys))
        self._read = [attrgetter(name) for name in names]
        self._places = [[names.index(name) for name in entity.keys] for entity in entities]
        self._in_pairs = {place for places in self._places if len(places) > 1 for place in places}

    def of(self, events: Sequence[msgspec.Struct]) -> list[list[str | None]]:
        """(n_entities, n_events)."""
        texts = [[None if value is None else str(value) for value in map(read, events)] for read in self._read]
        parts = {place: [None if text is None else escaped(text) for text in texts[place]] for place in self._in_pairs}
        return [
            texts[places[0]] if len(places) == 1 else reduce(_joined, [parts[place] for place in places])
            for places in self._places
        ]


def _joined(firsts: list[str | None], seconds: list[str | None]) -> list[str | None]:
    return [
        None if first is None or second is None else f"{first}|{second}"
        for first, second in zip(firsts, seconds, strict=True)
    ]


def field_values(field: Field, values: Iterable[object], count: int, source: Source) -> Ints:
    """int64 codes of one contract field. Raises BadValue for a value outside ±MAX_VALUE."""
    match field.kind:
        case Kind.ID:
            return hash_column([None if value is None else str(value) for value in values])
        case Kind.CATEGORY:
            codes: dict[object, int] = {text: code for code, text in enumerate(field.vocabulary, start=1)}
            codes[None] = NULL
            try:
                return np.fromiter((codes[None if value is None else str(value)] for value in values), np.int64, count)
            except KeyError as unknown:
                raise BadValue(
                    f"BadValue: {source.name}.{field.name} is {unknown}; known: {', '.join(field.vocabulary)}."
                ) from None
        case _:
            known = list(values)
            # numpy would round 1.5 to 1 and take -2**63 for null.
            wrong = [v for v in known if v is not None and (not isinstance(v, int) or abs(v) > MAX_VALUE)]
            if wrong:
                raise BadValue(
                    f"BadValue: {source.name}.{field.name} is {wrong[0]!r}; it takes integers within ±{MAX_VALUE}."
                )
            return np.fromiter((NULL if v is None else v for v in known), np.int64, count)


def check_range(column: Ints, name: str, source: Source) -> None:
    """Raises BadValue where a number could make an aggregate overflow."""
    wrong = (np.abs(column) > MAX_VALUE) & (column != NULL)
    if wrong.any():
        raise BadValue(f"BadValue: {source.name}.{name} is {column[wrong][0]}, beyond ±{MAX_VALUE}; check its unit.")


def columns_from_events(
    plan: EnginePlan,
    source: Source,
    events: Sequence[msgspec.Struct],
    positions: Sequence[tuple[str, int, int]],
    arrival_ms: Sequence[int],
) -> Columns:
    """Columns of decoded events. positions: (topic, partition, offset) of each; arrival_ms: its append time."""
    count = len(events)
    fields = {
        name: field_values(field, (getattr(event, name) for event in events), count, source)
        for name, field in source.fields.items()
    }
    tp = np.fromiter((plan.topic_code(topic, partition) for topic, partition, _ in positions), np.int64, count)
    offset = np.fromiter((at for _, _, at in positions), np.int64, count)
    return Columns(source, fields, np.array(arrival_ms, np.int64).reshape(count), tp, offset)


def rows_of(plan: EnginePlan, group: GroupPlan, columns: Columns) -> Ints:
    """(n, row_width) event rows of a group: header, then its inputs, NULL for other sources' inputs."""
    count = len(columns)
    rows = np.full((count, group.row_width), NULL, np.int64)
    rows[:, 0] = columns.time
    rows[:, 1] = columns.tp
    rows[:, 2] = columns.offset
    rows[:, 3] = plan.source_number(columns.source)
    rows[:, 4] = columns.ids
    rows[:, 5] = columns.payload()
    for place, item in enumerate(group.inputs):
        if item.source.name == columns.source.name:
            rows[:, ROW_INPUTS + place] = input_values(item, columns)
    return rows


def input_values(item: Input, columns: Columns) -> Ints:
    """(n,) one input of every event; NULL where the event does not count."""
    count = len(columns)
    value = np.ones(count, np.int64) if item.of is None else evaluate(item.of, columns)
    if item.hashed:
        value = hashed(item.of, columns, value)
    if item.signed:
        assert isinstance(columns.source, LabelFactSource) and columns.source.sign_field is not None
        value = np.where(value == NULL, NULL, value * columns.fields[columns.source.sign_field])
    for condition in (item.where, item.present):
        if condition is not None:
            kept = evaluate(condition, columns)
            holds = kept == 1 if condition is item.where else kept != NULL
            value = np.where(holds, value, NULL)
    return value


def hashed(of: Expr | None, columns: Columns, value: Ints) -> Ints:
    """Identifiers are hashes already; categories and numbers are mixed so that a set can sample them."""
    return value if is_identifier(of, columns.source) else _mixed(value)


def _mixed(value: Ints) -> Ints:
    mixed = value.copy()
    mix_column(mixed)
    return mixed


@kernel
def mix_column(column):
    for i in range(len(column)):
        if column[i] != NULL:
            column[i] = mix63(column[i])


def evaluate(tree: Expr, columns: Columns) -> Ints:
    """(n,) value of an expression; booleans are 0 and 1, NULL where an operand of arithmetic is."""
    match tree:
        case Col(name):
            return columns.fields[name]
        case Lit(value):
            if isinstance(value, str):
                raise BadValue(f"BadValue: the text {value!r} can only be compared with a field.")
            return np.full(len(columns), int(value), np.int64)
        case Binary("??", left, right):
            first, second = evaluate(left, columns), evaluate(right, columns)
            if isinstance(right, Col) and is_identifier(right, columns.source):
                # Equal texts of two fields are two identifiers.
                second = _mixed(np.where(second == NULL, NULL, second ^ hash64(right.name)))
            return np.where(first == NULL, second, first)
        case Binary(op, left, right):
            return _binary(op, *_operands(left, right, columns))
        case Circular(op, of):
            found = evaluate(of, columns).copy()
            sines(found, QUARTER_E6 if op == COSINE else 0)
            return found
        case _:
            raise BadValue(f"BadValue: unknown expression {type(tree).__name__}.")


def _operands(left: Expr, right: Expr, columns: Columns) -> tuple[Ints, Ints]:
    """Both sides; a text is encoded as the field on the other side is."""
    if isinstance(left, Col) and isinstance(right, Lit) and isinstance(right.value, str):
        return columns.fields[left.name], _encoded(right.value, columns.source.fields[left.name], len(columns))
    return evaluate(left, columns), evaluate(right, columns)


def _encoded(text: str, field: Field, count: int) -> Ints:
    if field.kind is Kind.CATEGORY:
        return np.full(count, field.code(text), np.int64)
    if field.kind is Kind.ID:
        return np.full(count, hash64(text), np.int64)
    raise BadValue(f"BadValue: {field.name} is {field.kind.value}; it cannot be compared with the text {text!r}.")


def _binary(op: str, a: Ints, b: Ints) -> Ints:
    known = (a != NULL) & (b != NULL)
    match op:
        case "==" | "!=" | "<" | "<=" | ">" | ">=":
            compare = {
                "==": np.equal,
                "!=": np.not_equal,
                "<": np.less,
                "<=": np.less_equal,
                ">": np.greater,
                ">=": np.greater_equal,
            }[op]
            return (compare(a, b) & known).astype(np.int64)
        case "&":
            return ((a == 1) & (b == 1)).astype(np.int64)
        case "|":
            return ((a == 1) | (b == 1)).astype(np.int64)
        case "+" | "-" | "*":
            apply = {"+": np.add, "-": np.subtract, "*": np.multiply}[op]
            return np.where(known, apply(a, b), NULL)
        case "//" | "%":
            # A divisor of 1 where there is no answer: null // -1 would overflow, and numpy warns of it.
            answered = known & (b != 0)
            divide = np.floor_divide if op == "//" else np.remainder
            return np.where(answered, divide(a, np.where(answered, b, 1)), NULL)
        case _:
            raise BadValue(f"BadValue: unknown operator {op!r}.")
