"""What the online store knows of the entities of some payments, read in one round trip."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from fraud_assets.engine.plan import GroupPlan
from fraud_assets.engine.prepare import entity_key
from fraud_assets.stores.online_async import EntityRead, OnlineReader
from fraud_assets.stores.online_port import NoEpoch, StoreUnavailable

NO_EPOCH = "online_store_no_epoch"


class Histories(NamedTuple):
    """keys, places: of each payment and group: the entity's key, None where the payment names none, and which of `states`
    is its, -1 for none. versions: of `states`. degraded: why there are none.
    """

    keys: list[list[str | None]]
    places: list[list[int]]
    states: list[bytes]
    versions: list[int]
    epoch: str
    degraded: list[str]


class HistoryReader:
    """Reads the states of every group a service needs, each distinct entity once."""

    def __init__(self, store: OnlineReader, groups: Sequence[GroupPlan]) -> None:
        self._store = store
        self._groups = [(group.name, group.group.entity) for group in groups]

    async def read(self, events: Sequence[Any]) -> Histories:
        """Never raises for a store that is slow, gone or without an epoch: that costs the payments their history."""
        keys = [[entity_key(entity, event) for _, entity in self._groups] for event in events]
        wanted: dict[tuple[str, str], int] = {}
        places = [
            [
                -1 if key is None else wanted.setdefault((name, key), len(wanted))
                for (name, _), key in zip(self._groups, row, strict=True)
            ]
            for row in keys
        ]
        try:
            found = await self._store.read(list(wanted))
        except StoreUnavailable as error:
            return without(keys, error.reason)
        except NoEpoch:
            return without(keys, NO_EPOCH)
        return _of(keys, places, found)


def _of(keys: list[list[str | None]], places: list[list[int]], found: EntityRead) -> Histories:
    return Histories(keys, places, [state or b"" for state in found.states], found.versions, found.epoch, [])


def without(keys: list[list[str | None]], reason: str) -> Histories:
    """No history of anybody."""
    return Histories(keys, [[-1] * len(row) for row in keys], [], [], "", [reason])
