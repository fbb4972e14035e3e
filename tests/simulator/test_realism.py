"""A world beside the payments of others: figures worked out by hand, and a page that stands alone."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simulator.realism import (
    MARGINALS,
    burst_ratio,
    compared,
    fraud_amount_ratio,
    frauds_per_victim,
    gini,
    night_ratio,
    top_share,
)
from simulator.reference import NoReference, Payments, handbook, ours, references, sparkov
from simulator.spec import DAY_MS, HOUR_MS, WorldSpec
from tests.simulator.test_cli import simulator

WORLD = WorldSpec(seed=5, start_ms=20_546 * DAY_MS, days=10, rate_per_day=1_000, accounts=4_000)


def payments(
    time_h: Sequence[float], account: Sequence[int], amount: Sequence[float], is_fraud: Sequence[int]
) -> Payments:
    time_ms, codes = (np.array(time_h) * HOUR_MS).astype(np.int64), np.array(account)
    return Payments("by hand", time_ms, codes, codes, np.array(amount, dtype=float), np.array(is_fraud, dtype=bool))


BY_HAND = payments([1, 1.5, 9, 10, 11, 25], [1, 1, 2, 3, 4, 1], [10, 40, 20, 20, 20, 80], [0, 1, 0, 0, 0, 1])


def test_entity_skew_by_hand() -> None:
    """Payments 1, 1, 1, 3: the Gini coefficient is 0.25, and the busiest has half."""
    assert gini(BY_HAND.account) == pytest.approx(0.25)
    assert top_share(BY_HAND.account) == 0.5
    assert gini(np.array([1, 2, 3])) == 0.0


def test_fraud_signatures_by_hand() -> None:
    """Medians 60 and 20; one fraud of two within the hour, no honest payment of four; both frauds and one of four before six."""
    assert fraud_amount_ratio(BY_HAND) == 3.0
    assert burst_ratio(BY_HAND) > 1_000
    assert night_ratio(BY_HAND) == pytest.approx(1.0 / 0.25)
    assert frauds_per_victim(BY_HAND) == 2.0


def test_a_world_is_at_no_distance_from_itself_and_not_within_of_a_strange_one() -> None:
    world = ours(WORLD)
    strange = replace(world, name="strange", amount=world.amount**2, account=np.arange(len(world)) // 3)

    itself, other = compared(world, [replace(world, name="same")]), compared(world, [strange])

    assert all(line.is_within for line in itself)
    assert max(line.off for line in itself if line.reference is None) == 0.0
    beyond = {line.measure for line in other if not line.is_within}
    assert "amount over its median (KS)" in beyond
    assert "accounts: Gini" in beyond


def test_with_two_references_their_own_distance_stands_beside() -> None:
    world = ours(WORLD)
    lines = compared(world, [replace(world, name="same"), replace(world, name="dear", amount=world.amount * 8)])

    assert all(line.between is not None for line in lines)
    # Amounts are compared in shape: eight times as dear is no difference.
    assert all(line.between == pytest.approx(0, abs=1e-9) for line in lines if line.measure.startswith("amount over"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Both data sets, a few hundred payments each, in their own columns."""
    rng, n = np.random.default_rng(1), 600
    seconds = np.sort(rng.integers(0, 30 * 86_400, n))
    amount, fraud = np.round(rng.lognormal(3, 1, n), 2), (rng.random(n) < 0.05).astype(np.int8)
    amount[0] = 0.0
    who, where = rng.integers(0, 40, n), rng.integers(0, 60, n)
    times = pa.array((1_522_540_800 + seconds) * 1_000_000_000).cast(pa.timestamp("ns"))
    columns = [times, pa.array(who), pa.array(where), pa.array(amount), pa.array(fraud)]
    names = ["TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT", "TX_FRAUD"]
    texts = [pa.array(1_546_300_800 + seconds), pa.array(who.astype(str)).cast(pa.large_string()),
             pa.array(where.astype(str)).cast(pa.large_string()), pa.array(amount), pa.array(fraud)]  # fmt: skip
    for name, table in (
        ("handbook", pa.table(columns, names=names)),
        ("sparkov", pa.table(texts, names=["unix_time", "cc_num", "merchant", "amt", "is_fraud"])),
    ):
        (tmp_path / name).mkdir()
        pq.write_table(table, tmp_path / name / "transactions.parquet")
    return tmp_path


def test_both_data_sets_are_read_alike(folder: Path) -> None:
    """The same payments in the columns of either are the same, a payment of nothing left out."""
    one, other = (
        read(folder / name / "transactions.parquet") for name, read in (("handbook", handbook), ("sparkov", sparkov))
    )

    assert len(one) == len(other) == 599
    assert np.array_equal(one.amount, other.amount)
    assert np.array_equal(one.is_fraud, other.is_fraud)
    assert np.array_equal(np.diff(one.time_ms), np.diff(other.time_ms))
    assert gini(one.account) == gini(other.account)


def test_what_is_there_is_compared_and_nothing_is_refused(folder: Path) -> None:
    (folder / "sparkov" / "transactions.parquet").unlink()

    assert [one.name for one in references(folder)] == ["Handbook"]
    with pytest.raises(NoReference, match="--data"):
        references(folder / "sparkov")


def test_the_command_prints_a_line_and_writes_a_page_that_stands_alone(folder: Path) -> None:
    page = folder / "report" / "realism.html"

    code, output = simulator(
        "realism", "--data", str(folder), "--report", str(page), "--days", "7", "--rate", "500", "--seed", "5"
    )

    assert code == 0, output
    found = json.loads(next(line for line in output.splitlines() if line.startswith("{")))
    html = page.read_text()
    assert found["of"] == len(found["measures"]) == 2 * (2 * len(MARGINALS) + 9)
    assert set(found["references"]) == {"Handbook", "Sparkov"}
    assert html.count("<svg") == 6
    assert "<script" not in html and "http" not in html
    assert f"{found['within']} of {found['of']} measures" in html


@pytest.mark.data
def test_a_world_has_the_amounts_gaps_and_hours_of_other_payments(data_dir: Path, handbook_dir: Path) -> None:
    del handbook_dir  # asked for that a missing data set skips this, or fails in CI
    lines = compared(ours(WORLD), references(data_dir))

    # Ten days of a small world: a shape may lie as far from one data set as the two lie from each other.
    strange = [
        line for line in lines if line.reference is None and not line.is_within and line.value > (line.between or 0.0)
    ]
    assert strange == []
