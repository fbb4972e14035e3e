"""The decision threshold from a cost table, not 0.5 by habit."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CostTable:
    """What mistakes cost, in minor units.

    missed_share: of a missed fraud's amount that is lost, plus `chargeback_fee_minor`.
    false_decline_minor: support, goodwill and part of the margin, for each good customer refused.
    max_fpr: no threshold refuses a larger share of good customers, whatever the table says.
    """

    missed_share: float = 1.0
    chargeback_fee_minor: int = 1_500
    false_decline_minor: int = 2_500
    max_fpr: float = 0.02


@dataclass(frozen=True)
class Threshold:
    """value: scores at or above it are fraud. cost_minor: what it would have cost on the rows given."""

    value: float
    cost_minor: float
    recall: float
    fpr: float


def cheapest_threshold(
    score: Floats, is_fraud: npt.NDArray[np.bool_], amount_minor: npt.NDArray[np.int64], costs: CostTable
) -> Threshold:
    """The threshold of least cost among those between two neighbouring scores, within `max_fpr`.

    score, is_fraud, amount_minor: (n,) of a validation set with both kinds of rows.
    """
    order = np.argsort(-score, kind="stable")
    ranked, fraud = score[order], is_fraud[order]
    loss = np.where(fraud, amount_minor[order] * costs.missed_share + costs.chargeback_fee_minor, 0.0)
    caught = np.concatenate([[0.0], np.cumsum(loss)])
    false = np.concatenate([[0], np.cumsum(~fraud)])
    cost = loss.sum() - caught + false * float(costs.false_decline_minor)
    fpr = false / max(int((~fraud).sum()), 1)
    # k rows refused is a threshold only where row k-1 and row k differ; equal scores stand or fall together.
    splits = np.concatenate([[True], ranked[1:] != ranked[:-1], [True]])
    allowed = np.where(splits & (fpr <= costs.max_fpr), cost, np.inf)
    k = int(np.argmin(allowed))
    recall = float(fraud[:k].sum() / max(int(fraud.sum()), 1))
    return Threshold(_between(ranked, k), float(cost[k]), recall, float(fpr[k]))


def _between(ranked: Floats, k: int) -> float:
    """A value that exactly the first k scores reach: half-way, so that rounding flips no decision."""
    if k == 0:
        return float(np.nextafter(ranked[0], np.inf))
    if k == len(ranked):
        return float(ranked[-1])
    return float((ranked[k - 1] + ranked[k]) / 2)
