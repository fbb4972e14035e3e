"""`python -m fraud_assets.ingest`: what it writes, what it says, and what a wrong call leaves as it was."""

import re
from pathlib import Path

import polars as pl
import pytest

from fraud_assets.ingest.__main__ import main
from fraud_assets.stores.lake import Lake
from tests.ingest.csv_files import GOOD, csv_of


def test_command_writes_the_lake_and_the_rejects_and_says_what_to_do_next(
    tmp_path: Path, var_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a file to the lake in one command; run twice, nothing doubles."""
    data = csv_of(tmp_path, GOOD, "2,2018-04-02,1,1,-1,0")

    codes = [main(["--mapping", "handbook", str(data)]) for _ in range(2)]

    lake = Lake(var_dir / "lake")
    assert codes == [0, 0]
    assert lake.scan("handbook_transactions")["transaction_id"].to_pylist() == ["1"]
    assert lake.days("handbook_labels") == ["2018-04-08"]
    rejects = pl.read_csv(var_dir / "ingest" / "handbook-transactions-rejects.csv")
    assert rejects.select("line", "reason", "TX_AMOUNT").rows() == [(3, "amount_minor: below 0", -1)]
    said = capsys.readouterr().err
    assert "amount_minor: below 0" in said
    assert "fraud_assets.evaluate --mapping handbook" in said


@pytest.mark.usefixtures("var_dir")
def test_command_without_a_good_row_fails(tmp_path: Path) -> None:
    """An empty lake is no success: 1 if every row was refused, 2 if nothing could be read."""
    assert main(["--mapping", "handbook", str(csv_of(tmp_path, "2,2018-04-02,1,1,-1,0"))]) == 1
    assert main(["--mapping", "handbook", str(tmp_path / "absent.csv")]) == 2


def test_an_import_without_a_good_row_leaves_the_one_before(tmp_path: Path, var_dir: Path) -> None:
    """Importing again replaces; a wrong file, or only its header, must not take the good one away."""
    main(["--mapping", "handbook", str(csv_of(tmp_path, GOOD))])

    codes = [main(["--mapping", "handbook", str(csv_of(tmp_path, *rows))]) for rows in (["2,never,1,1,-1,0"], [])]

    assert codes == [1, 1]
    assert Lake(var_dir / "lake").scan("handbook_transactions")["transaction_id"].to_pylist() == ["1"]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--lake", "{file}", "CannotWrite: .*Not a directory.*--lake"),
        ("--rejects", "{file}", "CannotWrite: .*File exists.*--rejects"),
        ("--lake", "ftp://host/lake", "UnknownPlace: ftp://host/lake.*s3://bucket/prefix"),
        ("--lake", "s3://", "UnknownPlace: s3:// names no bucket"),
        ("--profiles", "{folder}/nowhere", "nowhere/customers.parquet does not exist"),
        ("--mapping", "{folder}", "no file .*Built in: handbook, sparkov"),
    ],
)
def test_a_wrong_option_is_named_and_nothing_is_written(
    tmp_path: Path, var_dir: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, said: str
) -> None:
    data = csv_of(tmp_path, GOOD, "2,never,1,1,-1,0")

    code = main(["--mapping", "handbook", str(data), option, value.format(file=data, folder=tmp_path)])

    assert code == 2
    assert list(var_dir.rglob("*.parquet")) == []
    assert re.search(said, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("FRAUD_LABEL_DELAY_DAYS", "abc", r"^BadSettings: FRAUD_LABEL_DELAY_DAYS: [^;]*valid number[^;]*$"),
        ("FRAUD_TOKEN_KEY", "short", "FRAUD_TOKEN_KEY, .*16 to 64 bytes"),
    ],
)
def test_a_wrong_setting_is_named_and_not_repeated(
    tmp_path: Path,
    var_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    said: str,
) -> None:
    monkeypatch.setenv(variable, value)

    assert main(["--mapping", "handbook", str(csv_of(tmp_path, GOOD))]) == 2
    assert re.search(said, capsys.readouterr().err)
