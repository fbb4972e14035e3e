"""Router, explainer and database sink on real servers: killed in between, and every decision is explained and stored once."""

import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psycopg
import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from deploy.local.postgres import Postgres, empty_database
from deploy.local.stack import running
from deploy.local.topics import ensure_platform_topics
from fraud_assets.contracts import topics
from fraud_assets.contracts.events import Decision, Explanation
from fraud_assets.models.artifact import write_artifact
from fraud_assets.stores.lake import Lake
from streaming import database_sink, explainer, router
from streaming.core.dead_letters import letter_of
from tests.models.made import Trained
from tests.streaming.decided import before, decisions, nulls, raw
from tests.streaming.live import RAW, Log, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

N = 90
STORED = [topics.DECISIONS.name, topics.EXPLANATIONS.name]
LOST = 3  # decisions of a model that no folder holds


@dataclass
class World:
    env: dict[str, str]
    log: Log
    made: list[Decision]
    lost: list[Decision]
    postgres: Postgres

    @property
    def lake(self) -> Lake:
        return Lake(self.env["FRAUD_LAKE_URI"])

    def send(self, some: list[Decision]) -> None:
        for one in some:
            self.log.send(topics.DECISIONS.name, one.account_id.encode(), raw(one))
        self.log.flush()


@contextmanager
def process(role: str, env: Mapping[str, str], out: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """One process of the worker; ended with the block, by SIGTERM if it still runs."""
    with out.open("ab") as sink:
        running_one = subprocess.Popen(
            [sys.executable, "-m", "streaming", role], env={**os.environ, **env}, stdout=sink, stderr=sink
        )
        try:
            yield running_one
        finally:
            running_one.terminate()
            running_one.wait(60)


def kill(running_one: "subprocess.Popen[bytes]") -> None:
    running_one.send_signal(signal.SIGKILL)
    running_one.wait(30)


def stored_rows(world: World, table: str) -> int:
    """0 also before the first migration."""
    with psycopg.connect(world.postgres.url) as connection:
        try:
            (count,) = connection.execute(f"SELECT count(*) FROM fraud.{table}".encode()).fetchone() or (0,)
        except psycopg.errors.UndefinedTable:
            return 0
    return int(count)


def forget_commits(log: Log, group: str, names: list[str]) -> None:
    """As if the group had died before its first commit, with all its work delivered."""
    consumer = Consumer({**log.address, "group.id": group})
    start = [TopicPartition(*at, 0) for at in log.ends(names)]

    def is_committed() -> bool:
        """Not before the group is empty: a static member is missed only when its session ends."""
        try:
            consumer.commit(offsets=start, asynchronous=False)
        except KafkaException:
            return False
        return True

    try:
        wait_for(is_committed, "the group has no member any more")
    finally:
        consumer.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, trained: Trained, postgres_server: Any) -> Iterator[World]:
    folder, postgres = tmp_path_factory.mktemp("explainer"), empty_database(postgres_server)
    settings = {
        "FRAUD_LAKE_FLUSH_S": "0.3",
        "FRAUD_EXPLAIN_FLUSH_S": "0.2",
        "FRAUD_DATABASE_FLUSH_S": "0.2",
        "FRAUD_MODEL_PATIENCE_S": "0.5",
        "DATABASE_URL": postgres.url,
    }
    with running(["valkey", "broker"], folder, settings) as stack:
        ensure_platform_topics(stack.env["KAFKA_BOOTSTRAP_SERVERS"])
        write_artifact(Path(stack.env["FRAUD_MODEL_DIR"]) / "v1", trained.booster_json, trained.manifest())
        made = decisions(trained.booster_json, trained.rows[: N + LOST])
        # Of two versions of scorers.
        made = [before(one) if place % 3 == 0 else one for place, one in enumerate(made)]
        lost = [msgspec.structs.replace(one, model_version="lost") for one in made[N:]]
        world = World(stack.env, Log(stack.env["KAFKA_BOOTSTRAP_SERVERS"]), made[:N], lost, postgres)
        log = folder / "worker.log"
        try:
            live_through(world, log)
        finally:
            print("\n".join(line for line in log.read_text().splitlines()[-60:] if '"level": "info"' not in line))
        yield world


def live_through(world: World, log: Path) -> None:
    decided = [topics.DECISIONS.name]
    with process("router", world.env, log):
        with process("explainer", world.env, log) as first, process("database", world.env, log) as stored:
            world.send(world.made[: N // 2])
            wait_for(lambda: sum(world.log.ends([topics.EXPLANATIONS.name]).values()) > 0, "some are explained")
            kill(first)
            wait_for(lambda: stored_rows(world, "decisions") > 0, "some are stored")
            kill(stored)
        world.send([*world.made[N // 2 :], *world.lost])
        with process("explainer", world.env, log):
            wait_for(lambda: world.log.has_caught_up(explainer.GROUP, decided), "the second explains the rest")
        # All of it again: what a crash between delivery and commit repeats.
        forget_commits(world.log, explainer.GROUP, decided)
        forget_commits(world.log, database_sink.GROUP, STORED)
        world.postgres.stop()
        with process("explainer", world.env, log), process("database", world.env, log):
            wait_for(lambda: world.log.has_caught_up(explainer.GROUP, decided), "the third explains all of it again")
            wait_for(lambda: "database_unavailable" in log.read_text(), "the sink found no database")
            world.postgres.start()
            wait_for(lambda: world.log.has_caught_up(database_sink.GROUP, STORED), "all rows are stored again")
        wait_for(lambda: world.log.has_caught_up(router.GROUP, RAW), "the lake has it")


def test_every_decision_is_explained_and_a_repetition_has_the_same_bytes(world: World) -> None:
    found: dict[bytes, Counter[bytes]] = defaultdict(Counter)
    for one in world.log.read(topics.EXPLANATIONS.name):
        assert one.value
        found[msgspec.json.decode(one.value, type=Explanation).decision_id.encode()][one.value] += 1

    assert set(found) == {one.decision_id.encode() for one in world.made}
    assert all(len(values) == 1 and values.total() >= 2 for values in found.values())


def test_the_lake_has_each_explanation_once_beside_its_decision(world: World, trained: Trained) -> None:
    """As XGBoost gives it, on the day of its decision; the repetitions are marked."""
    import xgboost as xgb

    rows = world.lake.scan("explanations")
    matrix = xgb.DMatrix(trained.rows[:N], feature_names=list(trained.names))
    wanted = xgb.Booster(model_file=bytearray(trained.booster_json)).predict(matrix, pred_contribs=True)

    ids = rows["decision_id"].to_pylist()
    assert sorted(ids) == sorted(one.decision_id for one in world.made)
    place = [int(name.removeprefix("dec-")) for name in ids]
    assert np.array_equal(np.array(rows["contributions"].to_pylist(), np.float32), wanted[place, :-1])
    assert np.array_equal(rows["base_value"].to_numpy().astype(np.float32), wanted[place, -1])
    assert world.lake.days("explanations") == world.lake.days("decisions")
    assert world.lake.scan("explanations", duplicates=True).num_rows >= 2 * N


@pytest.mark.parametrize("table", ["decisions", "explanations"])
def test_the_database_has_exactly_the_rows_of_the_lake(world: World, table: str) -> None:
    """Each once, of the same position, whatever was killed, repeated or away."""
    query = f"SELECT account_id, decision_id, source_partition, source_offset FROM fraud.{table}"
    with psycopg.connect(world.postgres.url) as connection:
        stored = connection.execute(query.encode()).fetchall()

    kept = world.lake.scan(table).select(["account_id", "decision_id", "source_partition", "source_offset"])
    assert sorted(stored) == sorted(tuple(row.values()) for row in kept.to_pylist())
    assert len(stored) == (N + LOST if table == "decisions" else N)


def test_decisions_of_a_model_that_nobody_has_are_dead_letters_with_their_bytes(world: World) -> None:
    """In the lake they are decisions like any other."""
    letters = [letter_of(one) for one in world.log.read(topics.DEAD_LETTERS.name)]

    assert {one.reason for one in letters} == {"unknown_model"}
    assert {one.value for one in letters} == {raw(one) for one in world.lost}
    assert {one.decision_id for one in world.lost} <= set(world.lake.scan("decisions")["decision_id"].to_pylist())


def test_vectors_of_all_decisions_are_in_their_topic(world: World, trained: Trained) -> None:
    found = {
        made["decision_id"]: made["features"]
        for made in (msgspec.json.decode(one.value or b"") for one in world.log.read(topics.FEATURE_VECTORS.name))
    }

    assert found == {f"dec-{place}": nulls(row) for place, row in enumerate(trained.rows[: N + LOST])}
