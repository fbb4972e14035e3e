"""The naive oracle: every feature of an entity re-aggregated from scratch, in plain Python.

Written from DESIGN §2, not from the engine: no numpy, no numba, no tiles and no state. It reads the
declared aggregates themselves, keeps the list of known events, and for each question walks all of
it. Integers are Python's, so nothing can overflow here; None is null. Floats appear only where the
contract puts one: a mean is one division of two integers, a standard deviation one square root.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from fraud_assets.features.expressions import Binary, Circular, Col, Expr, Lit
from fraud_assets.features.language import Aggregate, FeatureView, Op
from fraud_assets.features.layout import PROFILE_VERSIONS
from fraud_assets.features.sources import Entity, Field, Kind, LabelFactSource, Source
from fraud_assets.features.windows import Window

MASK_64 = 2**64 - 1
NULL_WORD = -(2**63)


@dataclass(frozen=True)
class Known:
    """One event that a decision knows."""

    source: Source
    event: msgspec.Struct

    @property
    def time(self) -> int:
        return int(getattr(self.event, self.source.time_field))


@dataclass(frozen=True)
class Answer:
    """status, age and every feature by name of one (view, entity) at one time; None is null."""

    status: str
    age_s: float | None
    values: dict[str, float | None]


def key_of(entity: Entity, event: msgspec.Struct) -> tuple[object, ...] | None:
    """Whom an event is about, or None if it does not say."""
    parts = tuple(getattr(event, name, None) for name in entity.keys)
    return None if None in parts else parts


def answer(view: FeatureView, entity: Entity, known: Sequence[Known], t: int) -> Answer:
    """What the view says of an entity at `t` from the events known of it. known: of that entity only, any sources."""
    mine = [item for item in view.resolved if item.entity == entity]
    sources = {part.source.name for item in mine for part in _parts(item) if part.source is not None}
    events = [one for one in known if one.source.name in sources]
    names = [(item, index, item.feature_name(window)) for item in mine for index, window in enumerate(item.windows)]
    if not events:
        return Answer("MISSING", None, dict.fromkeys((name for _, _, name in names), None))
    newest = max(one.time for one in events)
    age_s = max(0, t - newest) / 1000.0
    if view.ttl_ms is not None and t - newest > view.ttl_ms:
        return Answer("STALE", age_s, dict.fromkeys((name for _, _, name in names), None))
    values = {name: _feature(item, index, events, newest, view.lateness_ms, t) for item, index, name in names}
    return Answer("PRESENT", age_s, values)


def _parts(item: Aggregate) -> list[Aggregate]:
    if item.op is not Op.RATIO:
        return [item]
    assert item.numerator is not None
    return [item.numerator, *item.denominator]


def _feature(item: Aggregate, index: int, events: Sequence[Known], newest: int, lateness: int, t: int) -> float | None:
    if item.op is not Op.RATIO:
        return _aggregate(item, item.windows[index], events, newest, lateness, t)
    values = [
        _aggregate(
            part, part.windows[index] if len(part.windows) == len(item.windows) else part.windows[0], events, newest, lateness, t
        )
        for part in _parts(item)
    ]  # fmt: skip
    if any(value is None for value in values):
        return None
    above, *below = [value for value in values if value is not None]
    return above / math.fsum(below) if math.fsum(below) != 0 else None


def in_window(window: Window, time: int, newest: int, lateness: int, t: int) -> bool:
    """DESIGN §2's rule: the event's tile starts at or after max(floor(t − w), floor(newest − w − L))."""
    if window.is_lifetime:
        return True
    w, h = window.length_ms, window.tile_ms
    return floor(time, h) >= max(floor(t - w, h), floor(newest - w - lateness, h))


def floor(time: int, tile: int) -> int:
    return time - time % tile


def _aggregate(
    item: Aggregate, window: Window, events: Sequence[Known], newest: int, lateness: int, t: int
) -> float | None:
    source = item.source
    assert source is not None
    chosen = [
        one.event
        for one in events
        if one.source.name == source.name
        and in_window(window, one.time, newest, lateness, t)
        and (item.where is None or evaluate(item.where, one.event, source) == 1)
    ]
    if item.op in (Op.PROFILE, Op.PROFILE_AGE):
        return _profile(item, chosen, source, t)
    if item.op in (Op.FIRST_SEEN_AGE, Op.SINCE_LAST):
        times = [int(getattr(event, source.time_field)) for event in chosen]
        seen = min(times, default=None) if item.op is Op.FIRST_SEEN_AGE else max(times, default=None)
        return None if seen is None else max(0, t - seen) / 1000.0
    if item.op is Op.LAST:
        return _last(item, chosen, source)
    signs = [_sign(source, event) for event in chosen]
    values = [1 if item.of is None else evaluate(item.of, event, source) for event in chosen]
    return _reduce(item, source, [(v, sign) for v, sign in zip(values, signs, strict=True) if v is not None])


def _sign(source: Source, event: msgspec.Struct) -> int:
    if isinstance(source, LabelFactSource) and source.sign_field is not None:
        return int(getattr(event, source.sign_field))
    return 1


def _reduce(item: Aggregate, source: Source, values: list[tuple[int, int]]) -> float | None:
    """values: (value, sign) of each event that counts, nulls left out."""
    plain = [value for value, _ in values]
    n = sum(sign for _, sign in values)
    total = sum(value * sign for value, sign in values)
    match item.op:
        case Op.COUNT:
            return float(n)
        case Op.SUM:
            return float(total)
        case Op.MEAN:
            return float(total) / float(n) if n > 0 else None
        case Op.MIN:
            return float(min(plain)) if plain else None
        case Op.MAX:
            return float(max(plain)) if plain else None
        case Op.STD:
            return standard_deviation(plain) if plain else None
        case Op.DISTINCT:
            return distinct({_hash_of(item.of, value, source) for value in plain}, item.cap)
        case Op.MODE:
            return most_frequent(plain, item.cap)
        case _:
            raise NotImplementedError(item.op)


def standard_deviation(values: Sequence[int]) -> float:
    """Population standard deviation sqrt(n·Σx² − (Σx)²)/n.

    The difference is exact; its three 64-bit limbs become floats and are added, high first, which
    is the one documented rounding before the root (within an ulp of the true value, tested).
    """
    n = len(values)
    spread = n * sum(value * value for value in values) - sum(values) ** 2
    limbs = [spread >> 128, spread >> 64 & MASK_64, spread & MASK_64]
    return math.sqrt(float(limbs[0]) * 2.0**128 + float(limbs[1]) * 2.0**64 + float(limbs[2])) / float(n)


def distinct(hashes: set[int], cap: int) -> float:
    """Exact up to the cap; past it (k − 1)/x_k with x_k the k-th smallest hash as a share of the space."""
    if len(hashes) <= cap:
        return float(len(hashes))
    return max(float(cap + 1), (cap - 1) * (2.0**63 / float(sorted(hashes)[cap - 1])))


def most_frequent(codes: Sequence[int], cap: int) -> float | None:
    """The most frequent of the cap codes of smallest hash, the smallest of equals."""
    kept = sorted(set(codes), key=mix63)[:cap]
    return float(max(kept, key=lambda code: (codes.count(code), -code))) if kept else None


def _last(item: Aggregate, chosen: Sequence[msgspec.Struct], source: Source) -> float | None:
    assert item.of is not None
    dated = []
    for event in chosen:
        value = evaluate(item.of, event, source)
        if value is not None:
            dated.append((*version_of(event, source), value))
    return float(max(dated)[-1]) if dated else None


def _profile(item: Aggregate, chosen: Sequence[msgspec.Struct], source: Source, t: int) -> float | None:
    assert item.of is not None
    versions = {version_of(event, source): event for event in chosen}
    kept = sorted(versions, reverse=True)[:PROFILE_VERSIONS]
    in_force = next((version for version in kept if version[0] <= t), None)
    value = None if in_force is None else evaluate(item.of, versions[in_force], source)
    if value is None:
        return None
    return max(0, t - value) / 1000.0 if item.op is Op.PROFILE_AGE else float(value)


def version_of(event: msgspec.Struct, source: Source) -> tuple[int, int, int]:
    """(event time, id hash, payload hash): the order of `last` and of profile versions."""
    payload = 0
    for name in sorted(source.fields):
        word = encode(source.fields[name], getattr(event, name))
        payload = mix63(payload * 31 + mix63(NULL_WORD if word is None else word))
    return int(getattr(event, source.time_field)), hash63(str(getattr(event, source.id_field))), payload


def encode(field: Field, value: object) -> int | None:
    """A field as the integer that expressions see."""
    if value is None:
        return None
    match field.kind:
        case Kind.CATEGORY:
            return sorted(field.vocabulary).index(str(value)) + 1
        case Kind.ID:
            return hash63(str(value))
        case _:
            assert isinstance(value, int), "int or bool by the contract"
            return int(value)


def _hash_of(of: Expr | None, value: int, source: Source) -> int:
    return value if _names_someone(of, source) else mix63(value)


def _names_someone(of: Expr | None, source: Source) -> bool:
    match of:
        case Col(name):
            return source.fields[name].kind is Kind.ID
        case Binary("??", left, right):
            return _names_someone(left, source) and _names_someone(right, source)
    return False


def evaluate(tree: Expr, event: msgspec.Struct, source: Source) -> int | None:
    """Value of an expression: comparisons with null are false, arithmetic with null or by zero is null, `??` skips null."""
    match tree:
        case Col(name):
            return encode(source.fields[name], getattr(event, name))
        case Lit(value):
            return int(value)
        case Binary(op, Col(name), Lit(str() as text)):
            return _apply(op, encode(source.fields[name], getattr(event, name)), encode(source.fields[name], text))
        case Binary("??", left, right):
            first = evaluate(left, event, source)
            if first is not None:
                return first
            second = evaluate(right, event, source)
            if second is not None and isinstance(right, Col) and source.fields[right.name].kind is Kind.ID:
                return mix63(second ^ hash63(right.name))  # an identifier keeps its field
            return second
        case Binary(op, left, right):
            return _apply(op, evaluate(left, event, source), evaluate(right, event, source))
        case Circular(op, of):
            angle = evaluate(of, event, source)
            return None if angle is None else sine_e9(angle + (90_000_000 if op == "cosine" else 0))
    raise NotImplementedError(tree)


def sine_e9(angle_e6: int) -> int:
    """Sine in billionths by Taylor's series in quarter turns, each product rounded down to 31 bits of fraction."""
    half = 180_000_000
    turned = angle_e6 % (2 * half)
    sign, turned = (-1, turned - half) if turned >= half else (1, turned)
    t = (min(turned, half - turned) * 2**31) // 90_000_000
    square, series = t * t // 2**31, 0
    for n in range(15, 0, -2):
        series = round((math.pi / 2) ** n / math.factorial(n) * 2**31) - square * series // 2**31
    return sign * min(10**9, (t * series // 2**31 * 10**9 + 2**30) // 2**31)


def _apply(op: str, a: int | None, b: int | None) -> int | None:
    if op in ("&", "|"):
        return int(a == 1 and b == 1) if op == "&" else int(a == 1 or b == 1)
    if a is None or b is None:
        return 0 if op in ("==", "!=", "<", "<=", ">", ">=") else None
    if op in ("//", "%"):
        return None if b == 0 else (a // b if op == "//" else a % b)
    operators = {
        "==": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b, "+": a + b, "-": a - b, "*": a * b,
    }  # fmt: skip
    return int(operators[op])


def mix63(value: int) -> int:
    """splitmix64's finaliser, upper 63 bits."""
    z = (value + 0x9E3779B97F4A7C15) & MASK_64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK_64
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK_64
    return (z ^ z >> 31) >> 1


def hash63(text: str) -> int:
    """Upper 63 bits of the 8-byte BLAKE2b of an identifier."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
