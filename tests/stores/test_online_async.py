"""The scorer's reader against a real server, and against servers that hang, die and lie."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_async import EntityRead, OnlineReader
from fraud_assets.stores.online_port import NoEpoch, StoreBehind, StoreUnavailable, Write
from fraud_assets.stores.online_wire import AWAKE_S, Address, Connection
from tests.waiting import until

WITHIN_S = 5.0
Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a scenario on the standard event loop, and on the one the scorer uses: their transports differ."""

    def scenario_to_end(scenario: Coroutine[Any, Any, Any]) -> Any:
        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(scenario)

    return scenario_to_end


@asynccontextmanager
async def reading(url: str, timeout_s: float = 0.5) -> AsyncIterator[OnlineReader]:
    reader = OnlineReader(url, registry(), timeout_s)
    reader.start()
    try:
        yield reader
    finally:
        await reader.close()


def test_states_and_versions_come_in_the_order_asked(run: Run, store: OnlineStore, valkey_server: str) -> None:
    """The engine takes states by place."""
    store.compare_and_set("account", [Write("a", 0, b"one")])
    store.compare_and_set("account", [Write("a", 1, b"two")])
    store.compare_and_set("card", [Write("c", 0, b"card")])

    async def scenario() -> EntityRead:
        async with reading(valkey_server) as reader:
            await until(lambda: reader.marker, WITHIN_S)
            return await reader.read([("card", "c"), ("device", "d"), ("account", "a")])

    found = run(scenario())
    assert (found.states, found.versions.tolist(), found.epoch) == ([b"card", None, b"two"], [1, 0, 2], "e1")


def test_reads_in_flight_together_do_not_mix_their_answers(run: Run, store: OnlineStore, valkey_server: str) -> None:
    """Replies are matched by order alone."""
    store.compare_and_set("ip", [Write(f"k{i}", 0, str(i).encode()) for i in range(300)])

    async def scenario() -> list[EntityRead]:
        async with reading(valkey_server) as reader:
            await until(lambda: reader.marker, WITHIN_S)
            return await asyncio.gather(*(reader.read([("ip", f"k{i}")]) for i in range(300)))

    assert [read.states for read in run(scenario())] == [[str(i).encode()] for i in range(300)]


def test_a_new_epoch_is_followed_by_the_next_read(run: Run, store: OnlineStore, valkey_server: str) -> None:
    """Publishing a snapshot interrupts nobody."""

    async def scenario() -> EntityRead:
        async with reading(valkey_server) as reader:
            await until(lambda: reader.marker, WITHIN_S)
            store.load("e2", "account", [("a", b"rebuilt")])
            store.publish_epoch("e2", log="log-1", resume={}, now_ms=2)
            return await reader.read([("account", "a")])

    found = run(scenario())
    assert (found.states, found.epoch) == ([b"rebuilt"], "e2")


def test_a_flushed_store_is_no_epoch_and_not_a_world_of_strangers(
    run: Run, store: OnlineStore, valkey_server: str
) -> None:
    """The marker is read with the states."""

    async def scenario() -> None:
        async with reading(valkey_server) as reader:
            await until(lambda: reader.marker, WITHIN_S)
            store.nodes.at("").flushall()
            with pytest.raises(NoEpoch):
                await reader.read([("account", "a")])
            assert reader.marker is None

    run(scenario())


def test_nobody_decides_by_states_that_a_store_has_lost_a_part_of(
    run: Run, store: OnlineStore, valkey_server: str
) -> None:
    """From the read that follows the word, until they are folded again."""
    store.hold("one", {"entity.account.v1/0": 0})
    store.compare_and_set("account", [Write("a", 0, b"state")])

    async def scenario() -> EntityRead:
        async with reading(valkey_server) as reader:
            await until(lambda: reader.marker, WITHIN_S)
            assert (await reader.read([("account", "a")])).states == [b"state"]
            store.fall_behind("one", {"entity.account.v1/0": 5})
            for _ in range(2):
                with pytest.raises(StoreBehind, match="lost"):
                    await reader.read([("account", "a")])
            assert reader.marker is None
            store.advance({"entity.account.v1/0": 5})
            assert store.catch_up()
            return await reader.read([("account", "a")])

    assert run(scenario()).states == [b"state"]


def test_nobody_decides_by_a_withdrawn_epoch(run: Run, store: OnlineStore, valkey_server: str) -> None:
    async def scenario() -> None:
        async with reading(valkey_server) as reader:
            await until(lambda: reader.marker, WITHIN_S)
            store.withdraw("its topics were made anew.")
            with pytest.raises(NoEpoch, match="made anew"):
                await reader.read([("account", "a")])

    run(scenario())


def test_without_a_server_reads_fail_at_once(run: Run, free_port: int) -> None:
    """A dead store costs a decision its features, not its time."""

    async def scenario() -> tuple[str, float]:
        async with reading(f"redis://127.0.0.1:{free_port}/0") as reader:
            began = time.perf_counter()
            with pytest.raises(StoreUnavailable) as refused:
                await reader.read([("account", "a")])
            return refused.value.reason, time.perf_counter() - began

    reason, took_s = run(scenario())
    assert reason == "online_store_unreachable"
    assert took_s < 0.02


class FakeServer:
    """Answers the greeting and one marker, then does with each further write what the test says."""

    def __init__(self, then: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> None:
        self.then = then
        self.connections = 0

    async def __call__(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        self.connections += 1
        await source.read(4096)
        sink.write(b"+PONG\r\n")
        while await source.read(65536):
            await self.then(sink)
        sink.close()


async def _with_fake(fake: FakeServer, test: Callable[[OnlineReader], Awaitable[None]]) -> None:
    server = await asyncio.start_server(fake, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with reading(f"redis://127.0.0.1:{port}/0", timeout_s=0.02) as reader:
        await until(lambda: reader._connection is not None, WITHIN_S)
        await test(reader)
    server.close()


def test_a_long_reply_that_is_coming_is_not_given_up(run: Run, store: OnlineStore, valkey_server: str) -> None:
    """Ours is the loop that was busy past the deadline, and the socket holds a part of the reply. A server that is itself
    without a core for some milliseconds sends nothing: then another try is needed.
    """
    keys = [("ip", f"k{i}") for i in range(400)]
    store.compare_and_set("ip", [Write(key, 0, bytes(20_000)) for _, key in keys])

    async def scenario() -> list[EntityRead]:
        found = []
        async with reading(valkey_server, timeout_s=0.05) as reader:
            for _ in range(20):
                await until(lambda: reader.marker, WITHIN_S)
                call = asyncio.create_task(reader.read(keys))
                await asyncio.sleep(0)
                time.sleep(0.1)  # noqa: ASYNC251  # what a batch does
                with contextlib.suppress(StoreUnavailable):
                    found.append(await call)
                    break
        return found

    (found,) = run(scenario())
    assert [len(state or b"") for state in found.states] == [20_000] * 400


def test_a_read_that_begins_as_another_is_late_is_a_read(run: Run, store: OnlineStore, valkey_server: str) -> None:
    """In the turn of the loop in which a deadline has come and nobody has looked at it yet: in time or not, and nothing else."""

    async def scenario() -> list[object]:
        found: list[object] = []
        async with reading(valkey_server, timeout_s=0.01) as reader:
            await until(lambda: reader.marker, WITHIN_S)
            for _ in range(100):
                first = asyncio.create_task(reader.read([("account", "a")]))
                await asyncio.sleep(0)
                time.sleep(0.011)  # noqa: ASYNC251  # past the deadline: reply and timer come in one turn
                again = [asyncio.create_task(reader.read([("account", "a")])) for _ in range(3)]
                found += await asyncio.gather(first, *again, return_exceptions=True)
        return found

    found = run(scenario())

    assert len(found) == 400
    assert [one for one in found if not isinstance(one, EntityRead | StoreUnavailable)] == []


def test_the_loop_stays_awake_for_a_reply_but_not_for_one_that_does_not_come(run: Run, store: OnlineStore) -> None:
    """A server that hangs shall not cost a core."""

    async def silence(sink: asyncio.StreamWriter) -> None:
        return

    async def scenario(reader: OnlineReader) -> None:
        connection, awake_s = reader._connection, []
        assert connection is not None
        stay_awake = connection._stay_awake

        def noted() -> None:
            awake_s.append(time.perf_counter())
            stay_awake()

        connection._stay_awake = noted  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable):
            await connection.call([("PING",)], timeout_s=0.05)
        within = [at_s for at_s in awake_s if at_s - awake_s[0] < AWAKE_S]
        assert len(awake_s) > 1
        assert len(awake_s) <= len(within) + 1  # the one that looks at the clock and goes to sleep

    run(_with_fake(FakeServer(silence), scenario))


def test_a_hung_server_costs_the_timeout_then_nothing(run: Run, store: OnlineStore) -> None:
    """After a few timeouts the connection is given up, and reads fail at once until it is back."""

    async def silence(sink: asyncio.StreamWriter) -> None:
        return

    async def scenario(reader: OnlineReader) -> None:
        began = time.perf_counter()
        with pytest.raises(StoreUnavailable) as refused:
            await reader.read([("account", "a")])
        assert refused.value.reason == "online_store_timeout"
        assert 0.015 < time.perf_counter() - began < 0.2

        async def fails() -> bool:
            with pytest.raises(StoreUnavailable) as again:
                await reader.read([("account", "a")])
            return again.value.reason == "online_store_unreachable"

        deadline = time.monotonic() + WITHIN_S
        while not await fails():
            assert time.monotonic() < deadline

    run(_with_fake(FakeServer(silence), scenario))


def test_a_server_that_is_not_redis_fails_the_read_and_is_left(run: Run, store: OnlineStore) -> None:
    """After a protocol error no later reply can be trusted to belong to its question."""

    async def nonsense(sink: asyncio.StreamWriter) -> None:
        sink.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    fake = FakeServer(nonsense)

    async def scenario(reader: OnlineReader) -> None:
        with pytest.raises(StoreUnavailable):
            await reader.read([("account", "a")])
        await until(lambda: fake.connections > 1, WITHIN_S)

    run(_with_fake(fake, scenario))


def test_it_comes_back_when_the_server_does(run: Run, store: OnlineStore, valkey_server: str) -> None:
    """CLIENT KILL stands for any lost connection."""
    store.compare_and_set("account", [Write("a", 0, b"one")])

    async def scenario() -> EntityRead:
        async with reading(valkey_server) as reader:
            await until(lambda: reader.marker, WITHIN_S)
            before = reader._connection
            store.nodes.at("").client_kill_filter(_type="normal", skipme=True)
            await until(lambda: reader._connection is not before and reader.marker, WITHIN_S)
            return await reader.read([("account", "a")])

    assert run(scenario()).states == [b"one"]


def test_a_wrong_password_never_counts_as_connected(run: Run, store: OnlineStore, valkey_server: str) -> None:
    """AUTH is part of the greeting, and its refusal closes the connection."""
    address = Address.of(valkey_server.replace("redis://", "redis://nobody:wrong@"))

    with pytest.raises(StoreUnavailable) as refused:
        run(_open(address))

    assert refused.value.reason == "online_store_refused"


async def _open(address: Address) -> None:
    await Connection.open(address, WITHIN_S)


@pytest.mark.parametrize(
    ("url", "greeting"),
    [
        ("redis://h", [("PING",)]),
        ("redis://:p%40ss@h:7/2", [("AUTH", "p@ss"), ("SELECT", 2), ("PING",)]),
        ("rediss://u:p@h", [("AUTH", "u", "p"), ("PING",)]),
    ],
)
def test_the_greeting_follows_the_url(url: str, greeting: list[tuple[object, ...]]) -> None:
    """Credentials are percent-decoded, the database selected before anything is read."""
    assert Address.of(url).greeting() == greeting


def test_another_scheme_is_refused_without_repeating_the_password() -> None:
    """The message reaches logs."""
    with pytest.raises(ValueError, match="http") as refused:
        Address.of("http://u:secret@h")
    assert "secret" not in str(refused.value)
