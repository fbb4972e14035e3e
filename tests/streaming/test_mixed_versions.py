"""Producers and workers of neighbouring versions on one log: everything is an event or a dead letter, and stays."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from confluent_kafka import ConsumerGroupState

from deploy.local.kafka import KAFKA
from deploy.local.services import BROKER, Service
from deploy.local.stack import running
from deploy.local.topics import ensure_platform_topics
from fraud_assets.contracts.codec import encode
from fraud_assets.contracts.topics import DEAD_LETTERS, TRANSACTIONS
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.online import OnlineStore
from streaming import router
from streaming.core.dead_letters import letter_of
from tests.streaming.events import transaction
from tests.streaming.live import Log, Worker, wait_for

NEXT = [sys.executable, str(Path(__file__).with_name("next_version.py"))]


@pytest.mark.parametrize(
    "module",
    [
        "streaming.router",
        "streaming.folder",
        "streaming.label_stage",
        "streaming.explainer",
        "streaming.database_sink",
        "api.app",
        "simulator.cli",
    ],
)
def test_no_process_starts_with_a_contract_that_breaks(module: str) -> None:
    """Neither a producer nor a consumer: it ends at once and says which field is why."""
    done = subprocess.run([*NEXT, "required", "-", module], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "IncompatibleContract: transactions.v1" in done.stderr
    assert "loyalty_tier: must be given, and was not there (version 1)" in done.stderr


@contextmanager
def next_worker(env: Mapping[str, str], log: Path) -> Iterator[None]:
    """Router and folder of the next version."""
    with ExitStack() as stack:
        out = stack.enter_context(log.open("ab"))
        processes = [
            subprocess.Popen([*NEXT, "optional", role], env={**os.environ, **env}, stdout=out, stderr=out)
            for role in ("router", "folder")
        ]
        try:
            yield
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(30)


def next_states(env: Mapping[str, str]) -> int:
    """Accounts that the store holds in the next version's states. Raises RuntimeError if it holds other states."""
    done = subprocess.run(
        [*NEXT, "optional", "count"], env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"no states of ours: {done.stderr}")
    return int(done.stdout)


def payment(number: int, *, is_next: bool = False) -> tuple[bytes, bytes]:
    """Key and bytes; those of the next version name the field that ours does not know."""
    now_ms = time.time_ns() // 1_000_000
    made = transaction(transaction_id=f"t{number}", account_id=f"a{number}", event_time_ms=now_ms)
    raw = encode(made)
    return made.account_id.encode(), raw[:-1] + b',"loyalty_tier":"gold"}' if is_next else raw


BROKERS = pytest.mark.parametrize(
    "log_server", [BROKER, pytest.param(KAFKA, marks=pytest.mark.kafka)], ids=lambda one: one.name
)


@pytest.mark.e2e
@pytest.mark.timeout(420)
@BROKERS
def test_nothing_is_lost_between_versions(log_server: Service, tmp_path: Path) -> None:
    """A producer that is upgraded too early: its events wait as dead letters until the worker is upgraded too."""
    with running(["valkey", log_server], tmp_path, {"FRAUD_LAKE_FLUSH_S": "0.3"}) as stack:
        env, log = stack.env, Log(stack.env["KAFKA_BOOTSTRAP_SERVERS"])
        ensure_platform_topics(stack.env["KAFKA_BOOTSTRAP_SERVERS"])
        lake, worker = Lake(env["FRAUD_LAKE_URI"]), Worker(env, tmp_path / "worker.log")
        assert worker.init_epoch().returncode == 0

        def send(*payments: tuple[bytes, bytes]) -> None:
            for key, raw in payments:
                log.send(TRANSACTIONS.name, key, raw)
            log.flush()

        def told(*words: str, is_next: bool) -> subprocess.CompletedProcess[str]:
            call = [*NEXT, "optional"] if is_next else [sys.executable, "-m", "streaming"]
            command = [*call, "dlq", *words]
            return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False)

        def ids(*, duplicates: bool = False) -> list[str]:
            return sorted(lake.scan("transactions", duplicates=duplicates)["transaction_id"].to_pylist())

        # The worker of today, producers of today and of tomorrow.
        early = [payment(number, is_next=True) for number in range(5, 10)]
        with worker:
            send(*map(payment, range(5)), *early, *map(payment, range(10, 12)))
            wait_for(lambda: len(ids()) == 7, "today's events are in the lake")
            wait_for(lambda: log.ends([DEAD_LETTERS.name])[DEAD_LETTERS.name, 0] == 5, "tomorrow's are dead letters")
            refused = told("replay", "--reason", "unknown_field", "--yes", is_next=False)
        letters = [letter_of(one) for one in log.read(DEAD_LETTERS.name)]
        assert sorted((one.key, one.value) for one in letters) == sorted(early)
        assert {(one.reason, one.field) for one in letters} == {("unknown_field", "loyalty_tier")}
        assert refused.returncode == 1
        assert "refused again: unknown_field" in refused.stdout

        # The worker of tomorrow reads both, and what waited is sent again.
        with next_worker(env, tmp_path / "next.log"):
            send(payment(12), payment(13, is_next=True))
            replayed = told("replay", "--reason", "unknown_field", "--yes", is_next=True)
            assert replayed.returncode == 0, replayed.stderr
            everything = sorted(f"t{number}" for number in range(14))
            wait_for(lambda: ids() == everything, "all of them are in the lake, each once")
            again = told("replay", "--reason", "unknown_field", "--yes", "--again", is_next=True)
            assert again.returncode == 0
            wait_for(lambda: len(ids(duplicates=True)) == 19, "replays of the same events are duplicates")
            assert ids() == everything
            # Another contract is another digest: its folder waits for states that are made with it.
            with pytest.raises(RuntimeError, match="states of other definitions"):
                next_states(env)
            subprocess.run([*NEXT, "optional", "snapshot"], env={**os.environ, **env}, check=True)
            send(payment(14), payment(15, is_next=True))
            wait_for(lambda: next_states(env) == 16, "and in the states")

        # Today's reader of the lake ignores tomorrow's column, and it is there.
        files = ds.dataset(lake.glob("transactions").split("/event_date")[0]).files
        tiers = [ds.dataset(name).to_table().to_pylist() for name in files]
        golden = {row["transaction_id"] for rows in tiers for row in rows if row.get("loyalty_tier") == "gold"}
        assert golden == {f"t{number}" for number in (*range(5, 10), 13, 15)}
        listed = [json.loads(line) for line in told("list", "--json", is_next=False).stdout.splitlines()]
        assert [one["replay"] for one in listed] == ["sent"] * 5


@pytest.mark.e2e
@pytest.mark.timeout(420)
def test_workers_of_two_versions_side_by_side_leave_no_hole_in_the_states(tmp_path: Path) -> None:
    """Half-way through an upgrade, with producers that are through it: an event is a dead letter, or in the lake and in the states, whichever
    router had its partition. The states are today's, of which the next version's folder keeps its hands.
    """
    with running(["valkey", "broker"], tmp_path, {"FRAUD_LAKE_FLUSH_S": "0.3"}) as stack:
        env, log = stack.env, Log(stack.env["KAFKA_BOOTSTRAP_SERVERS"])
        ensure_platform_topics(stack.env["KAFKA_BOOTSTRAP_SERVERS"])
        worker = Worker(env, tmp_path / "worker.log")
        assert worker.init_epoch().returncode == 0
        with worker, next_worker({**env, "FRAUD_WORKER_ID": "worker-1"}, tmp_path / "next.log"):
            wait_for(lambda: routers(log) == 2, "both versions route")
            both = [payment(number, is_next=number % 2 == 0) for number in range(80)]
            for key, raw in both:
                log.send(TRANSACTIONS.name, key, raw)
            log.flush()
            lake = Lake(env["FRAUD_LAKE_URI"])
            wait_for(lambda: log.has_caught_up(router.GROUP, [TRANSACTIONS.name]), "all are judged")
            kept = lake.scan("transactions")["account_id"].to_pylist()
            wait_for(lambda: accounts_with_a_state(env) == sorted(kept), "what the lake has is in the states")

        letters = [letter_of(one) for one in log.read(DEAD_LETTERS.name)]
        assert {one.source_topic for one in letters} == {TRANSACTIONS.name}, "a folder refused what a router accepted"
        assert sorted([*kept, *((one.key or b"").decode() for one in letters)]) == sorted(f"a{n}" for n in range(80))
        assert 0 < len(letters) < 40, "one router had all partitions"


def routers(log: Log) -> int:
    """Members of a settled group."""
    found = log.admin.describe_consumer_groups([router.GROUP], request_timeout=10)[router.GROUP].result(10)
    return len(found.members) if found.state is ConsumerGroupState.STABLE else 0


def accounts_with_a_state(env: Mapping[str, str]) -> list[str]:
    store = OnlineStore.connect(env["REDIS_URL"], registry())
    try:
        asked = [f"a{number}" for number in range(80)]
        found = store.read_many("account", asked)
        return sorted(name for name, state in zip(asked, found, strict=True) if state is not None)
    finally:
        store.close()
