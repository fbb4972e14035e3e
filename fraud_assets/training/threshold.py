"""The thresholds from a cost table: what is denied, and what somebody looks at; not 0.5 by habit."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fraud_assets.settings import Settings

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Amounts = npt.NDArray[np.number]

# Thresholds compared, each with each: of a million rows every fortieth. Fewer would show in the result.
CANDIDATES = 512


@dataclass(frozen=True)
class CostTable:
    """What mistakes cost, in euro cents.

    missed_share: of a missed fraud's amount that is lost, plus `chargeback_fee_minor`.
    false_decline_minor: support, goodwill and part of the margin, for each good customer refused.
    review_minor: an analyst's few minutes for one payment. A fraud that is looked at is found.
    reviews_per_day: how many the analysts get through; on the average day of the window, an attack brings more.
    max_fpr: no threshold refuses a larger share of good customers, whatever the table says.
    doubt: what a lower threshold saves counts if it is more than this many of its standard errors.
    """

    missed_share: float = 1.0
    chargeback_fee_minor: int = 1_500
    false_decline_minor: int = 2_500
    review_minor: int = 300
    reviews_per_day: float = 100.0
    max_fpr: float = 0.02
    doubt: float = 1.0

    def lost(self, is_fraud: Flags, amount_minor: Amounts) -> Floats:
        """(n,) what each payment costs where it is let through; nothing if it is legitimate."""
        return np.where(is_fraud, amount_minor * self.missed_share + self.chargeback_fee_minor, 0.0)


def costs_of(settings: Settings) -> CostTable:
    return CostTable(
        chargeback_fee_minor=settings.chargeback_fee_minor,
        false_decline_minor=settings.false_decline_minor,
        review_minor=settings.review_minor,
        reviews_per_day=settings.reviews_per_day,
    )


@dataclass(frozen=True)
class Threshold:
    """value: scores at or above it are fraud. cost_minor: what it would have cost on the rows given."""

    value: float
    cost_minor: float
    recall: float
    fpr: float


def cheapest_threshold(score: Floats, is_fraud: Flags, amount_minor: Amounts, costs: CostTable) -> Threshold:
    """The threshold between two neighbouring scores below which nothing more is saved for certain, within `max_fpr`.

    The least cost itself lies anywhere in a wide, flat valley: among a few hundred frauds, one dear one more or
    less moves it by half. From the top of that valley fewer good customers are refused, for the same money.
    score, is_fraud, amount_minor (euro cents): (n,) of rows that the model had not seen, both kinds among them.
    """
    order = np.argsort(-score, kind="stable")
    ranked, fraud = score[order], is_fraud[order]
    loss = costs.lost(fraud, amount_minor[order])
    # What refusing one row more adds: a good customer's trouble, or less a fraud's loss.
    added = np.where(fraud, -loss, float(costs.false_decline_minor))
    fpr = np.concatenate([[0], np.cumsum(~fraud)]) / max(int((~fraud).sum()), 1)
    k = _fewest_refused(np.flatnonzero(_splits(ranked) & (fpr <= costs.max_fpr)), added, costs.doubt)
    recall = float(fraud[:k].sum() / max(int(fraud.sum()), 1))
    return Threshold(_between(ranked, k), float(loss.sum() + added[:k].sum()), recall, float(fpr[k]))


def review_threshold(
    score: Floats, is_fraud: Flags, amount_minor: Amounts, deny: float, costs: CostTable, days: float
) -> float:
    """From which score on a payment that is not denied is looked at: where a look saves money, and analysts have the time.

    Looking costs `review_minor` and saves a fraud's loss. Of scores that cannot be told apart the highest, as for `deny`,
    which is the answer where no look pays or nobody is there to look. score, is_fraud, amount_minor: (n,) of `days` days.
    """
    order = np.argsort(-score, kind="stable")
    order = order[score[order] < deny]
    if not len(order):
        return deny
    ranked = score[order]
    added = costs.review_minor - costs.lost(is_fraud[order], amount_minor[order])
    allowed = np.flatnonzero(_splits(ranked) & (np.arange(len(order) + 1) <= costs.reviews_per_day * days))
    k = _fewest_refused(allowed, added, costs.doubt)
    return _between(ranked, k) if k else deny


def cost_minor(
    score: Floats, is_fraud: Flags, amount_minor: Amounts, thresholds: tuple[float, float], costs: CostTable
) -> float:
    """What (review, deny) would have cost on these rows, reviews and good customers refused included."""
    review, deny = thresholds
    denied, looked_at = score >= deny, (score >= review) & (score < deny)
    passed = costs.lost(is_fraud, amount_minor)[~denied & ~looked_at].sum()
    refused = costs.false_decline_minor * int((denied & ~is_fraud).sum())
    return float(passed + refused + costs.review_minor * int(looked_at.sum()))


def _splits(ranked: Floats) -> Flags:
    """(n + 1,) whether the first k rows can be cut off: only where row k-1 and row k differ, equal scores stand or fall together."""
    return np.concatenate([[True], ranked[1:] != ranked[:-1], [True]])


def _fewest_refused(allowed: Ints, added: Floats, doubt: float) -> int:
    """The smallest allowed k from which refusing more saves nothing for certain.

    The rows between two thresholds are all that tells them apart. Each is there or not by chance, so what
    going from one to the other saves, a sum over those rows, has the sum of their squares as its variance.
    """
    places = allowed[np.unique(np.linspace(0, len(allowed) - 1, CANDIDATES).astype(np.int64))]
    cost, squares = (np.concatenate([[0.0], np.cumsum(part)])[places] for part in (added, added**2))
    saved = cost[:, None] - cost[None, :]
    error = np.sqrt(np.maximum(squares[None, :] - squares[:, None], 0.0))
    goes_on = np.triu(saved > doubt * error, 1).any(axis=1)
    return int(places[int(np.argmin(goes_on))])


def _between(ranked: Floats, k: int) -> float:
    """A value that exactly the first k scores reach: half-way, so that rounding flips no decision."""
    if k == 0:
        return float(np.nextafter(ranked[0], np.inf))
    if k == len(ranked):
        return float(ranked[-1])
    return float((ranked[k - 1] + ranked[k]) / 2)
