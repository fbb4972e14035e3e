"""A store filled from a kept snapshot is the store that was lost; one that would lose something is not used."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from fraud_assets.stores.lake import Lake
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_memory import MemoryStore
from fraud_assets.stores.online_port import EpochMarker, KeySpace, NoEpoch, StoreUnavailable, Versioned
from fraud_assets.stores.publish import snapshot
from fraud_assets.stores.restore import LogState, NoSnapshot, restore, why_unfit
from fraud_assets.stores.state_files import KEPT, StateFiles, StateWriter
from streaming.rebuild import NotLost, rebuild
from streaming.settings import WorkerSettings
from tests.history import END_MS, Past

LOG = LogState("lake", {})


@pytest.fixture
def live(valkey_server: str, past: Past) -> Iterator[OnlineStore]:
    client = redis.Redis.from_url(valkey_server)
    client.flushall()
    client.close()
    store = OnlineStore.connect(valkey_server, past.plan.registry, timeout_s=30)
    yield store
    store.close()


@pytest.fixture
def lake(past: Past, tmp_path: Path) -> Lake:
    """A lake of this test's own: snapshots are kept in it."""
    shutil.copytree(past.folder / "lake", tmp_path / "lake", ignore=shutil.ignore_patterns("_states"))
    return Lake(tmp_path / "lake")


def contents(url: str) -> dict[tuple[bytes, ...], bytes]:
    """Values by group and entity, whatever the epoch, versions included."""
    client: Any = redis.Redis.from_url(url)
    keys = [key for key in client.scan_iter(count=1000) if key.startswith(b"fs:") and key != b"fs:epoch"]
    values = client.mget(keys)
    client.close()
    return {tuple(key.split(b":", 4)[3:]): value for key, value in zip(keys, values, strict=True)}


def test_what_was_flushed_comes_back_to_the_last_byte(
    past: Past, lake: Lake, live: OnlineStore, valkey_server: str, no_broker: str
) -> None:
    made = snapshot(lake, past.plan, live, no_broker, END_MS, END_MS)
    before = contents(valkey_server)
    client = redis.Redis.from_url(valkey_server)
    client.flushall()
    with pytest.raises(NoEpoch):
        live.current_epoch()

    done = restore(StateFiles(lake.uri), live, past.plan.registry, LOG, END_MS)

    assert contents(valkey_server) == before
    assert done.entities == len(before) == sum(report.entities for report in made.groups.values())
    assert (done.source, done.marker.resume) == (made.marker.epoch, made.marker.resume)
    assert live.current_epoch() == done.marker
    some = next(client.scan_iter(match="fs:*:account:*"))
    assert (client.pttl(some) > 0) == (live.keys.expiry_ms("account") is not None)
    client.close()


def an_older_versions_world(url: str, past: Past) -> OnlineStore:
    """Of states in another format: the same groups by other digests, alive."""
    older = OnlineStore.connect(url, past.plan.registry)
    older.keys.digests = dict.fromkeys(older.keys.digests, "0" * 12)
    for group in older.keys.digests:
        older.load("older-1", group, [("a1", b"format 3"), ("a2", b"format 3")])
    older.publish_epoch("older-1", log="lake", resume={}, now_ms=END_MS)
    return older


def keys_of(url: str, epoch: str) -> list[bytes]:
    client: Any = redis.Redis.from_url(url)
    found = [key for key in client.scan_iter(match="fs*", count=1000) if epoch.encode() in key]
    client.close()
    return found


def test_a_snapshot_after_an_upgrade_leaves_nothing_of_the_former_versions_world(
    past: Past, lake: Lake, live: OnlineStore, valkey_server: str, no_broker: str
) -> None:
    """Nobody would ever delete it: views with lifetime windows have no expiry, and a store that is full refuses writes."""
    older = an_older_versions_world(valkey_server, past)

    made = snapshot(lake, past.plan, live, no_broker, END_MS, END_MS)

    assert keys_of(valkey_server, "older-1") == []
    assert made.dropped == 2 * len(older.keys.digests)
    assert live.current_epoch() == made.marker
    older.close()


def test_another_versions_living_store_is_rebuilt_only_by_force(
    past: Past, lake: Lake, live: OnlineStore, valkey_server: str, no_broker: str
) -> None:
    """Its scorers may still decide by it; with force it is replaced, from a kept snapshot or from the lake, and deleted."""
    snapshot(lake, past.plan, live, no_broker, END_MS, END_MS)
    older = an_older_versions_world(valkey_server, past)
    settings = WorkerSettings(redis_url=valkey_server, lake_uri=lake.uri, kafka_bootstrap_servers=no_broker)

    with pytest.raises(NotLost, match="older-1"):
        rebuild(settings)
    assert older.read_many("account", ["a1"]) == [Versioned(1, b"format 3")]

    assert "folded from the lake" in rebuild(settings, is_forced=True)
    assert keys_of(valkey_server, "older-1") == []
    with pytest.raises(NoEpoch):
        older.current_epoch()
    older.close()


def test_only_the_newest_snapshots_are_kept(past: Past, lake: Lake, no_broker: str) -> None:
    store = MemoryStore(past.plan.registry)
    made = [snapshot(lake, past.plan, store, no_broker, END_MS, END_MS + n).marker for n in range(KEPT + 1)]

    assert StateFiles(lake.uri).markers() == made[:0:-1]


def test_a_snapshot_without_its_end_is_none(tmp_path: Path, past: Past) -> None:
    """A crash while it was written."""
    files = StateFiles(str(tmp_path))
    writer = files.writer("half")
    writer.add("account", ["a1"], [b"state"])
    StateWriter._flush(writer)

    assert files.markers() == []
    with pytest.raises(NoSnapshot, match="none is kept"):
        restore(files, MemoryStore(past.plan.registry), past.plan.registry, LOG, END_MS)


def test_a_group_is_read_back_whole_and_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In files of a few states each; `account` is no prefix of `account_card` here."""
    monkeypatch.setattr("fraud_assets.stores.state_files.BYTES_PER_FILE", 10)
    files = StateFiles(str(tmp_path))
    writer = files.writer("e")
    writer.add("account", ["a", "b", "ü|c"], [b"12345", b"\x00\xff", b"12345678"])
    writer.add("account_card", ["a|c"], [b""])
    marker = EpochMarker(epoch="e", log="l", groups={})
    writer.finish(marker)

    assert files.markers() == [marker]
    account = [one for part in files.read("e", "account") for one in part]
    assert account == [("a", b"12345"), ("b", b"\x00\xff"), ("ü|c", b"12345678")]
    assert [one for part in files.read("e", "account_card") for one in part] == [("a|c", b"")]


def test_a_snapshot_that_would_lose_events_is_refused(past: Past) -> None:
    digests = KeySpace(past.plan.registry).digests
    marker = EpochMarker(epoch="e", log="one", groups=digests, resume={"t/0": 7})

    assert why_unfit(marker, digests, LogState("one", {"t/0": 7})) is None
    assert "no longer kept (t/0 begins at 8)" in str(why_unfit(marker, digests, LogState("one", {"t/0": 8})))
    assert "t/1 begins at 1" in str(why_unfit(marker, digests, LogState("one", {"t/0": 0, "t/1": 1})))
    named = msgspec.structs.replace(marker, topics={"t": "a"})
    assert why_unfit(named, digests, LogState("one", {"t/0": 0}, {"t": "a"})) is None
    assert why_unfit(named, digests, LogState("one", {"t/0": 0})) is None  # a broker that names none
    assert "t was made anew" in str(why_unfit(named, digests, LogState("one", {"t/0": 0}, {"t": "b"})))
    assert "another log" in str(why_unfit(marker, digests, LogState("two", {})))
    assert "other definitions" in str(why_unfit(marker, {**digests, "account": "x"}, LogState("one", {})))


def test_a_full_server_fails_the_load_and_publishes_nothing(live: OnlineStore, valkey_server: str) -> None:
    client = redis.Redis.from_url(valkey_server)
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreUnavailable, match="online_store_full"):
            live.load("e2", "account", [("a1", b"x"), ("a2", b"y")])
    finally:
        client.config_set("maxmemory", 0)
        client.close()
    live.load("e2", "account", [("a1", b"x")])
    with pytest.raises(NoEpoch):
        live.current_epoch()
