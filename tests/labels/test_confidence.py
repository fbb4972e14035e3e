"""Confidences as of a day, of a real lake: made, read back, and nothing of the future in them."""

import random
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.labels.confidence import BadConfidence, confidence_as_of, confidences_as_of, sample_weight
from fraud_assets.labels.graph import identity_edges, transactions_as_known
from fraud_assets.labels.maturity import maturity_as_of
from fraud_assets.labels.noise import noise_as_of
from fraud_assets.labels.propagation import Propagated
from fraud_assets.labels.shapes import CONFIDENCE
from fraud_assets.labels.statements import frame
from fraud_assets.stores.keyed_tables import get_table, of_day, put_table
from fraud_assets.stores.lake import Lake
from tests.history import LABEL_DELAY_DAYS, START_MS, Past
from tests.labels.payments import CAPS

AS_OF_MS = START_MS + 10 * DAY_MS
LOOKBACK_DAYS = 30


def made(lake: Lake) -> tuple[pa.Table, Propagated]:
    edges = identity_edges(transactions_as_known(lake, AS_OF_MS, LOOKBACK_DAYS))
    return edges, confidence_as_of(lake, edges, AS_OF_MS, LOOKBACK_DAYS, CAPS)


def test_most_payments_that_count_as_fraud_are_and_most_unconfirmed_frauds_are_found(past: Past) -> None:
    """By the simulator's truth, which no label has told yet."""
    _, found = made(past.lake)
    truth = pl.read_parquet(past.folder / "truth" / "transactions.parquet", columns=["transaction_id", "is_fraud"])
    known = frame(transactions_as_known(past.lake, AS_OF_MS, LOOKBACK_DAYS)).join(truth, on="transaction_id")
    rows = frame(found.rows).select("transaction_id", "is_confirmed", suspect="is_fraud")
    open_ = known.join(rows, on="transaction_id", how="left").filter(~pl.col("is_confirmed").fill_null(value=False))

    suspects = open_.filter("suspect")

    frauds = int(open_["is_fraud"].sum())
    caught = int(suspects["is_fraud"].sum())
    assert frauds > 50
    assert caught / len(suspects) > 0.7
    assert caught / frauds > 0.5


def test_the_future_in_any_order_changes_nothing(past: Past, tmp_path: Path) -> None:
    """A lake without what came later, and one whose later rows all speak of accounts and payments of before."""
    before, after = Lake(tmp_path / "before"), Lake(tmp_path / "after")
    for table in ("transactions", "labels", "label_facts"):
        rows = past.lake.scan(table)
        known = rows.filter(pc.less(rows["ingested_at_ms"], AS_OF_MS))
        before.append(table, known, "known")
        after.append(table, shuffled(known), "known")
        after.append(table, shuffled(arriving_later(renamed(known, "late-"))), "later")
        if table == "labels":  # some hurry ahead of their payments
            for lake in (before, after):
                lake.append(table, renamed(known.slice(0, 40), "late-"), "early")

    expected, found = made(before), made(after)

    assert found[0].equals(expected[0])
    assert found[1] == expected[1]
    assert expected[1].linked > 0
    maturity = [maturity_as_of(lake, AS_OF_MS, LABEL_DELAY_DAYS).table() for lake in (before, after, past.lake)]
    assert maturity[0].equals(maturity[1])
    assert maturity[0].equals(maturity[2])
    noise = [noise_as_of(lake, AS_OF_MS, LOOKBACK_DAYS, LABEL_DELAY_DAYS) for lake in (before, after)]
    assert noise[0] == noise[1]


def shuffled(rows: pa.Table) -> pa.Table:
    order = random.Random(5).sample(range(rows.num_rows), rows.num_rows)
    return rows.take(order)


def renamed(rows: pa.Table, prefix: str) -> pa.Table:
    """The same rows once more, as of other payments of the same people."""
    for column in ("transaction_id", "label_id", "fact_id"):
        if column in rows.column_names:
            rows = replaced(rows, column, pc.binary_join_element_wise(prefix, rows[column], ""))
    return replaced(rows, "source_topic", pa.array([f"{prefix}topic"] * rows.num_rows))


def arriving_later(rows: pa.Table) -> pa.Table:
    return replaced(rows, "ingested_at_ms", pa.array([AS_OF_MS + DAY_MS] * rows.num_rows))


def replaced(rows: pa.Table, column: str, values: pa.Array) -> pa.Table:
    place = rows.schema.get_field_index(column)
    return rows.set_column(place, rows.schema.field(column), values)


def test_confidences_are_read_back_by_payment(past: Past, tmp_path: Path) -> None:
    _, found = made(past.lake)
    put_table(str(tmp_path), CONFIDENCE.table, of_day("2026-10-11"), found.rows)
    rows = frame(found.rows).sample(50, seed=1, shuffle=True)

    read = confidences_as_of(
        str(tmp_path),
        "2026-10-11",
        [*rows["account_id"].to_list(), "nobody", rows["account_id"][0]],
        [*rows["transaction_id"].to_list(), "t0", "another's"],
    )

    assert read.tolist() == [*rows["confidence"].to_list(), 0.0, 0.0]
    assert confidences_as_of(str(tmp_path), "2026-10-11", [], []).shape == (0,)


def test_an_identity_that_came_twice_has_one_confidence(past: Past, tmp_path: Path) -> None:
    """Behind the dedupe horizon an id may come again."""
    _, found = made(past.lake)
    one = found.rows.slice(0, 1)
    put_table(str(tmp_path), CONFIDENCE.table, of_day("2026-10-11"), pa.concat_tables([one, one]))
    identity = one["account_id"].to_pylist(), one["transaction_id"].to_pylist()

    assert confidences_as_of(str(tmp_path), "2026-10-11", *identity).tolist() == one["confidence"].to_pylist()


def test_a_day_that_was_not_made_is_not_a_day_without_confidence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="label_confidence/as_of=2026-10-12"):
        confidences_as_of(str(tmp_path), "2026-10-12", ["a"], ["t"])


def test_a_day_made_again_replaces_the_one_before(past: Past, tmp_path: Path) -> None:
    _, found = made(past.lake)
    for rows in (found.rows, found.rows.slice(0, 3)):
        put_table(str(tmp_path), CONFIDENCE.table, of_day("2026-10-11"), rows)

    assert get_table(str(tmp_path), CONFIDENCE.table, of_day("2026-10-11")).num_rows == 3
    assert len(list((tmp_path / CONFIDENCE.table).rglob("*.parquet"))) == 1
    shutil.rmtree(tmp_path / CONFIDENCE.table)


def test_a_linked_payment_counts_less_as_legitimate_and_a_fraud_counts_whole() -> None:
    confidence = np.array([1.0, 0.4, 0.0, 0.4, 0.4])
    verdict = np.array([1, 1, 0, 0, -1])

    assert sample_weight(confidence, verdict).tolist() == pytest.approx([1.0, 1.0, 1.0, 0.6, 0.0])


@pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.1])
def test_a_confidence_that_is_none_is_refused(wrong: float) -> None:
    with pytest.raises(BadConfidence):
        sample_weight(np.array([0.5, wrong]), np.array([0, 0]))
