"""PostgreSQL as the worker writes it, on a real server: idempotent, in any order, and through its outages."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
import psycopg
import pytest
from psycopg.rows import dict_row
from quixstreams.sinks.base import SinkBackpressureError

from deploy.local.postgres import Postgres
from fraud_assets.contracts.events import Decision, Event, Explanation, ViewStatus
from fraud_assets.contracts.topics import DEAD_LETTERS, EXPLANATIONS
from streaming.core.accept import ArrivalClock, accept_all
from streaming.core.explain import explain
from streaming.core.records import Accepted, Record, Refusal
from streaming.core.sources import SOURCES
from streaming.database_sink import DatabaseSink
from streaming.edges.boosters import Booster
from streaming.edges.database import POSITION, Database, DatabaseUnavailable
from streaming.edges.migrations import ChangedMigration, Migration, shipped
from streaming.settings import WorkerSettings
from streaming.supervise import DATABASE, ROLES, roles
from tests.models.made import Trained, train
from tests.streaming.decided import before, decisions, records
from tests.streaming.events import KEY, T0
from tests.streaming.live import wait_for
from tests.streaming.test_explainer import Sent

N = 12


@pytest.fixture(scope="module")
def made() -> Trained:
    return train(tuple(f"f{number}" for number in range(8)), trees=5, depth=3, n=200)


@pytest.fixture(scope="module")
def log(made: Trained) -> list[Record]:
    """Twelve decisions, one of them of a scorer of before, and their explanations, as their topics have them."""
    decided = decisions(made.booster_json, made.rows[:N], shadow_scores={"v2": 0.25}, reason_codes=["velocity", "new"])
    decided[1] = msgspec.structs.replace(decided[1], degraded_reasons=["online_store_timeout"], states_read=None)
    decided[2] = msgspec.structs.replace(before(decided[2]), view_status={"account_amounts": ViewStatus.STALE})
    told = [one for one in explain(Booster(made.booster_json), decided) if isinstance(one, Explanation)]
    assert len(told) == N
    said = [
        Record(EXPLANATIONS.name, 3, place, T0 + 2_000 + place, one.account_id.encode(), msgspec.json.encode(one))
        for place, one in enumerate(told)
    ]
    return [*records(decided), *said]


def accepted(taken: list[Record]) -> list[Accepted]:
    found = [one for one in accept_all(SOURCES, taken, ArrivalClock(), KEY) if isinstance(one, Accepted)]
    assert len(found) == len(taken)
    return found


@pytest.fixture
def database(postgres: Postgres) -> Iterator[Database]:
    opened = Database(postgres.url)
    yield opened
    opened.close()


def rows(postgres: Postgres, table: str) -> list[dict[str, Any]]:
    with psycopg.connect(postgres.url, row_factory=dict_row) as connection:
        query = f"SELECT * FROM fraud.{table} ORDER BY source_partition, source_offset"
        return connection.execute(query.encode()).fetchall()


def as_event(row: dict[str, Any], contract: type[Event]) -> Event:
    """real[] is written with as many digits as tell float32 numbers apart, so it is read as float32."""
    fields = {name: value for name, value in row.items() if name not in POSITION}
    for name in {"features", "contributions"} & fields.keys():
        fields[name] = [None if value is None else float(np.float32(value)) for value in fields[name]]
    return msgspec.convert(fields, contract)


def in_numbers(event: Event) -> Event:
    """Whoever speaks SQL wants numbers and names, whichever way an event says them; only of units the names are its service's."""
    if not isinstance(event, Decision) or event.vector is None:
        return event
    return msgspec.structs.replace(before(event), view_codes=event.view_codes)


def test_a_row_is_its_event_again_bit_for_bit_and_knows_its_place(
    postgres: Postgres, database: Database, log: list[Record]
) -> None:
    taken = accepted(log)

    assert database.write(taken) == []

    for table, contract in (("decisions", Decision), ("explanations", Explanation)):
        kept = rows(postgres, table)
        wanted = [one for one in taken if isinstance(one.event, contract)]
        assert [as_event(row, contract) for row in kept] == [in_numbers(one.event) for one in wanted]
        assert [tuple(row[name] for name in POSITION) for row in kept] == [
            (one.record.partition, one.record.offset, one.record.timestamp_ms) for one in wanted
        ]
        assert set(kept[0]) == {*contract.__struct_fields__, *POSITION} - {
            "vector",
            "states_read",
            "scored_ms",
            "ruled",
        }


def test_a_replay_changes_nothing(postgres: Postgres, database: Database, log: list[Record]) -> None:
    """Not even the version of a row, which every update raises."""
    database.write(accepted(log))
    with psycopg.connect(postgres.url) as connection:
        before = connection.execute(
            "SELECT xmin::text, ctid::text FROM fraud.decisions ORDER BY decision_id"
        ).fetchall()

        database.write(accepted(log[3:]))
        database.write(accepted(log[::-1]))

        connection.rollback()
        after = connection.execute("SELECT xmin::text, ctid::text FROM fraud.decisions ORDER BY decision_id").fetchall()
    assert after == before


@pytest.mark.parametrize("is_reversed", [False, True])
def test_of_two_with_one_identity_the_first_position_wins_whichever_is_written_first(
    postgres: Postgres, database: Database, made: Trained, is_reversed: bool
) -> None:
    """As the lake has it: a foreign copy cannot replace what was decided."""
    (first,) = decisions(made.booster_json, made.rows[:1])
    pair = records([first, msgspec.structs.replace(first, action="deny")], first_offset=5)

    for one in pair[::-1] if is_reversed else pair:
        database.write(accepted([one]))

    (kept,) = rows(postgres, "decisions")
    assert (kept["action"], kept["source_offset"]) == ("approve", 5)


def test_both_in_one_batch_are_one_row(postgres: Postgres, database: Database, made: Trained) -> None:
    (first,) = decisions(made.booster_json, made.rows[:1])

    database.write(accepted(records([first, first])))

    assert [row["source_offset"] for row in rows(postgres, "decisions")] == [0]


def test_a_value_that_fits_no_column_is_a_dead_letter_and_its_neighbours_are_rows(
    postgres: Postgres, database: Database, made: Trained
) -> None:
    """No scorer serves a feature of 1e300, but the contract lets one be written."""
    one, two, three = decisions(made.booster_json, made.rows[:3])
    taken = records([one, msgspec.structs.replace(two, vector=None, features=[1e300]), three])
    sent = Sent()
    sink = DatabaseSink(database, sent, KEY)
    for record in taken:
        sink.take(record)

    sink.flush()

    assert sent.reasons() == [Refusal.DATABASE]
    assert [letter.value for letter in sent.of(DEAD_LETTERS.name)] == [taken[1].value]
    assert [row["decision_id"] for row in rows(postgres, "decisions")] == ["dec-0", "dec-2"]


def test_a_vector_that_is_none_is_a_dead_letter_and_its_neighbours_are_rows(
    postgres: Postgres, database: Database, made: Trained
) -> None:
    one, two, three, four, five = decisions(made.booster_json, made.rows[:5])
    odd, both = msgspec.structs.replace(two, vector=b"abc"), msgspec.structs.replace(three, features=[1.0])
    neither = msgspec.structs.replace(four, vector=None)

    letters = database.write(accepted(records([one, odd, both, neither, five])))

    assert [(letter.record.offset, letter.reason) for letter in letters] == [
        (place, Refusal.OTHER_VECTOR) for place in (1, 2, 3)
    ]
    assert [row["decision_id"] for row in rows(postgres, "decisions")] == ["dec-0", "dec-4"]


def test_states_that_are_none_are_a_dead_letter_and_their_neighbours_are_rows(
    postgres: Postgres, database: Database, made: Trained
) -> None:
    one, two, three = decisions(made.booster_json, made.rows[:3])
    assert two.states_read is not None
    cut = msgspec.structs.replace(two.states_read, positions=[b"abc", b""])

    (letter,) = database.write(accepted(records([one, msgspec.structs.replace(two, states_read=cut), three])))

    assert (letter.record.offset, letter.reason) == (1, Refusal.DATABASE)
    assert letter.detail == "BadStates: 3 bytes are no pairs of a code and an offset"
    assert [row["decision_id"] for row in rows(postgres, "decisions")] == ["dec-0", "dec-2"]


def test_a_database_that_goes_away_is_waited_for_and_nothing_is_lost(
    postgres: Postgres, database: Database, log: list[Record]
) -> None:
    sink = DatabaseSink(database, Sent(), KEY)

    def flushed(taken: list[Record]) -> None:
        for record in taken:
            sink.take(record)
        sink.flush()

    flushed(log[:5])
    postgres.stop()
    for _ in range(2):
        with pytest.raises(SinkBackpressureError):
            flushed(log[5:])
    postgres.start()
    flushed(log[5:])

    assert [row["decision_id"] for row in rows(postgres, "decisions")] == [f"dec-{number}" for number in range(N)]
    assert len(rows(postgres, "explanations")) == N


def test_a_database_that_turns_read_only_is_unavailable_and_no_defect(
    postgres: Postgres, database: Database, log: list[Record]
) -> None:
    """What a replica says after a failover."""
    database.open()
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        (name,) = connection.execute("SELECT current_database()").fetchone() or ("",)
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
    database.close()

    with pytest.raises(DatabaseUnavailable, match="ReadOnly"):
        database.write(accepted(log))


def test_a_batch_that_is_cut_off_is_not_there_and_its_repetition_is(
    postgres: Postgres, database: Database, log: list[Record]
) -> None:
    """The server ends the connection half way; here while the last row waits for somebody's lock on it."""
    database.write(accepted(log[-1:]))
    with psycopg.connect(postgres.url) as blocker, ThreadPoolExecutor(1) as pool:
        blocker.execute("SELECT 1 FROM fraud.explanations FOR UPDATE")
        # An earlier position of the last row: it has to be updated, and the lock is ours.
        batch = [*log[N:-1], log[-1]._replace(offset=-1)]
        writing = pool.submit(database.write, accepted(batch))
        with psycopg.connect(postgres.url, autocommit=True) as killer:
            wait_for(lambda: killer.execute(_END_WHO_WAITS).fetchone() is not None, "it waits for the lock")
        with pytest.raises(DatabaseUnavailable):
            writing.result(30)
    assert len(rows(postgres, "explanations")) == 1

    database.write(accepted(log))

    assert len(rows(postgres, "explanations")) == N


_END_WHO_WAITS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'fraud-worker' AND datname = current_database() AND wait_event_type = 'Lock'
"""


def migrations_of(postgres: Postgres) -> list[tuple[int, str]]:
    with psycopg.connect(postgres.url) as connection:
        return connection.execute("SELECT number, name FROM fraud.schema_migrations ORDER BY number").fetchall()


def test_several_workers_that_start_at_once_migrate_once(postgres: Postgres) -> None:
    failed: list[BaseException] = []

    def start() -> None:
        database = Database(postgres.url)
        try:
            database.open()
        except BaseException as error:  # noqa: BLE001  # told below; a thread swallows it
            failed.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert failed == []
    assert migrations_of(postgres) == [(one.number, one.name) for one in shipped()]


def test_a_migration_that_fails_leaves_nothing_of_itself_and_of_those_before(postgres: Postgres) -> None:
    first = Migration(1, "0001_a.sql", b"CREATE TABLE fraud.a (n int);")
    broken = Migration(2, "0002_b.sql", b"CREATE TABLE fraud.b (n int); SELECT nothing;")
    with pytest.raises(psycopg.ProgrammingError):
        Database(postgres.url, [first, broken]).open()
    mended = Migration(2, "0002_b.sql", b"CREATE TABLE fraud.b (n int);")

    later = Database(postgres.url, [first, mended])
    later.open()
    later.close()

    assert migrations_of(postgres) == [(1, "0001_a.sql"), (2, "0002_b.sql")]


def test_a_migration_that_was_changed_after_it_was_applied_is_refused(postgres: Postgres, database: Database) -> None:
    database.open()
    changed = [one._replace(sql=one.sql + b"-- a word more") for one in shipped()]

    with pytest.raises(ChangedMigration, match="0001"):
        Database(postgres.url, changed).open()


def test_an_earlier_version_works_on_what_a_later_one_migrated(postgres: Postgres, log: list[Record]) -> None:
    """A worker is rolled back without its database."""
    added = Migration(99, "0099_later.sql", b"ALTER TABLE fraud.decisions ADD note text;")
    later = Database(postgres.url, [*shipped(), added])
    later.open()
    later.close()
    earlier = Database(postgres.url)

    earlier.write(accepted(log))
    earlier.close()

    assert len(rows(postgres, "decisions")) == N


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [one.number for one in shipped()] == list(range(1, len(shipped()) + 1))


def test_a_url_of_another_driver_is_refused_and_none_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg://user:hunter2@host/name")

    with pytest.raises(ValueError, match="name no driver") as refused:
        WorkerSettings()

    assert "hunter2" not in str(refused.value)
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:hunter2@host/name")
    assert "hunter2" not in repr(WorkerSettings())


@pytest.mark.parametrize("said", [before, lambda decision: decision], ids=["numbers", "bytes"])
def test_features_are_stored_as_the_float32_they_were_served_as(
    postgres: Postgres, database: Database, made: Trained, said: Callable[[Decision], Decision]
) -> None:
    """A third of one, a null, the largest and the smallest: none is rounded on the way."""
    served = np.array([1 / 3, np.nan, np.finfo(np.float32).max, np.finfo(np.float32).tiny, -0.0], np.float32)
    (one,) = decisions(made.booster_json, made.rows[:1])
    decision = msgspec.structs.replace(one, vector=served.tobytes())

    database.write(accepted(records([said(decision)])))

    (row,) = rows(postgres, "decisions")
    kept = np.array([np.nan if value is None else value for value in row["features"]], np.float32)
    assert kept.tobytes() == served.tobytes()


def test_the_sink_runs_where_a_database_is_named_and_nowhere_else() -> None:
    env = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}

    done = subprocess.run(
        [sys.executable, "-m", "streaming", "database"], env=env, capture_output=True, text=True, check=False
    )

    assert (done.returncode, "DATABASE_URL" in done.stderr) == (1, True)
    assert roles("") == ROLES
    assert roles("postgresql://user@host/name") == (*ROLES, DATABASE)
