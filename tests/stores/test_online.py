"""The contract of the online store, held by the fake and by a real server alike."""

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import redis
from redis.crc import key_slot

from deploy.local.ports import LOOPBACK
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.online import KEYS_PER_SCRIPT, TIMEOUT_S, OnlineStore
from fraud_assets.stores.online_memory import MemoryStore
from fraud_assets.stores.online_nodes import OneServer, nodes_of, seeds
from fraud_assets.stores.online_port import (
    MARKER_KEY,
    PARTS,
    EpochMarker,
    KeySpace,
    NoEpoch,
    OnlineStates,
    PartLost,
    StoreUnavailable,
    UnfitStore,
    Versioned,
    WentBack,
    Withdrawn,
    Write,
)
from fraud_assets.stores.publish import held
from tests.streaming.live import wait_for


class Server:
    """A store of any kind: `join()` is another process at it, `flush()` loses everything. servers: one, or a cluster's masters; none: memory."""

    def __init__(self, *servers: str, parts: int = 1, url: str = "") -> None:
        self.servers, self.parts, self.url = servers, parts, url
        self.memory: dict[str, bytes] = {}
        self.joined: list[OnlineStates] = []

    def join(self) -> OnlineStates:
        self.joined.append(self._join())
        return self.joined[-1]

    def _join(self) -> OnlineStates:
        if not self.servers:
            return MemoryStore(registry(), self.memory)
        if self.url:
            return OnlineStore.connect(self.url, registry())
        return OnlineStore(OneServer.connect(self.servers[0], TIMEOUT_S), KeySpace(registry(), self.parts))

    def clients(self) -> Iterator[Any]:
        for server in self.servers:
            with redis.Redis.from_url(server) as client:
                yield client

    def flush(self) -> None:
        self.memory.clear()
        for client in self.clients():
            client.flushall()
            client.script_flush()

    def copy(self) -> list[dict[str, bytes]]:
        """Everything at this moment, as a replica or a file has it."""
        if not self.servers:
            return [dict(self.memory)]
        return [{name.decode(): client.dump(name) for name in client.scan_iter()} for client in self.clients()]

    def restore(self, copy: list[dict[str, bytes]]) -> None:
        self.flush()
        self.memory.update(copy[0])
        for client, own in zip(self.clients(), copy, strict=False):
            for name, dumped in own.items():
                client.restore(name, 0, dumped)

    def names(self) -> list[str]:
        if not self.servers:
            return list(self.memory)
        return [name.decode() for client in self.clients() for name in client.scan_iter()]

    def put(self, key: str, value: bytes) -> None:
        self.memory[key] = value
        if self.servers:
            nodes_of(self.url or self.servers[0], TIMEOUT_S).at(key).set(key, value)


KINDS = ["memory", "valkey_server", "debian_redis", "in parts", pytest.param("redis_cluster", marks=pytest.mark.scale)]


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    match request.param:
        case "memory":
            found = Server()
        case "in parts":
            found = Server(request.getfixturevalue("valkey_server"), parts=4)
        case "redis_cluster":
            cluster = request.getfixturevalue("redis_cluster")
            masters = [f"redis://{LOOPBACK}:{node.port}" for node in cluster.masters]
            found = Server(*masters, parts=PARTS, url=cluster.url)
        case name:
            found = Server(request.getfixturevalue(name))
    found.flush()
    yield found
    for store in found.joined:
        store.close()


@pytest.fixture
def store(server: Server) -> OnlineStates:
    """A store whose epoch `e1` is published and which is bound to it."""
    joined = server.join()
    joined.publish_epoch("e1", log="log-1", resume={"entity.account.v1/0": 7}, now_ms=1)
    return joined


def test_both_implementations_have_the_shape_of_the_port(store: OnlineStates) -> None:
    """A method missing from one would only be noticed by whoever calls it."""
    assert isinstance(store, OnlineStates)


def test_unknown_entity_reads_as_none_and_its_first_write_expects_version_0(store: OnlineStates) -> None:
    """ABSENT is a version like any other: two first writers cannot both win."""
    assert store.read_many("account", ["a"]) == [None]

    first, second = store.compare_and_set("account", [Write("a", 0, b"one"), Write("a", 0, b"two")])

    assert (first, second) == (True, False)
    assert store.read_many("account", ["a"]) == [Versioned(1, b"one")]


def test_write_with_the_version_read_raises_it_by_one(store: OnlineStates) -> None:
    """The version counts writes, so a reader can tell how a state got there."""
    store.compare_and_set("account", [Write("a", 0, b"one")])

    assert store.compare_and_set("account", [Write("a", 1, b"two")]) == [True]

    assert store.read_many("account", ["a"]) == [Versioned(2, b"two")]


def test_stale_writer_is_refused_and_changes_nothing(server: Server, store: OnlineStates) -> None:
    """A paused owner that wakes up must not overwrite what its successor folded."""
    zombie = server.join()
    zombie.current_epoch()
    store.compare_and_set("card", [Write("c", 0, b"one")])
    store.compare_and_set("card", [Write("c", 1, b"two")])

    assert zombie.compare_and_set("card", [Write("c", 1, b"zombie"), Write("d", 0, b"new")]) == [False, True]

    assert store.read_many("card", ["c", "d"]) == [Versioned(2, b"two"), Versioned(1, b"new")]


def test_groups_do_not_share_keys(store: OnlineStates) -> None:
    """A device and an account may have the same identifier."""
    store.compare_and_set("account", [Write("x", 0, b"account")])

    assert store.read_many("device", ["x"]) == [None]


def test_batch_larger_than_one_script_keeps_its_order(store: OnlineStates) -> None:
    """Answers belong to writes by place, across script boundaries."""
    count = 2 * KEYS_PER_SCRIPT + 3
    store.compare_and_set("ip", [Write(f"k{i}", 0, b"old") for i in range(0, count, 2)])

    made = store.compare_and_set("ip", [Write(f"k{i}", 0, f"v{i}".encode()) for i in range(count)])

    assert made == [i % 2 == 1 for i in range(count)]
    values = store.read_many("ip", [f"k{i}" for i in range(count)])
    assert values == [Versioned(1, f"v{i}".encode() if i % 2 else b"old") for i in range(count)]


def test_any_bytes_survive(store: OnlineStates) -> None:
    """Packed states are binary; keys may hold any text an identifier may."""
    packed = bytes(range(256)) * 40

    store.compare_and_set("event", [Write("é:*|{x}\n", 0, packed), Write("empty", 0, b"")])

    assert store.read_many("event", ["é:*|{x}\n", "empty"]) == [Versioned(1, packed), Versioned(1, b"")]


def test_empty_batches_need_no_server(server: Server) -> None:
    """A micro-batch without entities of a group asks nothing, even without an epoch."""
    store = server.join()

    assert store.read_many("account", []) == []
    assert store.compare_and_set("account", []) == []


def test_without_a_marker_nothing_is_read_or_written(server: Server) -> None:
    """A flushed store must not pass for a world of new customers."""
    store = server.join()

    with pytest.raises(NoEpoch, match="online_store_snapshot"):
        store.current_epoch()
    with pytest.raises(NoEpoch):
        store.read_many("account", ["a"])
    with pytest.raises(NoEpoch):
        store.compare_and_set("account", [Write("a", 0, b"one")])


def test_a_flush_after_binding_is_noticed_by_the_next_read_and_the_next_write(
    server: Server, store: OnlineStates
) -> None:
    """The marker is read with the states and compared with the writes, not just at start."""
    store.compare_and_set("account", [Write("a", 0, b"one")])
    other = server.join()
    other.current_epoch()
    server.flush()

    with pytest.raises(NoEpoch):
        store.read_many("account", ["a"])
    with pytest.raises(NoEpoch):
        other.compare_and_set("account", [Write("a", 0, b"one")])


def test_writer_of_a_former_epoch_is_refused_until_it_binds_again(server: Server, store: OnlineStates) -> None:
    """Binding again is what gives it the offsets to resume from."""
    worker = server.join()
    worker.current_epoch()
    store.load("e2", "account", [("a", b"rebuilt")])
    store.publish_epoch("e2", log="log-1", resume={"entity.account.v1/0": 99}, now_ms=2)

    with pytest.raises(NoEpoch):
        worker.compare_and_set("account", [Write("a", 0, b"late")])

    assert worker.current_epoch().resume == {"entity.account.v1/0": 99}
    assert worker.read_many("account", ["a"]) == [Versioned(1, b"rebuilt")]


def test_loaded_states_are_invisible_until_their_epoch_is_published(store: OnlineStates) -> None:
    """A snapshot half written is never read."""
    store.compare_and_set("account", [Write("a", 0, b"live")])

    store.load("e2", "account", [("a", b"rebuilt")])

    assert store.read_many("account", ["a"]) == [Versioned(1, b"live")]


def test_dropping_an_epoch_deletes_its_keys_and_no_others(store: OnlineStates) -> None:
    """Also where an entity's own identifier looks like another epoch's key."""
    store.compare_and_set("account", [Write("a", 0, b"old"), Write("b", 0, b"old")])
    store.load("e2", "account", [("a", b"new"), ("x:e1:account:a", b"new")])
    store.publish_epoch("e2", log="log-1", resume={}, now_ms=2)

    assert store.drop_epoch("e1") == 2

    assert store.read_many("account", ["a", "x:e1:account:a"]) == [Versioned(1, b"new"), Versioned(1, b"new")]


def test_the_published_epoch_cannot_be_dropped(store: OnlineStates) -> None:
    """Deleting the world under its readers is a rebuild, not a clean-up."""
    with pytest.raises(ValueError, match="published"):
        store.drop_epoch("e1")


def test_states_of_other_definitions_are_no_epoch_for_us(server: Server) -> None:
    """Their keys carry another digest: every entity would look new."""
    digests = {group.name: group.digest[:12] for group in registry().groups}
    marker = EpochMarker(epoch="e1", log="log-1", groups={**digests, "card": "0" * 12})
    server.put(MARKER_KEY, msgspec.json.encode(marker))

    with pytest.raises(NoEpoch, match=r"card@.*store: 000000000000") as found:
        server.join().current_epoch()

    assert found.value.epoch == "e1", "a rebuild must know what it replaces"


def test_a_marker_that_is_no_marker_is_no_epoch(server: Server) -> None:
    """Whatever else wrote that key, it did not vouch for a world."""
    server.put(MARKER_KEY, b"hello")

    with pytest.raises(NoEpoch, match="no epoch marker"):
        server.join().current_epoch()


@pytest.mark.parametrize("epoch", ["", "a b", 'e"1', "e:1", "*", "x" * 65])
def test_an_epoch_name_that_could_break_keys_is_refused(store: OnlineStates, epoch: str) -> None:
    """It is part of every key and of a glob."""
    with pytest.raises(ValueError, match="epoch"):
        store.publish_epoch(epoch, log="log-1", resume={}, now_ms=1)


def test_a_server_that_evicts_is_refused_at_start(valkey_server: str) -> None:
    """An evicted entity reads as a new one, which no check downstream could tell."""
    client = redis.Redis.from_url(valkey_server)
    store = OnlineStore.connect(valkey_server, registry())
    store.check()
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(UnfitStore, match="noeviction"):
            store.check()
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.close()
        store.close()


def test_a_full_server_refuses_the_write_with_a_word_for_it(valkey_server: str) -> None:
    """noeviction means writes fail when memory is full; the worker must see that, not lose it."""
    client = redis.Redis.from_url(valkey_server)
    store = OnlineStore.connect(valkey_server, registry())
    store.publish_epoch("e1", log="log-1", resume={}, now_ms=1)
    client.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(StoreUnavailable) as refused:
            store.compare_and_set("account", [Write("a", 0, b"x" * 2_000_000)])
    finally:
        client.config_set("maxmemory", "0")
        client.close()
        store.close()
    assert refused.value.reason == "online_store_full"


def test_an_absent_server_is_unavailable_at_once(free_port: int) -> None:
    """No retries: the worker's own loop decides when to try again."""
    store = OnlineStore.connect(f"redis://127.0.0.1:{free_port}/0", registry())

    with pytest.raises(StoreUnavailable) as refused:
        store.current_epoch()

    assert refused.value.reason == "online_store_unreachable"


def test_only_groups_that_may_be_forgotten_expire(valkey_server: str) -> None:
    """A lifetime window never ends, so its key never does."""
    client = redis.Redis.from_url(valkey_server)
    client.flushall()
    store = OnlineStore.connect(valkey_server, registry())
    store.publish_epoch("e1", log="log-1", resume={}, now_ms=1)
    store.keys._expiry_ms["card"] = 60_000

    store.compare_and_set("card", [Write("c", 0, b"one")])
    store.compare_and_set("account", [Write("a", 0, b"one")])

    assert 0 < client.pttl(store.keys.prefix("card", "e1") + "c") <= 60_000
    assert client.pttl(store.keys.prefix("account", "e1") + "a") == -1
    client.close()
    store.close()


def test_positions_only_grow(server: Server, store: OnlineStates) -> None:
    store.hold("one", {"entity.account.v1/0": 3, "entity.account.v1/1": 0})
    assert store.positions() == {"entity.account.v1/0": 7, "entity.account.v1/1": 0}
    store.advance({"entity.account.v1/0": 9})

    other = server.join()
    other.hold("two", {"entity.account.v1/0": 7, "entity.account.v1/2": 3})

    assert other.positions() == {"entity.account.v1/0": 9, "entity.account.v1/1": 0, "entity.account.v1/2": 3}
    store.advance({"entity.account.v1/0": 8})  # a former owner that wakes late; and the other's word is not its own
    assert other.positions() == {"entity.account.v1/0": 9, "entity.account.v1/1": 0, "entity.account.v1/2": 3}


def test_a_store_that_lost_our_last_word_takes_nothing_from_us(server: Server, store: OnlineStates) -> None:
    """A replica promoted too early: what is written after a loss would hide it, for a state takes older events for applied."""
    store.hold("one", {"entity.account.v1/0": 0})
    copy = server.copy()
    store.compare_and_set("account", [Write("a", 0, b"first")])
    store.advance({"entity.account.v1/0": 8})

    server.restore(copy)

    with pytest.raises(WentBack):
        store.compare_and_set("account", [Write("a", 0, b"second")])
    with pytest.raises(WentBack):
        store.advance({"entity.account.v1/0": 9})
    assert server.join().read_many("account", ["a"]) == [None]
    assert server.join().positions() == {"entity.account.v1/0": 7}


def test_a_new_start_goes_on_from_what_the_store_has(server: Server, store: OnlineStates) -> None:
    store.hold("one", {})
    copy = server.copy()
    store.advance({"entity.account.v1/0": 1})
    server.restore(copy)

    store.hold("one", {"entity.account.v1/0": 0})

    assert store.compare_and_set("account", [Write("a", 0, b"again")]) == [True]


def test_a_store_that_lost_positions_is_behind_until_it_has_them_again(server: Server, store: OnlineStates) -> None:
    """Of everybody who lost some; and writers go on meanwhile, for somebody must fold them again."""
    store.hold("one", {"entity.account.v1/0": 7})
    other = server.join()
    other.hold("two", {"entity.account.v1/1": 0})
    copy = server.copy()
    store.advance({"entity.account.v1/0": 9})
    other.advance({"entity.account.v1/1": 4})
    server.restore(copy)

    assert store.lost() == {"entity.account.v1/0": 9}
    store.fall_behind("one", store.lost())
    other.fall_behind("two", other.lost())
    store.fall_behind("one", store.lost())  # its next process finds it again
    assert server.join().current_epoch().behind
    assert not store.catch_up()

    successor = server.join()
    successor.hold("one", {"entity.account.v1/0": 7, "entity.account.v1/1": 0})
    assert successor.compare_and_set("account", [Write("a", 0, b"again")]) == [True]
    successor.advance({"entity.account.v1/0": 9})
    assert not successor.catch_up()
    successor.advance({"entity.account.v1/1": 5})
    assert successor.catch_up()
    assert not server.join().current_epoch().behind
    assert successor.positions() == {"entity.account.v1/0": 9, "entity.account.v1/1": 5}


def test_a_store_that_lost_nothing_is_never_behind(server: Server, store: OnlineStates) -> None:
    """A restart, with the same offsets or with later ones, is no loss."""
    store.hold("one", {"entity.account.v1/0": 7})
    store.advance({"entity.account.v1/0": 9})

    store.fall_behind("one", store.lost())

    assert store.lost() == {}
    assert not server.join().current_epoch().behind
    assert store.catch_up()


def test_a_withdrawn_epoch_is_nobodys(server: Server, store: OnlineStates) -> None:
    """Its states are there, and no writer and no reader takes them for the world, of this version or the one before."""
    store.hold("one", {})
    other = server.join()
    other.read_many("account", ["a"])

    other.withdraw("its topics were made anew.")
    other.withdraw("and once more.")

    with pytest.raises(Withdrawn, match="e1 was withdrawn: its topics were made anew") as found:
        server.join().current_epoch()
    assert found.value.epoch == "e1"
    with pytest.raises(NoEpoch):
        store.compare_and_set("account", [Write("a", 0, b"one")])
    with pytest.raises(NoEpoch):
        store.advance({"entity.account.v1/0": 9})
    store.publish_epoch("e2", log="log-1", resume={}, now_ms=2)
    store.drop_epoch("e1")
    assert not [name for name in server.names() if "e1" in name]


def test_an_epoch_keeps_the_ids_of_its_topics(server: Server, store: OnlineStates) -> None:
    """Those it was published with, and of others the first that somebody read."""
    store.publish_epoch("e2", log="log-1", resume={"entity.card.v1/0": 3}, now_ms=2, topics={"entity.card.v1": "a"})

    store.adopt_topics({"entity.card.v1": "b", "entity.account.v1": "c"})
    server.join().adopt_topics({"entity.account.v1": "d"})

    assert server.join().topic_ids() == {"entity.card.v1": "a", "entity.account.v1": "c"}
    assert store.positions() == {"entity.card.v1/0": 3}
    assert server.join().current_epoch().topics == {"entity.card.v1": "a"}


def test_positions_go_with_their_epoch(server: Server, store: OnlineStates) -> None:
    store.hold("one", {"entity.account.v1/0": 5})
    store.publish_epoch("e2", log="log-1", resume={}, now_ms=2)

    assert store.positions() == {}
    store.drop_epoch("e1")
    assert not [name for name in server.names() if "e1" in name]


def test_a_store_that_answers_too_late_has_not_gone_back(valkey_server: str) -> None:
    """It took our word, and we gave up waiting: the next one follows it, without a restart of the folder."""
    with redis.Redis.from_url(valkey_server) as client:
        client.flushall()
        pid = int(client.info("server")["process_id"])
        store = OnlineStore.connect(valkey_server, registry(), timeout_s=0.2)
        store.publish_epoch("e1", log="log-1", resume={}, now_ms=1)
        store.hold("one", {"entity.account.v1/0": 7})

        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnavailable):
                store.advance({"entity.account.v1/0": 8})
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_for(lambda: (store.positions() or {})["entity.account.v1/0"] == 8, "the word is taken late")

        store.compare_and_set("account", [Write("a", 0, b"next")])
        store.advance({"entity.account.v1/0": 9})
        assert store.positions() == {"entity.account.v1/0": 9}
        store.close()


# ------------------------------------------------------------------------------------ in parts


@pytest.fixture
def parted(valkey_server: str) -> Iterator[Server]:
    """Four parts on one server, which is what a node of a cluster has."""
    found = Server(valkey_server, parts=4)
    found.flush()
    yield found
    for store in found.joined:
        store.close()


@pytest.fixture
def in_parts(parted: Server) -> OnlineStore:
    """Bound to `e1`; k0 to k9 have a state, and some of each part are among them."""
    store = parted.join()
    assert isinstance(store, OnlineStore)
    store.publish_epoch("e1", log="log-1", resume={"entity.account.v1/0": 7}, now_ms=1)
    store.hold("one", {"entity.account.v1/0": 7})
    assert {store.keys.part(key) for key in KEYS} == set(range(4))
    assert all(store.compare_and_set("account", [Write(key, 0, b"state") for key in KEYS]))
    store.advance({"entity.account.v1/0": 9})
    return store


KEYS = [f"k{number}" for number in range(10)]


def own(store: OnlineStore, part: int) -> list[str]:
    return [key for key in KEYS if store.keys.part(key) == part]


def drop(parted: Server, part: int) -> None:
    """What a node of a cluster forgets that has only this part."""
    for client in parted.clients():
        for name in client.scan_iter(match=f"*{{{part:02}}}*"):
            client.delete(name)


def test_all_keys_of_a_part_share_one_hash_tag_and_so_one_node(parted: Server, in_parts: OnlineStore) -> None:
    names = [name for name in parted.names() if name != MARKER_KEY]
    slots: dict[str, set[int]] = {}
    for name in names:
        tag = name[name.index("{") + 1 : name.index("}")]
        slots.setdefault(tag, set()).add(key_slot(name.encode()))

    assert set(slots) == {f"{part:02}" for part in range(4)}
    assert all(len(found) == 1 for found in slots.values())


def test_an_account_and_its_pairs_are_in_one_part() -> None:
    """A payment then asks few nodes."""
    keys = KeySpace(registry(), PARTS)

    assert {keys.part(f"a1{rest}") for rest in ("", "|d9", "|e5|x")} == {keys.part("a1")}
    assert len({keys.part(f"a{number}") for number in range(1_000)}) == PARTS
    assert KeySpace(registry()).part("a1") == 0


def test_a_part_that_is_gone_is_no_world_of_strangers(parted: Server, in_parts: OnlineStore) -> None:
    """A node was emptied: its part is refused to readers and writers, and the store says that it must be filled again."""
    drop(parted, 2)

    assert in_parts.read_many("account", own(in_parts, 1)) == [Versioned(1, b"state")] * len(own(in_parts, 1))
    with pytest.raises(NoEpoch):
        in_parts.read_many("account", own(in_parts, 2))
    with pytest.raises(PartLost, match="1 of 4 parts of epoch e1") as found:
        parted.join().current_epoch()
    assert found.value.epoch == "e1"
    assert held(parted.join()) == ("e1", False), "a rebuild need not be forced"
    with pytest.raises(NoEpoch):
        in_parts.compare_and_set("account", [Write(key, 1, b"next") for key in own(in_parts, 2)])
    assert [name for name in parted.names() if "{02}" in name] == []


def test_what_is_left_of_an_epoch_whose_marker_is_gone_is_known_by_its_name(
    parted: Server, in_parts: OnlineStore
) -> None:
    """Its node was emptied, and the others hold states that nobody would ever delete."""
    for client in parted.clients():
        client.delete(MARKER_KEY)

    with pytest.raises(PartLost, match="fs:epoch is absent, and parts of epoch e1"):
        parted.join().current_epoch()
    assert held(parted.join()) == ("e1", False)
    with pytest.raises(NoEpoch):
        OnlineStore(OneServer.connect(parted.servers[0], TIMEOUT_S), KeySpace(registry(), 4)).read_many("account", KEYS)

    store = parted.join()
    store.publish_epoch("e2", log="log-1", resume={}, now_ms=2)
    assert store.drop_epoch("e1") == len(KEYS)
    assert not [name for name in parted.names() if "e1" in name]


def test_a_part_that_went_back_is_behind_and_the_others_are_not(parted: Server, in_parts: OnlineStore) -> None:
    """Nodes fail over alone. Their writer is refused, goes back to what every part has, and only what was lost is folded again."""
    copy = parted.copy()
    in_parts.compare_and_set("account", [Write(key, 1, b"second") for key in KEYS])
    in_parts.advance({"entity.account.v1/0": 12})
    drop(parted, 3)
    for client in parted.clients():
        for name, dumped in copy[0].items():
            if "{03}" in name:
                client.restore(name, 0, dumped)

    with pytest.raises(WentBack):
        in_parts.compare_and_set("account", [Write(own(in_parts, 3)[0], 1, b"third")])
    assert in_parts.positions() == {"entity.account.v1/0": 9}
    assert in_parts.lost() == {"entity.account.v1/0": 12}
    in_parts.fall_behind("one", in_parts.lost())
    marked = [
        name
        for client in parted.clients()
        for name in client.scan_iter(match="fs-epoch:*")
        if b"behind" in client.get(name)
    ]
    assert marked == [b"fs-epoch:{03}:e1"]
    assert parted.join().current_epoch().behind

    successor = parted.join()
    successor.hold("one", {"entity.account.v1/0": 9})
    versions = [(state or Versioned(0, b"")).version for state in successor.read_many("account", KEYS)]
    assert versions == [1 if key in own(in_parts, 3) else 2 for key in KEYS]
    assert all(successor.compare_and_set("account", [Write(key, 1, b"second") for key in own(in_parts, 3)]))
    assert not successor.catch_up()
    successor.advance({"entity.account.v1/0": 12})
    assert successor.catch_up()
    assert not parted.join().current_epoch().behind


def test_a_new_epoch_is_seen_only_when_every_part_vouches_for_it(parted: Server, in_parts: OnlineStore) -> None:
    """And until it is, the former one is served by every part, so that publishing interrupts nobody."""
    reader, writer = parted.join(), parted.join()
    reader.current_epoch()
    rebuilding = Watched(parted.servers[0], 4)
    seen = rebuilding.seen = list[list[Versioned | None]]()
    rebuilding.look = lambda: seen.append(reader.read_many("account", KEYS))
    store = OnlineStore(rebuilding, KeySpace(registry(), 4))
    store.load("e2", "account", [(key, b"rebuilt") for key in KEYS])
    seen.clear()

    store.publish_epoch("e2", log="log-1", resume={}, now_ms=2)

    assert len(seen) > 2
    assert all(read == [Versioned(1, b"state")] * len(KEYS) for read in seen[:-1])
    with pytest.raises(NoEpoch):
        reader.read_many("account", KEYS)
    assert reader.read_many("account", KEYS) == [Versioned(1, b"rebuilt")] * len(KEYS)
    assert writer.current_epoch().epoch == "e2"
    store.close()


class Watched(OneServer):
    """Somebody looks each time before a server is asked."""

    def __init__(self, url: str, _: int) -> None:
        super().__init__(redis.Redis.from_url(url))
        self.seen: list[Any] = []
        self.look: Callable[[], object] = lambda: None

    def at(self, name: str) -> Any:
        self.look()
        return super().at(name)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("redis+cluster://h:7,i:8", ["redis://h:7", "redis://i:8"]),
        ("rediss+cluster://u:p%40@h:7,i:8/0", ["rediss://u:p%40@h:7", "rediss://u:p%40@i:8"]),
    ],
)
def test_a_clusters_address_names_some_of_its_nodes(url: str, found: list[str]) -> None:
    assert seeds(url) == found
