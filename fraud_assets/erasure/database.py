"""A person's rows in PostgreSQL, where the worker writes decisions and explanations to one."""

import psycopg
from psycopg import sql

TABLES = ("decisions", "explanations")
PATIENCE_S = 5


def count(url: str, account_id: str) -> dict[str, int]:
    """By table; of one that is not there yet, nothing. Raises psycopg.Error."""
    with psycopg.connect(url, connect_timeout=PATIENCE_S) as connection:
        found = {
            name: _one(connection, "SELECT count(*) FROM {table} WHERE account_id = %s", name, account_id)
            for name in _there(connection)
        }
    return {f"postgres {name}": rows for name, rows in found.items() if rows}


def erase(url: str, account_id: str) -> dict[str, int]:
    """Deletes them in one transaction; how many, by table. Raises psycopg.Error."""
    with psycopg.connect(url, connect_timeout=PATIENCE_S) as connection:
        gone = {
            name: connection.execute(_of("DELETE FROM {table} WHERE account_id = %s", name), (account_id,)).rowcount
            for name in _there(connection)
        }
    return {f"postgres {name}": rows for name, rows in gone.items() if rows}


def _there(connection: "psycopg.Connection[tuple[object, ...]]") -> list[str]:
    rows = connection.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'fraud'")
    named = {str(row[0]) for row in rows}
    return [name for name in TABLES if name in named]


def _one(connection: "psycopg.Connection[tuple[object, ...]]", query: str, table: str, account_id: str) -> int:
    row = connection.execute(_of(query, table), (account_id,)).fetchone()
    assert row is not None
    return int(str(row[0]))


def _of(query: str, table: str) -> sql.Composed:
    return sql.SQL(query).format(table=sql.Identifier("fraud", table))
