"""The feature language: frozen declarations that compute nothing.

A view says which aggregates of which events describe an entity; a service says which views and
request features make one model's vector. Batch, stream and request run these same declarations
(`fraud_assets/engine`). A wrong declaration fails here, when declared, and names the fix.

Import all of it from here: the words below make aggregates (`aggregates.py`), which views and
services (`views.py`) put together.
"""

from collections.abc import Callable

from fraud_assets.features.aggregates import DEFAULT_CAP, Aggregate, BadFeature, Op
from fraud_assets.features.expressions import Expr
from fraud_assets.features.sources import Source
from fraud_assets.features.views import FeatureService, FeatureView, RequestFeature
from fraud_assets.features.windows import LIFETIME, VELOCITY, Window

__all__ = [
    "Aggregate", "BadFeature", "FeatureService", "FeatureView", "Op", "RequestFeature",
    "count", "distinct", "first_seen_age", "last", "least", "mean", "mode", "most", "profile", "profile_age", "ratio",
    "since_last", "std", "total",
]  # fmt: skip


def count(*, where: Expr | None = None, windows: tuple[Window, ...] = VELOCITY, label: str | None = None,
          source: Source | None = None, name: str | None = None) -> Aggregate:  # fmt: skip
    """Number of events; over signed facts, facts less retractions."""
    return Aggregate(op=Op.COUNT, where=where, windows=windows, label=label, source=source, name=name)


def _columnar(op: Op) -> Callable[..., Aggregate]:
    def make(of: Expr, *, where: Expr | None = None, windows: tuple[Window, ...] = VELOCITY, label: str | None = None,
             source: Source | None = None, name: str | None = None, cap: int = DEFAULT_CAP) -> Aggregate:  # fmt: skip
        return Aggregate(op=op, of=of, where=where, windows=windows, label=label, source=source, name=name, cap=cap)

    make.__name__ = op.value
    make.__doc__ = f"`{op.value}` of an expression over each window."
    return make


total = _columnar(Op.SUM)
mean = _columnar(Op.MEAN)
least = _columnar(Op.MIN)
most = _columnar(Op.MAX)
std = _columnar(Op.STD)
distinct = _columnar(Op.DISTINCT)
mode = _columnar(Op.MODE)


def last(of: Expr, *, where: Expr | None = None, label: str | None = None, source: Source | None = None,
         name: str | None = None) -> Aggregate:  # fmt: skip
    """The newest event's value, by (event time, source, id, payload hash); a gauge is read the same way."""
    return Aggregate(op=Op.LAST, of=of, where=where, windows=(LIFETIME,), label=label, source=source, name=name)


def first_seen_age(*, label: str | None = None, source: Source | None = None, name: str | None = None) -> Aggregate:
    """Seconds from the entity's first event to the decision, never below 0."""
    return Aggregate(op=Op.FIRST_SEEN_AGE, windows=(LIFETIME,), label=label, source=source, name=name)


def since_last(*, where: Expr | None = None, label: str | None = None, source: Source | None = None,
               name: str | None = None) -> Aggregate:  # fmt: skip
    """Seconds from the newest matching event to the decision, never below 0."""
    return Aggregate(op=Op.SINCE_LAST, where=where, windows=(LIFETIME,), label=label, source=source, name=name)


def profile(of: Expr, *, label: str | None = None, name: str | None = None) -> Aggregate:
    """An attribute of the profile version in force at the decision."""
    return Aggregate(op=Op.PROFILE, of=of, windows=(LIFETIME,), label=label, name=name)


def profile_age(of: Expr, *, label: str, name: str | None = None) -> Aggregate:
    """Seconds from an instant held in the profile (address changed, account created) to the decision."""
    return Aggregate(op=Op.PROFILE_AGE, of=of, windows=(LIFETIME,), label=label, name=name)


def ratio(numerator: Aggregate, *denominator: Aggregate, label: str, windows: tuple[Window, ...] | None = None,
          name: str | None = None) -> Aggregate:  # fmt: skip
    """`numerator / (sum of denominators)`; null where that sum is 0 or a part is null."""
    return Aggregate(
        op=Op.RATIO,
        numerator=numerator,
        denominator=denominator,
        label=label,
        name=name,
        windows=windows or numerator.windows,
    )
