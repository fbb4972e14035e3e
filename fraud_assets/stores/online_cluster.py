"""The scorer's reader of a Redis Cluster: all entities of a request in one round trip to each node that has some of them.

redis-py's cluster client says where the parts are; their states are read as those of a single server are, by a connection to each node. A node that
is gone costs those who ask for its parts their history, and nobody else, until another has taken its place.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import redis.exceptions
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from fraud_assets.features.registry import Registry
from fraud_assets.stores.online_async import (
    CONNECT_TIMEOUT_S,
    EPOCH_CHECK_S,
    RECONNECT_FIRST_S,
    RECONNECT_LAST_S,
    TIMEOUT_S,
    EntityRead,
    OnlineReader,
    StateReader,
)
from fraud_assets.stores.online_nodes import is_cluster, seeds
from fraud_assets.stores.online_port import (
    MARKER_KEY,
    PARTS,
    VERSION_BYTES,
    EpochMarker,
    KeySpace,
    NoEpoch,
    StoreBehind,
    StoreUnavailable,
    marker_prefix,
    reader_prefix,
)
from fraud_assets.stores.online_wire import SMALL, Address, Arena, Connection, Strings, packed
from fraud_assets.stores.reply_kernels import warm

# Host and port.
Home = tuple[str, int]


def reader_of(url: str, registry: Registry, timeout_s: float = TIMEOUT_S) -> StateReader:
    """Of `settings.online_store_url`."""
    return (ClusterReader if is_cluster(url) else OnlineReader)(url, registry, timeout_s)


class _Epoch(NamedTuple):
    """What reads under a marker need. prefixes: of keys, by part. asks: for a part's marker, packed."""

    marker: EpochMarker
    expected: bytes
    prefixes: list[dict[str, str]]
    asks: list[bytes]


class ClusterReader:
    """Reads packed states for one event loop. `start` connects in the background, `close` ends it."""

    def __init__(self, url: str, registry: Registry, timeout_s: float = TIMEOUT_S) -> None:
        self._seeds = [Address.of(seed) for seed in seeds(url)]
        self._keys = KeySpace(registry, PARTS)
        self._timeout_s = timeout_s
        self._connections: dict[Home, Connection] = {}
        self._homes: list[Home | None] = [None] * PARTS
        self._marker_home: Home | None = None
        self._epoch: _Epoch | None = None
        self._look = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def marker(self) -> EpochMarker | None:
        """The epoch reads are made under; None while there is no valid one or no node."""
        return self._epoch.marker if self._epoch is not None and self._connections else None

    def start(self) -> None:
        """Find the nodes, connect, and stay connected, in the background."""
        warm()
        self._task = asyncio.get_running_loop().create_task(self._keep_connected())

    async def close(self) -> None:
        while self._task is not None and not self._task.done():
            self._task.cancel()  # once may be too few: redis-py uses what is said of `wait_for` below
            await asyncio.wait([self._task], timeout=CONNECT_TIMEOUT_S)
        for connection in self._connections.values():
            connection.close()
        self._connections = {}

    async def read(self, wanted: Sequence[tuple[str, str]], into: Arena | None = None) -> EntityRead:
        """As `OnlineReader.read`. Raises also where only a part of what is wanted cannot be read."""
        into = into or Arena(SMALL)
        found = await self._read_once(wanted, into) if self._epoch else None
        if found is None:
            await self._bind()
            found = await self._read_once(wanted, into)
        if found is None:
            raise NoEpoch("a part of the keys does not vouch for the store's epoch")
        return found

    async def _read_once(self, wanted: Sequence[tuple[str, str]], into: Arena) -> EntityRead | None:
        """None if a part does not vouch for the epoch that we are bound to."""
        epoch = self._epoch
        assert epoch is not None
        places: dict[int, list[int]] = {}
        for place, (_, key) in enumerate(wanted):
            places.setdefault(self._keys.part(key), []).append(place)
        by_home: dict[Home | None, list[int]] = {}
        for part in places:
            by_home.setdefault(self._homes[part], []).append(part)
        asked = [self._ask(epoch, home, parts, places, wanted) for home, parts in by_home.items()]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        columns = np.zeros((3, len(wanted)), np.int64)
        for parts, answer in zip(by_home.values(), answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            own = [place for part in parts for place in places[part]]
            if not self._is_vouched(epoch, self._whole(answer, len(own) + len(parts)), len(own)):
                return None
            columns[:, own] = _taken(answer, len(own), into)
        starts, ends, versions = columns
        return EntityRead(into.raw, starts, ends, versions, epoch.marker.epoch)

    def _ask(
        self, epoch: _Epoch, home: Home | None, parts: Iterable[int], places: dict[int, list[int]],
        wanted: Sequence[tuple[str, str]],
    ) -> "asyncio.Future[Strings]":  # fmt: skip
        """The states of some parts, and then what vouches for them: a flush before or between cannot show an empty world. Raises StoreUnavailable."""
        states = [
            packed(("MGET", *[epoch.prefixes[part][wanted[place][0]] + wanted[place][1] for place in places[part]]))
            for part in parts
        ]
        asks = [epoch.asks[part] for part in parts]
        most = sum(len(places[part]) + 1 for part in parts)
        # A future that fails is one that is asked for; a call that fails would leave the others alone.
        try:
            connection = self._connected(home)
            return connection.fetch(b"".join(states + asks), 2 * len(asks), most, 0, Arena(SMALL), self._timeout_s)
        except StoreUnavailable as error:
            failed: asyncio.Future[Strings] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed

    def _whole(self, answer: Strings, count: int) -> Strings:
        """Raises StoreUnavailable."""
        if answer.refusal or answer.places.shape[1] != count:
            self._look.set()  # a part may have moved
            raise StoreUnavailable("online_store_refused", answer.refusal or "other replies than were asked for")
        return answer

    def _is_vouched(self, epoch: _Epoch, answer: Strings, states: int) -> bool:
        """By the strings behind its states. Raises StoreBehind."""
        for start, end in answer.places[:2, states:].T.tolist():
            said = answer.raw[start:end].tobytes()
            if said != epoch.expected:
                if said.startswith(marker_prefix(epoch.marker.epoch)):
                    raise StoreBehind(
                        "a part of the store has lost states that it had, and they are not folded again yet",
                        epoch.marker.epoch,
                    )
                return False
        return True

    async def _bind(self) -> None:
        """Take the published epoch for ours. Raises NoEpoch or StoreUnavailable."""
        (raw,) = await self._connected(self._marker_home).call([("GET", MARKER_KEY)], self._timeout_s)
        if isinstance(raw, Exception):
            self._look.set()
            raise StoreUnavailable("online_store_refused", str(raw))
        former, self._epoch = self._epoch, None
        marker = self._keys.parse_marker(raw if isinstance(raw, bytes) else None)
        if former is not None and former.marker == marker:
            self._epoch = former
            return
        name, expected = marker.epoch, reader_prefix(marker.epoch)
        self._epoch = _Epoch(
            marker,
            expected,
            [{group: self._keys.prefix(group, name, part) for group in self._keys.digests} for part in range(PARTS)],
            [packed(("GETRANGE", self._keys.marker_key(name, part), 0, len(expected) - 1)) for part in range(PARTS)],
        )

    def _connected(self, home: Home | None) -> Connection:
        """Raises StoreUnavailable."""
        connection = None if home is None else self._connections.get(home)
        if connection is None or connection.lost.done():
            raise StoreUnavailable("online_store_unreachable", "not connected")
        return connection

    async def _keep_connected(self) -> None:
        """Look where the parts are, now and then, and at once when a node is lost or says that it has not what it had."""
        cluster, pause = self._client(), RECONNECT_FIRST_S
        try:
            while True:
                self._look.clear()
                is_whole = await self._find_homes(cluster) and await self._connect()
                with contextlib.suppress(NoEpoch, StoreUnavailable):
                    await self._bind()
                pause = RECONNECT_FIRST_S if is_whole else min(2 * pause, RECONNECT_LAST_S)
                # Not `wait_for`: before Python 3.12 it forgets that it was cancelled in the turn in which it is done.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(EPOCH_CHECK_S if is_whole else pause):
                        await self._look.wait()
                await asyncio.sleep(RECONNECT_FIRST_S)  # those who are refused meanwhile are not told anything new
        finally:
            with contextlib.suppress(redis.exceptions.RedisError, OSError):
                await cluster.aclose()

    def _client(self) -> Any:
        first = self._seeds[0]
        return RedisCluster(
            startup_nodes=[ClusterNode(seed.host, seed.port) for seed in self._seeds],
            username=first.username or None,
            password=first.password or None,
            ssl=first.tls,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=CONNECT_TIMEOUT_S,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            require_full_coverage=False,
        )

    async def _find_homes(self, cluster: Any) -> bool:
        """Whether any node says where the parts are; until one does they are where they were."""
        try:
            await cluster.nodes_manager.initialize()
        except (
            redis.exceptions.RedisError,
            OSError,
            RuntimeError,
        ):  # the last is uvloop's, of a transport that is closed already
            return False
        names = [self._keys.positions_key("", part) for part in range(PARTS)]
        *self._homes, self._marker_home = [_home(cluster, name) for name in (*names, MARKER_KEY)]
        return None not in self._homes

    async def _connect(self) -> bool:
        """To the nodes that have parts; whether to all of them."""
        wanted = {home for home in (*self._homes, self._marker_home) if home is not None}
        for home, connection in list(self._connections.items()):
            if connection.lost.done() or home not in wanted:
                connection.close()
                del self._connections[home]
        missing = sorted(wanted - set(self._connections))
        first = self._seeds[0]
        made = await asyncio.gather(
            *(
                Connection.open(Address(host, port, 0, first.username, first.password, first.tls), CONNECT_TIMEOUT_S)
                for host, port in missing
            ),
            return_exceptions=True,
        )
        for home, opened in zip(missing, made, strict=True):
            if isinstance(opened, Connection):
                self._connections[home] = opened
                opened.lost.add_done_callback(lambda _: self._look.set())
            elif not isinstance(opened, StoreUnavailable):
                raise opened
        return len(self._connections) == len(wanted)


def _home(cluster: Any, name: str) -> Home | None:
    """Of the master that has a key; None where none has."""
    nodes = cluster.nodes_manager.slots_cache.get(cluster.keyslot(name))
    return (nodes[0].host, int(nodes[0].port)) if nodes else None


def _taken(answer: Strings, count: int, into: Arena) -> Any:
    """(3, count) where the states begin and end once they are copied into an arena, and their versions; all 0 of one that is not there."""
    starts, ends = answer.places[:2, :count]
    present = ends > 0
    versions = np.zeros(count, np.int64)
    if present.any():
        first, last, base = int(starts[present].min()), int(ends[present].max()), into.used
        into.put(answer.raw[first:last])
        heads = answer.raw[starts[present][:, None] + np.arange(VERSION_BYTES)]
        versions[present] = heads.view(np.int64).ravel()
        starts = np.where(present, starts - first + base + VERSION_BYTES, 0)
        ends = np.where(present, ends - first + base, 0)
    return np.stack([starts, ends, versions])
