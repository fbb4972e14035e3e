"""From decisions and the model that made them to explanations: exact, and checked against what was logged. Pure."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fraud_assets.contracts.events import Decision, Explanation, FeatureVector, OfDecision
from fraud_assets.models.trees import sigmoid
from fraud_assets.stores.served import BadVector, Floats, served_vector
from streaming.core.records import Refusal

# Contributions are float32 sums over some hundred trees: measured, they miss the margin by a millionth of what
# they add. Another model, vector or default direction misses by more.
TOLERANCE = 1e-5
TOP_FEATURES = 10


class Explainable(Protocol):
    """A model that says what each feature moved a margin by."""

    @property
    def feature_names(self) -> Sequence[str]: ...

    def contributions(self, rows: Floats) -> Floats:
        """(n, n_features + 1) log odds of rows (n, n_features), NaN for null; the last column is the base value."""
        ...


class Unexplained(NamedTuple):
    """Why a decision gets no explanation."""

    reason: Refusal
    detail: str


def explain(model: Explainable, decisions: Sequence[Decision]) -> list[Explanation | Unexplained]:
    """One outcome for each of a model's decisions, in order; the same for a decision whatever it is batched with."""
    rows = [_row(decision, len(model.feature_names)) for decision in decisions]
    sound = [row for row in rows if not isinstance(row, Unexplained)]
    shares = iter(model.contributions(np.stack(sound)) if sound else ())
    return [
        row if isinstance(row, Unexplained) else _explained(model.feature_names, decision, next(shares))
        for decision, row in zip(decisions, rows, strict=True)
    ]


def _row(decision: Decision, width: int) -> Floats | Unexplained:
    """What XGBoost saw."""
    try:
        row = served_vector(decision)
    except BadVector as bad:
        return Unexplained(Refusal.OTHER_VECTOR, str(bad))
    if len(row) != width:
        return Unexplained(Refusal.OTHER_VECTOR, f"not a vector of {width} float32 numbers: {len(row)} numbers")
    return row


def _explained(names: Sequence[str], decision: Decision, shares: Floats) -> Explanation | Unexplained:
    values = shares.astype(np.float64)
    margin = float(values.sum())
    if not adds_up(margin, float(np.abs(values).sum()), decision.fraud_score):
        return Unexplained(
            Refusal.OTHER_SCORE,
            f"contributions add up to a score of {sigmoid(margin)!r}, the logged one is {decision.fraud_score!r}",
        )
    return Explanation(
        **_names(decision),
        base_value=float(values[-1]),
        contributions=values[:-1].tolist(),
        margin=margin,
        top_features=_top(names, values[:-1]),
    )


def adds_up(margin: float, weight: float, score: float) -> bool:
    """Whether a margin is the logged score's, as a probability and as log odds.

    weight: sum of the absolute contributions, which bounds their rounding. Most scores are near 0, where
    probabilities hide a margin that is wrong; near 1 a float64 probability no longer tells margins apart.
    """
    if not abs(sigmoid(margin) - score) <= TOLERANCE:  # also refuses NaN
        return False
    if not 0.0 < score < 1.0:
        return True
    log_odds = math.log(score / (1.0 - score))
    rounded = np.finfo(np.float64).eps / (score * (1.0 - score))
    return bool(abs(margin - log_odds) <= TOLERANCE * max(1.0, weight) + rounded)


def _top(names: Sequence[str], values: npt.NDArray[np.float64]) -> dict[str, float]:
    """The largest by absolute value, ties in the vector's order; what moved nothing is not named."""
    order = np.argsort(-np.abs(values), kind="stable")[:TOP_FEATURES]
    return {names[place]: float(values[place]) for place in order if values[place]}


def vector_of(decision: Decision) -> FeatureVector | None:
    """The served vector alone, to be encoded: JSON writes NaN as null. None if the decision has none."""
    try:
        return FeatureVector(**_names(decision), features=served_vector(decision).tolist())
    except BadVector:
        return None


def _names(decision: Decision) -> dict[str, Any]:
    """Which decision, and what made it."""
    return {name: getattr(decision, name) for name in OfDecision.__struct_fields__}
