"""A Redis that is emptied under a live worker: noticed, degraded meanwhile, rebuilt, and equal to history."""

import math
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis

from deploy.local.ports import held_ports
from deploy.local.stack import running
from deploy.local.topics import ensure_platform_topics
from fraud_assets.contracts.topics import LABELS, TRANSACTIONS
from fraud_assets.engine.plan import EnginePlan
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_port import NoEpoch
from fraud_assets.stores.publish import snapshot
from streaming import folder
from streaming.metrics import EXPECTED_LATENESS_MS
from tests.streaming.events import DAY
from tests.streaming.live import ENTITY, RAW, Log, Worker, wait_for
from tests.streaming.world import (
    World,
    assert_equal_to_batch,
    caught_up,
    feed,
    is_folding,
    lake_rows,
    rebuild,
    samples,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

FAR_MS = 4_000_000_000_000


def folder_lag(port: int) -> float:
    """Records, of all partitions of all entity topics; no number before it was counted."""
    found = samples(port, "fraud_worker_lag_records")
    topics = {line.partition('topic="')[2].partition('"')[0] for line in found}
    assert topics <= set(ENTITY)
    return sum(found.values()) if topics else math.nan


class Platform(NamedTuple):
    """A worker on a broker and a store of its own. metrics_port: the folder's, after the router's. began_s: when it was made."""

    world: World
    worker: Worker
    lake: Lake
    plan: EnginePlan
    store: OnlineStore
    client: redis.Redis
    metrics_port: int
    began_s: float


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Running. Each test feeds it payments of its own, empties its store, and leaves one that is alive."""
    home = tmp_path_factory.mktemp("rebuild")
    with ExitStack() as closing:
        # The first of a worker's three, which no connection of these tests may take.
        ports = closing.enter_context(held_ports(3, in_a_row=True))
        settings = {"FRAUD_LAKE_FLUSH_S": "0.5", "FRAUD_WORKER_METRICS_PORT": str(ports[0])}
        env = closing.enter_context(running(["valkey", "broker"], home, settings)).env
        ensure_platform_topics(env["KAFKA_BOOTSTRAP_SERVERS"])
        world, plan = World(env, Log(env["KAFKA_BOOTSTRAP_SERVERS"])), EnginePlan(registry())
        worker = Worker(env, home / "worker.log")
        assert worker.init_epoch().returncode == 0
        store, client = OnlineStore.connect(env["REDIS_URL"], plan.registry), redis.Redis.from_url(env["REDIS_URL"])
        closing.callback(store.close)
        closing.callback(client.close)
        closing.enter_context(worker)
        yield Platform(world, worker, Lake(env["FRAUD_LAKE_URI"]), plan, store, client, ports[1], time.time())


def test_without_a_kept_snapshot_all_is_folded_from_the_lake(platform: Platform) -> None:
    """An epoch that was never snapshot is lost; and so is one whose snapshot the log has outlived."""
    world = platform.world
    feed(world, range(100))
    wait_for(lambda: world.log.has_caught_up("fraud-worker", RAW), "the lake has the events")
    shutil.rmtree(Path(platform.lake.uri) / "_states", ignore_errors=True)  # of the other test, if it came first
    platform.client.flushall()

    told = rebuild(platform.worker)

    assert told.returncode == 0, told.stderr
    assert "folded from the lake" in told.stdout
    assert "none is kept" in told.stderr
    world.epoch = platform.store.current_epoch().epoch
    wait_for(lambda: caught_up(world), "and the log after it is folded")
    assert assert_equal_to_batch(platform.lake, platform.plan, platform.store)["account"] == 40


def counted(port: int, name: str, of: str) -> dict[str, float]:
    """A counter's samples by their labels, those of one topic."""
    found = samples(port, f"fraud_worker_{name}_total").items()
    return {label: value for label, value in found if f'topic="{of}"' in label}


def the_scraper_hears_what_became_of_all_that_was_sent(platform: Platform) -> None:
    """The router ran all the time, and nothing was delivered to it twice; the folder started anew with the store's epoch."""
    world, router_port, raw = platform.world, platform.metrics_port - 1, TRANSACTIONS.name
    refused = {"malformed_json": world.poison, "conflicting_duplicate": world.conflicts, "future_dated": world.future}
    late = {topic: sum(not is_young(row) for row in rows) for topic, rows in kept_rows(world).items()}

    assert sum(counted(router_port, "duplicates", raw).values()) == world.copies > 0
    assert counted(router_port, "dead_letters", raw) == {
        f'fraud_worker_dead_letters_total{{reason="{why}",topic="{raw}"}}': each.total()
        for why, each in refused.items()
    }
    assert sum(counted(router_port, "quarantined", raw).values()) == world.future.total() > 0
    assert {topic: sum(counted(router_port, "late", topic).values()) for topic in late} == late
    assert late[raw] > 0 and late[LABELS.name] == 0

    folded = sum(
        sum(samples(platform.metrics_port, f"fraud_worker_{name}_total").values()) for name in ("applied", "replayed")
    )
    fresh = sum(samples(platform.metrics_port, "fraud_worker_freshness_seconds_count").values())
    waited_s = sum(samples(platform.metrics_port, "fraud_worker_freshness_seconds_sum").values())
    assert fresh == folded > 0
    # None was visible before it arrived, and none has waited longer than this test.
    assert 0 < waited_s / fresh < time.time() - platform.began_s


def kept_rows(world: World) -> dict[str, list[dict[str, Any]]]:
    """Rows of the lake by raw topic, copies among them."""
    return {rows[0]["source_topic"]: rows for name, rows in lake_rows(world).items() if rows and name != "label_facts"}


def is_young(row: dict[str, Any]) -> bool:
    return bool(row["event_time_ms"] >= row["ingested_at_ms"] - EXPECTED_LATENESS_MS)


def test_a_flushed_store_is_noticed_rebuilt_and_equal_to_batch(platform: Platform) -> None:
    world, lake, plan, live = platform.world, platform.lake, platform.plan, platform.store
    # A snapshot amid the stream, and events after it.
    feed(world, range(100, 300))
    wait_for(lambda: world.log.has_caught_up("fraud-worker", RAW), "the lake has the first events")
    kept = snapshot(lake, plan, live, world.env["KAFKA_BOOTSTRAP_SERVERS"], FAR_MS, FAR_MS - DAY)
    feed(world, range(300, 400))
    group = f"{folder.GROUP}.{kept.marker.epoch}"
    wait_for(lambda: world.log.has_caught_up(group, ENTITY), "the worker folds into the new epoch")

    platform.client.flushall()
    wait_for(lambda: not is_folding(platform.metrics_port), "the loss is noticed without an event", within_s=10)
    with pytest.raises(NoEpoch):
        live.current_epoch()  # what makes a scorer degrade
    feed(world, range(400, 500))
    wait_for(lambda: world.log.has_caught_up("fraud-worker", RAW), "routing goes on meanwhile")
    assert list(platform.client.scan_iter(match="fs:*")) == [], "nobody writes into an empty world"
    wait_for(lambda: folder_lag(platform.metrics_port) > 0, "the lag says that nothing is folded")

    told = rebuild(platform.worker)
    assert told.returncode == 0, told.stderr
    assert f"states of snapshot {kept.marker.epoch}" in told.stdout
    world.epoch = live.current_epoch().epoch
    wait_for(lambda: caught_up(world), "the log after the snapshot is folded")
    assert is_folding(platform.metrics_port)
    wait_for(lambda: folder_lag(platform.metrics_port) == 0, "the lag says that all of it is")
    assert (
        samples(platform.metrics_port, "fraud_worker_processing_seconds_count")[
            'fraud_worker_processing_seconds_count{role="folder"}'
        ]
        > 0
    )
    assert rebuild(platform.worker).returncode == 1, "a store that is alive is not replaced"
    the_scraper_hears_what_became_of_all_that_was_sent(platform)

    compared = assert_equal_to_batch(lake, plan, live)
    assert compared["account"] == 40
    assert set(compared) == {item.name for item in plan.groups}
