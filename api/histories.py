"""What the online store knows of the entities of some payments, read in one round trip."""

import time
from collections.abc import Callable, Sequence
from itertools import filterfalse
from typing import Any, NamedTuple

import numpy as np

from fraud_assets.engine.plan import GroupPlan
from fraud_assets.engine.prepare import EntityKeys, entity_key
from fraud_assets.engine.request import States
from fraud_assets.stores.online_async import EntityRead, StateReader
from fraud_assets.stores.online_port import NoEpoch, StoreBehind, StoreUnavailable
from fraud_assets.stores.online_wire import Arena

NO_EPOCH = "online_store_no_epoch"
BEHIND = "online_store_behind"
TIMEOUT = "online_store_timeout"

# A state may lack what came in the second before a decision (`monitoring/stale.py`), and the worker needs most of it. Batches that
# share a busy process take as long; what they hold meanwhile of a thousand strangers is not asked for again.
FRESH_S = 0.1

# The states of a batch's first parts; it grows.
BATCH_BYTES = 1 << 20

# Of a thousand strangers.
STATES = 10_000

# View group and key.
Entity = tuple[str, str]


class Histories(NamedTuple):
    """places: of each payment and group, which of `states` is its, -1 for none. entities, versions: of `states`. degraded: why there are none."""

    entities: list[Entity]
    places: list[list[int]]
    states: States
    versions: list[int]
    epoch: str
    degraded: list[str]


class Known:
    """What one batch has read of late: nobody's state is read twice for it within FRESH_S. Of one epoch; nothing at first.

    found: places of entities among what was read. hangs: a part of the batch waited for a store in vain. The parts after it do not ask: each
    would wait as long, one after the other.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self.hangs = False
        self._now_s = now_s
        self._since_s = 0.0
        self.forget()

    def forget(self) -> None:
        self.epoch = ""
        self.found: dict[Entity, int] = {}
        self.arena = Arena(BATCH_BYTES)
        self._columns = np.empty((3, STATES), np.int64)

    def unknown(self, wanted: Sequence[Entity]) -> list[Entity]:
        """Whom to ask for. What has been known for long is forgotten."""
        now_s = self._now_s()
        if self.found and now_s - self._since_s > FRESH_S:
            self.forget()
        if not self.found:
            self._since_s = now_s
        return list(filterfalse(self.found.__contains__, wanted))

    def with_more(self, asked: Sequence[Entity], read: EntityRead, wanted: Sequence[Entity]) -> EntityRead:
        """What was asked for, and read into `arena`, is known from now on; what is known of those who are wanted."""
        first, last = len(self.found), len(self.found) + len(asked)
        if last > self._columns.shape[1]:
            self._columns = np.concatenate([self._columns, np.empty((3, last), np.int64)], axis=1)
        for column, more in zip(self._columns, (read.starts, read.ends, read.versions), strict=True):
            column[first:last] = more
        self.found.update(zip(asked, range(first, last), strict=True))
        self.epoch = read.epoch
        places = list(map(self.found.__getitem__, wanted))
        starts, ends, versions = self._columns.take(places, axis=1)
        return EntityRead(read.raw, starts, ends, versions, read.epoch)


class HistoryReader:
    """Reads the states of every group a service needs, each distinct entity once."""

    def __init__(self, store: StateReader, groups: Sequence[GroupPlan]) -> None:
        self._store = store
        self._names = [group.name for group in groups]
        self._entities = [group.group.entity for group in groups]
        self._many = EntityKeys(self._entities)

    async def read(self, events: Sequence[Any], known: Known | None = None) -> Histories:
        """Never raises for a store that is slow, gone or without an epoch: that costs the payments their history.

        known: of the batch they belong to; gets what is read.
        """
        wanted: dict[Entity, int] = {}
        places = [
            [
                -1 if key is None else wanted.setdefault((name, key), len(wanted))
                for name, key in zip(self._names, row, strict=True)
            ]
            for row in self._keys(events)
        ]
        entities = list(wanted)
        if known is not None and known.hangs:
            return without(places, TIMEOUT)
        try:
            read = await (self._store.read(entities) if known is None else self._learn(entities, known))
        except StoreUnavailable as error:
            if known is not None:
                known.hangs = error.reason == TIMEOUT
            return without(places, error.reason)
        except StoreBehind:
            return without(places, BEHIND)
        except NoEpoch:
            return without(places, NO_EPOCH)
        states = States(read.raw, read.starts, read.ends)
        return Histories(entities, places, states, read.versions.tolist(), read.epoch, [])

    def _keys(self, events: Sequence[Any]) -> list[list[str | None]]:
        """Of each event and group. Of many events group by group, which for one would take twice as long."""
        if len(events) == 1:
            return [[entity_key(entity, events[0]) for entity in self._entities]]
        return list(map(list, zip(*self._many.of(events), strict=True)))

    async def _learn(self, wanted: list[Entity], known: Known) -> EntityRead:
        """What is wanted, of which the known is not read. Raises StoreUnavailable or NoEpoch."""
        asked = known.unknown(wanted)
        read = await self._store.read(asked, known.arena)
        if known.found and read.epoch != known.epoch:  # what was known is another epoch's
            known.forget()
            asked = known.unknown(wanted)
            read = await self._store.read(asked, known.arena)
        return known.with_more(asked, read, wanted)


def without(places: list[list[int]], reason: str) -> Histories:
    """No history of anybody."""
    return Histories([], [[-1] * len(row) for row in places], States.of([]), [], "", [reason])
