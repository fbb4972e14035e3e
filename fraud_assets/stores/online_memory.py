"""The online store in one process's memory: a fake for tests of the worker and the snapshot.

It passes the same contract tests as the one on Redis (tests/stores/test_online.py).
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fraud_assets.features.registry import Registry
from fraud_assets.stores.online_port import (
    ABSENT,
    BEHIND,
    HOLDER,
    LAGGARD,
    MARKER_KEY,
    POSITIONS_KEY,
    PUBLISHER,
    TOPIC,
    EpochMarker,
    KeySpace,
    NoEpoch,
    Versioned,
    WentBack,
    Write,
    check_epoch_name,
    envelope,
    marker_prefix,
    opened,
    withdrawn,
)


class MemoryStore:
    """`OnlineStates` over a dict. Two objects over one dict are two processes at one server.

    Nothing expires: the store's expiry is garbage collection and must change no value.
    """

    def __init__(self, registry: Registry, server: dict[str, bytes] | None = None) -> None:
        self.server: dict[str, bytes] = {} if server is None else server
        self.keys = KeySpace(registry)
        self._epoch: str | None = None
        self._holder, self._word = "", 0
        self._said: dict[str, int] = {}

    def check(self) -> None:
        """A dict never evicts."""

    def current_epoch(self) -> EpochMarker:
        self._epoch = None
        marker = self.keys.parse_marker(self.server.get(MARKER_KEY))
        self._epoch = marker.epoch
        return marker

    def read_many(self, group: str, keys: Sequence[str]) -> list[Versioned | None]:
        if not keys:
            return []
        prefix = self.keys.prefix(group, self._bound())
        return [opened(self.server.get(prefix + key)) for key in keys]

    def compare_and_set(self, group: str, writes: Sequence[Write]) -> list[bool]:
        if not writes:
            return []
        prefix = self.keys.prefix(group, self._bound())
        self._check_held()
        return [self._write(prefix + key, expected, packed) for key, expected, packed in writes]

    def positions(self) -> dict[str, int] | None:
        held = self._held()
        return {name: at for name, at in held.items() if not name.startswith(HOLDER)} if held else None

    def hold(self, owner: str, starts: Mapping[str, int]) -> None:
        self._holder, self._word, self._said = HOLDER + owner, 0, {}
        self._say(starts)

    def advance(self, positions: Mapping[str, int]) -> None:
        self._check_held()
        self._say(positions)

    def topic_ids(self) -> dict[str, str]:
        return {name.removeprefix(TOPIC): at for name, at in self._held().items() if name.startswith(TOPIC)}

    def adopt_topics(self, ids: Mapping[str, str]) -> None:
        self._keep({**{TOPIC + name: topic_id for name, topic_id in ids.items()}, **self._held()})

    def lost(self) -> dict[str, int]:
        held = self._held()
        return {name: at for name, at in self._said.items() if held.get(name, -1) < at}

    def fall_behind(self, owner: str, lost: Mapping[str, int]) -> None:
        if lost:
            self._keep({**self._held(), LAGGARD + owner: dict(lost)})
            head, raw = marker_prefix(self._bound()), self.server[MARKER_KEY]
            self.server[MARKER_KEY] = head + BEHIND + raw[len(head) :].removeprefix(BEHIND)

    def catch_up(self) -> bool:
        held, head = self._held(), marker_prefix(self._bound())
        laggards = {name: lost for name, lost in held.items() if name.startswith(LAGGARD)}
        still = {name for name, lost in laggards.items() if any(held.get(at, -1) < end for at, end in lost.items())}
        self._keep({name: at for name, at in held.items() if name not in laggards or name in still})
        if not still:
            self.server[MARKER_KEY] = head + self.server[MARKER_KEY][len(head) :].removeprefix(BEHIND)
        return not still

    def withdraw(self, why: str) -> None:
        try:
            self.server[MARKER_KEY] = withdrawn(self.current_epoch(), why)
        except NoEpoch:
            return
        self._epoch = None

    def load(self, epoch: str, group: str, states: Sequence[tuple[str, bytes]]) -> None:
        check_epoch_name(epoch)
        prefix = self.keys.prefix(group, epoch)
        for key, packed in states:
            self.server[prefix + key] = envelope(ABSENT + 1, packed)

    def publish_epoch(
        self, epoch: str, *, log: str, resume: dict[str, int], now_ms: int, topics: Mapping[str, str] | None = None
    ) -> EpochMarker:
        marker = self.keys.marker(epoch, log, resume, now_ms, topics)
        ids = {TOPIC + name: topic_id for name, topic_id in marker.topics.items()}
        self.server[POSITIONS_KEY + epoch] = msgspec.json.encode({PUBLISHER: 0, **ids, **resume})
        self.server[MARKER_KEY] = msgspec.json.encode(marker)
        self._epoch = epoch
        return marker

    def drop_epoch(self, epoch: str) -> int:
        check_epoch_name(epoch)
        if self.server.get(MARKER_KEY, b"").startswith(marker_prefix(epoch)):
            raise ValueError(f"epoch {epoch} is the published one; publish another before dropping it")
        self.server.pop(POSITIONS_KEY + epoch, None)
        stale = [key for key in self.server if key.startswith("fs:") and key.split(":")[2:3] == [epoch]]
        for key in stale:
            del self.server[key]
        return len(stale)

    def close(self) -> None:
        """Nothing to close."""

    def _bound(self) -> str:
        epoch = self._epoch or self.current_epoch().epoch
        if not self.server.get(MARKER_KEY, b"").startswith(marker_prefix(epoch)):
            self._epoch = None
            raise NoEpoch(f"epoch {epoch} is no longer the store's. Call current_epoch() and resume from its offsets.")
        return epoch

    def _held(self) -> dict[str, Any]:
        return msgspec.json.decode(self.server.get(POSITIONS_KEY + self._bound(), b"{}"), type=dict[str, Any])

    def _keep(self, held: Mapping[str, Any]) -> None:
        self.server[POSITIONS_KEY + self._bound()] = msgspec.json.encode(held)

    def _check_held(self) -> None:
        if self._word and self._held().get(self._holder) != self._word:
            raise WentBack("the online store does not have what was written to it last")

    def _say(self, positions: Mapping[str, int]) -> None:
        held, self._word = self._held(), time.time_ns()
        further = {name: max(at, held.get(name, -1)) for name, at in positions.items()}
        self._keep({**held, **further, self._holder: self._word})
        self._said |= {name: max(at, self._said.get(name, at)) for name, at in positions.items()}

    def _write(self, key: str, expected: int, packed: bytes) -> bool:
        held = opened(self.server.get(key))
        if (held.version if held else ABSENT) != expected:
            return False
        self.server[key] = envelope(expected + 1, packed)
        return True
