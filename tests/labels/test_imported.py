"""Label facts of imported history, made a day at a time: the same as of all of it at once."""

from pathlib import Path

import pyarrow as pa
import pytest

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.labels.history import LABEL_COLUMNS, TRANSACTION_COLUMNS, facts_between
from fraud_assets.labels.imported import write_imported_facts
from fraud_assets.stores.lake import Lake
from tests.history import END_MS, LABEL_DELAY_DAYS, START_MS, Past, make_past


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    """With a payment that arrives when it would long have matured, and one that is spoken of before it arrives."""
    made = make_past(tmp_path_factory.mktemp("past"), rate_per_day=150, facts=False)
    early, spoken_of = _spoken_of(made.lake)
    late = made.lake.scan("transactions", to_ms=START_MS + DAY_MS).slice(0, 2)
    late = _set(late, "ingested_at_ms", [START_MS + 9 * DAY_MS, early["ingested_at_ms"][0].as_py() + DAY_MS])
    late = _set(late, "source_offset", [10**9, 10**9 + 1])
    late = _set(late, "transaction_id", ["late", spoken_of])
    late = _set(late, "account_id", [late["account_id"][0].as_py(), early["account_id"][0].as_py()])
    made.lake.append("transactions", late, "late")
    return made


def _spoken_of(lake: Lake) -> tuple[pa.Table, str]:
    """A label of a payment that is not there any more: nobody has the id."""
    labels = lake.scan("labels").slice(0, 1)
    ghost = _set(_set(labels, "transaction_id", ["ghost"]), "source_offset", [10**9])
    lake.append("labels", ghost, "ghost")
    return ghost, "ghost"


def _set(rows: pa.Table, name: str, values: list[object]) -> pa.Table:
    place = rows.column_names.index(name)
    return rows.set_column(place, rows.schema.field(name), pa.array(values, rows.schema.field(name).type))


@pytest.mark.parametrize("delay_days", [LABEL_DELAY_DAYS, 0.6])
def test_a_day_at_a_time_gives_what_the_whole_history_gives(past: Past, tmp_path: Path, delay_days: float) -> None:
    transactions = past.lake.scan("transactions", as_known_at_ms=END_MS, columns=TRANSACTION_COLUMNS)
    labels = past.lake.scan("labels", as_known_at_ms=END_MS, columns=LABEL_COLUMNS)
    newest = max(past.lake.scan(table)["ingested_at_ms"].to_numpy().max() for table in ("transactions", "labels"))
    asked = facts_between(transactions, labels, START_MS, min(END_MS, int(newest) + 1), delay_days)

    counts = write_imported_facts(past.lake, START_MS, END_MS, delay_days)

    found = past.lake.scan("label_facts")
    assert found.sort_by("fact_id").equals(asked.select(found.column_names).sort_by("fact_id"))
    assert counts.facts == asked.num_rows > 0 and counts.fraud > 0
    assert {"late", "ghost"} <= set(found["transaction_id"].to_pylist())
