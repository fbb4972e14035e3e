"""Ingest: a stranger's file becomes contract rows and rejects, and no row is in neither."""

import datetime as dt
from pathlib import Path

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.contracts.domains.handbook import HandbookLabelFact, HandbookTransaction
from fraud_assets.contracts.events import LabelFact, Transaction
from fraud_assets.contracts.tokens import TokenKey, tokenise
from fraud_assets.ingest.mapping import Mapping
from fraud_assets.ingest.mapping_file import load_mapping
from fraud_assets.ingest.prepare import Prepared, prepare, prepare_profile
from fraud_assets.ingest.read import UnreadableFile
from fraud_assets.stores.schemas import to_events
from tests.ingest.csv_files import GOOD, HEADER, csv_of

KEY = TokenKey("k1", b"0123456789abcdef")
MONDAY_MS = 1_522_540_831_000  # 2018-04-01T00:00:31Z
DAY_MS = 86_400_000


def _rejects(prepared: Prepared) -> dict[int, str]:
    return dict(prepared.rejected.select("line", "reason").rows())


def test_row_becomes_a_transaction_and_a_label_known_after_the_delay(tmp_path: Path, handbook: Mapping) -> None:
    """The payment at its time; the verdict as a fact of its own, seven days later."""
    prepared = prepare(handbook, csv_of(tmp_path, GOOD.replace(",0", ",1")), KEY)

    assert to_events(HandbookTransaction, prepared.tables["handbook_transactions"]) == [
        HandbookTransaction(
            event_time_ms=MONDAY_MS, transaction_id="1", customer_id="596", terminal_id="3156", amount_minor=5716
        )
    ]
    assert to_events(HandbookLabelFact, prepared.tables["handbook_labels"]) == [
        HandbookLabelFact(
            event_time_ms=MONDAY_MS + 7 * DAY_MS,
            fact_id="label-1",
            transaction_id="1",
            customer_id="596",
            terminal_id="3156",
            amount_minor=5716,
            is_fraud=True,
        )
    ]


def test_history_arrives_at_its_event_time_in_event_order(tmp_path: Path, handbook: Mapping) -> None:
    """Log positions follow event time, not the order of the stranger's file."""
    later = "2,2018-04-02 00:00:00,1,1,1,0"

    rows = prepare(handbook, csv_of(tmp_path, later, GOOD), KEY).tables["handbook_transactions"].to_pylist()

    assert [(row["transaction_id"], row["source_offset"]) for row in rows] == [("1", 0), ("2", 1)]
    assert all(row["ingested_at_ms"] == row["event_time_ms"] for row in rows)
    assert {(row["source_topic"], row["source_partition"]) for row in rows} == {("import.handbook_transactions.v1", 0)}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (",2018-04-01 00:00:31,596,3156,57.16,0", "transaction_id: missing"),
        ("2,2018-04-01 00:00:31,  ,3156,57.16,0", "customer_id: missing"),
        ("2,2018-04-01 00:00:31,596,3156,,0", "amount_minor: missing"),
        ("2,2018-04-01 00:00:31,596,3156,-0.01,0", "amount_minor: below 0"),
        ("2,2018-04-01 00:00:31,596,3156,99999999999.00,0", "amount_minor: above 1000000000000"),
        ("2,2018-04-01 00:00:31,596,3156,lots,0", "amount_minor: not readable as money"),
        ("2,2018-04-01 00:00:31,596,3156,NaN,0", "amount_minor: not readable as money"),
        ("2,2018-13-01 00:00:31,596,3156,57.16,0", "event_time_ms: not readable as time"),
        ("2,yesterday,596,3156,57.16,0", "event_time_ms: not readable as time"),
        ("2,1969-12-31 23:59:59,596,3156,57.16,0", "event_time_ms: outside 1970-01-01 to 2100-01-01"),
        ("2,2999-01-01 00:00:00,596,3156,57.16,0", "event_time_ms: outside 1970-01-01 to 2100-01-01"),
        ("2,2018-04-01 00:00:31,596,3156,57.16,maybe", "TX_FRAUD: not readable as flag"),
        ("1,2018-04-01 00:00:32,596,3156,57.16,0", "transaction_id: repeats line 2"),
        (f"{'x' * 129},2018-04-01 00:00:31,596,3156,57.16,0", "transaction_id: longer than 128 characters"),
        (b"2\x00,2018-04-01 00:00:31,596,3156,57.16,0", "transaction_id: control character or invalid UTF-8"),
        (b"\xff,2018-04-01 00:00:31,596,3156,57.16,0", "transaction_id: control character or invalid UTF-8"),
        (b"\xff,2018-04-01 00:00:31,596,3156,57.16,0,surplus", "7 columns instead of 6"),
        ("2,2018-04-01 00:00:31,596,3156", "4 columns instead of 6"),
        ("2,2018-04-01 00:00:31,596,3156,57.16,0,surplus", "7 columns instead of 6"),
        ('2,2018-04-01 00:00:31,"596,3156,57.16,0', "3 columns instead of 6"),
        (
            "2,never,596,3156,-1,0",
            "event_time_ms: not readable as time; amount_minor: below 0",
        ),
    ],
)
def test_bad_row_is_rejected_with_its_line_and_every_reason(
    tmp_path: Path, handbook: Mapping, line: str | bytes, reason: str
) -> None:
    """One bad row costs itself alone, and its owner learns all that is wrong with it at once."""
    prepared = prepare(handbook, csv_of(tmp_path, GOOD, line), KEY)

    assert _rejects(prepared) == {3: reason}
    assert (prepared.read, prepared.accepted) == (2, 1)


def test_lines_are_counted_past_broken_and_empty_ones(tmp_path: Path, handbook: Mapping) -> None:
    """The line number is the one an editor shows, whatever stood before it."""
    prepared = prepare(handbook, csv_of(tmp_path, "too,short", "", GOOD, "2,never,1,1,1,0"), KEY)

    assert list(_rejects(prepared)) == [2, 3, 5]


def test_quote_left_open_says_so(tmp_path: Path, handbook: Mapping) -> None:
    """It swallows the lines after it: the reject says how many, or they would be missed."""
    prepared = prepare(
        handbook, csv_of(tmp_path, GOOD, '2,"2018,1,1,1,0', "3,2018-04-01,1,1,1,0", "4,2018-04-01,1,1,1,0"), KEY
    )

    assert _rejects(prepared) == {3: "2 columns instead of 6, over 3 lines: is a quote left open?"}


def test_repeats_keep_the_first_in_event_time(tmp_path: Path, handbook: Mapping) -> None:
    """The first position wins, also where the file lists the copy first."""
    copy_first = ["7,2018-04-03 00:00:00,1,1,3,0", "7,2018-04-01 00:00:00,1,1,1,0", "7,2018-04-02 00:00:00,1,1,2,0"]

    prepared = prepare(handbook, csv_of(tmp_path, *copy_first), KEY)

    assert prepared.tables["handbook_transactions"]["amount_minor"].to_pylist() == [100]
    assert _rejects(prepared) == {2: "transaction_id: repeats line 3", 4: "transaction_id: repeats line 3"}


def test_unjudged_transaction_has_no_label_fact(tmp_path: Path, handbook: Mapping) -> None:
    """An empty verdict is not a verdict of legitimate."""
    prepared = prepare(handbook, csv_of(tmp_path, GOOD, "2,2018-04-01,1,1,1,"), KEY)

    assert prepared.tables["handbook_labels"]["transaction_id"].to_pylist() == ["1"]
    assert prepared.accepted == 2


def test_label_delay_can_be_overridden(tmp_path: Path, handbook: Mapping) -> None:
    """The protocol's --delay-days moves when labels are known."""
    prepared = prepare(handbook, csv_of(tmp_path, GOOD), KEY, delay_days=1)

    assert prepared.tables["handbook_labels"]["event_time_ms"].to_pylist() == [MONDAY_MS + DAY_MS]


def test_csv_and_parquet_of_the_same_rows_are_the_same_events(tmp_path: Path, handbook: Mapping) -> None:
    """The form of the file does not matter, nor does its extension."""
    frame = pl.DataFrame(
        {
            "TRANSACTION_ID": pl.Series([1, 2], dtype=pl.Int32),
            "TX_DATETIME": pl.Series(["2018-04-01T00:00:31", "2018-04-02T00:00:00"]).str.to_datetime(),
            "CUSTOMER_ID": [596, 1],
            "TERMINAL_ID": [3156, 2],
            "TX_AMOUNT": [57.16, 1.005],
            "TX_FRAUD": pl.Series([0, 1], dtype=pl.Int8),
        }
    )
    parquet = tmp_path / "data.bin"
    frame.write_parquet(parquet)
    csv = csv_of(tmp_path, GOOD, "2,2018-04-02,1,2,1.005,1")

    by_parquet, by_csv = (prepare(handbook, path, KEY).tables for path in (parquet, csv))

    assert by_parquet["handbook_labels"].equals(by_csv["handbook_labels"])
    assert by_csv["handbook_transactions"]["amount_minor"].to_pylist() == [5716, 101]


CELLS = st.sampled_from(
    ["", "1", "2", "57.16", "-3", "x", "2018-04-01", "2018-04-01 10:00:00", "1e400", '"', "\u0663", "9" * 200]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(CELLS, min_size=1, max_size=8), max_size=12))
def test_every_row_is_accepted_or_rejected_once(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    """However broken the file, accepted and rejected lines add up to the lines read."""
    path = csv_of(tmp_path_factory.mktemp("any"), *(",".join(cells) for cells in rows))

    prepared = prepare(load_mapping("handbook")[1], path, KEY)

    assert prepared.accepted + len(prepared.rejected) == prepared.read
    assert prepared.rejected["line"].is_unique().all()
    assert prepared.tables["handbook_transactions"].num_rows == prepared.accepted


def test_mapping_onto_the_ticketing_domain_tokenises_personal_data(tmp_path: Path) -> None:
    """Any domain of ours can be the target: constants fill what the stranger does not have."""
    columns = {
        "transaction_id": "id",
        "account_id": "user",
        "event_id": {"value": "unknown"},
        "promoter_id": {"value": "unknown"},
        "device_id": "dev",
        "ip_token": {"from": "ip", "as": "ip_token"},
        "ip_country": {"from": "ip", "as": "ip_country"},
        "card_token": {"from": "pan", "as": "card_token"},
        "payment_method": {"value": "card"},
        "amount_minor": {"from": "yen", "as": "money", "digits": 0},
        "currency": {"value": "JPY"},
        "ticket_count": {"from": "n"},
        "tier": {"value": "standard"},
        "category": "kind",
        "billing_country": {"value": "JP"},
        "outcome": {"value": "approved"},
        "event_time_ms": {"from": "when", "as": "time", "unit": "s"},
        "lat_e6": {"from": "lat", "as": "degrees"},
    }
    tables = {
        "transactions": {"table": "transactions", "columns": columns},
        "labels": {"table": "label_facts", "is_fraud": "bad", "delay_days": 30},
    }
    mapping = msgspec.convert(tables, Mapping)
    path = csv_of(
        tmp_path,
        "t1,u1,d1,8.8.8.8,4111 1111 1111 1111,1200,2,concert,1522540831,35.6,yes",
        "t2,u1,d1,8.8.8.8,,1200,2,concert,1522540831.5,,",
        "t3,u1,d1,not-an-ip,4111,1200,2.5,opera,1522540831,91,no",
        header="id,user,dev,ip,pan,yen,n,kind,when,lat,bad",
    )

    prepared = prepare(mapping, path, KEY)

    first, second = to_events(Transaction, prepared.tables["transactions"])
    assert (first.ip_country, first.amount_minor, first.lat_e6) == ("US", 1200, 35_600_000)
    assert first.card_token == tokenise("card", "4111111111111111", KEY)
    assert (second.card_token, second.lat_e6, second.event_time_ms) == (None, None, 1_522_540_831_500)
    assert [fact.is_fraud for fact in to_events(LabelFact, prepared.tables["label_facts"])] == [True]
    reason = _rejects(prepared)[4]
    for said in (
        "ip_token",
        "ip_country",
        "card_token: not readable",
        "ticket_count",
        "category: none of",
        "lat_e6: above",
    ):
        assert said in reason
    assert "4111" not in str(prepared.rejected.rows())
    assert "not-an-ip" not in str(prepared.rejected.rows())


@pytest.mark.parametrize(
    ("written", "column", "at"),
    [
        ("01/04/2018 02:00", {"format": "%d/%m/%Y %H:%M", "timezone": "Europe/Amsterdam"}, "2018-04-01T00:00"),
        ("2018-03-25 02:30:00", {"timezone": "Europe/Amsterdam"}, None),  # skipped by summer time
        ("2018-10-28 02:30:00", {"timezone": "Europe/Amsterdam"}, "2018-10-28T00:30"),  # the first of two
        ("2018-04-01T00:00:00Z", {"timezone": "Europe/Amsterdam"}, "2018-04-01T00:00"),
        ("2018-04-01T02:00:00+0200", {"format": "%Y-%m-%dT%H:%M:%S%z"}, "2018-04-01T00:00"),
        ("2018-04-01", {}, "2018-04-01T00:00"),
        ("1522540800000", {}, "2018-04-01T00:00"),
        ("1522540800", {"unit": "s"}, "2018-04-01T00:00"),
    ],
)
def test_times_are_read_in_their_zone_and_stored_in_utc(
    tmp_path: Path, handbook: Mapping, written: str, column: dict[str, str], at: str | None
) -> None:
    """Local times, offsets, epochs and formats all become milliseconds UTC."""
    columns = {
        **handbook.transactions.columns,
        "event_time_ms": msgspec.to_builtins({"from": "TX_DATETIME", "as": "time", **column}),
    }
    mapping = msgspec.convert(
        {"transactions": {"table": "handbook_transactions", "columns": msgspec.to_builtins(columns)}}, Mapping
    )

    prepared = prepare(mapping, csv_of(tmp_path, f"1,{written},1,1,1,0"), KEY)

    expected = [] if at is None else [dt.datetime.fromisoformat(at + "+00:00").timestamp() * 1000]
    assert prepared.tables["handbook_transactions"]["event_time_ms"].to_pylist() == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "Empty CSV"),
        (b"A,B\n1,2\n", "no column TRANSACTION_ID"),
        (b"PAR1nonsense", "UnreadableFile"),
        ((HEADER + ",TX_FRAUD\n").encode(), "two columns TX_FRAUD"),
        (HEADER.replace(",", ";").encode() + b"\n1;2\n", "Is its delimiter another"),
        (bytes(range(256)) * 40, "no column TRANSACTION_ID"),
    ],
)
def test_file_that_cannot_be_mapped_says_what_is_missing(
    tmp_path: Path, handbook: Mapping, content: bytes, said: str
) -> None:
    """The message names the file, the column and what the file has instead."""
    path = tmp_path / "data"
    path.write_bytes(content)

    with pytest.raises(UnreadableFile, match=said):
        prepare(handbook, path, KEY)


def test_whole_handbook_is_accepted(handbook: Mapping, handbook_dir: Path) -> None:
    """1,754,155 payments, 14,681 of them fraud, and both profile files: not one row is refused."""
    prepared = prepare(handbook, handbook_dir / "transactions.parquet", KEY)
    profiles = [prepare_profile(handbook, profile, handbook_dir / profile.file, KEY) for profile in handbook.profiles]

    assert (prepared.accepted, len(prepared.rejected)) == (1_754_155, 0)
    assert sum(prepared.tables["handbook_labels"]["is_fraud"].to_pylist()) == 14_681
    assert [profile.accepted for profile in profiles] == [5_000, 10_000]


def test_whole_sparkov_is_accepted_without_a_card_number(sparkov_dir: Path) -> None:
    """665,360 payments of 500 cards, every card a token."""
    prepared = prepare(load_mapping("sparkov")[1], sparkov_dir / "transactions.parquet", KEY)

    tokens = prepared.tables["sparkov_transactions"]["card_token"].unique().to_pylist()
    assert (prepared.accepted, len(prepared.rejected), len(tokens)) == (665_360, 0, 500)
    assert all(token.startswith("k1:") for token in tokens)
