"""PostgreSQL as the worker uses it: rows by their identity, the first position of the log wins."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import groupby
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import psycopg
import structlog
from psycopg import sql
from psycopg.types.json import Jsonb

from fraud_assets.contracts.events import Decision, Event, Explanation
from fraud_assets.contracts.topics import DECISIONS, EXPLANATIONS
from fraud_assets.stores.served import BadRecord, BadVector, served_states, served_vector
from streaming.core.records import Accepted, DeadLetter, Refusal
from streaming.edges.migrations import Migration, migrate, shipped

log: structlog.stdlib.BoundLogger = structlog.get_logger()

TABLES: Mapping[str, tuple[str, type[Event]]] = {
    DECISIONS.name: ("decisions", Decision),
    EXPLANATIONS.name: ("explanations", Explanation),
}
POSITION = ("source_partition", "source_offset", "appended_at_ms")
IDENTITY = ("account_id", "decision_id")

# What a hung server or a broken route costs at most, well within the five minutes that a poll may take.
_PATIENCE: Mapping[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "options": "-c statement_timeout=30s -c lock_timeout=10s",
    "application_name": "fraud-worker",
}


class DatabaseUnavailable(RuntimeError):
    """It does not answer, or takes no writes for now: whatever was asked is asked again."""


class Database:
    """Writes accepted events into the table of their topic; connects, and migrates, when it is first needed."""

    def __init__(self, url: str, migrations: Sequence[Migration] | None = None) -> None:
        self._url = url
        self._migrations = shipped() if migrations is None else migrations
        self._connection: psycopg.Connection[Any] | None = None
        self._upserts = {topic: _upsert(*table) for topic, table in TABLES.items()}

    def open(self) -> None:
        """Connect and migrate now. Raises DatabaseUnavailable, ChangedMigration."""
        with self._available():
            self._opened()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def write(self, accepted: Sequence[Accepted]) -> list[DeadLetter]:
        """Write all rows and commit them; those whose values the database does not take are returned.

        Idempotent. Raises DatabaseUnavailable, with some rows written perhaps.
        """
        refused: list[DeadLetter] = []
        with self._available():
            connection = self._opened()
            for topic, group in groupby(accepted, lambda one: one.record.topic):
                refused += _write(connection, self._upserts[topic], list(group))
        return refused

    def _opened(self) -> "psycopg.Connection[Any]":
        if self._connection is None:
            connection = psycopg.connect(self._url, autocommit=True, **_PATIENCE)
            try:
                for name in migrate(connection, self._migrations):
                    log.info("migration_applied", name=name)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    @contextmanager
    def _available(self) -> Iterator[None]:
        """What passes by itself (a server away, full, starting or read-only) is told from what is a defect."""
        try:
            yield
        except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError) as error:
            self.close()
            raise DatabaseUnavailable(f"{type(error).__name__}: {str(error).strip()}") from error
        except psycopg.Error:
            self.close()
            raise


def _write(connection: "psycopg.Connection[Any]", upsert: sql.Composed, rows: list[Accepted]) -> list[DeadLetter]:
    """One transaction for all. If one of them is refused, one for each: its neighbours must not wait for it."""
    try:
        with connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(upsert, [_values(one) for one in rows])
    except (psycopg.DataError, psycopg.IntegrityError, BadRecord) as error:
        if len(rows) == 1:
            return [_letter(rows[0], error)]
        return [letter for one in rows for letter in _write(connection, upsert, [one])]
    return []


def _letter(one: Accepted, error: psycopg.Error | BadRecord) -> DeadLetter:
    if isinstance(error, BadVector):
        return DeadLetter(one.record, Refusal.OTHER_VECTOR, detail=str(error))
    said = error.diag.message_primary or "" if isinstance(error, psycopg.Error) else str(error)
    return DeadLetter(one.record, Refusal.DATABASE, detail=f"{type(error).__name__}: {said}")


def _fields(contract: type[Event]) -> tuple[str, ...]:
    """The contract's that are columns: a decision's vector is one of numbers and its states have names, whichever way its event says them.

    What is said of a rollout's versions is for its guard, which reads the lake.
    """
    others = {"vector", "states_read", "scored_ms", "ruled"}
    return tuple(name for name in contract.__struct_fields__ if name not in others)


def _columns(contract: type[Event]) -> tuple[str, ...]:
    return (*_fields(contract), *POSITION)


def _values(one: Accepted) -> list[Any]:
    """In the order of the columns. The stamp is the record's own, so that a replay writes the same row. Raises BadRecord."""
    event, at = one.event, one.record
    if isinstance(event, Decision):
        if event.vector is not None or not event.features:
            event = msgspec.structs.replace(event, features=served_vector(event).tolist())
        event = msgspec.structs.replace(event, states=served_states(event))
    values = [adapted(getattr(event, name)) for name, adapted in _adapters(type(event))]
    return [*values, at.partition, at.offset, at.timestamp_ms]


@cache
def _adapters(contract: type[Event]) -> tuple[tuple[str, Callable[[Any], object]], ...]:
    hints = get_type_hints(contract)
    return tuple((name, _adapter(hints[name])) for name in _fields(contract))


def _adapter(hint: object) -> Callable[[Any], object]:
    """Maps, and lists of structs, are JSON; vectors are array literals; whatever else there is psycopg knows."""
    (part, *_) = get_args(hint) or (None,)
    if get_origin(hint) is dict or (isinstance(part, type) and issubclass(part, msgspec.Struct)):
        return lambda value: Jsonb(value, dumps=msgspec.json.encode)
    return _vector if part in (float, float | None) else lambda value: value


def _vector(values: list[float | None]) -> str:
    """`{1.5,null}`, also of NaN: 400 numbers written at once take a fraction of what psycopg needs for one after the other."""
    return f"{{{msgspec.json.encode(values)[1:-1].decode()}}}"


def _upsert(table: str, contract: type[Event]) -> sql.Composed:
    """DESIGN §2: the first position of an identity wins, whichever is written first; a replay changes nothing."""
    names = _columns(contract)
    return sql.SQL(
        "INSERT INTO {table} AS kept ({names}) VALUES ({values}) ON CONFLICT ({identity}) DO UPDATE SET {sets}"
        " WHERE excluded.source_offset < kept.source_offset"
    ).format(
        table=sql.Identifier("fraud", table),
        names=sql.SQL(", ").join(map(sql.Identifier, names)),
        values=sql.SQL(", ").join([sql.Placeholder()] * len(names)),
        identity=sql.SQL(", ").join(map(sql.Identifier, IDENTITY)),
        sets=sql.SQL(", ").join(
            sql.SQL("{name} = excluded.{name}").format(name=sql.Identifier(name))
            for name in names
            if name not in IDENTITY
        ),
    )
