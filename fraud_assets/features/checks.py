"""What an expression may say of a source's fields, and how large its value can become.

All of it is known when a feature is declared, so a typo in a category's value or a product that
could overflow int64 is refused there and never met by an event.
"""

from fraud_assets.features.expressions import COMPARISONS, LOGICAL, OR_ELSE, UNIT, Binary, Circular, Col, Expr, Lit
from fraud_assets.features.sources import MAX_VALUE, Kind, Source

# Intermediate results stay below this: far from int64's ends, one of which is null.
MAX_STEP = 2**62


def fault(tree: Expr, source: Source) -> str | None:
    """What is wrong with an expression over events of `source`, as the rest of a sentence; None if nothing."""
    match tree:
        case Col(name):
            return None if name in source.fields else _unknown(name, source)
        case Lit(str() as text):
            return f"the text {text!r} can only be compared with a field: col('…') == {text!r}."
        case Lit(value):
            return (
                None if abs(int(value)) <= MAX_VALUE else f"the number {value} is beyond ±{MAX_VALUE}; check its unit."
            )
        case Binary(op, Col(name), Lit(str() as text)) if op in COMPARISONS:
            return _unknown(name, source) if name not in source.fields else _text_fault(op, name, text, source)
        case Binary(op, left, right):
            return fault(left, source) or fault(right, source) or _operator_fault(tree, op, (left, right), source)
        case Circular(op, of):
            return fault(of, source) or _angle_fault(op, of, source)
    return f"{type(tree).__name__} is no expression."


def filter_fault(tree: Expr, source: Source) -> str | None:
    """As `fault`, for a filter: it must also be true or false."""
    wrong = fault(tree, source)
    if wrong is None and not _is_condition(tree, source):
        return "where= takes a condition: a comparison, or a field that is true or false."
    return wrong


def bound(tree: Expr, source: Source) -> int:
    """The largest magnitude the expression's value can have; call on a faultless expression."""
    match tree:
        case Col(name):
            return source.fields[name].bound
        case Lit(value):
            return abs(int(value))
        case Binary(op, left, right):
            if op in COMPARISONS or op in LOGICAL:
                return 1
            a, b = bound(left, source), bound(right, source)
            if op == "//" and isinstance(right, Lit) and b > 0:
                return -(-a // b)  # rounded down below zero too, so up in magnitude
            return {"+": a + b, "-": a + b, "*": a * b, "//": a, "%": b, OR_ELSE: max(a, b)}[op]
        case Circular():
            return UNIT
    raise TypeError(f"{type(tree).__name__} is no expression.")


def is_identifier(tree: Expr | None, source: Source) -> bool:
    """Whether the value is an identifier's hash: a field that is one, or one that stands in for another."""
    match tree:
        case Col(name):
            return source.fields[name].kind is Kind.ID
        case Binary(op, left, _):
            return op == OR_ELSE and is_identifier(left, source)
    return False


def may_be_null(tree: Expr, source: Source) -> bool:
    """Whether some event can make the value null: a nullable field in arithmetic, or a division by zero."""
    match tree:
        case Col(name):
            return source.fields[name].nullable
        case Binary(op, left, right):
            if op in COMPARISONS or op in LOGICAL:
                return False
            if op == OR_ELSE:
                return may_be_null(left, source) and may_be_null(right, source)
            return op in ("//", "%") or may_be_null(left, source) or may_be_null(right, source)
        case Circular(_, of):
            return may_be_null(of, source)
    return False


def _unknown(name: str, source: Source) -> str:
    return f"{source.name} has no field {name!r}. Fields: {', '.join(source.fields)}."


def _text_fault(op: str, name: str, text: str, source: Source) -> str | None:
    field = source.fields[name]
    if field.kind is Kind.CATEGORY:
        known = ", ".join(field.vocabulary)
        return None if text in field.vocabulary else f"{text!r} is not a value of {name}. Known: {known}."
    if field.kind is not Kind.ID:
        return f"{name} is {field.kind.value}; it cannot be compared with the text {text!r}."
    return None if op in ("==", "!=") else f"{name} is an identifier, known by its hash: compare it with == or != only."


def _operator_fault(tree: Expr, op: str, sides: tuple[Expr, Expr], source: Source) -> str | None:
    if op in LOGICAL:
        loose = [side for side in sides if not _is_condition(side, source)]
        return f"both sides of {op} must be conditions; put each comparison in parentheses." if loose else None
    if op == OR_ELSE:
        return _stand_in_fault(sides, source)
    ids = [_name(side) for side in sides if is_identifier(side, source)]
    if ids and not (op in ("==", "!=") and len(ids) == 2):
        return (
            f"{ids[0]} is an identifier, known by its hash: compare it with a text or another identifier by == or !=."
        )
    if bound(tree, source) > MAX_STEP:
        return f"{op} of {sides[0]!r} and {sides[1]!r} could reach {bound(tree, source):.1e} and overflow; divide one side first."
    return None


def _stand_in_fault(sides: tuple[Expr, Expr], source: Source) -> str | None:
    codes = [_name(side) for side in sides if isinstance(side, Col) and source.fields[side.name].kind is Kind.CATEGORY]
    if codes:
        return f"{codes[0]} is a category, whose codes mean nothing beside other values; or_else takes numbers or identifiers."
    if len({is_identifier(side, source) for side in sides}) > 1:
        return "or_else takes two numbers or two identifiers, not one of each."
    if is_identifier(sides[1], source) and not isinstance(sides[1], Col):
        return "an identifier that stands in is a field: write a.or_else(b).or_else(c)."
    return None


def _angle_fault(op: str, of: Expr, source: Source) -> str | None:
    is_number = not (isinstance(of, Col) and source.fields[of.name].kind is not Kind.INT)
    if is_number and not is_identifier(of, source) and not _is_condition(of, source):
        return None
    return f"{op} takes an angle in microdegrees, and {_name(of)} is no number."


def _name(tree: Expr) -> str:
    return tree.name if isinstance(tree, Col) else repr(tree)


def _is_condition(tree: Expr, source: Source) -> bool:
    if isinstance(tree, Col):
        return source.fields[tree.name].kind is Kind.BOOL
    return isinstance(tree, Binary) and (tree.op in COMPARISONS or tree.op in LOGICAL)
