"""A stranger's file as payments and verdicts, however few columns it has."""

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import msgspec
import polars as pl

from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.engine.batch import Log
from fraud_assets.engine.plan import ServicePlan
from fraud_assets.evaluate.history import log_of, service_of, verdicts_of
from fraud_assets.ingest.fields import contract_fields
from fraud_assets.ingest.mapping import BadMapping, Column, Mapping
from fraud_assets.ingest.mapping_file import load_mapping
from fraud_assets.ingest.prepare import Prepared, prepare

NEEDED = ("transaction_id", "event_time_ms", "amount_minor", "currency")
TOKEN_FIELDS = ("card_token", "email_token", "ip_token")
TOKEN_CHARS = 16


@dataclass(frozen=True)
class Audited:
    """rows: accepted payments in log order, with their `line` in the file and `is_fraud`, null where nobody has judged or it is too early to say.

    mapped: fields that a column or a constant fills. young: payments of the last label delay, of a column that names frauds alone.
    """

    mapping: Mapping
    prepared: Prepared
    service: ServicePlan
    log: Log
    rows: pl.DataFrame
    mapped: tuple[str, ...]
    young: int

    @property
    def labelled(self) -> bool:
        return self.mapping.labels is not None and self.rows["is_fraud"].null_count() < len(self.rows)

    @property
    def delay_days(self) -> int:
        return self.mapping.labels.delay_days if self.mapping.labels else 0


def read_mapping(name: str) -> Mapping:
    """A mapping that may lack most fields. Raises BadMapping."""
    mapping = load_mapping(name, NEEDED)[1]
    columns = dict(mapping.transactions.columns)
    for field in TOKEN_FIELDS:
        column = mapping.transactions.column(field)
        if column is None:
            continue
        if column.source is None or column.how not in (None, field):
            raise BadMapping(f'BadMapping: {name}: {field} takes a column as it is; write {field} = "COLUMN".')
        # As at the edge: what stands in such a field becomes a token, whoever forgot to say so.
        columns[field] = msgspec.structs.replace(column, how=field)
    return msgspec.structs.replace(mapping, transactions=msgspec.structs.replace(mapping.transactions, columns=columns))


def read_history(mapping: Mapping, path: Path, key: TokenKey) -> Audited | Prepared:
    """The audited file; only what was prepared where no row could be used. Raises BadMapping, UnreadableFile."""
    service = service_of(mapping)
    prepared = prepare(mapping, path, key, needed=NEEDED)
    if not prepared.accepted:
        return prepared
    tables = {name: rows for name, rows in prepared.tables.items() if rows.num_rows}
    payments = tables[mapping.transactions.table]
    rows = pl.DataFrame(pl.from_arrow(payments))
    verdict = pl.Series("is_fraud", [None], dtype=pl.Boolean).new_from_index(0, len(rows))
    if mapping.labels is not None and mapping.labels.table in tables:
        verdict = verdicts_of(payments, tables[mapping.labels.table])["is_fraud"]
    rows = rows.with_columns(verdict.alias("is_fraud"), prepared.lines.alias("line"))
    rows, young = _without_young(rows, mapping)
    return Audited(
        mapping, prepared, service, log_of(service, tables), rows, tuple(mapping.transactions.columns), young
    )


def _without_young(rows: pl.DataFrame, mapping: Mapping) -> tuple[pl.DataFrame, int]:
    """Blank says legitimate only once a chargeback would have come; frauds of those days alone would look like an attack."""
    if mapping.labels is None or not mapping.labels.blank_is_legitimate:
        return rows, 0
    last_ms = int(str(rows["event_time_ms"].max()))
    young = pl.col("event_time_ms") > last_ms - mapping.labels.delay_days * DAY_MS
    count = int(rows.select(young.sum()).item())
    return rows.with_columns(pl.when(~young).then("is_fraud").alias("is_fraud")), count


def timezone_of(mapping: Mapping) -> str:
    """Where the file's clock stands: hours and months of a report are the analyst's own."""
    column: Column | None = mapping.transactions.column("event_time_ms")
    return column.timezone if column is not None else "UTC"


def group_fields(audited: Audited) -> list[str]:
    """Fields of few known values: nothing else of a row is ever shown as it is."""
    fields = contract_fields(audited.mapping.transactions.contract)
    return [field.name for field in fields if field.name in audited.mapped and (field.vocabulary or field.pattern)]


def entity_fields(audited: Audited) -> list[str]:
    fields = contract_fields(audited.mapping.transactions.contract)
    names = [
        field.name for field in fields if field.name.endswith(("_id", "_token")) and field.name != "transaction_id"
    ]
    return [name for name in names if name in audited.mapped]


def shown_id(text: str, key: TokenKey) -> str:
    """An id as a report may show it: an account's id may be somebody's e-mail address."""
    return f"{key.key_id}:{blake2b(text.encode(), digest_size=TOKEN_CHARS // 2, key=key.secret, person=b'audit').hexdigest()}"
