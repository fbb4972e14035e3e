"""A person who is erased is nowhere afterwards, others are bit for bit as they were, and the chain of decisions still verifies."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import redis
from psycopg.types.json import Jsonb

from deploy.local.postgres import Postgres
from fraud_assets.contracts.chain import verify
from fraud_assets.erasure.__main__ import main
from fraud_assets.erasure.erase import StillThere, erase, look
from fraud_assets.monitoring.chain_days import Night
from fraud_assets.stores.decision_chains import read_chains
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.parquet import NewerFile
from fraud_assets.stores.receipts import BrokenReceipts, Receipts, Record, Stage
from fraud_assets.stores.schemas import TABLES
from streaming.edges.database import Database
from tests.contracts.test_chain import decision
from tests.erasure.world import (
    ASKED,
    NEEDLE,
    NOW_MS,
    PERSON,
    files_of,
    fill,
    fill_store,
    is_persons,
    keys_of,
    one_more_decision,
    places,
    texts_of,
)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    fill(str(tmp_path / "lake"))
    return str(tmp_path / "lake")


@pytest.fixture
def store_url(valkey_server: str) -> str:
    with redis.Redis.from_url(valkey_server) as client:
        client.flushall()
    fill_store(valkey_server)
    return valkey_server


def erased(uri: str, redis_url: str = "", database_url: str = "") -> Record:
    made = erase(places(uri, redis_url, database_url), ASKED, lambda: NOW_MS)
    assert made is not None
    return made


def links_found(uri: str) -> tuple[list[object], int]:
    """What is wrong with the links, as the command asks; and how many there are."""
    chains, _ = read_chains(Lake(uri))
    return [one for name, links in chains.items() for one in verify(name, links)[0]], sum(map(len, chains.values()))


def findings(uri: str) -> tuple[list[object], int]:
    """The same, and as each night asks."""
    found, links = links_found(uri)
    joined = Night(Lake(uri), {}, "", 10).join()
    return [*found, *(one for of in joined.values() for one in of.findings)], links


def others(uri: str) -> dict[str, list[dict[str, object]]]:
    lake = Lake(uri)
    return {
        table: [row for row in lake.scan(table).to_pylist() if row["account_id"] != PERSON]
        for table in TABLES
        if "account_id" in lake.schema(table).names
    }


def test_an_erased_person_is_nowhere(uri: str, store_url: str, tmp_path: Path) -> None:
    """No byte, row, footer, key or value names him; and before it, each of these places did."""
    before = [where for where, said in texts_of(tmp_path).items() if is_persons(said)]
    assert len(before) >= 7 * 2 + 4

    receipt = erased(uri, store_url)

    assert [where for where, said in texts_of(tmp_path).items() if is_persons(said)] == []
    assert [name for name, held in keys_of(store_url).items() if is_persons(repr((name, held)))] == []
    assert {place.partition(" ")[0] for place in receipt.counts} == {
        "lake",
        "features",
        "labels",
        "training",
        "store",
        "kept",
    }
    assert receipt.counts["store states"] == 4 and receipt.counts["store cases"] == 2
    assert receipt.counts["lake decisions"] == 2 and receipt.epoch == "e1"


def test_others_are_bit_for_bit_as_they_were(uri: str, store_url: str, tmp_path: Path) -> None:
    """Their rows in every table, in order; files without the person, to the byte; the footer's metadata; keys in the store."""
    rows, bytes_before, keys = others(uri), files_of(tmp_path), keys_of(store_url)
    untouched = {
        str(Path(name).relative_to(tmp_path))
        for name, said in texts_of(tmp_path).items()
        if not is_persons(said) and "_states" not in name
    }

    erased(uri, store_url)

    assert others(uri) == rows and sum(map(len, rows.values())) == 7 * 6
    after = files_of(tmp_path)
    assert len(untouched) > 10 and {name: after.get(name) for name in untouched} == {
        name: bytes_before[name] for name in untouched
    }
    left = keys_of(store_url)
    assert {name: held for name, held in keys.items() if not is_persons(repr((name, held)))} == {
        name: held for name, held in left.items() if name != b"lf-due:0"
    }
    training = pq.read_table(tmp_path / "training/training_set/as_of=2026-01-02/data.parquet", partitioning=None)
    assert training.schema.metadata[b"digest"] == b"abc" and training["f"].to_pylist() == [1, 2, 3, 5, 6, 7]
    view = pq.read_table(tmp_path / "features/account_spending/event_date=2026-01-01/data.parquet", partitioning=None)
    assert view["value"].to_pylist() == [1, 2, 3, 5, 6, 7]  # another's transaction has the id of one of his


def test_the_chain_verifies_by_the_receipt_and_not_without_it(uri: str, tmp_path: Path) -> None:
    assert findings(uri) == ([], 8)

    erased(uri)

    assert findings(uri) == ([], 8)
    links = Lake(uri).scan("erased_decisions")
    assert links["chain_position"].to_pylist() == [1, 5] and set(links["receipt"].to_pylist()) == {"erasure-000001"}
    for path in (tmp_path / "lake/_erasures").iterdir():
        path.unlink()
    assert {str(one).partition(":")[0] for one in findings(uri)[0]} == {"altered"}


def test_an_erased_link_that_was_altered_is_found(uri: str) -> None:
    """The table of erased links is no place to hide a change in."""
    erased(uri)
    lake = Lake(uri)
    rows, listed = lake.scan("erased_decisions"), [Path(info.path) for _, info in lake.files("erased_decisions")]
    at = rows.column_names.index("sha256")
    lake.append("erased_decisions", rows.set_column(at, "sha256", pa.array(["0" * 64] * 2)), "x")
    for path in listed:
        path.unlink()

    assert {"altered", "replaced"} <= {str(one).partition(":")[0] for one in findings(uri)[0]}


class Killed(BaseException):
    pass


def killed_at(step: int) -> Callable[[str], None]:
    left = iter(range(step))

    def die(_: str) -> None:
        if next(left, None) is None:
            raise Killed

    return die


@pytest.mark.parametrize("step", [0, 13, 18, 20])
def test_an_erasure_that_is_killed_goes_on_under_its_number(
    uri: str, store_url: str, tmp_path: Path, step: int
) -> None:
    """Before the first file, between the links and their decisions, among transactions, before the store:
    the chain verifies, others are whole, and the next run leaves nothing.
    """
    whole = others(uri)
    with pytest.raises(Killed):
        erase(places(uri, store_url), ASKED, lambda: NOW_MS, killed_at(step))
    assert links_found(uri) == ([], 8) and others(uri) == whole

    assert erased(uri, store_url).receipt == "erasure-000001"

    assert links_found(uri) == ([], 8) and others(uri) == whole
    assert [where for where, said in texts_of(tmp_path).items() if is_persons(said)] == []
    assert [one.stage for one in Receipts(uri).records()] == [Stage.BEGUN, Stage.FINISHED]


def at_first(name: str, act: Callable[[], object]) -> Callable[[str], None]:
    """A step that lets somebody else act just before the first file of that name is replaced."""
    left = [act]

    def step(now: str) -> None:
        if now == name and left:
            left.pop()()

    return step


def test_a_decision_that_comes_while_others_go_keeps_its_link(uri: str, tmp_path: Path) -> None:
    """Links were written, decisions go: what came in between is vouched for and linked before it goes too."""
    step = at_first("lake decisions", lambda: one_more_decision(Lake(uri)))

    made = erase(places(uri), ASKED, lambda: NOW_MS, step)

    assert made is not None and made.counts["lake decisions"] == 3 and links_found(uri) == ([], 9)
    assert Lake(uri).scan("erased_decisions")["chain_position"].to_pylist() == [1, 5, 9]
    assert [one.stage for one in Receipts(uri).records()] == [Stage.BEGUN, Stage.BEGUN, Stage.FINISHED]
    assert [where for where, said in texts_of(tmp_path).items() if is_persons(said)] == []


def test_a_file_that_vanishes_while_rows_are_looked_for_is_not_passed_over(uri: str) -> None:
    lake = Lake(uri)
    found = lake.holding("decisions", ("account_id", pa.array(["other"])), ["decision_id"])
    next(found)

    lake.mend("decisions", lake.days("decisions")[-1], lambda rows: np.ones(rows.num_rows, np.bool_))

    with pytest.raises(FileNotFoundError):
        list(found)


def test_a_view_written_after_his_transactions_went_is_found_and_cleaned_by_the_next_run(
    uri: str, tmp_path: Path
) -> None:
    """Its rows name no account, so nothing but the receipt's log places can find them."""
    view = tmp_path / "features/account_spending/event_date=2026-01-01/data.parquet"
    kept = view.read_bytes()

    with pytest.raises(StillThere, match="2 of features account_spending"):
        erase(places(uri), ASKED, lambda: NOW_MS, at_first("lake transactions", lambda: view.write_bytes(kept)))

    assert erased(uri).receipt == "erasure-000001"
    assert [where for where, said in texts_of(tmp_path).items() if is_persons(said)] == []
    assert pq.read_table(view, partitioning=None)["value"].to_pylist() == [1, 2, 3, 5, 6, 7]


def test_a_table_that_is_written_anew_meanwhile_is_not_put_back(uri: str, tmp_path: Path) -> None:
    view = tmp_path / "features/account_spending/event_date=2026-01-01/data.parquet"
    before = pq.read_table(view, partitioning=None)
    anew = before.set_column(before.column_names.index("value"), "value", pa.array(range(100, 108)))
    anew = pa.concat_tables([anew.slice(1, 1), anew])
    step = at_first("features account_spending", lambda: pq.write_table(anew, view))

    assert erase(places(uri), ASKED, lambda: NOW_MS, step) is not None

    assert pq.read_table(view, partitioning=None)["value"].to_pylist() == [101, 101, 102, 103, 105, 106, 107]


def test_what_a_writer_that_died_left_under_a_hidden_name_goes_and_what_is_being_written_stays(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the swap of two folders and the end of the old one leaves its rows where no reader looks."""
    day = next((tmp_path / "lake/transactions").iterdir())
    left = day.with_name(f".{day.name}.0a1b2c3d.tmp")
    shutil.copytree(day, left)
    view = tmp_path / "features/account_spending/.data.parquet.0a1b2c3d.tmp"
    view.write_bytes(b"planted")

    assert "leftovers of crashes" not in erased(uri).counts and left.exists() and view.exists()

    fill(uri)
    monkeypatch.setattr("fraud_assets.erasure.tables.DEAD_S", 0)
    assert erased(uri).counts["leftovers of crashes"] == 2
    assert [where for where, said in texts_of(tmp_path).items() if is_persons(said)] == []


def test_a_second_run_says_that_nothing_is_left(uri: str, store_url: str) -> None:
    erased(uri, store_url)

    assert look(places(uri, store_url), PERSON) == {}
    assert erase(places(uri, store_url), ASKED, lambda: NOW_MS) is None
    assert len(Receipts(uri).records()) == 2


def test_a_dry_run_counts_and_changes_nothing(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FRAUD_LAKE_URI", uri)
    before = files_of(tmp_path)

    assert main(["--account", PERSON, "--without-store", "--without-database", "--dry-run"]) == 0

    said = capsys.readouterr().out
    assert "2  lake decisions" in said and "nothing was changed" in said and files_of(tmp_path) == before
    assert main(["--account", "nobody", "--without-store", "--without-database"]) == 0
    assert "nothing is left" in capsys.readouterr().out


def test_a_receipt_names_nobody_and_says_what_remains(
    uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FRAUD_LAKE_URI", uri)
    assert main(["--account", PERSON, "--without-store", "--without-database", "--reason", f"{PERSON} asked"]) == 2

    assert main(["--account", PERSON, "--without-store", "--without-database", "--reason", "request 17"]) == 0

    told = capsys.readouterr().out
    receipt = msgspec.json.decode(told, type=Record)
    assert NEEDLE not in told and "request 17" in told
    until = {one.place: one.until_ms for one in receipt.remains}
    assert (
        until["topic transactions.v1"] == receipt.at_ms + 14 * 86_400_000 or until["topic transactions.v1"] is not None
    )
    assert until["models"] is None and "topic dead_letters.v1" in until and "topic entity.account.v1" in until


def test_a_database_is_left_out_only_by_word_and_the_receipt_says_so(
    uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FRAUD_LAKE_URI", uri)
    monkeypatch.delenv("DATABASE_URL", raising=False)

    assert main(["--account", PERSON, "--without-store"]) == 2 and Receipts(uri).records() == []

    assert "--without-database" in capsys.readouterr().err
    assert main(["--account", PERSON, "--without-store", "--without-database"]) == 0
    left = {one.place for one in Receipts(uri).records()[-1].remains}
    assert {"store states", "postgres decisions, explanations", "scorer journals: unrecordable, *.torn"} <= left


@pytest.mark.parametrize("error", [NewerFile("of tomorrow"), PermissionError("no")])
def test_what_a_place_refuses_is_an_erasure_to_repeat(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("fraud_assets.erasure.__main__.erase", refuse)

    assert main(["--account", PERSON, "--without-store", "--without-database"]) == 3


def test_a_receipt_that_was_changed_or_taken_away_is_found(uri: str, tmp_path: Path) -> None:
    erased(uri)
    first = tmp_path / "lake/_erasures/000001.json"
    kept = first.read_text()

    first.write_text(kept.replace("request 17", "request 18"))
    with pytest.raises(BrokenReceipts, match=r"000001\.json is not what was written"):
        Receipts(uri).records()
    first.unlink()
    with pytest.raises(BrokenReceipts, match=r"lacks 000001\.json"):
        Receipts(uri).records()


def test_rows_in_postgresql_go_too(uri: str, postgres: Postgres) -> None:
    database = Database(postgres.url)
    database.open()
    database.close()
    with psycopg.connect(postgres.url) as connection:
        for n, who in enumerate((PERSON, "other", PERSON)):
            row = msgspec.to_builtins(decision(n, account_id=who)) | {
                "features": [],
                "view_status": {},
                "shadow_scores": {},
            }
            missing = {
                "broker_clock_offset_ms": 0,
                "self_included": False,
                "chain_id": "",
                "chain_position": 0,
                "previous_sha256": "",
                "sha256": "",
            }
            at = {"source_partition": 0, "source_offset": n, "appended_at_ms": 0, "view_codes": None}
            connection.execute(
                "INSERT INTO fraud.decisions SELECT * FROM jsonb_populate_record(NULL::fraud.decisions, %s)",
                (Jsonb(missing | row | at | {"schema_version": 1}),),
            )

    receipt = erased(uri, database_url=postgres.url)

    with psycopg.connect(postgres.url) as connection:
        left = [row[0] for row in connection.execute("SELECT account_id FROM fraud.decisions")]
    assert left == ["other"] and receipt.counts["postgres decisions"] == 2


def test_a_lake_on_s3_too(s3_uri: str) -> None:
    lake = fill(f"{s3_uri}/lake")

    erased(lake.uri)

    assert look(places(lake.uri), PERSON) == {} and findings(lake.uri) == ([], 8)
    assert not pc.any(pc.equal(lake.scan("transactions", duplicates=True)["account_id"], PERSON)).as_py()
