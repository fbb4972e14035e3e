"""The audit's model: what it may see, and what its figures are worked out from."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraud_assets.audit.__main__ import main
from fraud_assets.audit.days import Days
from fraud_assets.audit.model import curve, outcome, parts_of, severities
from fraud_assets.contracts.topics import DAY_MS
from fraud_assets.training.threshold import CostTable
from tests.evaluate.test_evaluate import START_MS, _world

COSTS = CostTable(chargeback_fee_minor=1_000, false_decline_minor=500, review_minor=100)
FRAUD = np.array([True, True, True, False, False, False])
MONEY = np.array([1_000.0, 2_000.0, 4_000.0, 10.0, 20.0, 30.0])
DAYS = Days(np.arange(6) * DAY_MS)


def test_what_a_policy_did_is_counted_and_priced() -> None:
    """Denied: one fraud, one good. Reviewed: one fraud, one good. Through: a fraud of 40.00 with its fee of 10.00."""
    found = outcome(np.array([2.0, 1, 0, 2, 1, 0]), FRAUD, MONEY, COSTS, DAYS)

    assert (found["fraud_denied"], found["money_denied_minor"], found["fraud_reviewed"]) == (1, 1_000, 1)
    assert (found["good_denied"], found["good_reviewed"]) == (1, 1)
    assert found["cost_minor"] == (4_000 + 1_000) + 500 + 2 * 100
    # Six days, of which one brought the fraud that was denied: it may not come again, or three times.
    assert found["money_denied_interval_minor"] == {"low": 0, "high": 3_000}
    assert found["cost_interval_minor"]["low"] < found["cost_minor"] < found["cost_interval_minor"]["high"]


def test_the_curve_stops_where_one_more_good_customer_would_be_refused() -> None:
    """The two best scores are frauds of 30.00 in 70.00; the third is a good customer, more than 5 % of three."""
    score = np.array([0.9, 0.8, 0.1, 0.7, 0.2, 0.05])

    for point in curve(score, FRAUD, MONEY, COSTS, DAYS):
        assert (point["good_refused"], point["frauds_stopped"]) == (0, 2)
        assert point["money_share"] == pytest.approx(3 / 7)
        assert point["money_share_interval"] == {"low": 0, "high": 1}  # three frauds of three days: nobody knows
        assert point["cost_minor"] == 4_000 + 1_000


def test_rules_deny_whatever_the_score() -> None:
    """Five declines of a card within the hour; a service without such features has no such rule."""
    names = ("card_declined_count_1h",)
    features = np.array([[5], [4], [np.nan]], np.float32)

    assert severities(names, features, np.zeros(3), (np.inf, np.inf)).tolist() == [2, 0, 0]
    assert severities(("other",), features, np.zeros(3), (np.inf, np.inf)).tolist() == [0, 0, 0]


def test_what_is_learnt_from_ends_a_label_delay_before_what_is_judged() -> None:
    """Forty days, a payment each hour: thirty, less seven of delay, and then ten."""
    hours = np.arange(40 * 24)
    rows = pl.DataFrame({"event_time_ms": hours * (DAY_MS // 24), "is_fraud": hours % 10 == 0})

    split = parts_of(rows, hours.astype(np.int64), 40 * DAY_MS, 7)

    assert (split.train.max(), split.validate.min()) == (23 * 24 - 1, 30 * 24)


def _audited(folder: Path, world: pl.DataFrame, *options: str) -> dict[str, object]:
    folder.mkdir()
    world.write_parquet(folder / "payments.parquet")
    command = ["--mapping", "handbook", str(folder / "payments.parquet"), "--out", str(folder), *options]
    assert main(command) == 0
    model: dict[str, object] = json.loads((folder / "summary.json").read_text())["model"]
    return model


@pytest.mark.usefixtures("var_dir")
def test_no_verdict_of_the_judged_part_or_of_the_gap_moves_the_model(tmp_path: Path) -> None:
    """With every verdict from the gap on turned round, thresholds are the same; what is counted there is not."""
    world = _world()
    late = pl.col("TX_DATETIME").dt.epoch("ms") >= START_MS + int(38 * 0.75 - 6) * DAY_MS
    turned = world.with_columns((pl.col("TX_FRAUD") ^ (late & (pl.col("TX_AMOUNT") < 20))).alias("TX_FRAUD"))

    one, other = (_audited(tmp_path / name, frame) for name, frame in (("one", world), ("other", turned)))

    assert one["thresholds"] == other["thresholds"]
    assert one["train"] == other["train"]
    assert one["test"] != other["test"]
    policies = one["policies"]
    assert isinstance(policies, dict)
    assert policies["nothing"]["cost_minor"] > policies["model and rules"]["cost_minor"]  # large payments are easy
    page = (tmp_path / "one" / "report.html").read_text()
    assert "What would have been stopped" in page


@pytest.mark.usefixtures("var_dir")
def test_a_history_too_short_for_a_model_says_so_and_what_to_leave_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _world(days=4).write_parquet(tmp_path / "payments.parquet")

    code = main(["--mapping", "handbook", str(tmp_path / "payments.parquet"), "--out", str(tmp_path / "out")])

    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("TooShort: the training part has 0 rows") and "--no-model" in line


@pytest.mark.usefixtures("var_dir")
@pytest.mark.parametrize("category", ["", 'category = "KIND"'])
def test_a_ticketing_file_of_few_columns_is_learnt_from(tmp_path: Path, category: str) -> None:
    """No device, event, place or category, or every other row without one: their features are null, and large payments are found all the same."""
    (tmp_path / "mine.toml").write_text(
        f"""
        [transactions]
        table = "transactions"
        [transactions.columns]
        transaction_id = "TRANSACTION_ID"
        event_time_ms = {{ from = "TX_DATETIME", as = "time" }}
        amount_minor = {{ from = "TX_AMOUNT", as = "money" }}
        currency = {{ value = "EUR" }}
        account_id = "CUSTOMER_ID"
        {category}
        [labels]
        table = "label_facts"
        is_fraud = "TX_FRAUD"
        delay_days = 7
        """
    )
    kind = pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("concert"))
    _world().with_columns(kind.alias("KIND")).write_parquet(tmp_path / "payments.parquet")

    code = main(["--mapping", str(tmp_path / "mine.toml"), str(tmp_path / "payments.parquet"), "--out", str(tmp_path)])

    summary = json.loads((tmp_path / "summary.json").read_text())
    policies = summary["model"]["policies"]
    assert (code, summary["rows"]["rejected"]) == (0, 0)
    assert policies["model and rules"]["cost_minor"] < policies["nothing"]["cost_minor"]
    assert policies["rules alone"]["fraud_denied"] == 0  # outcomes are not mapped, so no decline is known
