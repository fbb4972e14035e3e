"""Metadata in the shapes the Dagster UI draws: column schemas, tables, plots."""

import base64
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg
import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:  # half a second, for which only a drawing should wait
    from matplotlib.figure import Figure


CHARACTER_IN = 0.085  # width of a tick label's character; the names' margin is cut from it


def column_schema(schema: pa.Schema, described: Mapping[str, str] | None = None) -> dg.TableSchema:
    """An Arrow schema for the UI's column tab."""
    notes = described or {}
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=field.name,
                type=str(field.type),
                description=notes.get(field.name),
                constraints=dg.TableColumnConstraints(nullable=field.nullable),
            )
            for field in schema
        ]
    )


def record_schema(record: type) -> dg.TableSchema:
    """The fields of a dataclass as columns: of a report that is one row."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(field.name, getattr(field.type, "__name__", str(field.type)))
            for field in dataclasses.fields(record)
        ]
    )


def plot(figure: "Figure") -> dg.MarkdownMetadataValue:
    """A figure inside the metadata itself: it is shown wherever the event log is, and needs no file server."""
    buffer = io.BytesIO()
    # Not with a tight bounding box: that draws everything twice, and a run of all views draws forty figures.
    figure.savefig(buffer, format="png", dpi=80)
    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})")


def bars(values: Mapping[str, float], title: str) -> dg.MarkdownMetadataValue:
    """Horizontal bars from zero, each with its number, the first on top.

    Drawn without axes, whose ticks take nearly as long as all the rest: a run of all views draws forty figures.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    names = CHARACTER_IN * max(map(len, values), default=0) + 0.2
    width, height = names + 4, 0.3 * len(values) + 0.6
    figure = Figure(figsize=(width, height))
    figure.text(names / width, 1 - 0.3 / height, title, size="large")
    longest = max(values.values(), default=0)
    for row, (name, value) in enumerate(values.items()):
        middle = 1 - (0.6 + 0.3 * row) / height
        length = max(0, value) / longest * 3 / width if longest > 0 else 0  # an inch is left for the number
        bar = Rectangle((names / width, middle - 0.12 / height), length, 0.24 / height, transform=figure.transFigure)
        figure.add_artist(bar)
        figure.text((names - 0.1) / width, middle, name, ha="right", va="center")
        number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
        figure.text(names / width + length + 0.05 / width, middle, number, va="center")
    return plot(figure)


def scored_above(sides: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, dg.MarkdownMetadataValue]:
    """What share of the payments of each side would be stopped at each score; nothing where no side has any."""
    at = np.linspace(0, 1, 101)
    shares = {
        name: 1 - np.searchsorted(np.sort(scores), at) / len(scores) for name, scores in sides.items() if len(scores)
    }
    if not shares:
        return {}
    return {
        "scores": lines(
            {name: (at.tolist(), above.tolist()) for name, above in shares.items()},
            "share of payments scored at or above",
        )
    }


def lines(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str) -> dg.MarkdownMetadataValue:
    """Named curves over one pair of axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3))
    figure.subplots_adjust(left=0.12, right=0.97)
    axes = figure.subplots()
    for name, (x, y) in series.items():
        axes.plot(x, y, label=name)
    axes.set_title(title)
    axes.legend()
    return plot(figure)
