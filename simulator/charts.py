"""Charts as inline SVG: numbers in, markup out. Colours are CSS classes of the report's page."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from simulator.metrics import percent

WIDTH = 960
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 12, 26
_LETTER_PX = 7.5


@dataclass(frozen=True)
class Series:
    """One row of values per bucket; `css` names its colour, `label` its legend."""

    label: str
    css: str
    values: Sequence[float]


@dataclass(frozen=True)
class Band:
    """A shaded stretch of the x axis, in the axis' own unit."""

    start: float
    end: float
    label: str
    css: str = "attack"


@dataclass(frozen=True)
class Frame:
    """Maps data to pixels. x_max, y_max: the axes' ends (both start at 0)."""

    height: int
    x_max: float
    y_max: float
    width: int = WIDTH

    def x(self, value: float) -> float:
        """Pixel of an x value."""
        return LEFT + (self.width - LEFT - RIGHT) * value / self.x_max

    def y(self, value: float) -> float:
        """Pixel of a y value; larger is higher."""
        return self.height - BOTTOM - (self.height - TOP - BOTTOM) * value / self.y_max


def stacked_bars(
    series: Sequence[Series], bucket: float, unit: str, bands: Sequence[Band] = (), height: int = 230
) -> str:
    """Stacked bars over time. bucket: seconds per bar; values are per second."""
    count = max((len(one.values) for one in series), default=0)
    if not count:
        return _empty(height)
    totals = [sum(one.values[i] for one in series) for i in range(count)]
    frame = Frame(height, count * bucket, _nice(max(totals)))
    parts = [_bands(frame, bands), _y_axis(frame, unit), _time_axis(frame)]
    for i in range(count):
        base = 0.0
        for one in series:
            value = one.values[i]
            if value > 0:
                title = f"{one.label}: {value:.1f} {unit} at {i * bucket:.0f} s"
                parts.append(_bar(frame, i * bucket, bucket, base, value, one.css, title))
            base += value
    return _svg(height, [*parts, _band_labels(frame, bands)])


def lines(
    series: Sequence[Series],
    bucket: float,
    unit: str,
    bands: Sequence[Band] = (),
    height: int = 180,
    x_unit: str = "s",
) -> str:
    """Lines over time; NaN breaks a line. bucket: of a value, in `x_unit`."""
    known = [value for one in series for value in one.values if value == value]
    if not known:
        return _empty(height)
    count = max(len(one.values) for one in series)
    frame = Frame(height, count * bucket, _nice(max(known)))
    parts = [_bands(frame, bands), _y_axis(frame, unit), _time_axis(frame, x_unit)]
    for one in series:
        for run in _runs(one.values):
            points = " ".join(f"{frame.x((i + 0.5) * bucket):.1f},{frame.y(one.values[i]):.1f}" for i in run)
            parts.append(
                f'<polyline class="line {one.css}" points="{points}"><title>{escape(one.label)}</title></polyline>'
            )
    return _svg(height, [*parts, _band_labels(frame, bands)])


def histogram(series: Sequence[Series], labels: Sequence[str], height: int = 220, width: int = 470) -> str:
    """Grouped bars; values are shares of their series, drawn on a square-root scale so that small ones show."""
    if not any(value > 0 for one in series for value in one.values):
        return _empty(height)
    top = max(value for one in series for value in one.values)
    frame = Frame(height, len(labels), top**0.5, width)
    parts = [_share_axis(frame, top)]
    bar = 0.86 / max(1, len(series))
    for s, one in enumerate(series):
        for i, value in enumerate(one.values):
            if value > 0:
                title = f"{one.label}, {labels[i]}: {percent(value, 1)}"
                parts.append(_bar(frame, i + 0.07 + s * bar, bar, 0.0, value**0.5, one.css, title))
    step = max(1, -(-len(labels) // 9))
    for i in range(0, len(labels), step):
        parts.append(
            f'<text class="tick" x="{frame.x(i + 0.5):.1f}" y="{height - 8}" text-anchor="middle">{escape(labels[i])}</text>'
        )
    return _svg(height, parts, width)


def _svg(height: int, parts: Sequence[str], width: int = WIDTH) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'


def _empty(height: int) -> str:
    return _svg(
        height, [f'<text class="tick" x="{WIDTH // 2}" y="{height // 2}" text-anchor="middle">nothing to show</text>']
    )


def _bar(frame: Frame, x: float, width: float, base: float, value: float, css: str, title: str) -> str:
    left, right = frame.x(x), frame.x(x + width)
    high, low = frame.y(base + value), frame.y(base)
    gap = min(1.0, (right - left) / 5)
    return (
        f'<rect class="{css}" x="{left:.1f}" y="{high:.1f}" width="{right - left - gap:.1f}" '
        f'height="{max(low - high, 0.5):.1f}"><title>{escape(title)}</title></rect>'
    )


def _bands(frame: Frame, bands: Sequence[Band]) -> str:
    return "".join(
        f'<rect class="band {band.css}" x="{frame.x(max(0.0, band.start)):.1f}" y="{TOP}" '
        f'width="{max(frame.x(min(band.end, frame.x_max)) - frame.x(max(0.0, band.start)), 1):.1f}" height="{frame.height - TOP - BOTTOM}"/>'
        for band in bands
    )


def _band_labels(frame: Frame, bands: Sequence[Band]) -> str:
    """Over everything that is drawn; in a lower row where the one above is taken."""
    ends: list[float] = []
    drawn = []
    for band in sorted(bands, key=lambda one: one.start):
        left = frame.x(max(0.0, band.start)) + 4
        row = next((i for i, end in enumerate(ends) if end <= left), len(ends))
        ends[row : row + 1] = [left + _LETTER_PX * len(band.label)]
        drawn.append(
            f'<text class="bandlabel {band.css}" x="{left:.1f}" y="{TOP + 14 + 14 * row}">{escape(band.label)}</text>'
        )
    return "".join(drawn)


def _y_axis(frame: Frame, unit: str) -> str:
    drawn = []
    for step in range(5):
        value = frame.y_max * step / 4
        label = f"{value:g}" + (f" {unit}" if step == 4 else "")
        drawn.append(_grid(frame, frame.y(value), label))
    return "".join(drawn)


def _share_axis(frame: Frame, top: float) -> str:
    shares = [share for share in (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0) if share <= top * 1.01]
    return "".join(_grid(frame, frame.y(share**0.5), f"{share:.0%}") for share in shares)


def _grid(frame: Frame, y: float, label: str) -> str:
    return (
        f'<line class="grid" x1="{LEFT}" x2="{frame.width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>'
    )


def _time_axis(frame: Frame, unit: str = "s") -> str:
    step = _nice(frame.x_max / 8)
    ticks = []
    value = 0.0
    while value <= frame.x_max * 1.001:
        label, x = f"{value:g} {unit}", frame.x(value)
        # One at the end of the axis would be cut by the picture's edge.
        anchor = "end" if x + len(label) * _LETTER_PX / 2 > frame.width else "middle"
        ticks.append(f'<text class="tick" x="{x:.1f}" y="{frame.height - 8}" text-anchor="{anchor}">{label}</text>')
        value += step
    return "".join(ticks)


def _nice(value: float) -> float:
    """The next of 1, 2, 4, 5, 10 times a power of ten: axes whose quarters are round."""
    if value <= 0:
        return 1.0
    power = 10.0 ** (len(f"{value:.0f}") - 1) if value >= 1 else 0.1
    while power > value:
        power /= 10
    return next(step * power for step in (1, 2, 4, 5, 10) if step * power >= value * 0.9999)


def _runs(values: Sequence[float]) -> list[list[int]]:
    """Indices of unbroken stretches."""
    runs: list[list[int]] = [[]]
    for i, value in enumerate(values):
        if value == value:
            runs[-1].append(i)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
