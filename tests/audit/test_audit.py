"""`python -m fraud_assets.audit`: its numbers, worked out by hand, and what it never shows."""

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fraud_assets.audit.__main__ import main
from fraud_assets.ingest.mapping_file import load_mapping

HEADER = "order,when,amount,customer,pan,mail,ip,method,chargeback"
PAN, MAIL, IP = "4111111111111111", "ann.planted@mail.example", "203.0.113.77"
ANN = f"{MAIL},{PAN},{MAIL},{IP},card"
ROWS = (
    f"1,2026-03-31 23:30:00,10.00,{ANN},ok",
    f"2,2026-04-01 00:30:00,120.50,{ANN},CB",
    f"3,2026-04-03 11:00:00,30.00,{ANN},CB",
    "4,2026-04-03 11:00:00,5.00,bob,,,,wallet,",
    "5,2026-04-04 11:00:00,2.00,bob,,,,wallet,ok",
    f"6,2026-03-29 02:30:00,5.00,{ANN},ok",  # an hour that summer time skipped
    f"7,2026-04-04 11:00:00,{PAN} and {MAIL},{ANN},ok",
)

pytestmark = pytest.mark.usefixtures("var_dir")


@pytest.fixture
def example(root: Path) -> str:
    return str(root / "docs" / "examples" / "audit.toml")


def _file(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "payments.csv"
    path.write_text("\n".join((header, *rows)) + "\n")
    return path


def _summary(mapping: str, data: Path) -> dict[str, Any]:
    out = data.parent / "out"
    assert main(["--mapping", mapping, str(data), "--out", str(out), "--no-model"]) == 0
    found: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return found


def _counts(groups: list[dict[str, Any]]) -> dict[str, tuple[int, int, float]]:
    return {one["value"]: (one["payments"], one["frauds"], one["fraud_money_minor"]) for one in groups}


def test_the_numbers_are_those_worked_out_by_hand(tmp_path: Path, example: str) -> None:
    """Seven rows, two of them refused; of five, four are judged and two are frauds, for 150.50."""
    summary = _summary(example, _file(tmp_path, *ROWS))

    pattern = summary["pattern"]
    assert summary["rows"] == {"read": 7, "accepted": 5, "rejected": 2}
    assert (pattern["payments"], pattern["judged"], pattern["frauds"]) == (5, 4, 2)
    assert (pattern["money_minor"], pattern["fraud_money_minor"]) == (16_750, 15_050)
    # Wilson's interval of two in four, from its formula with z = 1.96.
    assert pattern["fraud_share"] == pytest.approx({"value": 0.5, "low": 0.15004, "high": 0.84996}, abs=1e-4)
    assert _counts(pattern["by"]["amount"]) == {
        "under 10": (2, 0, 0), "10 to 25": (1, 0, 0), "25 to 50": (1, 1, 3_000), "100 to 250": (1, 1, 12_050),
    }  # fmt: skip
    assert list(_counts(pattern["by"]["amount"])) == ["under 10", "10 to 25", "25 to 50", "100 to 250"]
    assert _counts(pattern["by"]["payment_method"]) == {"card": (3, 2, 15_050), "wallet": (2, 0, 0)}
    (ann,) = pattern["repeat_offenders"]["account_id"]
    assert (ann["payments"], ann["frauds"], ann["fraud_money_minor"]) == (3, 2, 15_050)
    assert "1 payments have no verdict" in summary["not_measured"][0]


def test_months_and_hours_are_those_of_the_files_own_clock(tmp_path: Path, example: str) -> None:
    """Half past midnight of the first of April in Amsterdam is March in UTC."""
    by = _summary(example, _file(tmp_path, *ROWS))["pattern"]["by"]

    assert _counts(by["month"]) == {"2026-03": (1, 0, 0), "2026-04": (4, 2, 15_050)}
    assert _counts(by["hour"]) == {"00": (1, 1, 12_050), "11": (3, 1, 3_000), "23": (1, 0, 0)}


def test_a_bad_row_is_kept_by_line_with_its_column_and_what_to_do(tmp_path: Path, example: str) -> None:
    _summary(example, _file(tmp_path, *ROWS))

    rejects = pl.read_csv(tmp_path / "out" / "rejects.csv")
    assert rejects.select("line", "column", "reason").rows() == [
        (7, "when", "event_time_ms: not readable as time"),
        (8, "amount", "amount_minor: not readable as money"),
    ]
    assert "set `format` and `timezone`" in rejects["fix"][0]


def test_no_output_holds_a_card_number_an_email_or_an_address(tmp_path: Path, example: str) -> None:
    """They are planted in token fields, in an account's id and in a row that is refused; `pan` and `mail` say no `as`."""
    _summary(example, _file(tmp_path, *ROWS))

    written = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in written] == ["rejects.csv", "report.html", "rows.csv", "summary.json"]
    for path in written:
        assert not [planted for planted in (PAN, MAIL, IP) if planted in path.read_text()], path


def test_the_page_needs_no_network(tmp_path: Path, example: str) -> None:
    _summary(example, _file(tmp_path, *ROWS))

    page = (tmp_path / "out" / "report.html").read_text()
    assert "150.50" in page
    assert not re.search(r"https?://|<script|src=|@import|url\(", page)


def test_a_file_without_verdicts_gets_counts_and_is_told_so(
    tmp_path: Path, example: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mapping = tmp_path / "unlabelled.toml"
    mapping.write_text(Path(example).read_text().partition("[labels]")[0])

    summary = _summary(str(mapping), _file(tmp_path, *ROWS))

    assert (summary["labelled"], summary["pattern"]["frauds"], summary["pattern"]["fraud_share"]) == (False, 0, None)
    assert "neither losses nor a model could be measured" in (tmp_path / "out" / "report.html").read_text()
    assert "map a chargeback column" in capsys.readouterr().err


def test_payments_whose_chargeback_may_still_come_are_not_good(tmp_path: Path, example: str) -> None:
    """Of a column of frauds alone, the last thirty days say nothing: their frauds alone would look like an attack."""
    mapping = tmp_path / "mine.toml"
    mapping.write_text(Path(example).read_text().replace('legitimate = ["ok"]', "blank_is_legitimate = true"))
    rows = ("1,2026-01-01,1,a,,,,,", "2,2026-01-02,1,a,,,,,CB", "3,2026-03-01,1,a,,,,,CB", "4,2026-03-02,1,a,,,,,")

    pattern = _summary(str(mapping), _file(tmp_path, *rows))["pattern"]

    assert (pattern["payments"], pattern["judged"], pattern["frauds"]) == (4, 2, 1)


def test_views_without_data_are_named(tmp_path: Path, example: str) -> None:
    """The example maps no device."""
    said = _summary(example, _file(tmp_path, *ROWS))["not_measured"]

    assert any(re.fullmatch(r"No data for device_\w+@device: device_id is not mapped\.", line) for line in said)
    assert any("fills no" in line and "device_id" in line for line in said)


@pytest.mark.parametrize(
    ("was", "wrong", "said"),
    [
        ('"order"', '"ordre"', "no column ordre"),
        ("account_id", "acount_id", "no field ['acount_id']"),
        ("Europe/Amsterdam", "Europe/Amsterdm", "timezone = 'Europe/Amsterdm' is none"),
        ('currency = { value = "EUR" }', "", "needs ['currency']"),
        ('value = "EUR"', 'value = "XTS"', "UnknownCurrency: XTS"),
        ('card_token = "pan"', 'card_token = { from = "pan", as = "text" }', 'write card_token = "COLUMN"'),
        ('"Europe/Amsterdam" }', '"UTC", format = "%d.%m.%Y" }', "event_time_ms: not readable as time; set `format`"),
        ('fraud = ["CB"]', 'fraud = ["fraud", "CBK"]', "chargeback: not readable as flag; name the column's words"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_with_the_way_out(
    tmp_path: Path, example: str, capsys: pytest.CaptureFixture[str], was: str, wrong: str, said: str
) -> None:
    text = Path(example).read_text()
    assert was in text
    mapping = tmp_path / "mine.toml"
    mapping.write_text(text.replace(was, wrong, 1))
    data = _file(tmp_path, f"2,2026-04-01 00:30:00,120.50,{ANN},CB")

    code = main(["--mapping", str(mapping), str(data), "--out", str(tmp_path / "out")])

    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_verdicts_without_a_fraud_are_no_audit(
    tmp_path: Path, example: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--mapping", example, str(_file(tmp_path, ROWS[0])), "--out", str(tmp_path / "out")])

    assert code == 2
    assert "NoFraud: chargeback calls no payment a fraud" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["handbok", "sparkovv.toml"])
def test_a_mapping_that_is_none_names_those_that_ship(
    tmp_path: Path, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--mapping", wrong, str(_file(tmp_path, *ROWS))]) == 2
    assert "Built in: handbook, sparkov" in capsys.readouterr().err


def test_another_domain_is_audited_by_its_shipped_mapping(tmp_path: Path) -> None:
    """The Handbook's columns have no currency: money is the file's own."""
    rows = ("1,2018-04-01 00:00:31,596,3156,57.16,0", "2,2018-04-02 10:00:00,596,3156,300.00,1")
    header = "TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD"

    summary = _summary("handbook", _file(tmp_path, *rows, header=header))

    assert load_mapping("handbook")[1].transactions.column("currency") is None
    assert summary["money_unit"] == "the file's own currency"
    assert summary["pattern"]["fraud_money_minor"] == 30_000
