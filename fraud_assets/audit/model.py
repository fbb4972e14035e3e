"""What our model and policy would have done to the newest quarter of a file, of which they have seen nothing.

The older part is trained on as the platform trains: a small study on its own newest days, thresholds from scores of folds.
"""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.metrics import roc_curve

from fraud_assets.audit.days import Days
from fraud_assets.audit.history import Audited
from fraud_assets.audit.pattern import share
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.engine.batch import Spine, vectors
from fraud_assets.ingest.convert import day_text
from fraud_assets.policy.policy import DEFAULT_POLICY, Action, Decider
from fraud_assets.training.fit import Fitted, fit
from fraud_assets.training.split import Split, TooShort, folds, temporal_split
from fraud_assets.training.threshold import CostTable, cost_minor, review_threshold
from fraud_assets.training.tune import Budget

Floats32 = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Row = dict[str, Any]

WINDOW_DAYS = 90  # what the platform trains on, and as much as fits into memory
GOOD_REFUSED = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
NEVER = (np.inf, np.inf)  # thresholds of rules alone
SEVERITY = {Action.APPROVE: 0.0, Action.REVIEW: 1.0, Action.DENY: 2.0}


@dataclass(frozen=True)
class Part:
    """Payments with verdicts, in log order; each (n,), features (n, n_features). money: minor units of the report."""

    time_ms: Ints
    is_fraud: Flags
    money: Floats
    features: Floats32

    def take(self, rows: Ints) -> "Part":
        return Part(self.time_ms[rows], self.is_fraud[rows], self.money[rows], self.features[rows])

    @property
    def days(self) -> float:
        return max(float(np.ptp(self.time_ms)) / DAY_MS, 1.0)


def measured(audited: Audited, rows: pl.DataFrame, costs: CostTable) -> Row:
    """The report's `model`. rows: `with_money`. Raises TooShort where either part lacks a kind of payment."""
    last_ms = int(str(rows["event_time_ms"].max())) + 1
    span_ms = (WINDOW_DAYS + audited.delay_days) * DAY_MS
    judged = rows["is_fraud"].is_not_null() & (rows["event_time_ms"] >= last_ms - span_ms)
    chosen = np.flatnonzero(judged.to_numpy()).astype(np.int64)
    split = parts_of(rows, chosen, last_ms, audited.delay_days)
    part = _part(audited, rows, chosen)
    train, test = part.take(split.train), part.take(split.validate)
    fitted, thresholds = _learnt(train, audited, costs)
    score = fitted.booster.inplace_predict(test.features).astype(np.float64)
    days = Days(test.time_ms)
    return {
        "delay_days": audited.delay_days,
        "train": _told(train) | {"until": day_text(int(train.time_ms.max()))},
        "test": _told(test) | {"from": day_text(int(test.time_ms.min()))},
        "thresholds": {"review": thresholds[0], "deny": thresholds[1]},
        "policies": _policies(audited, test, score, thresholds, costs, days),
        "curve": curve(score, test.is_fraud, test.money, costs, days),
        "costs": {
            name: getattr(costs, name) for name in ("chargeback_fee_minor", "false_decline_minor", "review_minor")
        },
    }


def parts_of(rows: pl.DataFrame, chosen: Ints, last_ms: int, delay_days: int) -> Split:
    """Places among the chosen rows: what is learnt from ends a label delay before what is judged begins. Raises TooShort."""
    if not len(chosen):
        raise TooShort("TooShort: no payment of the last days has a verdict.")
    time_ms, is_fraud = rows["event_time_ms"].to_numpy()[chosen], rows["is_fraud"].gather(chosen).to_numpy()
    return temporal_split(time_ms, is_fraud, int(time_ms.min()), last_ms, delay_days)


def _part(audited: Audited, rows: pl.DataFrame, chosen: Ints) -> Part:
    spine = Spine.of_events(audited.log, audited.service.service.scored.name).take(chosen)
    features = vectors(audited.service, audited.log, spine).features
    kept = rows.select("event_time_ms", "is_fraud", "money")[chosen]
    return Part(kept["event_time_ms"].to_numpy(), kept["is_fraud"].to_numpy(), kept["money"].to_numpy(), features)


def _learnt(train: Part, audited: Audited, costs: CostTable) -> tuple[Fitted, tuple[float, float]]:
    """A model and its (review, deny), from the older part alone."""
    end_ms = int(train.time_ms.max()) + 1
    split = temporal_split(train.time_ms, train.is_fraud, int(train.time_ms.min()), end_ms, 0)
    fitted = fit(
        train.features,
        train.is_fraud,
        train.money,
        split,
        audited.service.names,
        folds=folds(train.time_ms, train.is_fraud),
        costs=costs,
        budget=Budget(trials=0),
    )
    deny, unseen = fitted.threshold.value, fitted.unseen_scores.astype(np.float64)
    return fitted, (review_threshold(unseen, train.is_fraud, train.money, deny, costs, train.days), deny)


def _told(part: Part) -> Row:
    return {
        "payments": len(part.is_fraud),
        "frauds": int(part.is_fraud.sum()),
        "fraud_money_minor": float(part.money[part.is_fraud].sum()),
    }


def _policies(
    audited: Audited, test: Part, score: Floats, thresholds: tuple[float, float], costs: CostTable, days: Days
) -> Row:
    """Nothing, rules alone, and model and rules, on the same payments."""
    named = {"model and rules": thresholds, "rules alone": NEVER}
    found = {name: severities(audited.service.names, test.features, score, at) for name, at in named.items()}
    found["nothing"] = np.zeros(len(score))
    return {name: outcome(severity, test.is_fraud, test.money, costs, days) for name, severity in found.items()}


def severities(names: tuple[str, ...], features: Floats32, score: Floats, thresholds: tuple[float, float]) -> Floats:
    """(n,) what the policy does to each payment, by SEVERITY. Rules about features that the service has not are left out."""
    place = {name: at for at, name in enumerate(names)}
    rules = [rule for rule in DEFAULT_POLICY.rules if all(item.feature in place for item in rule.conditions)]
    if not rules:
        return np.add(*(score >= at for at in thresholds), dtype=np.float64)
    # The decider sees what rules read: other features may be of a domain for which there are no reasons, and none are reported.
    read = sorted({item.feature for rule in rules for item in rule.conditions})
    policy = msgspec.structs.replace(DEFAULT_POLICY, rules=tuple(rules))
    verdicts = Decider(policy, read, *thresholds).verdicts(
        score.tolist(),
        features[:, [place[name] for name in read]],
        [0] * len(score),
        [False] * len(score),
        np.zeros_like,
    )
    return np.array([SEVERITY[one.action] for one in verdicts])


def outcome(severity: Floats, is_fraud: Flags, money: Floats, costs: CostTable, days: Days) -> Row:
    """Counts, money and cost of what was done to each payment; money and cost with 95 % intervals."""
    denied, reviewed = severity == SEVERITY[Action.DENY], severity == SEVERITY[Action.REVIEW]
    stopped = money * (denied & is_fraud)

    def cost(rows: Ints) -> float:
        return cost_minor(severity[rows], is_fraud[rows], money[rows], (1.0, 2.0), costs)

    fraud_denied, good_denied = int((denied & is_fraud).sum()), int((denied & ~is_fraud).sum())
    return {
        "fraud_denied": fraud_denied,
        "fraud_denied_share": share(fraud_denied, int(is_fraud.sum())),
        "money_denied_minor": float(stopped.sum()),
        "money_denied_interval_minor": days.sum_of(lambda rows: float(stopped[rows].sum())),
        "fraud_reviewed": int((reviewed & is_fraud).sum()),
        "good_denied": good_denied,
        "good_denied_share": share(good_denied, int((~is_fraud).sum())),
        "good_reviewed": int((reviewed & ~is_fraud).sum()),
        "cost_minor": cost(np.arange(len(severity))),
        "cost_interval_minor": days.sum_of(cost),
    }


def curve(score: Floats, is_fraud: Flags, money: Floats, costs: CostTable, days: Days) -> list[Row]:
    """Fraud money stopped at the lowest score that refuses no more than each share of the good; its interval holds that score fixed."""
    weight = np.where(is_fraud, np.maximum(money, 1.0), 1.0)
    good, stopped, threshold = roc_curve(is_fraud, score, sample_weight=weight, drop_intermediate=False)
    found = []
    for most in GOOD_REFUSED:
        at = int(np.searchsorted(good, most, side="right")) - 1
        # scikit-learn's first threshold is infinite: nobody is refused.
        value = float(min(threshold[at], np.nextafter(score.max(), np.inf)))
        refused = score >= value
        found.append(
            {
                "max_good_refused": most,
                "score": value,
                "good_refused": int((refused & ~is_fraud).sum()),
                "frauds_stopped": int((refused & is_fraud).sum()),
                "money_share": float(stopped[at]),
                "money_share_interval": days.share(weight * (refused & is_fraud), weight * is_fraud),
                "cost_minor": cost_minor(score, is_fraud, money, (value, value), costs),
            }
        )
    return found
