"""A run as one HTML file that a person enjoys reading: no network, no scripts, opens anywhere."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from markupsafe import Markup

from simulator.charts import Band, Series, histogram, lines, stacked_bars
from simulator.figures import figures_of, meaning_of
from simulator.metrics import Detection, RunMetrics, listed, metrics_of, percent, reasons
from simulator.pages import page
from simulator.results import APPROVE, DENY, NO_DECISION, NOT_SENT, REVIEW, PurchaseResult, RunResult
from simulator.scenarios.tolerances import Judged, Kept, judged

_BUCKETS = 60
_SCORE_BINS = 20
_LATENCY_EDGES_MS = (0, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 25, 50, 100, 250, 1_000, float("inf"))
_EXAMPLES = 4
_DECISIONS = (("approved", "c-approve", APPROVE), ("review", "c-review", REVIEW), ("denied", "c-deny", DENY))


@dataclass(frozen=True)
class Skew:
    """Served feature vectors compared with their recomputation from the log.

    stale_reads: decisions that lacked an event they should have known. pending: not in the lake yet, so unchecked.
    """

    checked: int
    mismatches: int
    stale_reads: int
    pending: int


@dataclass(frozen=True)
class Tile:
    """One figure at the top. `tone`: good, bad or plain."""

    label: str
    value: str
    note: str
    tone: str = "plain"


def write_report(
    result: RunResult,
    path: Path,
    skew: Skew | None = None,
    notes: Sequence[str] = (),
    verdicts: Sequence[Judged] | None = None,
) -> Path:
    """Write the page and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(result, skew, notes, verdicts), encoding="utf-8")
    return path


def render(
    result: RunResult,
    skew: Skew | None = None,
    notes: Sequence[str] = (),
    verdicts: Sequence[Judged] | None = None,
) -> str:
    """The page. notes: sentences of the caller's to show under the figures. verdicts: on the tolerances, by default of what the run measured."""
    metrics = metrics_of(result)
    if verdicts is None:
        verdicts = judged(result.tolerances, figures_of(result, metrics))
    bands = [Band(band.start_s, band.end_s, band.kind.replace("_", " ")) for band in result.bands]
    bands += [Band(one.start_s, one.end_s, f"{one.dependency} {one.fault}", "outage") for one in result.outages]
    return page(
        "report.html.j2",
        result=result,
        metrics=metrics,
        started=datetime.fromtimestamp(result.started_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        headline=headline(metrics, result),
        verdict=_verdict(verdicts),
        tiles=_tiles(result, metrics, skew),
        timeline=Markup(_timeline(result, bands)),  # noqa: S704
        fate=Markup(_fate_of_frauds(result, bands)),  # noqa: S704
        latency_line=Markup(_latency_line(result, bands)),  # noqa: S704
        scores=Markup(_scores(result.purchases)),  # noqa: S704
        latencies=Markup(_latencies(result.purchases)),  # noqa: S704
        reasons=_reason_bars(result.purchases),
        groups=_examples(result.purchases),
        notes=list(notes),
        verdicts=list(verdicts),
        percent=percent,
        meaning_of=meaning_of,
        shaded=" and ".join(["the attacks"] * bool(result.bands) + ["what was broken"] * bool(result.outages)),
    )


def _verdict(verdicts: Sequence[Judged]) -> tuple[str, str]:
    """How it was met, and in how many words; nothing where nothing was asked for."""
    if not verdicts:
        return "", ""
    broken = [one.figure for one in verdicts if one.kept is Kept.NO]
    open_ = sum(one.kept is Kept.UNMEASURED for one in verdicts)
    said = f"{len(verdicts) - len(broken) - open_} of {len(verdicts)} tolerances kept"
    if broken:
        said += f", broken: {', '.join(broken)}"
    return ("broken" if broken else "kept"), said + (f", {open_} not measured" if open_ else "")


def headline(metrics: RunMetrics, result: RunResult) -> str:
    """The run in one sentence."""
    if not metrics.decisions:
        return "The platform decided nothing in this run."
    flagged = metrics.honest_flagged
    honest = f"{percent(flagged, 1)} of the honest buyers" if flagged else "no honest buyer"
    if metrics.attack.recall is None:
        broken = " and ".join(dict.fromkeys(f"the {one.dependency}" for one in result.outages))
        what = f"While {broken} broke down" if broken else "A run without an attack"
        return (
            f"{what}: {metrics.decisions:,} of {metrics.purchases:,} purchases decided, {honest} stopped or looked at."
        )
    delay = metrics.attack.first_caught_after_s
    begin = "" if delay is None else f", the first {delay:.1f} s after it began"
    return f"{percent(metrics.attack.recall)} of the attack was stopped or sent to review{begin}, at the price of {honest}."


def _tiles(result: RunResult, metrics: RunMetrics, skew: Skew | None) -> list[Tile]:
    attack, latency = metrics.attack, metrics.latency_ms
    tiles = [
        Tile(
            "Decisions per second",
            f"{metrics.decisions_per_s:,.0f}",
            f"of {metrics.offered_per_s:g} at this hour" if result.realtime else f"of {result.rate_per_s:g} asked for",
            "good" if metrics.held_rate else "bad",
        ),
        Tile("Median latency", _ms(latency.p50), f"95 %: {_ms(latency.p95)} · 99 %: {_ms(latency.p99)}"),
        Tile(
            "Unanswered",
            f"{sum(metrics.unanswered.values()):,}",
            f"of {metrics.purchases:,} purchases {_because(metrics.unanswered)}",
            "bad" if metrics.unanswered else "good",
        ),
        Tile(
            "Degraded",
            f"{metrics.degraded:,}",
            f"of {metrics.decisions:,} decisions {_because(metrics.degraded_reasons)}",
            "bad" if metrics.degraded else "good",
        ),
        *(_attack_tiles(attack) if attack.decided else [_honest_tile(metrics)]),
        Tile("Fraud stopped", _usd(metrics.money.saved_usd), f"{_usd(metrics.money.lost_usd)} of fraud was let pass"),
        Tile(
            "Honest revenue kept",
            _usd(metrics.money.kept_usd),
            f"{_usd(metrics.money.turned_away_usd)} of honest purchases was turned away",
        ),
        Tile(
            "Everyday fraud found",
            percent(metrics.everyday_fraud.recall),
            f"{metrics.everyday_fraud.caught} of {metrics.everyday_fraud.decided}",
        ),
    ]
    if skew is not None:
        tone = "good" if skew.mismatches == 0 and skew.checked else "bad"
        note = f"mismatches of {skew.checked:,} checked · {skew.stale_reads:,} stale reads · {skew.pending:,} pending"
        tiles.append(Tile("Feature skew", f"{skew.mismatches}", note, tone))
    return tiles


def _attack_tiles(attack: Detection) -> list[Tile]:
    return [
        Tile("Recall on the attack", percent(attack.recall), f"{attack.caught} of {attack.decided} purchases"),
        Tile("Precision on the attack", percent(attack.precision), f"{attack.false_alarms} honest purchases flagged"),
    ]


def _honest_tile(metrics: RunMetrics) -> Tile:
    return Tile(
        "Honest buyers stopped",
        percent(metrics.honest_denied, 1),
        f"{percent(metrics.honest_flagged, 1)} with those that were sent to review",
    )


def _because(reasons: Mapping[str, int]) -> str:
    return f"({listed(reasons)})" if reasons else ""


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} ms"


def _usd(value: float) -> str:
    return f"${value:,.0f}"


def _bucket_s(result: RunResult) -> float:
    return max(result.duration_s / _BUCKETS, 0.001)


def _per_second(result: RunResult, wanted: Callable[[PurchaseResult], bool]) -> list[float]:
    bucket = _bucket_s(result)
    at = [min(int(row.offset_s / bucket), _BUCKETS - 1) for row in result.purchases if wanted(row)]
    counts: list[int] = np.bincount(np.array(at, dtype=np.int64), minlength=_BUCKETS).tolist()
    return [count / bucket for count in counts]


def _timeline(result: RunResult, bands: Sequence[Band]) -> str:
    series = [
        Series(label, css, _per_second(result, lambda row, d=decision: row.decision == d))  # type: ignore[misc]
        for label, css, decision in _DECISIONS
    ]
    failed = _per_second(result, lambda row: row.decision in (NO_DECISION, NOT_SENT))
    return stacked_bars([*series, Series("no decision", "c-none", failed)], _bucket_s(result), "/s", bands)


def _fate_of_frauds(result: RunResult, bands: Sequence[Band]) -> str:
    caught = _per_second(result, lambda row: row.is_fraud and row.flagged)
    missed = _per_second(result, lambda row: row.is_fraud and not row.flagged)
    alarms = _per_second(result, lambda row: not row.is_fraud and row.flagged)
    series = [
        Series("caught", "c-deny", caught),
        Series("missed", "c-missed", missed),
        Series("false alarm", "c-alarm", alarms),
    ]
    return stacked_bars(series, _bucket_s(result), "/s", bands, height=180)


def _latency_line(result: RunResult, bands: Sequence[Band]) -> str:
    bucket = _bucket_s(result)
    cells: list[list[float]] = [[] for _ in range(_BUCKETS)]
    for row in result.purchases:
        if row.latency_ms is not None and row.decision != NO_DECISION:
            cells[min(int(row.offset_s / bucket), _BUCKETS - 1)].append(row.latency_ms)

    def quantile(q: float) -> list[float]:
        return [float(np.percentile(cell, q)) if cell else float("nan") for cell in cells]

    series = [Series("median", "l-p50", quantile(50)), Series("95 %", "l-p95", quantile(95))]
    return lines(series, bucket, "ms", bands)


def _scores(rows: Sequence[PurchaseResult]) -> str:
    groups = (
        ("honest", "c-approve", [r.score for r in rows if r.score is not None and not r.is_fraud]),
        (
            "everyday fraud",
            "c-review",
            [r.score for r in rows if r.score is not None and r.is_fraud and not r.attacks],
        ),
        ("attack", "c-deny", [r.score for r in rows if r.score is not None and r.attacks]),
    )
    edges = np.linspace(0, 1, _SCORE_BINS + 1)
    labels = [f"{edge:.2f}" for edge in edges[:-1]]
    return histogram([Series(name, css, _shares(values, edges)) for name, css, values in groups], labels)


def _latencies(rows: Sequence[PurchaseResult]) -> str:
    values = [r.latency_ms for r in rows if r.latency_ms is not None and r.decision != NO_DECISION]
    edges = np.array(_LATENCY_EDGES_MS)
    labels = [f"≥{edge:g}" for edge in edges[:-1]]
    return histogram([Series("decisions", "c-plain", _shares(values, edges))], labels)


def _shares(values: Sequence[float], edges: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> list[float]:
    counts, _ = np.histogram(values, bins=edges)
    return [float(count) / max(len(values), 1) for count in counts]


def _reason_bars(rows: Sequence[PurchaseResult]) -> list[dict[str, object]]:
    top = reasons(rows)
    most = max((count for _, count in top), default=1)
    return [{"code": code, "count": count, "width": round(100 * count / most, 1)} for code, count in top]


@dataclass(frozen=True)
class Examples:
    """Purchases that show one kind of fate."""

    title: str
    text: str
    css: str
    rows: list[PurchaseResult]


def _examples(rows: Sequence[PurchaseResult]) -> list[Examples]:
    """The clearest catches, the worst misses, the most convinced false alarms."""
    decided = [row for row in rows if row.score is not None]
    caught = [row for row in decided if row.is_fraud and row.flagged]
    missed = [row for row in decided if row.is_fraud and not row.flagged]
    alarms = [row for row in decided if not row.is_fraud and row.flagged]

    def score(row: PurchaseResult) -> float:
        return row.score or 0.0

    return [
        Examples(
            "Caught",
            "Frauds stopped or sent to review, the surest first.",
            "deny",
            sorted(caught, key=score, reverse=True)[:_EXAMPLES],
        ),
        Examples(
            "Missed", "Frauds approved, the least suspected first.", "missed", sorted(missed, key=score)[:_EXAMPLES]
        ),
        Examples(
            "False alarms",
            "Honest purchases flagged, the surest first.",
            "alarm",
            sorted(alarms, key=score, reverse=True)[:_EXAMPLES],
        ),
    ]
