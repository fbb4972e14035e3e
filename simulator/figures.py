"""The figures that a tolerance may speak of, by name."""

from collections.abc import Mapping
from itertools import pairwise

from simulator.metrics import RunMetrics
from simulator.results import PurchaseResult, RunResult

MEANINGS: Mapping[str, str] = {
    "latency_p50_ms": "latency of decided purchases, median",
    "latency_p95_ms": "latency of decided purchases, 95th percentile",
    "latency_p99_ms": "latency of decided purchases, 99th percentile",
    "unanswered": "share of purchases without a decision: errors, and what the driver shed",
    "errors_5xx": "answers with a status of 500 to 599, but for 503, which is what overload is told with",
    "degraded": "share of decisions made with something missing",
    "recall": "share of decided frauds that were stopped or sent to review: of the scenario's attack, or of a kind",
    "delay_s": "seconds from the first purchase of the attack, or of a kind, to the first that was stopped or sent to review",
    "honest_denied": "share of decided honest purchases that were denied",
    "honest_flagged": "share of decided honest purchases that were denied or sent to review",
    "revenue_kept": "honest dollars not denied, of all honest dollars",
    "fraud_saved": "dollars of fraud denied, of all dollars of fraud",
    "recovery_s": "seconds from the end of an outage to the last purchase that still felt it, undecided or with something missing; the longest",
    "moves": "changes of ways of an adversary",
    "offered_per_s": "purchases due a second",
    "decisions_per_s": "purchases decided a second",
    "skew_mismatches": "served feature vectors that differ from their recomputation",
    "skew_checked": "served feature vectors that were recomputed",
    "decisions_lost": "decisions that were answered and are not in the lake",
    "drift_found": "1 if the drift check of the newest minute fails, 0 if it passes",
}
"""`recall` and `delay_s` also of one kind of fraud: `recall.card_testing`."""

# Only who runs the platform knows.
HANDED_IN = ("skew_mismatches", "skew_checked", "decisions_lost", "drift_found")
_OVERLOAD = "status_503"
# What is missing later than that is not the outage's fault.
_SETTLED_S = 10.0


def figures_of(
    result: RunResult, metrics: RunMetrics, handed_in: Mapping[str, float] | None = None
) -> dict[str, float | None]:
    """All of them; null where there is nothing to take it of. Raises UnknownFigure for one handed in that is not `HANDED_IN`."""
    known = dict(handed_in or {})
    if unknown := sorted(set(known) - set(HANDED_IN)):
        raise UnknownFigure(f"UnknownFigure: {', '.join(unknown)}. Known: {', '.join(HANDED_IN)}.")
    money, purchases = metrics.money, metrics.purchases
    figures: dict[str, float | None] = {
        "latency_p50_ms": metrics.latency_ms.p50,
        "latency_p95_ms": metrics.latency_ms.p95,
        "latency_p99_ms": metrics.latency_ms.p99,
        "unanswered": _of(sum(metrics.unanswered.values()), purchases),
        "errors_5xx": float(sum(count for name, count in metrics.errors.items() if _is_failure(name))),
        "degraded": _of(metrics.degraded, metrics.decisions),
        "recall": metrics.attack.recall,
        "delay_s": metrics.attack.first_caught_after_s,
        "honest_denied": metrics.honest_denied,
        "honest_flagged": metrics.honest_flagged,
        "revenue_kept": _of(money.kept_usd, money.kept_usd + money.turned_away_usd),
        "fraud_saved": _of(money.saved_usd, money.saved_usd + money.lost_usd),
        "recovery_s": _recovery_s(result),
        "moves": float(len(result.moves)),
        "offered_per_s": metrics.offered_per_s,
        "decisions_per_s": metrics.decisions_per_s,
        **dict.fromkeys(HANDED_IN),
    }
    for kind, found in metrics.by_kind.items():
        figures[f"recall.{kind}"] = found.recall
        figures[f"delay_s.{kind}"] = found.first_caught_after_s
    return figures | known


class UnknownFigure(ValueError):
    """A figure that nobody can hand in."""


def _of(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


def _is_failure(error: str) -> bool:
    return error.startswith("status_5") and error != _OVERLOAD


def _recovery_s(result: RunResult) -> float | None:
    """None without an outage."""
    ends = sorted((outage.start_s, outage.end_s) for outage in result.outages)
    waits = [_felt_after(result, end, later) for (_, end), (later, _) in pairwise([*ends, (float("inf"), 0.0)])]
    return round(max(waits), 3) if waits else None


def _felt_after(result: RunResult, end_s: float, until_s: float) -> float:
    """Seconds from the end of an outage to the last purchase that still felt it, before the next one."""
    until_s = min(until_s, end_s + _SETTLED_S)
    felt = [row.offset_s for row in result.purchases if end_s <= row.offset_s < until_s and _is_marred(row)]
    return max(felt) - end_s if felt else 0.0


def _is_marred(row: PurchaseResult) -> bool:
    return not row.was_decided or bool(row.degraded_reasons)


def meaning_of(figure: str) -> str:
    """In words: `recall.card_testing` is that of `recall`. Empty for one that there is not."""
    return MEANINGS.get(figure.partition(".")[0], "")
