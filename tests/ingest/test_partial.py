"""Files that lack what a contract asks for, and verdicts in a stranger's own words."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import polars as pl
import pytest

from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.ingest.mapping import Column, Labels, Mapping, Table
from fraud_assets.ingest.prepare import prepare
from tests.ingest.csv_files import GOOD, csv_of

KEY = TokenKey("k1", b"0123456789abcdef")


@dataclass(frozen=True)
class Said:
    verdicts: dict[str, bool]
    rejected: list[str]


def _said(mapping: Mapping, labels: Labels, path: Path) -> Said:
    prepared = prepare(msgspec.structs.replace(mapping, labels=labels), path, KEY)
    facts = pl.DataFrame(pl.from_arrow(prepared.tables[labels.table]))
    return Said(dict(facts.select("transaction_id", "is_fraud").rows()), prepared.rejected["reason"].to_list())


def _labelled(*values: str) -> list[str]:
    return [f"{number},2018-04-01,1,1,1,{value}" for number, value in enumerate(values, start=1)]


def test_verdicts_are_read_in_the_words_of_the_mapping(tmp_path: Path, handbook: Mapping) -> None:
    """Blank is nobody's verdict; a word that stands on neither list is refused, not guessed."""
    labels = Labels("handbook_labels", "TX_FRAUD", 7, fraud=("CB", "confirmed"), legitimate=("ok",))

    said = _said(handbook, labels, csv_of(tmp_path, *_labelled("CB", "ok", "", "confirmed", "perhaps")))

    assert said.verdicts == {"1": True, "2": False, "4": True}
    assert said.rejected == ["TX_FRAUD: not readable as flag"]


def test_a_column_of_frauds_alone_leaves_blank_what_is_legitimate(tmp_path: Path, handbook: Mapping) -> None:
    labels = Labels("handbook_labels", "TX_FRAUD", 7, fraud=("CB",), blank_is_legitimate=True)

    said = _said(handbook, labels, csv_of(tmp_path, *_labelled("CB", "", "no")))

    assert said.verdicts == {"1": True, "2": False}
    assert said.rejected == ["TX_FRAUD: not readable as flag"]


@pytest.mark.parametrize(("needed", "accepted"), [(None, 1), (("transaction_id",), 2)])
def test_a_blank_that_nobody_needs_is_null(
    tmp_path: Path, handbook: Mapping, needed: tuple[str, ...] | None, accepted: int
) -> None:
    prepared = prepare(handbook, csv_of(tmp_path, GOOD, "2,2018-04-02,1,,1,0"), KEY, needed=needed)

    rows = prepared.tables["handbook_transactions"]
    assert prepared.accepted == accepted
    assert rows["terminal_id"].to_pylist() == ["3156", None][:accepted]


def test_a_default_fills_what_is_blank_and_not_what_is_wrong(tmp_path: Path, handbook: Mapping) -> None:
    table = handbook.transactions
    columns = dict(table.columns) | {"amount_minor": Column(source="TX_AMOUNT", how="money", default=500)}
    mapping = msgspec.structs.replace(handbook, transactions=Table(table=table.table, columns=columns))

    prepared = prepare(mapping, csv_of(tmp_path, GOOD, "2,2018-04-02,1,1,,0", "3,2018-04-02,1,1,much,0"), KEY)

    assert prepared.tables[table.table]["amount_minor"].to_pylist() == [5716, 500]
    assert prepared.rejected["reason"].to_list() == ["amount_minor: not readable as money"]
