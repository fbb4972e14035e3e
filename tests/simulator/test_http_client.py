"""The lean client keeps connections, gives up in time, and names each failure in one word."""

import asyncio

import pytest

from simulator.http_client import HttpClient, HttpFailure
from simulator.ports import ApiScorer, NoVerdict
from tests.simulator.fake_api import FakeApi

REQUEST: dict[str, object] = {"transaction_id": "t1", "amount_minor": 500}


async def decide(api: FakeApi, times: int = 1, timeout_s: float = 2.0) -> list[str]:
    async with api as server, HttpClient(server.url, timeout_s=timeout_s) as client:
        scorer = ApiScorer(client)
        return [(await scorer.decide(REQUEST)).decision for _ in range(times)]


def test_connections_are_kept() -> None:
    api = FakeApi()

    assert asyncio.run(decide(api, times=20)) == ["approve"] * 20
    assert api.connections == 1


def test_a_server_that_closes_each_connection_is_served_all_the_same() -> None:
    api = FakeApi(close_each=True)

    assert asyncio.run(decide(api, times=3)) == ["approve"] * 3
    assert api.connections == 3


def test_connections_that_the_server_has_closed_meanwhile_are_not_used_again() -> None:
    """A burst opens many; what it leaves idle is closed by the server, and the next burst must not be lost on it."""

    async def bursts() -> list[str]:
        async with FakeApi(idle_s=0.05) as api, HttpClient(api.url) as client:
            scorer = ApiScorer(client)
            found = []
            for _ in range(2):
                found += [one.decision for one in await asyncio.gather(*(scorer.decide(REQUEST) for _ in range(5)))]
                for _ in range(1_000):  # until the client has heard of it
                    if all(one.reader.at_eof() for one in client._idle):
                        break
                    await asyncio.sleep(0.01)
            return found

    assert asyncio.run(bursts()) == ["approve"] * 10


def test_a_connection_long_unused_is_given_up_before_the_server_closes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.http_client._IDLE_S", 0.0)
    api = FakeApi()

    assert asyncio.run(decide(api, times=3)) == ["approve"] * 3
    assert api.connections == 3


@pytest.mark.parametrize(
    ("api", "reason"),
    [(FakeApi(status=503), "status_503"), (FakeApi(delay_s=5), "timeout"), (FakeApi(garbage=True), "bad_answer")],
)
def test_each_failure_has_its_word(api: FakeApi, reason: str) -> None:
    with pytest.raises(NoVerdict) as failure:
        asyncio.run(decide(api, timeout_s=0.2))

    assert failure.value.reason == reason


def test_nobody_listening_is_refused(free_port: int) -> None:
    async def ask() -> None:
        async with HttpClient(f"http://127.0.0.1:{free_port}") as client:
            await client.post("/predict", b"{}")

    with pytest.raises(HttpFailure) as failure:
        asyncio.run(ask())
    assert failure.value.reason == "refused"


def test_the_credential_travels_with_every_request_and_is_not_shown() -> None:
    api = FakeApi()
    client: HttpClient

    async def ask() -> None:
        nonlocal client
        async with api as server, HttpClient(server.url, credential="k1.hush") as client:
            await ApiScorer(client).decide(REQUEST)

    asyncio.run(ask())
    assert "Authorization: Bearer k1.hush" in api.heads[0]
    assert "hush" not in repr(client)


def test_an_address_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="http://host:port"):
        HttpClient("localhost:8000")
