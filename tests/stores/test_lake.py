"""Lake: rows come back in log order as known at T, and nothing half-written is ever read."""

import datetime as dt
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from deploy.local.fault_proxy import Fault, FaultProxy
from deploy.local.ports import LOOPBACK
from fraud_assets.contracts.domains.handbook import HandbookTransaction
from fraud_assets.stores import files
from fraud_assets.stores.files import UnknownPlace
from fraud_assets.stores.lake import BadRows, Lake, UnknownTable, append_name
from fraud_assets.stores.schemas import LogPosition, from_events

TABLE = "handbook_transactions"
DAY_MS = 86_400_000
MONDAY = 1_533_513_600_000  # 2018-08-06T00:00Z


def _rows(*specs: tuple[int, int], arrival_lag_ms: int = 0, duplicate: bool = False) -> pa.Table:
    """Rows of (event_time_ms, offset); each arrives `arrival_lag_ms` after it happened."""
    events = [
        HandbookTransaction(
            event_time_ms=time, transaction_id=f"t{offset}", customer_id="c", terminal_id="m", amount_minor=offset
        )
        for time, offset in specs
    ]
    positions = [LogPosition(time + arrival_lag_ms, "topic.v1", 0, offset, duplicate) for time, offset in specs]
    return from_events(HandbookTransaction, events, positions)


def _offsets(rows: pa.Table) -> list[int]:
    offsets: list[int] = rows["source_offset"].to_pylist()
    return offsets


@pytest.fixture
def lake(lake_uri: str) -> Lake:
    """Both kinds of place pass one suite: a folder, and a real S3-compatible server."""
    return Lake(lake_uri)


def _by_glob(lake: Lake) -> list[int]:
    """Offsets as a plain reader of the files sees them, who knows nothing of replays."""
    return pl.scan_parquet(lake.glob(TABLE)).collect()["source_offset"].sort().to_list()


def _by_duckdb(lake: Lake, sql: str = "SELECT source_offset FROM rows ORDER BY 1") -> list[tuple[Any, ...]]:
    """DuckDB over the dataset, as a notebook has it: of an object store it would need an extension to read by itself."""
    with duckdb.connect() as connection:
        connection.register("rows", lake.dataset(TABLE))
        return connection.execute(sql).fetchall()


def test_rows_land_in_the_partition_of_their_event_date(lake: Lake) -> None:
    """The path is `<table>/event_date=<UTC day>/<name>.parquet`, whatever the arrival day."""
    written = lake.append(
        TABLE, _rows((MONDAY + DAY_MS - 1, 0), (MONDAY + DAY_MS, 1), arrival_lag_ms=DAY_MS), "batch-0"
    )

    filesystem, root = pafs.FileSystem.from_uri(lake.uri)
    assert written == ["2018-08-06", "2018-08-07"] == lake.days(TABLE)
    assert filesystem.get_file_info(f"{root}/{TABLE}/event_date=2018-08-06/batch-0.parquet").size > 0


def test_scan_returns_log_order_not_file_order(lake: Lake) -> None:
    """Order is (arrival, topic, partition, offset), however the rows were batched and shuffled."""
    specs = [(MONDAY + (offset // 3) * 1000, offset) for offset in range(40)]
    shuffled = random.Random(1).sample(specs, len(specs))
    for at in range(0, 40, 10):
        lake.append(TABLE, _rows(*shuffled[at : at + 10]), f"batch-{40 - at}")

    assert _offsets(lake.scan(TABLE)) == list(range(40))


def test_log_order_ranks_topics_by_name_and_then_partition(lake: Lake) -> None:
    """Rows of one arrival instant are ordered by topic, partition, offset, as everywhere else."""
    positions = [LogPosition(MONDAY, topic, part, at) for topic in ("b", "a") for part in (2, 1) for at in (9, 10)]
    events = [
        HandbookTransaction(
            event_time_ms=MONDAY, transaction_id=str(at), customer_id="c", terminal_id="m", amount_minor=1
        )
        for at in range(len(positions))
    ]

    lake.append(TABLE, from_events(HandbookTransaction, events, positions), "batch")

    found = lake.scan(TABLE).select(["source_topic", "source_partition", "source_offset"]).to_pylist()
    assert [tuple(row.values()) for row in found] == sorted(
        (at.source_topic, at.source_partition, at.source_offset) for at in positions
    )


def test_scan_range_is_half_open_in_event_time(lake: Lake) -> None:
    """A row at `from_ms` is in, one at `to_ms` is in the next range: days neither overlap nor leak."""
    lake.append(TABLE, _rows((MONDAY - 1, 0), (MONDAY, 1), (MONDAY + DAY_MS - 1, 2), (MONDAY + DAY_MS, 3)), "batch")

    assert _offsets(lake.scan(TABLE, MONDAY, MONDAY + DAY_MS)) == [1, 2]


def test_as_known_at_hides_what_had_not_arrived_before(lake: Lake) -> None:
    """Time travel: later data does not change what an earlier instant saw."""
    lake.append(TABLE, _rows((MONDAY, 0), arrival_lag_ms=10), "on-time")
    before = lake.scan(TABLE, as_known_at_ms=MONDAY + 1000)
    lake.append(TABLE, _rows((MONDAY, 1), arrival_lag_ms=1000), "late")

    assert lake.scan(TABLE, as_known_at_ms=MONDAY + 1000).equals(before)
    assert _offsets(lake.scan(TABLE, as_known_at_ms=MONDAY + 1001)) == [0, 1]


def test_duplicates_are_kept_and_left_out_unless_asked_for(lake: Lake) -> None:
    """The verdict of the dedupe stage binds every reader; the row itself is not lost."""
    lake.append(TABLE, _rows((MONDAY, 0)), "first")
    lake.append(TABLE, _rows((MONDAY, 1), duplicate=True), "copy")

    assert _offsets(lake.scan(TABLE)) == [0]
    assert _offsets(lake.scan(TABLE, duplicates=True)) == [0, 1]


def test_a_few_rows_are_found_by_what_they_hold(lake: Lake) -> None:
    """Also by a column that is not asked for."""
    lake.append(TABLE, _rows((MONDAY, 0), (MONDAY + 1, 1), (MONDAY + DAY_MS, 2)), "first")
    lake.append(TABLE, _rows((MONDAY, 3)), "second")

    found = lake.scan(TABLE, columns=["source_offset"], among=("source_offset", pa.array([0, 2, 7])))
    named = lake.scan(TABLE, columns=["event_time_ms"], among=("source_offset", pa.array([3])))

    assert _offsets(found) == [0, 2]
    assert named.to_pylist() == [{"event_time_ms": MONDAY}]


class Watched(pq.ParquetFile):  # type: ignore[misc]  # untyped
    """Notes which columns each read asked for."""

    asked: ClassVar[list[list[str]]] = []

    def read(self, columns: list[str] | None = None, **options: Any) -> pa.Table:
        self.asked.append(sorted(columns or ["all"]))
        return super().read(columns=columns, **options)


def test_of_files_without_what_is_looked_for_only_that_column_is_read(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for offset in range(5):
        lake.append(TABLE, _rows((MONDAY, offset), (MONDAY + DAY_MS, offset)), f"file{offset}")
    monkeypatch.setattr(pq, "ParquetFile", Watched)
    monkeypatch.setattr(Watched, "asked", [])

    found = lake.scan(TABLE, MONDAY, MONDAY + DAY_MS, among=("transaction_id", pa.array(["t3"])))

    rest = sorted(set(lake.schema(TABLE).names) - {"transaction_id"})
    assert _offsets(found) == [3]
    assert found.schema == lake.schema(TABLE)
    assert sorted(Watched.asked) == sorted([*[["transaction_id"]] * 5, rest])


def test_nothing_is_found_by_a_column_that_files_were_written_without(lake: Lake) -> None:
    lake.append(TABLE, _rows((MONDAY, 0)), "old")
    newer = Lake(lake.uri, {TABLE: lake.schema(TABLE).append(pa.field("note", pa.string()))})

    assert newer.scan(TABLE, among=("note", pa.array(["seen"]))).num_rows == 0
    assert newer.scan(TABLE, among=("transaction_id", pa.array(["t0"])))["note"].to_pylist() == [None]


def test_a_table_has_more_files_than_are_read_at_once(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fraud_assets.stores.lake.AT_ONCE", 3)
    for offset in range(7):
        lake.append(TABLE, _rows((MONDAY, offset)), f"file{offset}")

    assert _offsets(lake.scan(TABLE)) == list(range(7))
    assert _offsets(lake.scan(TABLE, among=("source_offset", pa.array([2, 3, 6])))) == [2, 3, 6]


def test_replayed_batch_replaces_itself(lake: Lake) -> None:
    """A sink that dies before its offsets commit writes the same name again: no row twice."""
    name = append_name("topic.v1", 0, 0, "worker-0")
    for _ in range(2):
        lake.append(TABLE, _rows((MONDAY, 0), (MONDAY + 1, 1)), name)

    assert _offsets(lake.scan(TABLE)) == [0, 1]


def test_shorter_replay_leaves_no_stale_rows_on_other_dates(lake: Lake) -> None:
    """The first attempt reached into the next day; the replay stopped before it and went on in a new file."""
    name, next_name = append_name("topic.v1", 0, 0, "worker-0"), append_name("topic.v1", 0, 1, "worker-0")
    lake.append(TABLE, _rows((MONDAY, 0), (MONDAY + DAY_MS, 1)), name)

    lake.append(TABLE, _rows((MONDAY, 0)), name)
    lake.append(TABLE, _rows((MONDAY + DAY_MS, 1)), next_name)

    assert _by_glob(lake) == [0, 1]


def test_rewritten_import_leaves_nothing_of_the_one_before(lake: Lake) -> None:
    """A second import may share no date with the first and still replaces it."""
    lake.append(TABLE, _rows((MONDAY, 0)), "import")

    lake.append(TABLE, _rows((MONDAY + DAY_MS, 0)), "import", rewrite=True)

    assert lake.days(TABLE) == ["2018-08-07"]


def test_row_left_in_two_files_is_read_once(lake: Lake) -> None:
    """A log position is one row, even in the instant before a replay has cleaned up."""
    lake.append(TABLE, _rows((MONDAY, 0), (MONDAY + 1, 1)), "topic-0")
    lake.append(TABLE, _rows((MONDAY + 1, 1), (MONDAY + 2, 2)), "topic-1")

    assert _offsets(lake.scan(TABLE)) == [0, 1, 2]


def test_write_partition_replaces_the_whole_day_and_no_other(lake: Lake) -> None:
    """Re-materializing a day is idempotent: what was in it before is gone."""
    lake.append(TABLE, _rows((MONDAY, 0), (MONDAY + 1, 1), (MONDAY + DAY_MS, 9)), "old")

    for _ in range(2):
        lake.write_partition(TABLE, "2018-08-06", _rows((MONDAY + 5, 5)))

    assert _offsets(lake.scan(TABLE)) == [5, 9]


def test_write_partition_of_no_rows_empties_the_day(lake: Lake) -> None:
    """A day without a transaction has features too: none."""
    lake.append(TABLE, _rows((MONDAY, 0), (MONDAY + DAY_MS, 9)), "old")

    lake.write_partition(TABLE, "2018-08-06", _rows())

    assert _offsets(lake.scan(TABLE)) == _by_glob(lake) == [9]


def test_write_partition_refuses_rows_of_another_day(lake: Lake) -> None:
    """A row in the wrong folder would be invisible to every time range that asks for it."""
    with pytest.raises(BadRows, match="2018-08-07"):
        lake.write_partition(TABLE, "2018-08-06", _rows((MONDAY, 0), (MONDAY + DAY_MS, 1)))


def test_duckdb_and_polars_read_the_same_rows(lake: Lake) -> None:
    """The glob is all that Polars needs, the dataset all that DuckDB does; both find the partition column as a date."""
    lake.append(TABLE, _rows((MONDAY, 0), (MONDAY + DAY_MS, 1)), "batch")

    by_duckdb = _by_duckdb(lake, "SELECT event_date, source_offset FROM rows ORDER BY 2")
    by_polars = pl.scan_parquet(lake.glob(TABLE), hive_partitioning=True).sort("source_offset").collect()

    assert by_duckdb == [(dt.date(2018, 8, 6), 0), (dt.date(2018, 8, 7), 1)]
    assert by_polars.select("event_date", "source_offset").rows() == by_duckdb


def test_duckdb_reads_a_folder_by_itself(tmp_path: Path) -> None:
    """As the pages show it."""
    lake = Lake(tmp_path)
    lake.append(TABLE, _rows((MONDAY, 0), (MONDAY + DAY_MS, 1)), "batch")

    sql = f"SELECT event_date, source_offset FROM read_parquet('{lake.glob(TABLE)}', hive_partitioning = true)"

    assert sorted(duckdb.sql(sql).fetchall()) == [(dt.date(2018, 8, 6), 0), (dt.date(2018, 8, 7), 1)]


def test_scan_of_an_empty_table_has_its_columns(lake: Lake) -> None:
    """No data yet is an empty table, not an error."""
    empty = lake.scan(TABLE)

    assert empty.num_rows == 0
    assert empty.schema.names == lake.schema(TABLE).names
    assert lake.days(TABLE) == []


def test_scan_of_some_columns_keeps_log_order(lake: Lake) -> None:
    """A projection neither loses the order nor adds columns."""
    lake.append(TABLE, _rows((MONDAY + 1, 1), (MONDAY, 0)), "batch")

    assert lake.scan(TABLE, columns=["amount_minor"]).to_pydict() == {"amount_minor": [0, 1]}


def test_file_written_before_an_optional_column_existed_reads_as_null(lake: Lake) -> None:
    """Within a contract version only optional fields are added; old files need no rewrite."""
    old = pa.schema([field for field in lake.schema(TABLE) if field.name != "terminal_id"])
    Lake(lake.uri, {TABLE: old}).append(TABLE, _rows((MONDAY, 0)).drop_columns(["terminal_id"]), "old")
    newer = Lake(lake.uri, {TABLE: old.append(pa.field("terminal_id", pa.string()))})

    assert newer.scan(TABLE)["terminal_id"].to_pylist() == [None]
    assert _by_duckdb(newer, "SELECT terminal_id FROM rows") == [(None,)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows.append_column("surprise", pa.array([1])), "surprise"),
        (lambda rows: rows.drop_columns(["customer_id"]), "customer_id"),
        (lambda rows: rows.set_column(4, "terminal_id", pa.nulls(1, pa.string())), "terminal_id"),
        (lambda rows: rows.set_column(5, "amount_minor", pa.array([1.5])), "amount_minor"),
    ],
)
def test_rows_that_do_not_fit_the_contract_name_the_column(
    lake: Lake, change: Callable[[pa.Table], pa.Table], said: str
) -> None:
    """Nothing is coerced silently: extra, missing, null and fractional columns are refused."""
    with pytest.raises(BadRows, match=said):
        lake.append(TABLE, change(_rows((MONDAY, 0))), "batch")


@pytest.mark.parametrize("name", ["", "_hidden", ".hidden", "a/b", "../escape"])
def test_name_that_readers_would_not_find_is_refused(lake: Lake, name: str) -> None:
    """A hidden or escaping name would lose the rows."""
    with pytest.raises(BadRows, match="file name"):
        lake.append(TABLE, _rows((MONDAY, 0)), name)


def test_unknown_table_lists_the_known_ones(lake: Lake) -> None:
    """A typo does not create a table."""
    with pytest.raises(UnknownTable, match="handbook_transactions"):
        lake.scan("handbok_transactions")


@pytest.mark.parametrize("uri", ["ftp://host/lake", "s3://", "://"])
def test_an_address_that_is_no_place_says_what_is(uri: str) -> None:
    with pytest.raises(UnknownPlace, match=r"Write a folder, or s3://bucket/prefix"):
        Lake(uri)


class Crash(Exception):
    """The process ends here."""


def _die(*_args: object, **_kwargs: object) -> None:
    raise Crash


@pytest.mark.parametrize(
    ("operation", "step"),
    [
        ("append", "fraud_assets.stores.parquet.pq.write_table"),
        ("append", "fraud_assets.stores.files.os.fsync"),
        ("append", "pathlib.Path.replace"),
        ("write_partition", "fraud_assets.stores.parquet.pq.write_table"),
        ("write_partition", "fraud_assets.stores.files.os.fsync"),
        ("write_partition", "fraud_assets.stores.files.swap_in"),
    ],
)
def test_crash_leaves_the_old_rows_and_a_retry_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, step: str
) -> None:
    """Whatever step a writer dies at, every reader sees the old day; run again, it sees the new."""
    lake = Lake(tmp_path)
    lake.append(TABLE, _rows((MONDAY, 0)), "data")

    def write() -> None:
        if operation == "append":
            lake.append(TABLE, _rows((MONDAY, 1)), "data")
        else:
            lake.write_partition(TABLE, "2018-08-06", _rows((MONDAY, 1)))

    with monkeypatch.context() as patch:
        patch.setattr(step, _die)
        with pytest.raises(Crash):
            write()

    assert _offsets(lake.scan(TABLE)) == [0]
    assert _by_glob(lake) == [0]
    assert duckdb.sql(f"SELECT source_offset FROM '{lake.glob(TABLE)}'").fetchall() == [(0,)]

    write()

    assert _offsets(lake.scan(TABLE)) == [1]


def test_half_written_file_is_hidden_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment of the rename the new bytes exist under a name that no reader opens."""
    lake = Lake(tmp_path)
    seen: list[list[str]] = []
    rename = Path.replace

    def look_then_rename(self: Path, target: Path) -> Path:
        seen.append([path.name for path in tmp_path.rglob("*.tmp")])
        assert lake.scan(TABLE).num_rows == 0
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", look_then_rename)
    lake.append(TABLE, _rows((MONDAY, 0)), "data")

    assert [name.startswith(".data") for name in seen[0]] == [True]
    assert list(tmp_path.rglob("*.tmp")) == []


def test_replacing_a_day_without_atomic_swap_still_ends_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems that cannot exchange two names fall back to two renames."""
    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    lake = Lake(tmp_path)

    for offset in (0, 1):
        lake.write_partition(TABLE, "2018-08-06", _rows((MONDAY, offset)))

    assert _offsets(lake.scan(TABLE)) == [1]
    assert list((tmp_path / TABLE).iterdir()) == [tmp_path / TABLE / "event_date=2018-08-06"]


def test_reader_that_lost_its_file_to_a_replacement_reads_the_new_one(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between listing and opening the day was replaced: the reader lists again instead of failing."""
    lake.append(TABLE, _rows((MONDAY, 0)), "old")
    stale = lake._listed(TABLE)
    lake.write_partition(TABLE, "2018-08-06", _rows((MONDAY, 1)))
    answers = iter([stale])
    listed = Lake._listed
    monkeypatch.setattr(Lake, "_listed", lambda self, table: next(answers, None) or listed(self, table))

    assert _offsets(lake.scan(TABLE)) == [1]


# ------------------------------------------------------------------------------- what an object store can do


def test_a_writer_that_dies_while_it_encodes_leaves_the_old_object(
    s3_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a file is never uploaded: closing a stream would complete it."""
    lake = Lake(s3_uri)
    lake.append(TABLE, _rows((MONDAY, 0)), "data")

    def half(_rows: pa.Table, sink: Any, **_options: object) -> None:
        sink.write(b"PAR1")
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr("fraud_assets.stores.parquet.pq.write_table", half)
        with pytest.raises(Crash):
            lake.append(TABLE, _rows((MONDAY, 1)), "data")

    assert _offsets(lake.scan(TABLE)) == [0]
    lake.append(TABLE, _rows((MONDAY, 1)), "data")
    assert _offsets(lake.scan(TABLE)) == _by_glob(lake) == [1]


@pytest.mark.parametrize("megabytes", [1, 30])
def test_an_upload_that_is_cut_off_leaves_the_old_object(
    s3_uri: str, s3_server: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, megabytes: int
) -> None:
    """In one request, and in parts. The bytes that have arrived belong to no object."""
    lake = Lake(s3_uri)
    lake.append(TABLE, _rows((MONDAY, 0)), "data")
    port = int(s3_server["AWS_ENDPOINT_URL"].rpartition(":")[2])
    noise = [random.Random(n).randbytes(500_000).hex() for n in range(megabytes * 2)]  # half a byte a letter
    rows = _rows(*((MONDAY, n + 1) for n in range(len(noise))))
    rows = rows.set_column(rows.schema.names.index("transaction_id"), "transaction_id", pa.array(noise))

    with FaultProxy(LOOPBACK, port) as proxy:
        proxy.set(Fault.CUT, after_bytes=400_000)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{LOOPBACK}:{proxy.port}")
        with pytest.raises(OSError, match="AWS Error"):
            Lake(s3_uri).append(TABLE, rows, "data")

    assert _offsets(lake.scan(TABLE)) == _by_glob(lake) == [0]


def test_a_wrong_secret_is_refused(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server that these tests run on checks signatures: it is no stand-in that takes everything."""
    Lake(s3_uri).append(TABLE, _rows((MONDAY, 0)), "data")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")

    with pytest.raises(OSError, match="SIGNATURE_DOES_NOT_MATCH"):
        Lake(s3_uri).scan(TABLE)


def test_files_are_compressed_with_zstd(tmp_path: Path) -> None:
    """The lake's stated format, checked in the file's own metadata."""
    Lake(tmp_path).append(TABLE, _rows((MONDAY, 0)), "data")

    column = pq.ParquetFile(next(tmp_path.rglob("*.parquet"))).metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"
