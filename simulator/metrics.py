"""Figures of a run, each defined in one place.

An attack's purchases are those of the scenario's own campaigns, not of the everyday fraud. Positive means review or deny. Precision
counts honest purchases as false; frauds of other kinds are left out, being neither.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from simulator.results import DENY, NO_DECISION, NOT_SENT, PurchaseResult, RunResult


class Percentiles(msgspec.Struct, frozen=True):
    """Of latencies or lags, in milliseconds; null when there is nothing to rank."""

    p50: float | None
    p95: float | None
    p99: float | None


class Detection(msgspec.Struct, frozen=True, kw_only=True):
    """How an attack was met. recall: flagged over all decided; precision: see the module."""

    purchases: int
    decided: int
    caught: int
    false_alarms: int
    recall: float | None
    precision: float | None
    first_caught_after_s: float | None


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """What was at stake, in dollars: purchases that their issuer would let pass, whatever we decided, and those that we let pass.

    saved: fraud that we denied, and lost: that we did not; kept: honest purchases that we did not deny, and turned_away: that we did.
    """

    saved_usd: float
    lost_usd: float
    kept_usd: float
    turned_away_usd: float


class RunMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """The run in figures. `honest_flagged` and `honest_denied` are shares of decided honest purchases.

    by_kind: of a kind that the scenario attacks with only the scenario's own.
    unanswered: purchases that got no decision, by reason; degraded: decisions made without history,
    and why (one may have several reasons).
    """

    purchases: int
    decisions: int
    decisions_per_s: float
    offered_per_s: float
    not_sent: int
    errors: dict[str, int]
    unanswered: dict[str, int]
    by_decision: dict[str, int]
    latency_ms: Percentiles
    lag_ms: Percentiles
    attack: Detection
    everyday_fraud: Detection
    by_kind: dict[str, Detection]
    money: Money
    honest_flagged: float | None
    honest_denied: float | None
    degraded: int
    degraded_reasons: dict[str, int]
    held_rate: bool


def percentiles(values: Sequence[float]) -> Percentiles:
    """Linear interpolation, rounded to microseconds."""
    if not values:
        return Percentiles(None, None, None)
    p50, p95, p99 = (round(float(value), 3) for value in np.percentile(values, [50, 95, 99]))
    return Percentiles(p50, p95, p99)


def metrics_of(result: RunResult) -> RunMetrics:
    """All figures of one run."""
    rows = result.purchases
    decided = [row for row in rows if row.was_decided]
    honest = [row for row in decided if not row.is_fraud]
    by_decision = Counter(row.decision for row in rows)
    lag = percentiles([row.lag_ms for row in rows])
    attacking = {row.kind for row in rows if row.attacks}
    return RunMetrics(
        purchases=len(rows),
        decisions=len(decided),
        decisions_per_s=round(len(decided) / max(result.elapsed_s, 1e-9), 1),
        offered_per_s=round(len(rows) / max(result.duration_s, 1e-9), 1),
        not_sent=by_decision[NOT_SENT],
        errors=dict(Counter(row.error for row in rows if row.error is not None)),
        unanswered=dict(Counter(row.error or row.decision for row in rows if not row.was_decided)),
        by_decision=dict(by_decision),
        latency_ms=percentiles([row.latency_ms for row in decided if row.latency_ms is not None]),
        lag_ms=lag,
        attack=_detection(rows, honest, lambda row: row.attacks),
        everyday_fraud=_detection(rows, honest, lambda row: row.is_fraud and not row.attacks),
        by_kind={
            kind: _detection(
                rows,
                honest,
                lambda row, kind=kind: row.kind == kind and (row.attacks or kind not in attacking),  # type: ignore[misc]
            )
            for kind in sorted({row.kind for row in rows if row.kind is not None})
        },
        money=_money(rows),
        honest_flagged=_share(sum(row.flagged for row in honest), len(honest)),
        honest_denied=_share(sum(row.decision == DENY for row in honest), len(honest)),
        degraded=sum(bool(row.degraded_reasons) for row in decided),
        degraded_reasons=dict(Counter(reason for row in decided for reason in row.degraded_reasons)),
        # The platform held the rate if nothing was shed or failed and the driver kept its own time.
        held_rate=by_decision[NOT_SENT] == 0 and by_decision[NO_DECISION] == 0 and (lag.p99 or 0.0) < 1_000,
    )


def _detection(
    rows: list[PurchaseResult], honest: list[PurchaseResult], belongs: Callable[[PurchaseResult], bool]
) -> Detection:
    mine = [row for row in rows if belongs(row)]
    decided = [row for row in mine if row.was_decided]
    caught = [row for row in decided if row.flagged]
    false_alarms = sum(row.flagged for row in honest)
    return Detection(
        purchases=len(mine),
        decided=len(decided),
        caught=len(caught),
        false_alarms=false_alarms,
        recall=_share(len(caught), len(decided)),
        precision=_share(len(caught), len(caught) + false_alarms),
        first_caught_after_s=_delay(mine, caught),
    )


def _money(rows: Sequence[PurchaseResult]) -> Money:
    def dollars(is_fraud: bool, denied: bool) -> float:
        mine = (row for row in rows if row.is_fraud == is_fraud and (row.decision == DENY) == denied)
        return round(sum(row.amount_usd for row in mine if row.decision == DENY or row.outcome == "approved"), 2)

    return Money(
        saved_usd=dollars(True, True),
        lost_usd=dollars(True, False),
        kept_usd=dollars(False, False),
        turned_away_usd=dollars(False, True),
    )


def _delay(mine: Sequence[PurchaseResult], caught: Sequence[PurchaseResult]) -> float | None:
    """Seconds from the first purchase of the attack to the first that was flagged."""
    return round(min(r.offset_s for r in caught) - min(r.offset_s for r in mine), 3) if caught else None


def _share(part: int, whole: int) -> float | None:
    """Missing is not zero: a share of nothing is null. And one of many is neither none nor all, whatever it takes to say so."""
    if not whole:
        return None
    digits = 4
    while 0 < part < whole and round(part / whole, digits) in (0, 1):
        digits += 1
    return round(part / whole, digits)


def percent(share: float | None, decimals: int = 0) -> str:
    """`93%`; with as many more decimals as it takes that no share is printed as 100% that is not whole, nor as 0% that is not zero.

    `–` for the share of nothing.
    """
    if share is None:
        return "–"
    text = f"{share:.{decimals}%}"
    is_hidden = 0 < share < 1 and float(text.rstrip("%")) in (0, 100)
    return percent(share, decimals + 1) if is_hidden else text


def reasons(rows: Sequence[PurchaseResult], top: int = 8) -> list[tuple[str, int]]:
    """The reason codes given most often for flagged purchases."""
    return Counter(code for row in rows if row.flagged for code in row.reason_codes).most_common(top)


def listed(counts: Mapping[str, int]) -> str:
    """`3× timeout, 1× reset`, the most frequent first; empty for nothing."""
    return ", ".join(f"{count:,}× {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))
