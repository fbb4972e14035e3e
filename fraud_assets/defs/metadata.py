"""Metadata in the shapes the Dagster UI draws: column schemas, tables, plots."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg
import pyarrow as pa

if TYPE_CHECKING:  # half a second, for which only a drawing should wait
    from matplotlib.figure import Figure


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


def plot(figure: "Figure") -> dg.MarkdownMetadataValue:
    """A figure inside the metadata itself: it is shown wherever the event log is, and needs no file server."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, bbox_inches="tight")
    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})")


def bars(values: Mapping[str, float], title: str) -> dg.MarkdownMetadataValue:
    """Horizontal bars, the first on top."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.3 * len(values) + 0.8))
    axes = figure.subplots()
    axes.barh(list(values)[::-1], list(values.values())[::-1])
    axes.set_title(title)
    return plot(figure)


def lines(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str) -> dg.MarkdownMetadataValue:
    """Named curves over one pair of axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3))
    axes = figure.subplots()
    for name, (x, y) in series.items():
        axes.plot(x, y, label=name)
    axes.set_title(title)
    axes.legend()
    return plot(figure)
