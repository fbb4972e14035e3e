"""What pricing writes down: as it was answered, once, with its chances; and never lost with the process that said it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import redis
from litestar import Litestar
from litestar.testing import TestClient

from api.pricing.decide import redrawn
from api.pricing.metrics import PricingMetrics
from api.pricing.price_log import PriceLog
from api.pricing.runtime import rules_of
from api.pricing.settings import PricingSettings
from api.pricing.store import PriceStore
from api.shared import Shared
from fraud_assets.contracts import codec, topics
from fraud_assets.contracts.prices import PriceDecision, PricedInterval
from fraud_assets.stores.online import OnlineStore
from tests.api.pricing.world import NOON_MS, activities, asked, fold_event, outcome, runtime, served
from tests.api.world import Producer, until

OWED = "fraud:price:owed"
LONG_AFTER_MS = 10**15


@pytest.fixture
def producer() -> Producer:
    return Producer()


@pytest.fixture
def client(
    producer: Producer, store: OnlineStore, valkey_server: str, tmp_path: Path
) -> Iterator[TestClient[Litestar]]:
    with served(runtime(tmp_path, valkey_server, producer)) as one:
        until(lambda: one.get("/health/ready").status_code == 200)
        fold_event(store, activities(NOON_MS))
        yield one


def decisions(producer: Producer) -> list[PriceDecision]:
    return [codec.decode(PriceDecision, raw, max_bytes=2**18) for topic, _, raw in producer.sent if topic == topics.PRICE_DECISIONS.name]  # fmt: skip


def outcomes(producer: Producer) -> list[PricedInterval]:
    return [codec.decode(PricedInterval, raw) for topic, _, raw in producer.sent if topic == topics.PRICE_OUTCOMES.name]


def test_a_decision_is_logged_as_it_was_answered_and_can_be_made_again(client: TestClient[Litestar], producer: Producer) -> None:  # fmt: skip
    said = client.post("/price", json=asked()).json()

    (made,) = decisions(producer)
    assert (made.price_minor, made.event_time_ms, made.event_id) == (said["price_minor"], NOON_MS, "e1")
    assert [one.propensity for one in made.choices] == [one["propensity"] for one in said["choices"]]
    assert redrawn(rules_of(PricingSettings()), made) == said["multiplier"]
    assert {key for _, key, _ in producer.sent} == {b"e1"}


def test_each_price_and_each_outcome_is_logged_once(client: TestClient[Litestar], producer: Producer) -> None:
    price = client.post("/price", json={"events": [asked(), asked()]}).json()["recommendations"][0]["price_minor"]
    for _ in range(2):
        client.post("/price", json=asked())
        client.post("/price/outcome", json=outcome(price_minor=price))

    (made,), (sold,) = decisions(producer), outcomes(producer)
    assert sold.decision_id == made.decision_id
    assert (sold.tickets_sold, sold.visitors, sold.source, sold.price_minor) == (7, 100, "posted", price)


def test_what_the_broker_has_is_owed_no_more(client: TestClient[Litestar], producer: Producer, valkey_server: str) -> None:  # fmt: skip
    with redis.Redis.from_url(valkey_server) as server:
        producer.silent = True
        client.post("/price", json=asked())
        assert server.zcard(OWED) == 1

        producer.silent = False

        until(lambda: server.zcard(OWED) == 0)


@pytest.mark.parametrize("trouble", ["full", "silent"])
def test_what_a_process_leaves_is_sent_by_another(
    producer: Producer, store: OnlineStore, valkey_server: str, tmp_path: Path, trouble: str
) -> None:
    with served(runtime(tmp_path, valkey_server, producer)) as one:
        until(lambda: one.get("/health/ready").status_code == 200)
        fold_event(store, activities(NOON_MS))
        setattr(producer, trouble, True)
        said = one.post("/price", json=asked()).json()
        one.post("/price/outcome", json=outcome(price_minor=said["price_minor"]))
    other = Producer()

    asyncio.run(_with_log(valkey_server, other, lambda log: log.sweep()))

    (made,), (sold,) = decisions(other), outcomes(other)
    assert sold.decision_id == made.decision_id and made.price_minor == said["price_minor"]
    with redis.Redis.from_url(valkey_server) as server:
        assert server.zcard(OWED) == 0


def test_a_price_without_redis_is_logged_too(tmp_path: Path, producer: Producer) -> None:
    with served(runtime(tmp_path, "redis://127.0.0.1:9/0", producer)) as alone:
        alone.post("/price", json=asked(current_price_minor=5_170))

    (made,) = decisions(producer)
    assert (made.price_minor, made.fallback, made.choices) == (5_170, ["posteriors_unreachable"], [])


async def _with_log(url: str, producer: Producer, act: Callable[[PriceLog], Awaitable[None]]) -> None:
    settings, shared = PricingSettings(), Shared(url, 1.0)
    log = PriceLog(
        producer, PriceStore(shared, settings.multipliers, 1.0, 1.0), PricingMetrics(), lambda: LONG_AFTER_MS
    )
    log.start()
    try:
        await act(log)
    finally:
        await log.close()
        await shared.close()
