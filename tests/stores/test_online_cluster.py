"""A Redis Cluster of three masters and three replicas, as the worker's store and the scorer's reader see it: whole, emptied in part, failed over."""

import asyncio
import contextlib
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from deploy.local.ports import LOOPBACK
from deploy.local.redis_cluster import Node, RedisCluster, running_cluster
from fraud_assets.erasure.online import Keys
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_cluster import ClusterReader
from fraud_assets.stores.online_port import (
    PARTS,
    NoEpoch,
    PartLost,
    StoreBehind,
    StoreUnavailable,
    Versioned,
    WentBack,
    Write,
)
from fraud_assets.stores.online_wire import SMALL, Arena
from fraud_assets.stores.publish import snapshot
from streaming.rebuild import rebuild
from streaming.settings import WorkerSettings
from tests.history import END_MS, Past
from tests.streaming.live import wait_for
from tests.waiting import until

pytestmark = [pytest.mark.scale, pytest.mark.timeout(240)]

WITHIN_S = 20.0
KEYS = [f"a{number}" for number in range(300)]
AT = "entity.account.v1/0"


@pytest.fixture
def cluster(redis_cluster: RedisCluster) -> RedisCluster:
    redis_cluster.flush()
    return redis_cluster


@contextlib.contextmanager
def filled(cluster: RedisCluster) -> Iterator[OnlineStore]:
    """`e1` is published, each key has its own name for a state, and the store says that it goes to 8."""
    store = OnlineStore.connect(cluster.url, registry())
    store.publish_epoch("e1", log="log-1", resume={AT: 7}, now_ms=1)
    store.hold("one", {AT: 7})
    assert all(store.compare_and_set("account", [Write(key, 0, key.encode()) for key in KEYS]))
    store.advance({AT: 8})
    try:
        yield store
    finally:
        store.close()


@asynccontextmanager
async def reading(cluster: RedisCluster) -> AsyncIterator[ClusterReader]:
    reader = ClusterReader(cluster.url, registry(), timeout_s=2.0)  # on a machine that others use too
    reader.start()
    try:
        await until(lambda: reader.marker and None not in reader._homes, WITHIN_S)
        yield reader
    finally:
        await reader.close()


def keys_of(cluster: RedisCluster, store: OnlineStore) -> dict[int, list[str]]:
    """By the port of the node that was made the master of their part."""
    ports = {part: cluster.master_of(store.keys.positions_key("", part)).port for part in range(PARTS)}
    found = defaultdict(list)
    for key in KEYS:
        found[ports[store.keys.part(key)]].append(key)
    return found


def test_states_come_in_the_order_asked_whichever_node_has_them(cluster: RedisCluster) -> None:
    """Beside those that were read into the same memory before; and a stranger is one."""

    async def scenario() -> None:
        async with reading(cluster) as reader:
            arena = Arena(SMALL)
            first = await reader.read([("account", "a1")], arena)
            wanted = [*KEYS, "nobody", "a1"]
            read = await reader.read([("account", key) for key in wanted], arena)
            assert read.states == [*(key.encode() for key in KEYS), None, b"a1"]
            assert read.versions.tolist() == [1] * len(KEYS) + [0, 1]
            assert read.raw[first.starts[0] : first.ends[0]].tobytes() == b"a1"
            assert (await reader.read([])).states == []
            many = await asyncio.gather(*(reader.read([("account", key)]) for key in KEYS))
            assert [one.states for one in many] == [[key.encode()] for key in KEYS]

    with filled(cluster) as store:
        assert len(keys_of(cluster, store)) == 3
        asyncio.run(scenario())


def test_a_new_epoch_is_followed_by_the_next_read_of_any_part(cluster: RedisCluster) -> None:
    async def scenario(store: OnlineStore) -> None:
        async with reading(cluster) as reader:
            await reader.read([("account", key) for key in KEYS])
            store.load("e2", "account", [(key, b"rebuilt") for key in KEYS])
            store.publish_epoch("e2", log="log-1", resume={}, now_ms=2)
            read = await reader.read([("account", key) for key in KEYS])
            assert (read.epoch, set(read.states)) == ("e2", {b"rebuilt"})
            assert store.drop_epoch("e1") == len(KEYS)
            store.withdraw("its topics were made anew.")
            with pytest.raises(NoEpoch, match="made anew"):
                await reader.read([("account", "a1")])

    with filled(cluster) as store:
        asyncio.run(scenario(store))


def test_a_node_that_was_emptied_is_no_world_of_strangers(cluster: RedisCluster) -> None:
    """Those whose states are elsewhere are read as before."""

    async def scenario(own: dict[int, list[str]], emptied: Node) -> None:
        async with reading(cluster) as reader:
            emptied.client.flushall()
            for port, keys in own.items():
                if port == emptied.port:
                    with pytest.raises(NoEpoch):
                        await reader.read([("account", keys[0])])
                else:
                    read = await reader.read([("account", key) for key in keys])
                    assert read.states == [key.encode() for key in keys]

    with filled(cluster) as store:
        own = keys_of(cluster, store)
        emptied = next(node for node in cluster.masters if node is not cluster.master_of("fs:epoch"))
        asyncio.run(scenario(own, emptied))
        with pytest.raises(PartLost):
            OnlineStore.connect(cluster.url, registry()).current_epoch()
        with pytest.raises(NoEpoch):
            store.advance({AT: 9})


def test_an_emptied_node_is_filled_again(
    cluster: RedisCluster, past: Past, valkey_server: str, tmp_path: Path, no_broker: str
) -> None:
    """Without force, for nobody is served by what is left; and all of that goes."""
    shutil.copytree(past.folder / "lake", tmp_path / "lake", ignore=shutil.ignore_patterns("_states"))
    settings = WorkerSettings(
        redis_url=valkey_server, online_store_url=cluster.url, lake_uri=str(tmp_path / "lake"),
        kafka_bootstrap_servers=no_broker,
    )  # fmt: skip
    store = OnlineStore.connect(cluster.url, past.plan.registry, timeout_s=30)
    made = snapshot(Lake(settings.lake_uri), past.plan, store, no_broker, END_MS, END_MS)
    before = states_of(cluster)
    cluster.masters[2].client.flushall()

    assert "folded from the lake" in rebuild(settings)

    assert states_of(cluster) == before
    assert len(before) == sum(report.entities for report in made.groups.values()) > 300
    assert store.current_epoch().epoch != made.marker.epoch
    assert not [
        name for node in cluster.masters for name in node.client.scan_iter() if made.marker.epoch.encode() in name
    ]
    store.close()


def states_of(cluster: RedisCluster) -> dict[bytes, bytes]:
    """Values by group and entity, whatever the epoch."""
    found = {}
    for node in cluster.masters:
        client = node.client
        for name in client.scan_iter(match="fs:{*", count=1_000):
            found[b":".join(name.split(b":", 5)[4:])] = client.get(name)
    return found


def test_a_person_is_erased_on_every_node(cluster: RedisCluster, valkey_server: str) -> None:
    """The account's states and its pairs' of every epoch, and nobody else's."""
    with filled(cluster) as store:
        for epoch in ("e0", "e1"):
            store.load(epoch, "account_device", [(f"a7|d{n}", b"own") for n in range(20)] + [("a77|d7", b"other")])
        keys = Keys(valkey_server, cluster.url, registry(), "a7")

        assert keys.count() == {"store states": 41}
        assert keys.erase() == {"store states": 41}

        assert store.read_many("account", ["a7", "a77"]) == [None, Versioned(1, b"a77")]
        assert store.read_many("account_device", ["a7|d3", "a77|d7"]) == [None, Versioned(1, b"other")]
        keys.close()


def test_nobody_is_a_stranger_while_a_part_moves_to_another_node(cluster: RedisCluster) -> None:
    """Slots are moved key by key: until it is done the part is refused, then it is read and written where it is."""

    async def scenario(store: OnlineStore) -> None:
        async with reading(cluster) as reader:
            part = store.keys.part("a1")
            own = [key for key in KEYS if store.keys.part(key) == part]
            assert len(own) > 1
            wanted, states = [("account", key) for key in own], [key.encode() for key in own]
            assert (await reader.read(wanted)).states == states
            for step in moving(cluster, store, part):
                try:
                    read = await reader.read(wanted)
                    assert read.states == states, step
                except StoreUnavailable:
                    refused.append(step)
                try:
                    assert await asyncio.to_thread(store.compare_and_set, "account", [Write("new", 1, b"")]) == [False]
                    found = await asyncio.to_thread(store.read_many, "account", own)
                    assert [state and state.packed for state in found] == states, step
                except StoreUnavailable:
                    refused.append(step)
            home = cluster.master_of(store.keys.positions_key("", part))
            await until(lambda: reader._homes[part] == (LOOPBACK, elsewhere(cluster, home).port), WITHIN_S)
            assert (await reader.read(wanted)).states == states
            await asyncio.to_thread(store.advance, {AT: 9})
            assert all(await asyncio.to_thread(store.compare_and_set, "account", [Write(key, 1, b"") for key in own]))

    refused: list[str] = []
    with filled(cluster) as store:
        asyncio.run(scenario(store))
        assert "half of the keys" in refused
        assert store.positions() == {AT: 9}
        for _ in moving(cluster, store, store.keys.part("a1"), back=True):
            pass


def elsewhere(cluster: RedisCluster, home: Node) -> Node:
    return next(node for node in cluster.masters if node is not home)


def moving(cluster: RedisCluster, store: OnlineStore, part: int, *, back: bool = False) -> Iterator[str]:
    """A part's slot from its master to another, or back; stops after each step."""
    name = store.keys.positions_key("", part)
    home = cluster.master_of(name)
    ends = [home, elsewhere(cluster, home)]
    source, target = reversed(ends) if back else ends
    slot = key_slot(name.encode())
    identities = [node.client.cluster("MYID").decode() for node in (source, target)]
    target.client.cluster("SETSLOT", slot, "IMPORTING", identities[0])
    source.client.cluster("SETSLOT", slot, "MIGRATING", identities[1])
    yield "no key"
    names = source.client.cluster("GETKEYSINSLOT", slot, 10_000)
    for step, some in (("half of the keys", names[::2]), ("all keys", names[1::2])):
        for one in some:
            source.client.execute_command("MIGRATE", LOOPBACK, target.port, one, 0, 5_000)
        yield step
    for node in (target, *(node for node in cluster.masters if node is not target)):
        node.client.cluster("SETSLOT", slot, "NODE", identities[1])
    yield "moved"


def test_a_master_that_dies_with_acknowledged_writes(tmp_path: Path) -> None:
    """Its replica, which had lost it before, takes its place without them. That is noticed, of its parts alone; nobody decides by those
    until they are folded again, and everybody else's history is read all the while.
    """
    with running_cluster(tmp_path) as cluster, filled(cluster) as store:
        own = keys_of(cluster, store)
        dying = cluster.masters[1]
        others = [key for port, keys in own.items() if port != dying.port for key in keys]
        cluster.cut_off(dying)
        assert all(store.compare_and_set("account", [Write(key, 1, b"second") for key in KEYS]))
        store.advance({AT: 9})

        told = asyncio.run(asyncio.wait_for(failing_over(cluster, store, dying, own[dying.port], others), 120))

        assert told["lost"] == len(own[dying.port]) > 50
        assert told["others refused"] == 0
        assert told["others read"] > 20
        read = store.read_many("account", KEYS)
        assert [state and state.packed for state in read] == [b"second"] * len(KEYS)
        assert not store.current_epoch().behind
        dying.start()
        wait_for(lambda: is_replica(dying), "it is the other's replica")
        assert store.read_many("account", KEYS) == read
    print(f"failover: {told}")


def is_replica(node: Node) -> bool:
    with contextlib.suppress(redis.RedisError):
        return bool(node.client.info("replication").get("master_link_status") == "up")
    return False


async def failing_over(
    cluster: RedisCluster, store: OnlineStore, dying: Node, own: list[str], others: list[str]
) -> dict[str, Any]:
    """Kill it, and do what a folder does; what readers got meanwhile."""
    seen, since_s = Counter[str](), time.monotonic()
    done = asyncio.Event()

    async def look(reader: ClusterReader, name: str, keys: list[str]) -> None:
        turn = 0
        while not done.is_set():
            turn += 1
            try:
                read = await reader.read([("account", keys[turn % len(keys)])])
                seen[f"{name} read"] += 1
                if name == "own" and read.states == [b"second"]:
                    seen["own folded"] += 1
            except StoreBehind:
                seen[f"{name} behind"] += 1
            except (NoEpoch, StoreUnavailable) as error:
                seen[f"{name} refused"] += 1
                if name == "others":
                    print(f"refused after {time.monotonic() - since_s:.1f} s: {error}")
            await asyncio.sleep(0.02)

    async with reading(cluster) as reader:
        looks = [asyncio.create_task(look(reader, name, keys)) for name, keys in (("own", own), ("others", others))]
        await asyncio.sleep(0.2)
        dying.kill()
        since_s = time.monotonic()
        noticed_s, unavailable = await asyncio.to_thread(until_noticed, store, since_s)
        found: dict[str, Any] = {"noticed_s": noticed_s, "tries in vain": unavailable}
        lost = await asyncio.to_thread(store.lost)
        assert lost == {AT: 9}
        await asyncio.to_thread(store.fall_behind, "one", lost)
        await until(lambda: seen["own behind"], WITHIN_S)
        assert seen["others behind"] == 0
        found["lost"] = await asyncio.to_thread(fold_again, store)
        behind_s = time.monotonic()
        before = seen["own folded"]
        await until(lambda: seen["own folded"] > before, WITHIN_S)
        found |= {"read again_s": round(time.monotonic() - since_s, 1), "then_s": round(time.monotonic() - behind_s, 2)}
        done.set()
        await asyncio.gather(*looks)
    return {**found, "others refused": 0, **seen}


def until_noticed(store: OnlineStore, since_s: float) -> tuple[float, int]:
    """A folder that has nothing to fold looks too."""
    unavailable = 0
    while True:
        try:
            store.advance({})
        except StoreUnavailable:
            unavailable += 1
            time.sleep(0.1)
        except WentBack:
            return round(time.monotonic() - since_s, 1), unavailable
        assert time.monotonic() - since_s < 60, "not noticed"


def fold_again(store: OnlineStore) -> int:
    """From where every part is; how many states had lost their last write."""
    assert store.positions() == {AT: 8}
    store.hold("one", {AT: 8})
    read = store.read_many("account", KEYS)
    writes = [
        Write(key, 1, b"second") for key, state in zip(KEYS, read, strict=True) if state == Versioned(1, key.encode())
    ]
    assert all(store.compare_and_set("account", writes))
    assert not store.catch_up()
    store.advance({AT: 9})
    assert store.catch_up()
    return len(writes)
