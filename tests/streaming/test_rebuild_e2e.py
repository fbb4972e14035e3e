"""A Redis that is emptied under a live worker: noticed, degraded meanwhile, rebuilt, and equal to history."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from deploy.local.ports import held_ports
from deploy.local.stack import running
from deploy.local.topics import ensure_platform_topics
from fraud_assets.engine.plan import EnginePlan
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_port import NoEpoch
from fraud_assets.stores.publish import snapshot
from streaming import folder
from tests.streaming.events import DAY
from tests.streaming.live import ENTITY, RAW, Log, Worker, wait_for
from tests.streaming.world import World, assert_equal_to_batch, caught_up, feed, is_folding, rebuild

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

FAR_MS = 4_000_000_000_000


@pytest.fixture
def metrics_port() -> Iterator[int]:
    """The first of a worker's three, which no connection of these tests may take."""
    with held_ports(3, in_a_row=True) as ports:
        yield ports[0]


def test_a_flushed_store_is_noticed_rebuilt_and_equal_to_batch(tmp_path: Path, metrics_port: int) -> None:
    settings = {"FRAUD_LAKE_FLUSH_S": "0.5", "FRAUD_WORKER_METRICS_PORT": str(metrics_port)}
    with running(["valkey", "broker"], tmp_path, settings) as stack, ExitStack() as closing:
        env, plan = stack.env, EnginePlan(registry())
        bootstrap = env["KAFKA_BOOTSTRAP_SERVERS"]
        ensure_platform_topics(bootstrap)
        world, worker = World(env, Log(bootstrap)), Worker(env, tmp_path / "worker.log")
        lake, live = Lake(env["FRAUD_LAKE_URI"]), OnlineStore.connect(env["REDIS_URL"], plan.registry)
        closing.callback(live.close)
        assert worker.init_epoch().returncode == 0
        with worker:
            # A snapshot amid the stream, and events after it.
            feed(world, range(200))
            wait_for(lambda: world.log.has_caught_up("fraud-worker", RAW), "the lake has the first events")
            kept = snapshot(lake, plan, live, bootstrap, FAR_MS, FAR_MS - DAY)
            feed(world, range(200, 300))
            group = f"{folder.GROUP}.{kept.marker.epoch}"
            wait_for(lambda: world.log.has_caught_up(group, ENTITY), "the worker folds into the new epoch")

            client = redis.Redis.from_url(env["REDIS_URL"])
            client.flushall()
            wait_for(lambda: not is_folding(metrics_port + 1), "the loss is noticed without an event", within_s=10)
            with pytest.raises(NoEpoch):
                live.current_epoch()  # what makes a scorer degrade
            feed(world, range(300, 400))
            wait_for(lambda: world.log.has_caught_up("fraud-worker", RAW), "routing goes on meanwhile")
            assert list(client.scan_iter(match="fs:*")) == [], "nobody writes into an empty world"

            told = rebuild(worker)
            assert told.returncode == 0, told.stderr
            assert f"states of snapshot {kept.marker.epoch}" in told.stdout
            world.epoch = live.current_epoch().epoch
            wait_for(lambda: caught_up(world), "the log after the snapshot is folded")
            assert is_folding(metrics_port + 1)
            assert rebuild(worker).returncode == 1, "a store that is alive is not replaced"

            compared = assert_equal_to_batch(lake, plan, live)
            assert compared["account"] == 40
            assert set(compared) == {item.name for item in plan.groups}


def test_without_a_kept_snapshot_all_is_folded_from_the_lake(tmp_path: Path) -> None:
    """An epoch that was never snapshot is lost; and so is one whose snapshot the log has outlived."""
    with running(["valkey", "broker"], tmp_path, {"FRAUD_LAKE_FLUSH_S": "0.5"}) as stack:
        env, plan = stack.env, EnginePlan(registry())
        ensure_platform_topics(env["KAFKA_BOOTSTRAP_SERVERS"])
        world = World(env, Log(env["KAFKA_BOOTSTRAP_SERVERS"]))
        worker, lake = Worker(env, tmp_path / "worker.log"), Lake(env["FRAUD_LAKE_URI"])
        assert worker.init_epoch().returncode == 0
        with worker:
            feed(world, range(100))
            wait_for(lambda: world.log.has_caught_up("fraud-worker", RAW), "the lake has the events")
            redis.Redis.from_url(env["REDIS_URL"]).flushall()

            told = rebuild(worker)

            assert told.returncode == 0, told.stderr
            assert "folded from the lake" in told.stdout
            assert "none is kept" in told.stderr
            live = OnlineStore.connect(env["REDIS_URL"], plan.registry)
            world.epoch = live.current_epoch().epoch
            wait_for(lambda: caught_up(world), "and the log after it is folded")
            assert assert_equal_to_batch(lake, plan, live)["account"] == 40
            live.close()
