"""What the broker must remember beside the records, in one SQLite file.

Topics and their settings, where deleted records end, committed offsets, the cluster's identity.
SQLite's write-ahead log makes each change atomic and safe from a killed process; after a power
cut the last changes may be missing but the file is whole.
"""

import json
import sqlite3
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS topics (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL, config TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS starts (
    topic_id TEXT NOT NULL, partition INTEGER NOT NULL, start_offset INTEGER NOT NULL,
    PRIMARY KEY (topic_id, partition));
CREATE TABLE IF NOT EXISTS offsets (
    group_id TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    committed_offset INTEGER NOT NULL, metadata TEXT NOT NULL,
    PRIMARY KEY (group_id, topic, partition));
"""


class TopicRow(NamedTuple):
    id: uuid.UUID
    name: str
    partitions: int
    config: dict[str, str]


class Committed(NamedTuple):
    """One committed offset of a consumer group."""

    topic: str
    partition: int
    offset: int
    metadata: str


class Catalog:
    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        self.cluster_id = self._cluster_id()

    def _cluster_id(self) -> str:
        self._db.execute("INSERT OR IGNORE INTO meta VALUES ('cluster_id', ?)", (f"dev-{uuid.uuid4().hex[:18]}",))
        return str(self._db.execute("SELECT value FROM meta WHERE key = 'cluster_id'").fetchone()[0])

    def next_producer_id(self) -> int:
        """Never given out before, also across restarts: the log may still hold batches of an old one."""
        row = self._db.execute(
            "INSERT INTO meta VALUES ('producer_id', '1') ON CONFLICT (key) DO UPDATE SET value = value + 1 "
            "RETURNING value"
        ).fetchone()
        return int(row[0])

    def topics(self) -> list[TopicRow]:
        rows = self._db.execute("SELECT id, name, partitions, config FROM topics ORDER BY name")
        return [
            TopicRow(uuid.UUID(key), name, partitions, json.loads(config)) for key, name, partitions, config in rows
        ]

    def save_topic(self, row: TopicRow) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO topics VALUES (?, ?, ?, ?)",
            (row.id.hex, row.name, row.partitions, json.dumps(row.config)),
        )

    def delete_topic(self, row: TopicRow) -> None:
        """Forget a topic with everything that refers to it; its committed offsets mean nothing to a namesake."""
        self._db.execute("BEGIN")
        self._db.execute("DELETE FROM topics WHERE id = ?", (row.id.hex,))
        self._db.execute("DELETE FROM starts WHERE topic_id = ?", (row.id.hex,))
        self._db.execute("DELETE FROM offsets WHERE topic = ?", (row.name,))
        self._db.execute("COMMIT")

    def starts(self, topic_id: uuid.UUID) -> dict[int, int]:
        rows = self._db.execute("SELECT partition, start_offset FROM starts WHERE topic_id = ?", (topic_id.hex,))
        return dict(rows.fetchall())

    def save_start(self, topic_id: uuid.UUID, partition: int, start_offset: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO starts VALUES (?, ?, ?)", (topic_id.hex, partition, start_offset))

    def commit_offsets(self, group_id: str, commits: Iterable[Committed]) -> None:
        """All of one request or none."""
        self._db.execute("BEGIN")
        self._db.executemany(
            "INSERT OR REPLACE INTO offsets VALUES (?, ?, ?, ?, ?)", [(group_id, *commit) for commit in commits]
        )
        self._db.execute("COMMIT")

    def committed(self, group_id: str) -> Mapping[tuple[str, int], Committed]:
        rows = self._db.execute(
            "SELECT topic, partition, committed_offset, metadata FROM offsets WHERE group_id = ? "
            "ORDER BY topic, partition",
            (group_id,),
        )
        return {(row[0], row[1]): Committed(*row) for row in rows}

    def groups_with_offsets(self) -> list[str]:
        return [row[0] for row in self._db.execute("SELECT DISTINCT group_id FROM offsets ORDER BY group_id")]

    def delete_group(self, group_id: str) -> bool:
        """Whether there was anything to delete."""
        return self._db.execute("DELETE FROM offsets WHERE group_id = ?", (group_id,)).rowcount > 0

    def close(self) -> None:
        self._db.close()
