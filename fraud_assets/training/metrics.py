"""What a fraud model is judged by: ranking of payments, probabilities, and what an investigator's day would find."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sklearn_metrics
from sklearn.linear_model import LogisticRegression

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


class OneClass(ValueError):
    """Scores of one class alone rank nothing."""


def roc_auc(is_fraud: Bools, score: Floats) -> float:
    """Area under the ROC curve: the chance that a fraud scores above a legitimate payment, ties half.

    is_fraud, score: (n,). Raises OneClass unless both classes occur.
    """
    _check_classes(is_fraud)
    return float(sklearn_metrics.roc_auc_score(is_fraud, score))


def average_precision(is_fraud: Bools, score: Floats) -> float:
    """Mean precision over the recall steps, without interpolation.

    is_fraud, score: (n,). Raises OneClass unless both classes occur.
    """
    _check_classes(is_fraud)
    return float(sklearn_metrics.average_precision_score(is_fraud, score))


def recall_at_fpr(is_fraud: Bools, score: Floats, fpr: float) -> float:
    """Share of frauds found where `fpr` of the legitimate payments are refused, by the straight line between two thresholds.

    is_fraud, score: (n,). Raises OneClass unless both classes occur.
    """
    _check_classes(is_fraud)
    refused, found, _ = sklearn_metrics.roc_curve(is_fraud, score)
    return float(np.interp(fpr, refused, found))


@dataclass(frozen=True)
class Reliability:
    """Payments of neighbouring scores, per bin: (n_bins,) how many, their mean score, their share of fraud."""

    rows: Ints
    predicted: Floats
    observed: Floats


def reliability(is_fraud: Bools, score: Floats, bins: int) -> Reliability:
    """The bins are quantiles of the score, ascending; equal scores share one, so there may be fewer than asked for.

    is_fraud, score: (n,), n > 0. The same bins as `sklearn.calibration.calibration_curve(strategy="quantile")`, with counts.
    """
    edges = np.quantile(score, np.linspace(0, 1, bins + 1))
    place = np.searchsorted(edges[1:-1], score)
    rows = np.bincount(place, minlength=bins)
    filled = rows > 0
    sums = (np.bincount(place, weights=values, minlength=bins)[filled] for values in (score, is_fraud))
    predicted, observed = (total / rows[filled] for total in sums)
    return Reliability(rows[filled].astype(np.int64), predicted, observed)


def expected_calibration_error(found: Reliability) -> float:
    """Mean distance of share of fraud and mean score over the bins, each weighing its rows.

    Source: Naeini, Cooper, Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian Binning (AAAI 2015).
    """
    return float(np.average(np.abs(found.observed - found.predicted), weights=found.rows))


def calibration_gap_error(is_fraud: Bools, score: Floats, day: Ints) -> float | None:
    """Standard error of mean score less share of fraud, days as clusters: frauds come in attacks, not one by one.

    is_fraud, score, day: (n,), n > 0. Of one day alone it is not known: None.
    Source: Liang, Zeger, Longitudinal Data Analysis Using Generalized Linear Models (Biometrika 1986), for a mean.
    """
    missed = score - is_fraud
    _, code = np.unique(day, return_inverse=True)
    of_day = np.bincount(code, missed - missed.mean())
    if len(of_day) < 2:
        return None
    return float(np.sqrt(len(of_day) / (len(of_day) - 1) * np.square(of_day).sum()) / len(score))


def calibration_slope(is_fraud: Bools, score: Floats) -> float:
    """By how much log odds should be stretched to fit the labels: 1 is right, below 1 the scores are too sure.

    is_fraud, score: (n,), scores inside (0, 1). Raises OneClass unless both classes occur.
    Source: Cox, Two Further Applications of a Model for Binary Regression (Biometrika 1958).
    """
    _check_classes(is_fraud)
    inside = np.clip(score, 1e-9, 1 - 1e-9)
    log_odds = np.log(inside / (1 - inside))
    return float(LogisticRegression(C=np.inf, tol=1e-8).fit(log_odds[:, None], is_fraud).coef_[0, 0])


def brier(is_fraud: Bools, score: Floats) -> float:
    """Mean squared distance of score and label."""
    return float(sklearn_metrics.brier_score_loss(is_fraud, score))


def card_precision_at_k(day: Ints, card: Ints, is_fraud: Bools, score: Floats, k: int = 100) -> float:
    """Mean over days of the share of the day's k highest-scored cards that are compromised that day.

    day, card, is_fraud, score: (n,) of every test payment. A card counts with its highest score of
    the day, and is compromised if any payment of it that day is a fraud. A compromised card among
    the k is blocked, so it is not counted again on later days. Equal scores rank by card code.
    Source: Le Borgne et al., ch. 4, card precision top-k; written from its description.
    """
    _check_classes(is_fraud)
    blocked: set[int] = set()
    shares = []
    for today in np.unique(day):
        rows = (day == today) & ~np.isin(card, list(blocked))
        cards, top, compromised = _by_card(card[rows], score[rows], is_fraud[rows])
        chosen = np.lexsort((cards, -top))[:k]
        found = chosen[compromised[chosen]]
        blocked.update(cards[found].tolist())
        shares.append(len(found) / k)
    return float(np.mean(shares))


def _by_card(card: Ints, score: Floats, is_fraud: Bools) -> tuple[Ints, Floats, Bools]:
    """(m,) card codes, each with its highest score and whether any of its payments is a fraud."""
    cards, code = np.unique(card, return_inverse=True)
    top = np.full(len(cards), -np.inf)
    np.maximum.at(top, code, score)
    return cards, top, np.bincount(code, weights=is_fraud, minlength=len(cards)) > 0


def _check_classes(is_fraud: Bools) -> None:
    if not is_fraud.any() or is_fraud.all():
        raise OneClass(
            f"OneClass: {int(is_fraud.sum())} of {len(is_fraud)} rows are fraud; a ranking needs both classes."
        )
