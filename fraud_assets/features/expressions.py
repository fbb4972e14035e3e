"""Column expressions: what an aggregate takes of an event, as data.

`(col("amount_minor") >= 100) & (col("outcome") == "approved")` builds a tree; the engine runs the
same tree over one event or a million. Values are int64 with one null (`NULL`): arithmetic with a
null is null, a comparison with a null is false, `or_else` answers for a null. `sine` and `cosine` are integers too.
"""

from dataclasses import dataclass

Literal = int | bool | str


class Expr:
    """Base of all nodes; the operators build bigger trees and compute nothing."""

    def __eq__(self, other: object) -> "Binary":  # type: ignore[override]  # a tree, as in Polars and SQLAlchemy
        return Binary("==", self, _wrap(other))

    def __ne__(self, other: object) -> "Binary":  # type: ignore[override]  # see __eq__
        return Binary("!=", self, _wrap(other))

    def __hash__(self) -> int:
        return hash(repr(self))

    def __lt__(self, other: object) -> "Binary":
        return Binary("<", self, _wrap(other))

    def __le__(self, other: object) -> "Binary":
        return Binary("<=", self, _wrap(other))

    def __gt__(self, other: object) -> "Binary":
        return Binary(">", self, _wrap(other))

    def __ge__(self, other: object) -> "Binary":
        return Binary(">=", self, _wrap(other))

    def __add__(self, other: object) -> "Binary":
        return Binary("+", self, _wrap(other))

    def __sub__(self, other: object) -> "Binary":
        return Binary("-", self, _wrap(other))

    def __mul__(self, other: object) -> "Binary":
        return Binary("*", self, _wrap(other))

    def __floordiv__(self, other: object) -> "Binary":
        return Binary("//", self, _wrap(other))

    def __mod__(self, other: object) -> "Binary":
        return Binary("%", self, _wrap(other))

    def __and__(self, other: object) -> "Binary":
        return Binary("&", self, _wrap(other))

    def __or__(self, other: object) -> "Binary":
        return Binary("|", self, _wrap(other))

    def __bool__(self) -> bool:
        raise TypeError("An expression has no truth value when declared. Write & and | instead of `and` and `or`.")

    def is_in(self, *values: Literal) -> "Expr":
        """True where the column equals one of `values`."""
        if not values:
            raise ValueError("is_in() needs at least one value.")
        tree: Expr = self == values[0]
        for value in values[1:]:
            tree = tree | (self == value)
        return tree

    def or_else(self, other: object) -> "Binary":
        """The value, or where it is null the other: `col("account_id").or_else(col("device_id"))`.

        An identifier that stands in keeps its field: device 7 is not account 7.
        """
        return Binary(OR_ELSE, self, _wrap(other))


@dataclass(frozen=True, eq=False, repr=True)
class Col(Expr):
    """A field of the event's contract."""

    name: str


@dataclass(frozen=True, eq=False, repr=True)
class Lit(Expr):
    value: Literal


@dataclass(frozen=True, eq=False, repr=True)
class Binary(Expr):
    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, eq=False, repr=True)
class Circular(Expr):
    """`op` is SINE or COSINE."""

    op: str
    of: Expr


COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
LOGICAL = frozenset({"&", "|"})
OR_ELSE = "??"
SINE, COSINE = "sine", "cosine"
# What is 1 to a sine: below a billionth of the earth's radius, which is 6 mm.
UNIT = 10**9


def col(name: str) -> Col:
    """The event's field `name`."""
    return Col(name)


def sine(angle_e6: Expr) -> Circular:
    """Sine of an angle in microdegrees, times `UNIT`: for what goes round, and has no middle as a number."""
    return Circular(SINE, _wrap(angle_e6))


def cosine(angle_e6: Expr) -> Circular:
    return Circular(COSINE, _wrap(angle_e6))


def _wrap(value: object) -> Expr:
    if isinstance(value, Expr):
        return value
    if isinstance(value, bool | int | str):
        return Lit(value)
    raise TypeError(f"{value!r} is a {type(value).__name__}. Expressions take int, bool, str and other expressions.")
