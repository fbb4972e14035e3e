"""Markets and their policies as one HTML file: no network, no scripts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from markupsafe import Markup

from simulator.charts import Series, lines
from simulator.metrics import percent
from simulator.pages import page
from simulator.pricing_market import Floats, MarketEvent, Run
from simulator.pricing_results import THIRDS, Earned, Learning

_HEIGHT = 260
_EURO = 100
_POLICIES = (("service", "service"), ("rule", "rule"), ("fixed", "fixed"))


@dataclass(frozen=True)
class Tolerance:
    """What has to hold, and what was found."""

    claim: str
    found: str
    holds: bool


@dataclass(frozen=True)
class Table:
    """One part of the page. legend: (colour, label) of the chart's lines."""

    title: str
    text: str
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    chart: Markup | str = field(default="", repr=False)
    legend: Sequence[tuple[str, str]] = _POLICIES


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


def learning_table(markets: Mapping[int, Learning]) -> Table:
    """Of the service, by seed and of all events together; `±` is one standard error over events."""
    every = Learning.pooled(list(markets.values()))
    named = [*((f"{seed}", one) for seed, one in markets.items()), *([("all", every)] if len(markets) > 1 else [])]
    rows = []
    for name, one in named:
        fall, error = one.fall(0, THIRDS - 1)
        thirds = [percent(share, 2) for share in one.shares]
        rows.append([name, f"{len(one.lost)}", *thirds, f"{percent(fall, 2)} ± {percent(error, 2)}"])
    return Table(
        "What is left to learn",
        "By third of an event's sale: what the service's prices lost against the best one, by the true demand, as a share of what that would have earned. Of events that do not run short, without luck.",
        ("seed", "events", "first third", "second", "last", "first − last"),
        rows,
    )  # fmt: skip


def price_path(title: str, event: MarketEvent, runs: Mapping[str, Run], best: float) -> Table:
    """What one event asked in each hour of its sale, in percent of its base price. best: its best fixed multiplier."""
    series = [
        Series(name, name, [100 * one.price_minor / event.base_price_minor for one in runs[name].sold if one.event is event])
        for name in ("service", "rule")
    ]  # fmt: skip
    sold = {name: int(runs[name].tickets[event.number]) for name in ("service", "rule")}
    earned = {name: float(runs[name].revenue_minor[event.number].sum()) / _EURO for name in sold}
    text = (
        f"A {event.category.value} event of {event.capacity:,} tickets, priced hour by hour, in percent of its base price. The service sold"
        f" {sold['service']:,} for {earned['service']:,.0f} EUR, the rule {sold['rule']:,} for {earned['rule']:,.0f} EUR. Nobody knew beforehand"
        f" that of all fixed prices {best:g} times the base price was the best."
    )
    lines_ = [*series, Series("best fixed", "fixed", [100 * best] * len(series[0].values))]
    chart = Markup(lines(lines_, 1.0, "%", height=_HEIGHT, x_unit="h"))  # noqa: S704 - escaped by charts
    return Table(title, text, chart=chart, legend=(*_POLICIES[:2], ("fixed", "best fixed price")))


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
