"""The label stage's batch twin: the facts that imported history would have made, had it been live."""

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraud_assets.contracts.events import Label, LabelFact
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.labels.facts import (
    SUBJECT_FIELDS,
    Case,
    Subject,
    due_ms,
    fact_id,
    settle,
    with_label,
    with_subject,
)
from fraud_assets.stores.identity import identities
from fraud_assets.stores.schemas import LogPosition, arrow_schema, from_events

TOPIC = "import.label_facts.v1"

# Room for the facts of one millisecond in an offset.
SAME_MS_BITS = 20

COPIED = tuple(name for name in SUBJECT_FIELDS if name != "event_time_ms")
TRANSACTION_COLUMNS = [*SUBJECT_FIELDS, "ingested_at_ms"]
LABEL_COLUMNS = [*Label.__struct_fields__, "ingested_at_ms"]

# A fact as it arrived: when the log would have got it, and the fact.
Arrived = tuple[int, LabelFact]


def facts_from_labels(transactions: pa.Table, labels: pa.Table, as_of_ms: int, delay_days: float) -> pa.Table:
    """Rows of the lake's `label_facts` as known at `as_of_ms`, in log order; see `facts_between`."""
    return facts_between(transactions, labels, 0, as_of_ms, delay_days)


def facts_between(
    transactions: pa.Table, labels: pa.Table, from_ms: int, to_ms: int, label_delay_days: float
) -> pa.Table:
    """Facts that arrive in [from_ms, to_ms), as rows of the lake's `label_facts`, in log order.

    transactions, labels: rows of those tables without duplicates, of everything that arrived before
    `to_ms`; columns besides TRANSACTION_COLUMNS and LABEL_COLUMNS are not read. A fact arrives with
    what caused it: a label, its transaction, or the moment of maturity. Labels of unknown
    transactions wait, as they do live. The result does not depend on how history is cut into ranges.
    Nearly all transactions are never spoken of: those are made column-wise, the others one by one.
    """
    delay_ms = round(label_delay_days * DAY_MS)
    transactions = transactions.select(TRANSACTION_COLUMNS).filter(pc.less(transactions["ingested_at_ms"], to_ms))
    labels = labels.select(LABEL_COLUMNS).filter(pc.less(labels["ingested_at_ms"], to_ms))
    spoken = pc.is_in(identities(transactions), identities(labels))
    silent = _matured(transactions.filter(pc.invert(spoken)), delay_ms)
    argued = _argued(transactions.filter(spoken), labels, delay_ms)
    rows = pa.concat_tables([silent, argued])
    arrival = rows["ingested_at_ms"]
    return _numbered(rows.filter(pc.and_(pc.greater_equal(arrival, from_ms), pc.less(arrival, to_ms))))


def replay(subject: Subject, arrival_ms: int, labels: list[tuple[int, Label]], delay_ms: int) -> list[Arrived]:
    """Facts of one transaction: it arrives, its labels arrive in any order around it, and time passes."""
    steps: list[tuple[int, int, Label | None]] = [(at, 1, label) for at, label in labels]
    steps += [(arrival_ms, 0, None), (max(arrival_ms, due_ms(subject.event_time_ms, delay_ms)), 2, None)]
    case, found = Case(), list[Arrived]()
    for at, _, label in sorted(steps, key=lambda step: step[:2]):
        case = with_label(case, label) if label else case
        if at >= arrival_ms:
            case, facts = settle(with_subject(case, subject), delay_ms, at)
            found.extend((at, fact) for fact in facts)
    return found


def _matured(transactions: pa.Table, delay_ms: int) -> pa.Table:
    """The legitimate fact that each transaction becomes when its label delay passes in silence."""
    due = pc.add(transactions["event_time_ms"], delay_ms)
    count = transactions.num_rows
    ids = [
        fact_id(account, transaction, 0)
        for account, transaction in zip(
            transactions["account_id"].to_pylist(), transactions["transaction_id"].to_pylist(), strict=True
        )
    ]
    schema = arrow_schema(LabelFact)
    made = {
        "schema_version": pa.array(np.full(count, 1), pa.int64()),
        "event_time_ms": due,
        "fact_id": pa.array(ids, pa.string()),
        "is_fraud": pa.array(np.zeros(count, bool)),
        "sign": pa.array(np.ones(count, np.int64)),
        "ingested_at_ms": pc.max_element_wise(due, transactions["ingested_at_ms"]),
    }
    made |= {name: transactions[name] for name in COPIED}
    return pa.table(
        [made[name] if name in made else _position(name, count, schema) for name in schema.names], schema=schema
    )


def _position(name: str, count: int, schema: pa.Schema) -> pa.Array:
    """A position column whose values `_numbered` decides."""
    empty = {"source_topic": TOPIC, "is_duplicate": False}.get(name, 0)
    return pa.array([empty] * count, schema.field(name).type)


def _argued(transactions: pa.Table, labels: pa.Table, delay_ms: int) -> pa.Table:
    said: dict[tuple[str, str], list[tuple[int, Label]]] = {}
    for row in labels.to_pylist():
        at = row.pop("ingested_at_ms")
        label = msgspec.convert(row, Label)
        said.setdefault((label.account_id, label.transaction_id), []).append((at, label))
    arrived: list[Arrived] = []
    for row in transactions.to_pylist():
        at = row.pop("ingested_at_ms")
        subject = msgspec.convert(row, Subject)
        arrived.extend(replay(subject, at, said[subject.account_id, subject.transaction_id], delay_ms))
    positions = [LogPosition(at, TOPIC, 0, 0) for at, _ in arrived]
    return from_events(LabelFact, [fact for _, fact in arrived], positions)


def _numbered(rows: pa.Table) -> pa.Table:
    """In log order, with offsets made of arrival and place: a range is numbered without those before it."""
    place = pa.array(np.arange(rows.num_rows), pa.int64())
    keys = ("ingested_at_ms", "account_id", "transaction_id", "place")
    order = pc.sort_indices(rows.append_column("place", place), [(key, "ascending") for key in keys])
    rows = rows.take(order)
    arrival = rows["ingested_at_ms"].to_numpy()
    starts = np.searchsorted(arrival, arrival)
    offsets = (arrival << SAME_MS_BITS) + np.arange(rows.num_rows) - starts
    column = rows.schema.get_field_index("source_offset")
    return rows.set_column(column, rows.schema.field(column), pa.array(offsets, pa.int64()))
