"""What a batch reads of the online store, against a real server."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import redis

from api.histories import FRESH_S, NO_EPOCH, Histories, HistoryReader, Known
from api.scorer import WARM_UP
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_async import EntityRead, OnlineReader
from fraud_assets.stores.online_port import MARKER_KEY, Write
from fraud_assets.stores.online_wire import Arena
from tests.waiting import until

WITHIN_S = 10.0
GROUPS = ServicePlan(EnginePlan(registry()), FRAUD_SCORING).groups


class Listening(OnlineReader):
    """An online reader that keeps what it was asked."""

    def __init__(self, url: str) -> None:
        super().__init__(url, registry(), timeout_s=WITHIN_S)
        self.asked: list[list[tuple[str, str]]] = []

    async def read(self, wanted: Sequence[tuple[str, str]], into: Arena | None = None) -> EntityRead:
        self.asked.append(list(wanted))
        return await super().read(wanted, into)


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[Listening]:
    reader = Listening(url)
    reader.start()
    try:
        await until(lambda: reader.marker, WITHIN_S)
        yield reader
    finally:
        await reader.close()


def payment(account: str, device: str) -> object:
    return msgspec.structs.replace(WARM_UP, account_id=account, device_id=device)


def state_of(histories: Histories, payment: int, group: str) -> bytes:
    place = next(number for number, plan in enumerate(GROUPS) if plan.name == group)
    raw, starts, ends = histories.states
    at = histories.places[payment][place]
    return raw[starts[at] : ends[at]].tobytes()


def test_a_batch_reads_nobodys_state_twice(store: OnlineStore, valkey_server: str) -> None:
    store.compare_and_set("account", [Write("a", 0, b"of a"), Write("b", 0, b"of b")])
    store.compare_and_set("device", [Write("d", 0, b"of d")])

    async def scenario() -> tuple[Listening, list[Histories]]:
        async with listening(valkey_server) as heard:
            reader, known = HistoryReader(heard, GROUPS), Known(lambda: 0.0)
            parts = [[payment("a", "d"), payment("b", "d")], [payment("b", "e"), payment("a", "d")]]
            return heard, [await reader.read(part, known) for part in parts]

    heard, (first, second) = asyncio.run(scenario())
    once = [name for asked in heard.asked for name in asked]
    assert len(once) == len(set(once))
    assert ("device", "e") in heard.asked[1]
    assert [state_of(first, place, "account") for place in (0, 1)] == [b"of a", b"of b"]
    assert [state_of(second, place, "account") for place in (0, 1)] == [b"of b", b"of a"]
    assert [state_of(second, place, "device") for place in (0, 1)] == [b"", b"of d"]
    assert dict(zip(second.entities, second.versions, strict=True))["account", "a"] == 1


def test_what_a_long_batch_read_at_its_beginning_is_read_again_and_not_held(
    store: OnlineStore, valkey_server: str
) -> None:
    """Its last decisions see what came meanwhile, for a state that lacks it for long is a stale read."""
    store.compare_and_set("account", [Write("a", 0, b"old")])
    times_s = [0.0, FRESH_S, 1.1 * FRESH_S]

    async def scenario() -> list[tuple[bytes, bool]]:
        async with listening(valkey_server) as heard:
            reader, known, seen = (
                HistoryReader(heard, GROUPS),
                Known(iter([0.0, *times_s]).__next__),
                [],
            )
            await reader.read([payment("once", "d")], known)
            for number in range(len(times_s)):
                histories = await reader.read([payment("a", "d")], known)
                seen.append((state_of(histories, 0, "account"), ("account", "once") in known.found))
                store.compare_and_set("account", [Write("a", number + 1, b"new")])
            return seen

    assert asyncio.run(scenario()) == [(b"old", True), (b"old", True), (b"new", False)]


def test_an_epoch_that_comes_within_a_batch_is_read_anew(store: OnlineStore, valkey_server: str) -> None:
    """Two epochs' states never make one vector."""
    store.compare_and_set("account", [Write("a", 0, b"old")])
    store.compare_and_set("device", [Write("d", 0, b"old device")])

    async def scenario() -> list[Histories]:
        async with listening(valkey_server) as heard:
            reader, known = HistoryReader(heard, GROUPS), Known(lambda: 0.0)
            first = await reader.read([payment("a", "d")], known)
            store.load("e2", "account", [("a", b"rebuilt")])
            store.publish_epoch("e2", log="log-1", resume={}, now_ms=2)
            return [first, await reader.read([payment("a", "d"), payment("b", "d")], known)]

    first, second = asyncio.run(scenario())
    assert (first.epoch, state_of(first, 0, "account"), state_of(first, 0, "device")) == ("e1", b"old", b"old device")
    assert (second.epoch, state_of(second, 0, "account"), state_of(second, 0, "device")) == ("e2", b"rebuilt", b"")


def test_a_part_whose_read_fails_goes_without_and_the_next_does_not(store: OnlineStore, valkey_server: str) -> None:
    store.compare_and_set("account", [Write("a", 0, b"of a")])

    async def scenario() -> list[Histories]:
        async with listening(valkey_server) as heard:
            reader, known = HistoryReader(heard, GROUPS), Known(lambda: 0.0)
            first = await reader.read([payment("a", "d")], known)
            with redis.Redis.from_url(valkey_server) as client:
                client.delete(MARKER_KEY)
            lost = await reader.read([payment("a", "d")], known)
            store.publish_epoch("e1", log="log-1", resume={}, now_ms=2)
            return [first, lost, await reader.read([payment("a", "d")], known)]

    first, lost, back = asyncio.run(scenario())
    assert (lost.degraded, len(lost.states.starts), set(lost.places[0])) == ([NO_EPOCH], 0, {-1})
    assert [state_of(one, 0, "account") for one in (first, back)] == [b"of a", b"of a"]
