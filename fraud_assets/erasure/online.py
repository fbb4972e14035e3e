"""A person's keys in Redis: the states of the account and of its pairs, and the label stage's cases."""

from collections.abc import Iterable
from typing import Any

import msgspec
import redis

from fraud_assets.engine.prepare import escaped
from fraud_assets.features.registry import Registry
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_port import NoEpoch

ACCOUNT = "account_id"
# `streaming/edges/cases.py`: a case by account, NUL and transaction, and who waits for a label's delay.
CASE, WAITING = b"lf:", b"lf-due:*"
STEP = 1_000


class Keys:
    """Of one account. store_url: where the states are. Raises StoreUnavailable, redis.RedisError."""

    def __init__(self, url: str, store_url: str, registry: Registry, account_id: str) -> None:
        self._store = OnlineStore.connect(store_url, registry)
        self._client: Any = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)
        self._account_id = account_id
        self._groups = {group.name for group in registry.groups if group.entity.keys[0] == ACCOUNT}
        self._pairs = {group.name for group in registry.groups if len(group.entity.keys) > 1}

    def epoch(self) -> str:
        """Whose shared states still count the person's events; empty where there is none."""
        try:
            return self._store.current_epoch().epoch
        except NoEpoch as found:
            return found.epoch

    def count(self) -> dict[str, int]:
        return _told(len(self._states()), len(self._cases()) + sum(len(found) for _, found in self._waiting()))

    def erase(self) -> dict[str, int]:
        states, named = self._store.unlink(self._states()), self._cases()
        cases = self._client.unlink(*named) if named else 0
        waiting = sum(self._client.zrem(name, *found) for name, found in self._waiting())
        return _told(states, cases + waiting)

    def close(self) -> None:
        self._store.close()
        self._client.close()

    def _states(self) -> list[bytes]:
        return self._store.keys_where(self._is_own)

    def _is_own(self, group: str, key: str) -> bool:
        if group not in self._groups:
            return False
        return key.partition("|")[0] == escaped(self._account_id) if group in self._pairs else key == self._account_id

    def _cases(self) -> list[bytes]:
        begin = CASE + self._account_id.encode() + b"\x00"
        return [name for name in self._client.scan_iter(match=CASE + b"*", count=STEP) if name.startswith(begin)]

    def _waiting(self) -> Iterable[tuple[bytes, list[bytes]]]:
        for name in self._client.scan_iter(match=WAITING, count=STEP):
            found = [member for member, _ in self._client.zscan_iter(name, count=STEP) if self._is_named(member)]
            if found:
                yield name, found

    def _is_named(self, member: bytes) -> bool:
        return bool(msgspec.json.decode(member)[0] == self._account_id)


def _told(states: int, cases: int) -> dict[str, int]:
    return {name: count for name, count in (("store states", states), ("store cases", cases)) if count}
