"""Markets and their policies as one HTML file: no network, no scripts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from markupsafe import Markup

from simulator.charts import Series, lines
from simulator.metrics import percent
from simulator.pages import page
from simulator.pricing_market import Floats
from simulator.pricing_results import Earned

_HEIGHT = 260
_EURO = 100


@dataclass(frozen=True)
class Tolerance:
    """What has to hold, and what was found."""

    claim: str
    found: str
    holds: bool


@dataclass(frozen=True)
class Table:
    """One part of the page."""

    title: str
    text: str
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    chart: Markup | str = field(default="", repr=False)


def write_pricing_report(
    markets: Mapping[int, Sequence[Earned]], more: Sequence[Table], tolerances: Sequence[Tolerance], path: Path
) -> Path:
    """markets: by seed. more: tables of the caller's. The page, and its path."""
    text = page(
        "pricing.html.j2",
        seeds=list(markets),
        headline=headline(markets),
        tables=[*_tables(markets), *more],
        tolerances=tolerances,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def mean_share(markets: Mapping[int, Sequence[Earned]], policy: str) -> float:
    """Of the best fixed prices' revenue, over the seeds."""
    return float(np.mean([one.share for every in markets.values() for one in every if one.policy == policy]))


def headline(markets: Mapping[int, Sequence[Earned]]) -> str:
    """The verdict in one sentence."""
    service, rule, fixed = (mean_share(markets, policy) for policy in ("service", "rule", "fixed"))
    return (
        f"The service earned {percent(service / fixed - 1, 1)} more than fixed prices and {percent(service / rule - 1, 1)} more than the"
        f" rule, {percent(service, 1)} of what the best fixed price of each event would have."
    )


def _tables(markets: Mapping[int, Sequence[Earned]]) -> list[Table]:
    revenue = [
        [f"{seed}", one.policy, f"{one.revenue_minor / _EURO:,.0f}", percent(one.share, 1), percent(one.sell_through, 1)]
        for seed, every in markets.items()
        for one in every
    ]  # fmt: skip
    policies = [one.policy for one in next(iter(markets.values()))]
    categories = list(next(iter(markets.values()))[0].by_category)
    by_category = [
        [category, *(percent(_mean_of(markets, policy, category), 1) for policy in policies)] for category in categories
    ]
    curves = {policy: _mean_regret(markets, policy) for policy in policies}
    return [
        Table(
            "Regret", "What the best fixed price of each event, known afterwards, had earned more by each hour: as a share of all it earns. Mean over the seeds.",
            chart=_curves(curves),
        ),
        Table("Revenue and sell-through", "EUR; the share is of the best fixed prices' revenue, sell-through of all tickets.", ("seed", "policy", "revenue", "share", "sell-through"), revenue),
        Table("Revenue by category", "Share of the best fixed prices' revenue, mean over the seeds.", ("category", *policies), by_category),
    ]  # fmt: skip


def _mean_of(markets: Mapping[int, Sequence[Earned]], policy: str, category: str) -> float:
    shares = [one.by_category[category] for every in markets.values() for one in every if one.policy == policy]
    return float(np.mean(shares))


def _mean_regret(markets: Mapping[int, Sequence[Earned]], policy: str) -> Floats:
    return np.asarray(np.mean([one.regret for every in markets.values() for one in every if one.policy == policy], axis=0))  # fmt: skip


def _curves(curves: Mapping[str, Floats]) -> Markup:
    """Lines over the market's hours, in percent; regret below 0 is drawn at 0."""
    series = [Series(name, name, (100 * np.maximum(curve, 0.0)).tolist()) for name, curve in curves.items()]
    return Markup(lines(series, 1.0, "%", height=_HEIGHT, x_unit="h"))  # noqa: S704 - escaped by charts
