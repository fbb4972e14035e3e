"""The contract of the online store, held by the fake and by a real server alike."""

import os
import signal
from collections.abc import Iterator

import msgspec
import pytest
import redis

from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.online import KEYS_PER_SCRIPT, OnlineStore
from fraud_assets.stores.online_memory import MemoryStore
from fraud_assets.stores.online_port import (
    MARKER_KEY,
    EpochMarker,
    NoEpoch,
    OnlineStates,
    StoreUnavailable,
    UnfitStore,
    Versioned,
    WentBack,
    Withdrawn,
    Write,
)
from tests.streaming.live import wait_for


class Server:
    """One server of either kind: `join()` is another process at it, `flush()` loses everything."""

    def __init__(self, url: str | None) -> None:
        self.url = url
        self.memory: dict[str, bytes] = {}
        self.joined: list[OnlineStates] = []

    def join(self) -> OnlineStates:
        store: OnlineStates = (
            OnlineStore.connect(self.url, registry()) if self.url else MemoryStore(registry(), self.memory)
        )
        self.joined.append(store)
        return store

    def flush(self) -> None:
        self.memory.clear()
        if self.url:
            client = redis.Redis.from_url(self.url)
            client.flushall()
            client.script_flush()
            client.close()

    def copy(self) -> dict[str, bytes]:
        """Everything at this moment, as a replica or a file has it."""
        if not self.url:
            return dict(self.memory)
        with redis.Redis.from_url(self.url) as client:
            return {name.decode(): client.dump(name) for name in client.scan_iter()}

    def restore(self, copy: dict[str, bytes]) -> None:
        self.flush()
        self.memory.update(copy)
        if self.url:
            with redis.Redis.from_url(self.url) as client:
                for name, dumped in copy.items():
                    client.restore(name, 0, dumped)

    def names(self) -> list[str]:
        if not self.url:
            return list(self.memory)
        with redis.Redis.from_url(self.url) as client:
            return [name.decode() for name in client.scan_iter()]

    def put(self, key: str, value: bytes) -> None:
        self.memory[key] = value
        if self.url:
            client = redis.Redis.from_url(self.url)
            client.set(key, value)
            client.close()


@pytest.fixture(params=["memory", "valkey_server", "debian_redis"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    found = Server(None if request.param == "memory" else request.getfixturevalue(request.param))
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
