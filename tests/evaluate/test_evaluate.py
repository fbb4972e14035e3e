"""Evaluate: the protocol end to end on a small world, and no label seen before it is known."""

import datetime as dt
import json
import math
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.evaluate import run as evaluation
from fraud_assets.evaluate.__main__ import main
from fraud_assets.evaluate.history import History, load_history, service_of
from fraud_assets.evaluate.run import Outcome, configurations, features_of, rows_needed, run
from fraud_assets.ingest.mapping import BadMapping, Mapping
from fraud_assets.ingest.mapping_file import load_mapping
from fraud_assets.training.protocol import Fold

KEY = TokenKey("k1", b"0123456789abcdef")
DAY_MS = 86_400_000
START = dt.datetime(2018, 4, 1, tzinfo=dt.UTC)
START_MS = int(START.timestamp() * 1000)
FOLD = Fold(train_start_ms=START_MS + 10 * DAY_MS)
DATES = ["--train-start", "2018-04-11", "--delay-days", "7", "--test-days", "7"]


def _world(days: int = 38, per_day: int = 120) -> pl.DataFrame:
    """Forty customers at twenty terminals; large payments are mostly frauds, and so are some others."""
    rng = np.random.default_rng(5)
    count = days * per_day
    amount = np.round(rng.lognormal(3.5, 0.8, count), 2)
    return pl.DataFrame(
        {
            "TRANSACTION_ID": np.arange(count),
            "TX_DATETIME": START_MS + np.sort(rng.integers(0, days * DAY_MS, count)),
            "CUSTOMER_ID": rng.integers(0, 40, count),
            "TERMINAL_ID": rng.integers(0, 20, count),
            "TX_AMOUNT": amount,
            "TX_FRAUD": ((amount > 150) & (rng.random(count) < 0.8)) | (rng.random(count) < 0.002),
        }
    ).with_columns(pl.col("TX_DATETIME").cast(pl.Datetime("ms")))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small world as a file."""
    path = tmp_path_factory.mktemp("world") / "transactions.parquet"
    _world().write_parquet(path)
    return path


def _measured(history: History, folds: list[Fold]) -> Outcome:
    needed = rows_needed(history, [folds])
    return run(history, "any", folds, needed, features_of(history, needed, print, None), print)


@pytest.mark.usefixtures("var_dir")
def test_each_configuration_is_one_json_line_with_its_folds(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Name, training days, and each metric per fold with mean and deviation."""
    code = main(["--mapping", "handbook", "--data", str(data), *DATES, "--folds", "2", "--train-days", "7", "10"])

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    assert [(line["name"], line["train_days"]) for line in lines] == [("handbook-7d", 7), ("handbook-10d", 10)]
    for line in lines:
        for metric in ("roc_auc", "average_precision", "card_precision_at_100", "recall_at_1pct_fpr"):
            measure = line[metric]
            assert len(measure["folds"]) == 2
            assert measure["mean"] == pytest.approx(np.mean(measure["folds"]))
            assert measure["sd"] == pytest.approx(np.std(measure["folds"], ddof=1))
    assert lines[0]["roc_auc"]["mean"] > 0.8  # large payments are easy


@pytest.mark.usefixtures("var_dir")
def test_an_ablation_measures_each_vector_and_ends_with_the_whole(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last of the growing vectors is the plain run's; without the amount, by which this world's frauds are told, much is lost."""
    command = ["--mapping", "handbook", "--data", str(data), *DATES]
    main(command)
    (plain,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())

    assert main([*command, "--ablate"]) == 0

    printed = capsys.readouterr()
    found = {line["name"]: line for line in map(json.loads, printed.out.splitlines())}
    whole = found["handbook-7d with comparisons with what was read"]
    assert {**whole, "name": plain["name"]} == plain
    assert found["handbook-7d with labels of the customer"] != found["handbook-7d without labels of the customer"]
    table = [line for line in printed.err.splitlines() if line.startswith("| ")]
    assert len(table) == 2 + len(found) / 2
    assert table[2].startswith("| fields of the payment | 1 | ")


@pytest.mark.usefixtures("var_dir")
def test_results_go_to_standard_output_where_a_terminal_shows_the_bar(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make handbook > file`: Rich would take what is printed to where its bar is."""
    monkeypatch.setenv("FORCE_COLOR", "1")  # what makes Rich believe in a terminal

    main(["--mapping", "handbook", "--data", str(data), *DATES])

    captured = capsys.readouterr()
    assert json.loads(captured.out)["name"] == "handbook-7d"
    assert "reading and checking" in captured.err


def _sparkov_world(days: int = 38, per_day: int = 120) -> pl.DataFrame:
    """The same world as Sparkov's generator writes it: thirty cards at twelve merchants of four categories, with places."""
    world = _world(days, per_day)
    merchant, count = world["TERMINAL_ID"] % 12, len(world)
    return pl.DataFrame(
        {
            "trans_num": world["TRANSACTION_ID"].cast(pl.String),
            "unix_time": world["TX_DATETIME"].dt.epoch("s"),
            "cc_num": (world["CUSTOMER_ID"] % 30 + 4_000_000_000_000_000).cast(pl.String),
            "merchant": merchant.cast(pl.String),
            "category": (merchant % 4).replace_strict({0: "travel", 1: "home", 2: "misc_net", 3: "grocery_pos"}, return_dtype=pl.String),
            "amt": world["TX_AMOUNT"],
            "lat": np.full(count, 40.0), "long": np.full(count, -75.0),
            "merch_lat": 40.0 + merchant, "merch_long": np.full(count, -75.0),
            "is_fraud": world["TX_FRAUD"],
        }
    )  # fmt: skip


@pytest.mark.usefixtures("var_dir")
def test_another_domain_runs_by_its_shipped_mapping(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sparkov's cards, merchants, categories and coordinates, end to end; neither engine nor command knows them."""
    _sparkov_world().write_parquet(tmp_path / "sparkov.parquet")
    target = tmp_path / "features.parquet"

    code = main(["--mapping", "sparkov", "--data", str(tmp_path / "sparkov.parquet"), *DATES, "--export-features", str(target)])  # fmt: skip

    (line,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    names = service_of(load_mapping("sparkov")[1]).names
    assert code == 0
    assert (line["name"], line["train_days"]) == ("sparkov-7d", 7)
    assert line["roc_auc"]["mean"] > 0.8
    assert pl.read_parquet(target).columns[-len(names) :] == list(names)


# (seconds after noon of Monday 2018-04-02, card, merchant, category, dollars, degrees north of home, fraud)
SPARKOV_PAYMENTS = [
    (-8 * 86_400, "1", "north", "travel", 5.00, 0, True),
    (-7200, "1", "far", "travel", 10.00, 2, False),
    (-3600, "1", "near", "home", 30.00, 1, False),
    (-60, "2", "far", "travel", 99.00, 2, False),
    (0, "1", "far", "travel", 42.00, 2, False),
]
NOON_S = 1_522_670_400


def test_a_sparkov_vector_has_the_values_worked_out_by_hand(tmp_path: Path) -> None:
    """Of the last payment; a degree of latitude is 111.19508 km, and a verdict is known after seven days."""
    keys = ("unix_time", "cc_num", "merchant", "category", "amt", "merch_lat", "is_fraud")
    frame = pl.DataFrame(SPARKOV_PAYMENTS, schema=keys, orient="row").with_row_index("trans_num").with_columns(
        pl.col("trans_num").cast(pl.String), pl.col("unix_time") + NOON_S, pl.col("cc_num") + "000000000000000",
        pl.col("merch_lat") + 40.0, lat=pl.lit(40.0), long=pl.lit(-75.0), merch_long=pl.lit(-75.0),
    )  # fmt: skip
    frame.write_parquet(tmp_path / "payments.parquet")
    history = load_history(load_mapping("sparkov")[1], tmp_path / "payments.parquet", None, 7, KEY)

    last = features_of(history, np.ones(5, bool), print, None)[-1]

    served = dict(zip(history.service.names, last.tolist(), strict=True))
    expected = {
        "card_txn_count_1h": 1,
        "card_txn_count_24h": 2,
        "card_txn_count_30d": 3,
        "card_amount_minor_sum_24h": 4000,
        "card_amount_minor_mean_30d": 1500,
        "card_distinct_merchants_24h": 2,
        "card_category_mode_30d": 14,  # travel is the last of the fourteen
        "card_seconds_since_last_txn": 3600,
        "card_category_txn_count_24h": 1,
        "card_category_txn_count_lifetime": 2,
        "card_category_amount_minor_mean_lifetime": 750,
        "merchant_txn_count_24h": 2,
        "merchant_distinct_cards_24h": 2,
        "merchant_amount_minor_mean_7d": 5450,
        "merchant_label_count_7d": math.nan,  # nothing is known of this merchant
        "category_label_count_7d": 1,
        "category_fraud_mean_7d": 1,
        "amount_minor": 4200,
        "category": 14,
        "hour_of_day": 12,
        "weekday": 0,
        "distance_from_home_km": 222.39016,
        "distance_from_last_km": 111.19508,
        "implied_speed_kmh": 111.19508,
        "amount_ratio_to_card_mean_30d": 2.8,
        "amount_deviation_from_card_category": 13.8,  # of 5.00 and 10.00: mean 7.50, deviation 2.50
    }
    assert {name: served[name] for name in expected} == pytest.approx(expected, rel=1e-6, nan_ok=True)


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Places of the world's customers and terminals as the book has them, but for terminal 19, which nobody knows."""
    folder = tmp_path_factory.mktemp("profiles")
    for name, places in {
        "customer": {n: (float(n), 10.5) for n in range(40)},
        "terminal": {n: (n + 3.0, 14.5) for n in range(19)},
    }.items():
        frame = pl.DataFrame(
            {f"{name.upper()}_ID": list(places)}, schema={f"{name.upper()}_ID": pl.Int64}
        ).with_columns(
            pl.Series(f"{axis}_{name}_id", [place[n] for place in places.values()]) for n, axis in enumerate("xy")
        )
        frame.write_parquet(folder / f"{name}s.parquet")
    return folder


def test_profiles_add_the_distance_to_the_terminal_and_change_nothing_else(
    data: Path, profiles: Path, handbook: Mapping
) -> None:
    """Customer n lives at (n, 10.5) and terminal m stands at (m + 3, 14.5): from 0 to 0 it is 5, as 3² + 4² = 5²."""
    plain, placed = (load_history(handbook, data, folder, 7, KEY) for folder in (None, profiles))

    rows = np.ones(len(plain.time_ms), bool)
    before, after = (features_of(history, rows, print, None) for history in (plain, placed))

    assert placed.service.names == (*plain.service.names, "distance_customer_to_terminal")
    assert np.array_equal(before, after[:, :-1], equal_nan=True)
    customer, terminal = (placed.rows[name].to_numpy().astype(int) for name in ("customer_id", "terminal_id"))
    expected = np.where(terminal == 19, np.nan, np.hypot(terminal + 3 - customer, 4))
    assert after[:, -1] == pytest.approx(expected, rel=1e-6, nan_ok=True)
    assert set(after[(customer == 0) & (terminal == 0), -1]) == {5}
    assert placed.unread == ()


@pytest.mark.usefixtures("var_dir")
def test_profiles_that_no_feature_reads_are_named(
    data: Path, profiles: Path, tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mapping without `service_with_profiles` measures the same with and without them, and says so."""
    built_in = (root / "fraud_assets" / "ingest" / "mappings" / "handbook.toml").read_text()
    lines = [line for line in built_in.splitlines() if not line.startswith("service_with_profiles")]
    (tmp_path / "mine.toml").write_text("\n".join(lines))
    command = ["--mapping", str(tmp_path / "mine.toml"), "--data", str(data), *DATES]

    assert main(command) == 0
    plain = capsys.readouterr()
    assert main([*command, "--profiles", str(profiles)]) == 0
    given = capsys.readouterr()

    assert given.out == plain.out
    assert "handbook_scoring reads no handbook_customers, handbook_terminals" in given.err
    assert "reads no" not in plain.err


@pytest.mark.usefixtures("var_dir")
def test_same_file_gives_the_same_numbers(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two runs agree to the last bit: nothing depends on threads, time or the order of hashes."""
    for _ in range(2):
        main(["--mapping", "handbook", "--data", str(data), *DATES])

    first, second = capsys.readouterr().out.splitlines()
    assert first == second


@pytest.mark.usefixtures("var_dir")
def test_export_has_every_transaction_with_ids_label_and_vector(
    data: Path, tmp_path: Path, handbook: Mapping, capsys: pytest.CaptureFixture[str]
) -> None:
    """One row per transaction, in log order; measuring while exporting changes no number."""
    target = tmp_path / "out" / "features.parquet"

    main(["--mapping", "handbook", "--data", str(data), *DATES])
    main(["--mapping", "handbook", "--data", str(data), *DATES, "--export-features", str(target)])

    plain, exporting = capsys.readouterr().out.splitlines()
    exported, world = pl.read_parquet(target), _world()
    names = service_of(handbook).names
    assert plain == exporting
    assert exported["transaction_id"].to_list() == world["TRANSACTION_ID"].cast(pl.String).to_list()
    assert exported["is_fraud"].to_list() == world["TX_FRAUD"].to_list()
    assert (exported["label_known_at_ms"] - exported["event_time_ms"]).unique().to_list() == [7 * DAY_MS]
    assert exported.columns[-len(names) :] == list(names)
    assert exported["request.amount_minor"].to_list() == (world["TX_AMOUNT"] * 100).round().cast(pl.Int64).to_list()


def test_no_vector_knows_a_label_before_it_is_known(tmp_path: Path, handbook: Mapping) -> None:
    """Verdicts of the last seven days before an instant change no vector before that instant."""
    instant_ms = START_MS + 20 * DAY_MS
    world = _world()
    recent = pl.col("TX_DATETIME").dt.epoch("ms") >= instant_ms - 7 * DAY_MS
    vectors = []
    for name, frame in (
        ("one", world),
        (
            "other",
            world.with_columns(
                pl.when(recent).then(~pl.col("TX_FRAUD")).otherwise(pl.col("TX_FRAUD")).alias("TX_FRAUD")
            ),
        ),
    ):
        frame.write_parquet(tmp_path / name)
        history = load_history(handbook, tmp_path / name, None, 7, KEY)
        vectors.append(features_of(history, np.ones(len(history.time_ms), bool), print, None))

    before = history.time_ms < instant_ms
    assert np.array_equal(vectors[0][before], vectors[1][before], equal_nan=True)
    assert not np.array_equal(vectors[0][~before], vectors[1][~before], equal_nan=True)


def test_model_is_given_the_labels_of_the_training_period_alone(
    data: Path, handbook: Mapping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training rows end before the delay begins, and the truth of the test never reaches the model."""
    history = load_history(handbook, data, None, 7, KEY)
    given = []

    def remember(train: np.ndarray, is_fraud: np.ndarray, test: np.ndarray) -> np.ndarray:
        given.append((len(train), is_fraud.sum(), len(test)))
        return np.linspace(0, 1, len(test))

    monkeypatch.setattr(evaluation, "fit_and_score", remember)
    _measured(history, [FOLD])

    in_training = (history.time_ms >= FOLD.train_start_ms) & (history.time_ms < FOLD.train_end_ms)
    assert given[0][:2] == (in_training.sum(), history.is_fraud[in_training].sum())


def test_configurations_share_the_test_weeks_of_the_first() -> None:
    """More training days reach back; what is measured stays the same."""
    short, long = configurations(FOLD, 3, [7, 28])

    assert [fold.test_start_ms for fold in short] == [fold.test_start_ms for fold in long]
    assert [fold.history_start_ms for fold in long] == [fold.train_end_ms - 28 * DAY_MS for fold in long]


def test_shorter_label_delay_is_known_earlier_to_features_too(data: Path, handbook: Mapping) -> None:
    """--delay-days moves the label facts, not only the split."""
    history = load_history(handbook, data, None, 1, KEY)

    assert (history.verdicts["label_known_at_ms"].to_numpy() - history.time_ms == DAY_MS).all()


@pytest.mark.usefixtures("var_dir")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--mapping", "handbook", "--data", "absent.parquet", *DATES], "absent.parquet does not exist"),
        (["--mapping", "handbok", "--data", "absent.parquet", *DATES], "Built in: handbook, sparkov"),
    ],
)
def test_what_cannot_be_used_is_said_on_standard_error(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard output carries results alone."""
    code = main(arguments)

    captured = capsys.readouterr()
    assert code == 2
    assert said in captured.err.replace("\n", "")
    assert captured.out == ""


@pytest.mark.usefixtures("var_dir")
def test_dates_outside_the_data_are_no_metric(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty fold is a message, never a 0.0."""
    code = main(["--mapping", "handbook", "--data", str(data), "--train-start", "2017-01-01"])

    assert code == 2
    assert "EmptyFold" in capsys.readouterr().err


@pytest.mark.usefixtures("var_dir")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--train-start", "April"], "--train-start: 'April' is no date; write YYYY-MM-DD"),
        (["--train-start", "2018-13-01"], "--train-start: '2018-13-01' is no date"),
        ([*DATES, "--train-days", "x"], "--train-days: 'x' is no whole number"),
        ([*DATES, "--delay-days", "-1"], "a label is not known before its transaction"),
        ([*DATES, "--folds", "99999999999"], "--folds: '99999999999' is no whole number up to 36,500"),
        ([*DATES, "--export-features", "{folder}"], "--export-features: {folder} is a folder that holds something else"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_named_with_what_would_be_right(
    data: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """Also a folder that is no export: it would be replaced, with all that is in it."""
    folder = str(data.parent)

    with pytest.raises(SystemExit, match="2"):
        main(["--mapping", "handbook", "--data", str(data), *(one.format(folder=folder) for one in arguments)])

    assert said.format(folder=folder) in capsys.readouterr().err
    assert data.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"service": "nope"}, "service of catalogue 'handbook': .*Known: handbook_scoring"),
        ({"service": "fraud_scoring", "catalogue": "ticketing"}, "scores transactions, .* fills handbook_transactions"),
        ({"catalogue": "json.decoder"}, r"json.decoder has no registry\(\)"),
    ],
)
def test_a_service_that_does_not_score_these_transactions_is_refused(
    handbook: Mapping, change: dict[str, str], said: str
) -> None:
    with pytest.raises(BadMapping, match=said):
        service_of(msgspec.structs.replace(handbook, **change))


@pytest.mark.usefixtures("var_dir")
def test_a_file_without_a_transaction_is_no_metric(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _world(days=0).write_parquet(tmp_path / "empty")

    assert main(["--mapping", "handbook", "--data", str(tmp_path / "empty"), *DATES]) == 2
    assert "NoRows: " in capsys.readouterr().err


def test_unknown_catalogue_is_named(handbook: Mapping) -> None:
    """A mapping can name any module that declares a registry; one that is not there is told."""
    with pytest.raises(BadMapping, match="no_such_domain"):
        service_of(Mapping(transactions=handbook.transactions, catalogue="no_such_domain"))
