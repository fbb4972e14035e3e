"""The worker on a real broker and a real Redis: killed twice, and nothing lost, doubled or reordered.

On the development broker, and with -m kafka on Apache Kafka 4.
"""

import os
import shutil
import socket
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.local.kafka import KAFKA
from deploy.local.ports import held_ports
from deploy.local.services import BROKER
from deploy.local.stack import running
from deploy.local.topics import ensure_topics
from fraud_assets.contracts import topics
from fraud_assets.contracts.topics import entity_topic
from fraud_assets.engine.plan import EnginePlan
from fraud_assets.engine.prepare import columns_from_events, entity_key, rows_of
from fraud_assets.engine.state import StateEngine
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_memory import MemoryStore
from fraud_assets.stores.publish import catch_up
from fraud_assets.stores.snapshot import entity_rows, events_until, publish_snapshot
from streaming.core.records import Record
from streaming.core.sources import SOURCES
from tests.streaming.live import RAW, Log, Worker, wait_for
from tests.streaming.world import ACCOUNTS, World, caught_up, dead_letters, facts, feed, folded, lake_rows

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

N = 600


@contextmanager
def ports_of_others() -> Iterator[int]:
    """The first of three ports in a row on which somebody listens."""
    with held_ports(3, in_a_row=True) as ports, ExitStack() as stack:
        for port in ports:
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        yield ports[0]


@pytest.fixture(scope="module", params=[BROKER, pytest.param(KAFKA, marks=pytest.mark.kafka)], ids=lambda log: log.name)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """600 transactions and what surrounds them, through a worker that is killed twice on the way.

    Somebody has its metrics ports, and it works all the same. The broker is its own, also where
    KAFKA_BOOTSTRAP_SERVERS names another: every record of the platform's topics is counted.
    """
    if request.param is KAFKA and os.environ.get("KAFKA_BOOTSTRAP_SERVERS") and not shutil.which("java"):
        pytest.skip("a worker's whole world needs a Kafka of its own, and there is no Java to start one")
    folder_of_test = tmp_path_factory.mktemp("worker")
    with ExitStack() as services:
        settings = {
            "FRAUD_LAKE_FLUSH_S": "0.5",
            "FRAUD_WORKER_METRICS_PORT": str(services.enter_context(ports_of_others())),
        }
        stack = services.enter_context(running(["valkey", request.param], folder_of_test, settings))
        log = Log(stack.env["KAFKA_BOOTSTRAP_SERVERS"])
        ensure_topics(
            stack.env["KAFKA_BOOTSTRAP_SERVERS"],
            [
                *topics.RAW_TOPICS,
                *topics.DECIDED_TOPICS,
                topics.DEAD_LETTERS,
                *(entity_topic(g.name) for g in registry().groups),
            ],
        )
        made = World(stack.env, log)
        worker = Worker(stack.env, folder_of_test / "worker.log")
        told = worker.init_epoch()
        assert told.returncode == 0, told.stderr
        made.epoch = told.stdout.split()[1]
        try:
            live_through(made, worker)
        finally:
            if worker.process is not None and worker.process.poll() is None:
                worker.kill()
            print(worker.told())
        yield made


def live_through(world: World, worker: Worker) -> None:
    worker.start()
    feed(world, range(N // 3))
    wait_for(lambda: folded(world) > 200, "some records are folded")

    worker.kill()  # all of it, between any two steps
    feed(world, range(N // 3, 2 * N // 3))
    worker.start()

    before = folded(world)
    wait_for(lambda: folded(world) > before, "the restarted worker folds")
    for name in ("router", "folder"):  # and one process at a time, which the supervisor replaces
        worker.kill_one(name)
    feed(world, range(2 * N // 3, N))

    wanted = len(world.matured) + len(world.frauds)
    wait_for(lambda: len({fact.transaction_id for fact in facts(world)}) == wanted, "every verdict became a fact")
    wait_for(lambda: caught_up(world), "all groups have committed the ends of their topics")
    assert worker.stop() == 0


def test_dead_letters_hold_exactly_the_refused_bytes(world: World) -> None:
    assert dead_letters(world) == {
        "malformed_json": world.poison,
        "conflicting_duplicate": world.conflicts,
        "future_dated": world.future,
    }


def test_the_lake_has_each_accepted_event_once_with_its_verdict(world: World) -> None:
    rows = lake_rows(world)

    told = sum(
        not row["is_duplicate"] for name in ("transactions", "activity", "profiles", "labels") for row in rows[name]
    )
    assert told == world.accepted
    ids = Counter(row["transaction_id"] for row in rows["transactions"] if not row["is_duplicate"])
    assert ids == Counter(f"t{i}" for i in range(N))
    assert sum(row["is_duplicate"] for row in rows["transactions"]) == world.copies
    facts_kept = [row["fact_id"] for row in rows["label_facts"] if not row["is_duplicate"]]
    assert sorted(facts_kept) == sorted(fact.fact_id for fact in facts(world))


def test_no_parquet_file_repeats_a_row(world: World) -> None:
    """A plain reader of the files, which knows nothing of replays, sees each row once too."""
    import pyarrow.dataset as ds

    rows = ds.dataset(Lake(world.env["FRAUD_LAKE_URI"]).glob("transactions").split("/event_date")[0]).to_table()
    at = Counter(zip(rows["source_partition"].to_pylist(), rows["source_offset"].to_pylist(), strict=True))
    assert set(at.values()) == {1}


def test_verdicts_are_those_of_the_labels_and_of_the_delay(world: World) -> None:
    remaining: Counter[tuple[str, bool]] = Counter()
    for fact in facts(world):
        remaining[fact.transaction_id, fact.is_fraud] += fact.sign

    expected = Counter({(name, False): 1 for name in world.matured} | {(name, True): 1 for name in world.frauds})
    assert +remaining == expected


def accepted_log(world: World) -> list[Record]:
    """The raw log without what was refused or is a copy, as the lake judged it, in log order."""
    kept = {
        (row["source_topic"], row["source_partition"], row["source_offset"])
        for rows in lake_rows(world).values()
        for row in rows
        if not row["is_duplicate"]
    }
    found = [one for name in RAW for one in world.log.read(name) if one[:3] in kept]
    return sorted(found, key=lambda one: (one.timestamp_ms, *one[:3]))


def test_every_state_in_redis_equals_the_log_folded_in_memory(world: World) -> None:
    """Same tiles, same newest, same position: for every entity of every group, and no entity more."""
    plan = EnginePlan(registry())
    store = OnlineStore.connect(world.env["REDIS_URL"], registry())
    log = accepted_log(world)
    for group in plan.groups:
        engine = StateEngine(plan, group)
        expected: dict[str, bytes] = {}
        for source in group.sources:
            for record in (one for one in log if one.topic == source.topic):
                event = msgspec.json.decode(record.value or b"", type=source.contract)
                key = entity_key(group.group.entity, event)
                if key is not None:
                    columns = columns_from_events(plan, source, [event], [record[:3]], [record.timestamp_ms])
                    expected[key] = engine.fold(expected.get(key), rows_of(plan, group, columns)).packed[0]
        found = store.read_many(group.name, list(expected))
        assert all(found), f"{group.name}: a state is missing"
        for key, want in expected.items():
            state = found[list(expected).index(key)]
            assert state is not None
            assert engine.at_rest(state.packed) == engine.at_rest(want), f"{group.name} {key}"
            assert engine.position(state.packed) == engine.position(want), f"{group.name} {key}"
    store.close()


def test_the_hourly_job_makes_the_workers_own_states_of_the_raw_parquet(world: World) -> None:
    """Started from nothing it arrives where the worker is, and where the worker is it has nothing to do."""
    plan = EnginePlan(registry())
    lake, live = Lake(world.env["FRAUD_LAKE_URI"]), OnlineStore.connect(world.env["REDIS_URL"], registry())
    behind = MemoryStore(registry())
    nothing = events_until(lake, plan, as_known_at_ms=0)
    publish_snapshot(behind, plan, nothing, epoch="e0", log="test", resume={}, now_ms=0)

    made, caught_up_live = catch_up(lake, plan, behind), catch_up(lake, plan, live)

    assert sum(report.applied for report in caught_up_live.values()) == 0
    events = events_until(lake, plan, as_known_at_ms=None)
    for group in plan.groups:
        engine, keys = StateEngine(plan, group), entity_rows(plan, group, events).keys
        assert made[group.name].changed == len(keys)
        pairs = zip(keys, behind.read_many(group.name, keys), live.read_many(group.name, keys), strict=True)
        for key, mine, workers in pairs:
            assert mine is not None, f"{group.name} {key}"
            assert workers is not None, f"{group.name} {key}"
            assert engine.at_rest(mine.packed) == engine.at_rest(workers.packed), f"{group.name} {key}"
            assert engine.position(mine.packed) == engine.position(workers.packed), f"{group.name} {key}"
    live.close()


def test_an_accounts_events_keep_their_order_across_partitions(world: World) -> None:
    """One account lies in one raw partition and one entity partition, and is delivered in offset order."""
    raw_partitions = defaultdict(set)
    for row in lake_rows(world)["transactions"]:
        raw_partitions[row["account_id"]].add(row["source_partition"])
    assert len(raw_partitions) == ACCOUNTS
    assert all(len(found) == 1 for found in raw_partitions.values())
    assert len(set.union(*raw_partitions.values())) > 1

    newest: dict[tuple[bytes | None, ...], int] = {}
    partition_of: dict[bytes | None, int] = {}
    first_seen: set[tuple[Any, ...]] = set()
    for one in world.log.read("entity.account.v1"):
        headers = dict(one.headers)
        at = (one.key, headers["source_topic"], headers["source_partition"])
        offset = int(headers["source_offset"] or b"")
        assert partition_of.setdefault(one.key, one.partition) == one.partition
        if (*at, offset) not in first_seen:  # a replay repeats records, and never leaves one out
            first_seen.add((*at, offset))
            assert offset > newest.get(at, -1)
            newest[at] = offset


def test_init_epoch_refuses_a_world_in_which_something_has_happened(world: World, tmp_path: Path) -> None:
    """Not even when the store is empty: that is what a lost store looks like."""
    told = Worker({**world.env, "REDIS_URL": world.env["REDIS_URL"][:-1] + "9"}, tmp_path / "log").init_epoch()

    assert told.returncode == 1
    assert "online_store_snapshot" in told.stderr


def test_the_sources_of_the_registry_are_all_routed() -> None:
    assert {source.topic for source in registry().sources} <= set(SOURCES)
