"""The realism report as one HTML file: no network, no scripts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from simulator.charts import Series, histogram
from simulator.pages import page
from simulator.realism import Compared, amount_shape, gaps, hours
from simulator.reference import Payments
from simulator.world import Floats

_CSS = ("c-plain", "c-review", "c-missed")
_COLOURS = ("--accent", "--review", "--missed")
_CURVE = 12  # points of a curve of concentration


@dataclass(frozen=True)
class _Chart:
    title: str
    text: str
    svg: Markup


def realism_page(ours: Payments, others: Sequence[Payments], lines: Sequence[Compared]) -> str:
    """The page. All text is escaped but the charts', which is escaped where it is made."""
    everybody = (ours, *others)
    return page(
        "realism.html.j2",
        everybody=everybody,
        colours=_COLOURS,
        charts=_charts(everybody),
        lines=lines,
        within=sum(line.is_within for line in lines),
    )


def _charts(everybody: Sequence[Payments]) -> list[_Chart]:
    powers = [round(float(power), 1) for power in np.arange(-2.0, 2.01, 0.25)]
    long = [round(float(power), 1) for power in np.arange(-4.0, 1.51, 0.5)]
    fraud = [(one, one.is_fraud) for one in everybody]
    return [
        _Chart(
            "Amounts",
            "Share of payments by amount over the data's median, in powers of ten.",
            _shares([(one.name, amount_shape(one)) for one in everybody], powers),
        ),
        _Chart(
            "Amounts of frauds",
            "The same of frauds alone, over the median of all payments.",
            _shares([(one.name, amount_shape(one)[bad]) for one, bad in fraud], powers),
        ),
        _Chart(
            "Between an account's payments",
            "Share of gaps by their length over the data's mean gap, in powers of ten.",
            _shares([(one.name, gaps(one)) for one in everybody], long),
        ),
        _Chart("Hour of day", "Share of payments.", _by_hour([(one.name, hours(one)) for one in everybody])),
        _Chart("Hour of frauds", "Share of frauds.", _by_hour([(one.name, hours(one)[bad]) for one, bad in fraud])),
        _Chart(
            "Concentration of accounts",
            "Share of payments that the busiest accounts make, by their share of all accounts.",
            _concentration(everybody),
        ),
    ]


def _shares(values: Sequence[tuple[str, Floats]], edges: Sequence[float]) -> Markup:
    """Outer bins take all that lies beyond."""
    bounds = np.array([-np.inf, *edges[1:-1], np.inf])
    return _bars([(name, np.histogram(v, bounds)[0]) for name, v in values], [f"{edge:g}" for edge in edges[:-1]])


def _by_hour(values: Sequence[tuple[str, Floats]]) -> Markup:
    counted = [(name, np.bincount(value.astype(np.int64), minlength=24)) for name, value in values]
    return _bars(counted, [str(hour) for hour in range(24)])


def _bars(counted: Sequence[tuple[str, np.ndarray[tuple[int], np.dtype[np.int64]]]], labels: list[str]) -> Markup:
    series = [
        Series(name, css, (count / max(1, count.sum())).tolist())
        for (name, count), css in zip(counted, _CSS, strict=False)
    ]
    return Markup(histogram(series, labels))  # noqa: S704 - escaped by charts


def _concentration(everybody: Sequence[Payments]) -> Markup:
    shares = np.geomspace(0.001, 1, _CURVE)
    series = []
    for one, css in zip(everybody, _CSS, strict=False):
        count = np.sort(np.unique(one.account, return_counts=True)[1])[::-1]
        whole = np.concatenate([[0], np.cumsum(count)]) / count.sum()
        series.append(Series(one.name, css, np.interp(shares * len(count), np.arange(len(whole)), whole).tolist()))
    return Markup(histogram(series, [f"{100 * share:.2g} %" for share in shares]))  # noqa: S704 - escaped by charts
