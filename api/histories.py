"""What the online store knows of the entities of some payments, read in one round trip."""

import time
from collections.abc import Callable, Sequence
from itertools import filterfalse
from typing import Any, NamedTuple

from fraud_assets.engine.plan import GroupPlan
from fraud_assets.engine.prepare import EntityKeys, entity_key
from fraud_assets.stores.online_async import EntityRead, OnlineReader
from fraud_assets.stores.online_port import NoEpoch, StoreBehind, StoreUnavailable

NO_EPOCH = "online_store_no_epoch"
BEHIND = "online_store_behind"
TIMEOUT = "online_store_timeout"

# A state may lack what came in the second before a decision (`monitoring/stale.py`), and the worker needs most of it. Batches that
# share a busy process take as long; what they hold meanwhile of a thousand strangers is not asked for again.
FRESH_S = 0.1

# View group and key.
Entity = tuple[str, str]


class Histories(NamedTuple):
    """places: of each payment and group, which of `states` is its, -1 for none. entities, versions: of `states`. degraded: why there are none."""

    entities: list[Entity]
    places: list[list[int]]
    states: list[bytes]
    versions: list[int]
    epoch: str
    degraded: list[str]


class Known:
    """What one batch has read of late: nobody's state is read twice for it within FRESH_S. Of one epoch; nothing at first.

    hangs: a part of the batch waited for a store in vain. The parts after it do not ask: each would wait as long, one after the other.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self.epoch, self.hangs = "", False
        self.found: dict[Entity, tuple[bytes | None, int]] = {}
        self._now_s = now_s
        self._since_s = 0.0

    def unknown(self, wanted: Sequence[Entity]) -> list[Entity]:
        """Whom to ask for. What has been known for long is forgotten."""
        now_s = self._now_s()
        if now_s - self._since_s > FRESH_S:
            self.found.clear()
        if not self.found:
            self._since_s = now_s
        return list(filterfalse(self.found.__contains__, wanted))

    def with_more(self, asked: Sequence[Entity], read: EntityRead, wanted: Sequence[Entity]) -> EntityRead:
        """What was asked for is known from now on; what is known of those who are wanted."""
        self.epoch = read.epoch
        self.found.update(zip(asked, zip(read.states, read.versions, strict=True), strict=True))
        found = list(map(self.found.__getitem__, wanted))
        return EntityRead([state for state, _ in found], [version for _, version in found], self.epoch)


class HistoryReader:
    """Reads the states of every group a service needs, each distinct entity once."""

    def __init__(self, store: OnlineReader, groups: Sequence[GroupPlan]) -> None:
        self._store = store
        self._names = [group.name for group in groups]
        self._entities = [group.group.entity for group in groups]
        self._many = EntityKeys(self._entities)

    async def read(self, events: Sequence[Any], known: Known | None = None) -> Histories:
        """Never raises for a store that is slow, gone or without an epoch: that costs the payments their history.

        known: of the batch they belong to; gets what is read.
        """
        keys = self._keys(events)
        wanted: dict[Entity, int] = {}
        places = [
            [
                -1 if key is None else wanted.setdefault((name, key), len(wanted))
                for name, key in zip(self._names, row, strict=True)
            ]
            for row in keys
        ]
        if known is not None and known.hangs:
            return without(places, TIMEOUT)
        try:
            read = await (self._store.read(list(wanted)) if known is None else self._learn(list(wanted), known))
        except StoreUnavailable as error:
            if known is not None:
                known.hangs = error.reason == TIMEOUT
            return without(places, error.reason)
        except StoreBehind:
            return without(places, BEHIND)
        except NoEpoch:
            return without(places, NO_EPOCH)
        return Histories(list(wanted), places, [state or b"" for state in read.states], read.versions, read.epoch, [])

    def _keys(self, events: Sequence[Any]) -> list[list[str | None]]:
        """Of each event and group. Of many events group by group, which for one would take twice as long."""
        if len(events) == 1:
            return [[entity_key(entity, events[0]) for entity in self._entities]]
        return list(map(list, zip(*self._many.of(events), strict=True)))

    async def _learn(self, wanted: list[Entity], known: Known) -> EntityRead:
        """What is wanted, of which the known is not read. Raises StoreUnavailable or NoEpoch."""
        asked = known.unknown(wanted)
        read = await self._store.read(asked)
        if known.found and read.epoch != known.epoch:  # what was known is another epoch's
            known.found.clear()
            asked = known.unknown(wanted)
            read = await self._store.read(asked)
        return known.with_more(asked, read, wanted)


def without(places: list[list[int]], reason: str) -> Histories:
    """No history of anybody."""
    return Histories([], [[-1] * len(row) for row in places], [], [], "", [reason])
