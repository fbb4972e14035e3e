"""The report: one dictionary of numbers, as JSON and as a page that needs no network."""

import json
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from fraud_assets.audit.history import Audited, timezone_of
from fraud_assets.audit.pattern import pattern_of
from fraud_assets.audit.rules import ruled
from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.models.artifact import replace_file

Row = dict[str, Any]


def summary_of(file: str, audited: Audited, rows: pl.DataFrame, rejects: list[dict[str, object]], key: TokenKey) -> Row:
    """Everything but the model. rows: with their money."""
    prepared, zone = audited.prepared, timezone_of(audited.mapping)
    days = pl.from_epoch("event_time_ms", time_unit="ms").dt.convert_time_zone(zone).dt.date()
    first, last = rows.select(days.min().alias("first"), days.max().alias("last")).row(0)
    return {
        "file": file,
        "period": {"first": first.isoformat(), "last": last.isoformat(), "timezone": zone},
        "money_unit": _money_unit(rows),
        "rows": {"read": prepared.read, "accepted": prepared.accepted, "rejected": prepared.read - prepared.accepted},
        "rejects": rejects,
        "labelled": audited.labelled,
        "pattern": pattern_of(audited, rows, key),
        "rules": ruled(audited, rows, key),
        "model": None,
        "not_measured": _not_measured(audited, rows),
    }


def write_report(summary: Row, folder: Path) -> None:
    replace_file(folder / "summary.json", json.dumps(summary, indent=1, allow_nan=False).encode())
    replace_file(folder / "report.html", render(summary).encode())


def write_csv(rows: pl.DataFrame, path: Path) -> None:
    """A file of an earlier run that no longer applies is removed."""
    if len(rows):
        rows.write_csv(path)
    else:
        path.unlink(missing_ok=True)


def render(summary: Row) -> str:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("fraud_assets.audit"), PackageLoader("fraud_assets.training")]),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["count"] = lambda value: f"{value:,}"
    environment.filters["money"] = lambda value: f"{value / 100:,.2f}"
    environment.filters["share"] = _share
    environment.filters["between"] = _between
    return environment.get_template("audit.html.j2").render(**summary)


def _share(value: Row | None) -> str:
    return "–" if value is None else " to ".join([f"{100 * value['low']:.2f}", f"{100 * value['high']:.2f} %"])


def _between(value: Row | None) -> str:
    return "" if value is None else f"({value['low'] / 100:,.2f} to {value['high'] / 100:,.2f})"


def _money_unit(rows: pl.DataFrame) -> str:
    if "currency" not in rows.columns:
        return "the file's own currency"
    named = ", ".join(sorted(rows["currency"].unique().to_list()))
    return "EUR" if named == "EUR" else f"EUR, from {named} at the rates of fraud_assets/training/money.py"


def _not_measured(audited: Audited, rows: pl.DataFrame) -> list[str]:
    unjudged = rows["is_fraud"].null_count()
    said = [f"{unjudged:,} payments have no verdict and count neither as fraud nor as good."] if unjudged else []
    if audited.young:
        said.append(
            f"{audited.young:,} payments of the last {audited.delay_days} days are too young: their chargebacks may still come."
        )
    service = audited.service
    absent = [name for name in service.service.visible if name not in audited.mapped and name != "schema_version"]
    if absent:
        said.append(f"The mapping fills no {', '.join(absent)}: what reads them is null.")
    said += [f"No data for {name}: {why}." for name, why in _empty_views(audited)]
    sources = sorted({source.name for source in service.sources} - audited.log.columns.keys())
    if sources:
        said.append(f"The file holds no {', '.join(sources)}.")
    said.append(
        "What a review finds is taken for all frauds reviewed; what fraudsters do once they are refused is not known."
    )
    return said


def _empty_views(audited: Audited) -> list[tuple[str, str]]:
    """Feature views of which no payment can have a value."""
    found = []
    for name, (_, _, unit) in zip(audited.service.unit_names, audited.service.units, strict=True):
        keys = [key for key in unit.entity.keys if key not in audited.mapped]
        sources = [source.name for source in unit.sources if source.name not in audited.log.columns]
        if keys:
            found.append((name, f"{', '.join(keys)} is not mapped"))
        elif len(sources) == len(unit.sources):
            found.append((name, f"the file holds no {', '.join(sources)}"))
    return found
