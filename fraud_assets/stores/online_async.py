"""The scorer's reader of the online store: all entities of a request in one round trip.

It never waits for a server that is known to be gone: while there is no connection every read fails at
once, and a task of its own keeps trying. So a dead store costs a decision its features, not its time.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from fraud_assets.features.registry import Registry
from fraud_assets.stores.online_port import (
    ABSENT,
    MARKER_KEY,
    VERSION_BYTES,
    EpochMarker,
    KeySpace,
    NoEpoch,
    StoreBehind,
    StoreUnavailable,
    reader_prefix,
)
from fraud_assets.stores.online_wire import SMALL, Address, Arena, Bytes, Connection, Places, packed
from fraud_assets.stores.reply_kernels import warm

TIMEOUT_S = 0.020  # a read takes 0.2 ms; a hundred times that and the decision goes without
CONNECT_TIMEOUT_S = 1.0
RECONNECT_FIRST_S = 0.05
RECONNECT_LAST_S = 0.5  # so that a server that is back is used within a second
# A worker that publishes a new epoch is noticed by the reads themselves; this is for readiness of a
# scorer that gets no requests.
EPOCH_CHECK_S = 1.0


class EntityRead(NamedTuple):
    """Entities in the order asked: where their states lie in raw, eight bytes of which are behind the last, and nothing and ABSENT for an unknown one."""

    raw: Bytes
    starts: Places
    ends: Places
    versions: Places
    epoch: str

    @property
    def states(self) -> list[bytes | None]:
        """None for an unknown entity."""
        found = zip(self.starts.tolist(), self.ends.tolist(), self.versions.tolist(), strict=True)
        return [None if version == ABSENT else self.raw[start:end].tobytes() for start, end, version in found]


class StateReader(Protocol):
    """What a scorer has of an online store; see `OnlineReader`, and `online_cluster.py` for a cluster's."""

    @property
    def marker(self) -> EpochMarker | None: ...
    def start(self) -> None: ...
    async def close(self) -> None: ...
    async def read(self, wanted: Sequence[tuple[str, str]], into: Arena | None = None) -> EntityRead: ...


class OnlineReader:
    """Reads packed states for one event loop. `start` connects in the background, `close` ends it."""

    def __init__(self, url: str, registry: Registry, timeout_s: float = TIMEOUT_S) -> None:
        self._address = Address.of(url)
        self._keys = KeySpace(registry)
        self._timeout_s = timeout_s
        self._connection: Connection | None = None
        self._marker: EpochMarker | None = None
        self._expected = self._ask_marker = b""
        self._prefixes: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def marker(self) -> EpochMarker | None:
        """The epoch reads are made under; None while there is no valid one or no server."""
        return self._marker if self._connection is not None else None

    def start(self) -> None:
        """Connect, and stay connected, in the background."""
        warm()
        self._task = asyncio.get_running_loop().create_task(self._keep_connected())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._drop()

    async def read(self, wanted: Sequence[tuple[str, str]], into: Arena | None = None) -> EntityRead:
        """States of (group, entity key) pairs. Raises StoreUnavailable or NoEpoch.

        into: memory for them and those read before, which stay where they are; nobody else may be reading into it.

        The marker travels with the states; if it names another epoch than we thought, one more
        round trip reads from that one.
        """
        into = into or Arena(SMALL)
        found = await self._read_once(wanted, into) if self._marker else None
        if found is None:
            await self._bind()
            found = await self._read_once(wanted, into)
        if found is None:
            raise NoEpoch("the store's epoch changed twice within one read")
        return found

    async def _read_once(self, wanted: Sequence[tuple[str, str]], into: Arena) -> EntityRead | None:
        """None if the epoch is no longer the one we are bound to."""
        assert self._marker is not None
        epoch, prefixes, expected = self._marker.epoch, self._prefixes, self._expected
        # The marker after the states: a flush before or between them cannot show an empty world.
        states = packed(("MGET", *[prefixes[group] + key for group, key in wanted])) if wanted else b""
        n = len(wanted)
        found = await self._connected().fetch(
            states + self._ask_marker, 2 if wanted else 1, n + 1, VERSION_BYTES, into, self._timeout_s
        )
        starts, ends, versions = found.places
        if found.refusal or len(starts) != n + 1:
            raise StoreUnavailable("online_store_refused", found.refusal or "other replies than were asked for")
        if found.raw[starts[n] : ends[n]].tobytes() != expected:
            return None
        return EntityRead(found.raw, starts[:n], ends[:n], versions[:n], epoch)

    async def _bind(self) -> None:
        """Take the published epoch for ours. Raises NoEpoch or StoreUnavailable."""
        (raw,) = await self._connected().call([("GET", MARKER_KEY)], self._timeout_s)
        if isinstance(raw, Exception):
            raise StoreUnavailable("online_store_refused", str(raw))
        self._marker = None
        marker = self._keys.parse_marker(raw if isinstance(raw, bytes) else None)
        if marker.behind:
            raise StoreBehind("the store has lost states that it had, and they are not folded again yet", marker.epoch)
        self._prefixes = {group: self._keys.prefix(group, marker.epoch) for group in self._keys.digests}
        self._expected = reader_prefix(marker.epoch)
        self._ask_marker = packed(("GETRANGE", MARKER_KEY, 0, len(self._expected) - 1))
        self._marker = marker

    def _connected(self) -> Connection:
        """Raises StoreUnavailable."""
        if self._connection is None:
            raise StoreUnavailable("online_store_unreachable", "not connected")
        return self._connection

    async def _keep_connected(self) -> None:
        pause = RECONNECT_FIRST_S
        while True:
            try:
                self._connection = await Connection.open(self._address, CONNECT_TIMEOUT_S)
            except StoreUnavailable:
                await asyncio.sleep(pause)
                pause = min(2 * pause, RECONNECT_LAST_S)
                continue
            pause = RECONNECT_FIRST_S
            await self._watch_epoch(self._connection)
            self._drop()

    async def _watch_epoch(self, connection: Connection) -> None:
        """Until the connection is lost."""
        while not connection.lost.done():
            with contextlib.suppress(NoEpoch, StoreUnavailable):
                await self._bind()
            await asyncio.wait([connection.lost], timeout=EPOCH_CHECK_S)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._marker = None
