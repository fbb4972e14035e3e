"""A mapped file becomes lake tables and rejects; every row read is in exactly one of the two."""

from collections.abc import Collection
from collections.abc import Mapping as AbstractMapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from fraud_assets.contracts.events import LATEST_EVENT_TIME_MS
from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.ingest.convert import convert, is_blank
from fraud_assets.ingest.fields import contract_fields
from fraud_assets.ingest.mapping import Column, Labels, Mapping, Table
from fraud_assets.ingest.read import LINE, RawFile, read_file
from fraud_assets.ingest.validate import REASON, Checked, check
from fraud_assets.stores.schemas import TABLES

HIDDEN = "<hidden>"  # rejects are read by people: card numbers, e-mails and addresses stay out of them
LABEL_FIELD = "__is_fraud"


class LostRows(AssertionError):
    """Accepted and rejected rows do not add up to the rows read: a defect here, never the data's."""


@dataclass(frozen=True)
class Prepared:
    """tables: by lake name, rows in log order. lines: (accepted,) where in the file each of them stood, but for label facts.
    rejected: line, reason and the source columns.
    """

    tables: AbstractMapping[str, pa.Table]
    lines: pl.Series
    rejected: pl.DataFrame
    read: int

    @property
    def accepted(self) -> int:
        return len(self.lines)


def prepare(
    mapping: Mapping,
    path: Path,
    key: TokenKey,
    delay_days: int | None = None,
    needed: Collection[str] | None = None,
) -> Prepared:
    """The transactions of `path` and their label facts. delay_days: overrides the mapping's. needed: as `check` has it."""
    labels = mapping.labels
    extra = [] if labels is None else [labels.is_fraud]
    raw = read_file(path, _source_columns(mapping.transactions, extra), mapping.csv.delimiter)
    checked = check(mapping.transactions, raw.rows, key, needed)
    if labels is not None:
        checked = _with_verdict(checked, raw, labels)
    accepted, repeated = _without_repeats(checked.rows, mapping.transactions.identity)
    tables = {mapping.transactions.table: _imported(accepted, mapping.transactions.table)}
    if labels is not None:
        facts = _label_facts(accepted, labels, labels.delay_days if delay_days is None else delay_days)
        tables[labels.table] = _imported(facts, labels.table)
    return _prepared(tables, raw, accepted[LINE], [checked.refused, repeated], mapping.transactions)


def prepare_profile(mapping: Mapping, table: Table, path: Path, key: TokenKey) -> Prepared:
    """The rows of one profile file."""
    raw = read_file(path, _source_columns(table, []), mapping.csv.delimiter)
    checked = check(table, raw.rows, key)
    accepted, repeated = _without_repeats(checked.rows, table.identity)
    tables = {table.table: _imported(accepted, table.table)}
    return _prepared(tables, raw, accepted[LINE], [checked.refused, repeated], table)


def _source_columns(table: Table, extra: list[str]) -> list[str]:
    mapped = [table.column(field) for field in table.columns]
    names = [column.source for column in mapped if column is not None and column.source is not None]
    return list(dict.fromkeys([*names, *extra]))


def _with_verdict(checked: Checked, raw: RawFile, labels: Labels) -> Checked:
    """Adds the verdict as a column; null where nobody has judged, refused where it is unreadable."""
    sent = raw.rows.select(LINE, pl.col(labels.is_fraud).alias("sent"))
    sent = sent.join(checked.rows.select(LINE), on=LINE, how="semi", maintain_order="left")
    verdict = _verdict(sent["sent"], labels)
    blank = is_blank(sent["sent"])
    unreadable = verdict.is_null() & ~blank
    if labels.blank_is_legitimate:
        verdict = verdict.set(blank, value=False)
    rows = checked.rows.with_columns(verdict.alias(LABEL_FIELD))
    refused = rows.filter(unreadable).select(LINE, pl.lit(f"{labels.is_fraud}: not readable as flag").alias(REASON))
    return Checked(rows.filter(~unreadable), pl.concat([checked.refused, refused]))


def _verdict(sent: pl.Series, labels: Labels) -> pl.Series:
    """(n,) what the column says; null where it says nothing, or neither."""
    if not labels.fraud:
        return convert(sent, Column(), "flag", TokenKey("unused", b"\0" * 16))
    said = dict.fromkeys(labels.fraud, True) | dict.fromkeys(labels.legitimate, False)
    return sent.cast(pl.String).str.strip_chars().replace_strict(said, default=None, return_dtype=pl.Boolean)


def _without_repeats(rows: pl.DataFrame, identity: tuple[str, ...]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(first of each identity in log order, LINE and REASON of the others), both in log order."""
    ordered = rows.sort("event_time_ms", LINE)
    keys = list(identity)
    repeats = ~ordered.select(keys).is_unique()
    if not repeats.any():
        return ordered, pl.DataFrame(schema={LINE: pl.Int64, REASON: pl.String})
    first = pl.col(LINE).first().over(keys)
    told = ordered.filter(repeats).with_columns(first.alias("first_line")).filter(pl.col(LINE) != pl.col("first_line"))
    reason = pl.format("{}: repeats line {}", pl.lit(", ".join(keys)), "first_line").alias(REASON)
    refused = told.select(LINE, reason)
    return ordered.join(refused.select(LINE), on=LINE, how="anti", maintain_order="left"), refused


def _label_facts(transactions: pl.DataFrame, labels: Labels, delay_days: int) -> pl.DataFrame:
    """One fact per judged transaction, known `delay_days` after it."""
    judged = transactions.filter(pl.col(LABEL_FIELD).is_not_null())
    known = (pl.col("event_time_ms") + delay_days * DAY_MS).clip(upper_bound=LATEST_EVENT_TIME_MS)
    made = {
        "event_time_ms": known,
        "fact_id": pl.format("label-{}", "transaction_id"),
        "is_fraud": pl.col(LABEL_FIELD),
    }
    columns = []
    for field in contract_fields(TABLES[labels.table]):
        if field.name in made:
            columns.append(made[field.name].alias(field.name))
        elif field.name in judged.columns:
            columns.append(pl.col(field.name))
        else:
            columns.append(pl.lit(field.default).alias(field.name))
    return judged.select(*columns, LINE)


def _imported(rows: pl.DataFrame, table: str) -> pa.Table:
    """Imported history arrives at its event time, in one topic, offset by order."""
    position = {
        "ingested_at_ms": pl.col("event_time_ms"),
        "source_topic": pl.lit(f"import.{table}.v1"),
        "source_partition": pl.lit(0, pl.Int32),
        "source_offset": pl.int_range(pl.len(), dtype=pl.Int64),
        "is_duplicate": pl.lit(value=False),
    }
    fields = [field.name for field in contract_fields(TABLES[table])]
    return rows.select(*fields, **position).to_arrow()


def _prepared(
    tables: AbstractMapping[str, pa.Table], raw: RawFile, lines: pl.Series, refused: list[pl.DataFrame], table: Table
) -> Prepared:
    broken = pl.DataFrame(raw.broken, schema={LINE: pl.Int64, REASON: pl.String}, orient="row")
    reasons = pl.concat([broken, *refused]).sort(LINE)
    if len(lines) + len(reasons) != raw.read or not reasons[LINE].is_unique().all():
        raise LostRows(
            f"LostRows: read {raw.read}, accepted {len(lines)}, rejected {len(reasons)}. Please report this."
        )
    sent = raw.rows.with_columns(pl.lit(HIDDEN).alias(name) for name in _personal(table))
    rejected = reasons.join(sent, on=LINE, how="left", maintain_order="left")
    return Prepared(tables, lines, rejected.rename({LINE: "line", REASON: "reason"}), raw.read)


def _personal(table: Table) -> list[str]:
    """Source columns that become tokens."""
    mapped = [table.column(field) for field in table.columns]
    personal = [column.source for column in mapped if column is not None and column.source and _is_personal(column)]
    return list(dict.fromkeys(personal))


def _is_personal(column: Column) -> bool:
    return column.how is not None and (column.how.endswith("_token") or column.how == "ip_country")
