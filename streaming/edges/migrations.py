"""The database's schema, step by step: numbered SQL files, each applied once, whatever starts at the same time."""

from collections.abc import Sequence
from importlib import resources
from typing import Any, NamedTuple

import psycopg
import structlog

from fraud_assets.models.manifest import sha256

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# Any number that no other program takes in the same database.
LOCK = 0x_F4A0_D001

_BOOK = """
CREATE SCHEMA IF NOT EXISTS fraud;
CREATE TABLE IF NOT EXISTS fraud.schema_migrations (
    number integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
);
"""


class ChangedMigration(RuntimeError):
    """A migration that is applied here has another text by now: two machines would have two schemas."""


class Migration(NamedTuple):
    """name: `<number>_<what>.sql`."""

    number: int
    name: str
    sql: bytes


def shipped() -> list[Migration]:
    """Those of this version, in order."""
    found = (entry for entry in resources.files("streaming.migrations").iterdir() if entry.name.endswith(".sql"))
    return sorted(Migration(int(entry.name.partition("_")[0]), entry.name, entry.read_bytes()) for entry in found)


def migrate(connection: "psycopg.Connection[Any]", migrations: Sequence[Migration]) -> list[str]:
    """Apply what is missing, all of it or nothing; the names of what was applied. Raises ChangedMigration.

    Ordered steps: the lock, so that of several workers one does it and the others see it done; the book; the files.
    A migration this version does not know was applied by a later one, and migrations only add.
    """
    with connection.transaction():
        # An index over a large table takes its time, and the others wait for it.
        connection.execute("SET LOCAL statement_timeout = 0")
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        connection.execute(_BOOK)
        applied = dict(connection.execute("SELECT number, sha256 FROM fraud.schema_migrations").fetchall())
        for one in migrations:
            if applied.get(one.number, sha256(one.sql)) != sha256(one.sql):
                raise ChangedMigration(f"{one.name} was applied with another text; write a new migration after it.")
        missing = [one for one in migrations if one.number not in applied]
        for one in missing:
            connection.execute(one.sql)
            connection.execute(
                "INSERT INTO fraud.schema_migrations (number, name, sha256) VALUES (%s, %s, %s)",
                [one.number, one.name, sha256(one.sql)],
            )
    return [one.name for one in missing]
