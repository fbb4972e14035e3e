"""A mapping file: whatever is wrong with it is told before a row is read, by the name of the entry, with the way out."""

from importlib import resources
from pathlib import Path

import pytest

from fraud_assets.ingest.mapping import BadMapping
from fraud_assets.ingest.mapping_file import BUILT_IN, built_in_names, load_mapping

HANDBOOK = resources.files(BUILT_IN).joinpath("handbook.toml").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[transactions]\ntable = 'handbok'\ncolumns = {}", "no table 'handbok'"),
        (
            "[transactions]\ntable = 'handbook_transactions'\ncolumns = {amount = 'A'}",
            "no field \\['amount'\\] and needs",
        ),
        ("surprise = 1", "surprise"),
        ("[transactions", "BadMapping"),
    ],
)
def test_wrong_mapping_names_the_entry(tmp_path: Path, text: str, said: str) -> None:
    """A typo in the mapping is told before a single row is read."""
    path = tmp_path / "mine.toml"
    path.write_text(text)

    with pytest.raises(BadMapping, match=said):
        load_mapping(str(path))


def test_unknown_mapping_lists_the_built_in_ones() -> None:
    """Both built-in mappings can be found by their bare names, with or without .toml."""
    with pytest.raises(BadMapping, match="handbook, sparkov"):
        load_mapping("handbok")
    assert load_mapping("sparkov") == load_mapping("sparkov.toml")


@pytest.mark.parametrize(
    ("entry", "wrong", "said"),
    [
        ('as = "money" }', 'as = "monny" }', "amount_minor: Invalid enum value 'monny' .* `as` is one of text, integer"),
        ('as = "money" }', 'as = "text" }', "amount_minor: as = 'text' gives str, and the contract takes int. Fitting: integer, money"),
        ('as = "money" }', 'as = "time" }', "amount_minor: as = 'time' is for instants"),
        ('as = "money" }', 'as = "money", digits = -1 }', "amount_minor: .*>= 0"),
        ('as = "money" }', 'as = "money", digitz = 1 }', "amount_minor: .*digitz"),
        ('{ from = "TX_AMOUNT", as = "money" }', '{ value = "lots" }', "amount_minor: value = 'lots' is not what the contract takes"),
        ('{ from = "TX_AMOUNT", as = "money" }', "{ value = -1 }", "amount_minor: value = -1 is not what the contract takes: .*>= 0"),
        ('{ from = "TX_AMOUNT", as = "money" }', "{ as = 'money' }", "amount_minor needs either `from`"),
        ('as = "time"', 'as = "time", timezone = "Europe/Amsterdm"', "event_time_ms: timezone = 'Europe/Amsterdm' is none"),
        ('as = "time"', 'as = "time", format = "%H"', "event_time_ms: format = '%H' says no day and time"),
        ('as = "time"', 'as = "time", unit = "us"', "event_time_ms: .*`unit` is ms or s"),
        ('table = "handbook_transactions"', 'table = "handbook_transactions"\nidentity = []', "identity"),
        ('table = "handbook_transactions"', 'table = "decisions"', "decisions cannot be filled from a file"),
        ('table = "handbook_labels"', 'table = "nolabels"', "no table 'nolabels'. Known: transactions"),
        ('table = "handbook_labels"', 'table = "handbook_customers"', "holds no label facts; it has no fact_id, is_fraud"),
        ('table = "handbook_labels"', 'table = "label_facts"', "needs account_id, .* which handbook_transactions does not have"),
        ("delay_days = 7", "delay_days = -7", "delay_days"),
        ('card = "customer_id"', 'card = "kard"', "evaluation.card: handbook_transactions has no field 'kard'"),
        ("[evaluation]", "[csv]\ndelimiter = ';;'\n[evaluation]", "delimiter"),
    ],
)  # fmt: skip
def test_one_wrong_entry_is_named_with_what_would_be_right(tmp_path: Path, entry: str, wrong: str, said: str) -> None:
    """Also where the file would otherwise be read to its end, or rows written that mean something else."""
    assert entry in HANDBOOK
    path = tmp_path / "mine.toml"
    path.write_text(HANDBOOK.replace(entry, wrong, 1))

    with pytest.raises(BadMapping, match=said) as refused:
        load_mapping(str(path))

    assert str(refused.value).startswith(f"BadMapping: {path}: ")


def test_a_mapping_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe\0")

    with pytest.raises(BadMapping, match="cannot be read as text"):
        load_mapping(str(tmp_path / "mine.toml"))
    with pytest.raises(BadMapping, match=r"no file .*Built in: handbook, sparkov"):
        load_mapping(str(tmp_path))


@pytest.mark.parametrize("name", built_in_names())
def test_a_built_in_mapping_is_right(name: str) -> None:
    assert load_mapping(name)[0] == name


def test_a_mapping_may_lack_what_its_reader_does_not_need(tmp_path: Path) -> None:
    """An audit needs three fields of a payment; a lake needs them all."""
    path = tmp_path / "mine.toml"
    path.write_text(HANDBOOK.replace('terminal_id = "TERMINAL_ID"\n', "", 1))

    assert load_mapping(str(path), needed=("transaction_id",))[1].transactions.column("terminal_id") is None
    with pytest.raises(BadMapping, match=r"needs \['terminal_id'\]"):
        load_mapping(str(path))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("delay_days = 7\nfraud = ['x']\nlegitimate = ['x']", "labels.fraud: x is fraud, and labels.legitimate has x"),
        ("delay_days = 7\nlegitimate = ['ok']", "labels.fraud: nothing is fraud, and labels.legitimate has ok"),
    ],
)
def test_label_values_that_say_nothing_are_refused(tmp_path: Path, wrong: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(HANDBOOK.replace("delay_days = 7", wrong, 1))

    with pytest.raises(BadMapping, match=said):
        load_mapping(str(path))


def test_a_default_out_of_bounds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(HANDBOOK.replace('as = "money" }', 'as = "money", default = -1 }', 1))

    with pytest.raises(BadMapping, match="amount_minor: default = -1 is not what the contract takes"):
        load_mapping(str(path))
