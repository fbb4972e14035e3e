"""The market that prices are tried in: seeded, the same visitors for every policy, and rails watched from outside."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from simulator.http_client import HttpFailure
from simulator.pricing_market import (
    MAX_CHANGE,
    MULTIPLIERS,
    MarketSpec,
    Policy,
    Run,
    Selling,
    Sold,
    best_fixed,
    broken_rails,
    events_of,
    play,
    price_at,
)
from simulator.pricing_policies import Fixed, SellThrough, Service
from simulator.pricing_report import Tolerance, headline, learning_table, price_path, write_pricing_report
from simulator.pricing_results import THIRDS, Learning, best_of, earned

SPEC = MarketSpec(seed=3, events=6, hours=60, selling_hours=(30, 50))
EVENTS = events_of(SPEC)


def played(policy: Policy) -> Run:
    return asyncio.run(play(SPEC, EVENTS, policy, lambda hour: None))


class Constant:
    """One multiplier, whatever happens."""

    def __init__(self, multiplier: float) -> None:
        self._multiplier = multiplier

    async def prices(self, selling: Sequence[Selling]) -> list[int]:
        return [price_at(one.event, self._multiplier) for one in selling]

    async def hear(self, sold: Sequence[Sold]) -> None: ...


class Leaping(Constant):
    """From one end of the ladder to the other, an hour about."""

    def __init__(self) -> None:
        super().__init__(1.0)

    async def prices(self, selling: Sequence[Selling]) -> list[int]:
        return [price_at(one.event, MULTIPLIERS[-(one.hour % 2)]) for one in selling]


def test_the_same_seed_is_the_same_market() -> None:
    again = events_of(SPEC)

    assert [(one.capacity, one.sensitivity, one.visitors.tolist()) for one in again] == [
        (one.capacity, one.sensitivity, one.visitors.tolist()) for one in EVENTS
    ]
    assert played(Fixed()).revenue_minor.tolist() == played(Fixed()).revenue_minor.tolist()
    assert events_of(MarketSpec(seed=4, events=6, hours=60))[0].capacity != EVENTS[0].capacity


def test_who_buys_at_a_price_buys_at_a_lower_one() -> None:
    for event in EVENTS:
        for hour in (event.opens, event.starts - 1):
            wanted = [event.wanted(SPEC.seed, hour, multiplier) for multiplier in MULTIPLIERS]
            assert wanted == sorted(wanted, reverse=True)


def test_visitors_buy_as_often_as_the_demand_says() -> None:
    event = max(EVENTS, key=lambda one: int(one.visitors.sum()))
    hours = range(event.opens, event.starts)

    sold = np.array([[event.wanted(seed, hour, 1.2) for hour in hours] for seed in range(20)]).sum()

    assert sold / (20 * event.visitors.sum()) == pytest.approx(event.demand(1.2), rel=0.05)


def test_nobody_sells_more_than_there_is_nor_at_other_hours() -> None:
    run = played(Constant(0.9))

    for event in EVENTS:
        assert run.tickets[event.number] <= event.capacity
        assert not run.revenue_minor[event.number, : event.opens].any()
        assert not run.revenue_minor[event.number, event.starts :].any()


def test_the_best_fixed_price_earns_what_it_does_when_it_is_played() -> None:
    best = [best_fixed(SPEC, event) for event in EVENTS]
    every = {multiplier: played(Constant(multiplier)).revenue_minor for multiplier in MULTIPLIERS}

    for event, (multiplier, revenue) in zip(EVENTS, best, strict=True):
        assert revenue.tolist() == every[multiplier][event.number].tolist()
        assert revenue.sum() == max(one[event.number].sum() for one in every.values())


def test_the_market_sees_a_broken_rail() -> None:
    """A leap from one hour to the next, and a price beyond the cap; a first price is no leap."""
    event = EVENTS[0]

    assert not played(Constant(1.5)).broken
    assert "within an hour" in played(Leaping()).broken[0]
    assert not played(SellThrough()).broken
    assert "beyond floor or cap" in broken_rails(event, 2 * event.base_price_minor, 2 * event.base_price_minor)[0]


def test_the_rule_moves_with_sales() -> None:
    event = EVENTS[0]
    half = event.opens + (event.starts - event.opens) // 2

    def priced(sold: int) -> int:
        selling = Selling(event, half, event.base_price_minor, event.capacity - sold, sold, 0, 0)
        return asyncio.run(SellThrough().prices([selling]))[0]

    assert priced(0) < event.base_price_minor < priced(event.capacity)
    assert priced(event.capacity // 2) == event.base_price_minor
    assert priced(event.capacity) <= (1 + MAX_CHANGE) * event.base_price_minor


def test_regret_is_what_the_best_fixed_prices_earned_more() -> None:
    best = best_of(SPEC, EVENTS)
    run = played(Fixed())

    (found,) = earned(EVENTS, best.revenue_minor, {"fixed": run})

    assert found.share == pytest.approx(run.revenue_minor.sum() / best.revenue_minor.sum())
    assert found.regret[-1] == pytest.approx(1.0 - found.share)
    assert len(found.regret) == SPEC.hours


def test_the_regret_of_learning_is_zero_at_the_best_price_and_knows_no_luck() -> None:
    event = EVENTS[0]
    best = max(MULTIPLIERS, key=lambda multiplier: multiplier * event.demand(multiplier))
    hours = [event.opens, (event.opens + event.starts) // 2, event.starts - 1]

    def regret(multiplier: float) -> list[float]:
        sold = [Sold(event, hour, round(event.base_price_minor * multiplier), 0, 10) for hour in hours]
        return Learning.of(frozenset({event.number}), sold).shares

    assert regret(best) == pytest.approx([0.0] * THIRDS, abs=1e-3)
    lost = 1.0 - 0.7 * event.demand(0.7) / (best * event.demand(best))
    assert regret(0.7) == pytest.approx([lost] * THIRDS, abs=1e-3)


def test_the_error_of_a_fall_is_what_it_varies_by() -> None:
    """Against many drawings of as many events: each loses its own share, the last third a half less."""
    rng, falls, errors = np.random.default_rng(4), [], []
    for _ in range(400):
        there = rng.uniform(50.0, 150.0, (25, THIRDS))
        lost = there * np.array([0.06, 0.05, 0.03]) * rng.gamma(2.0, 0.5, (25, THIRDS))
        fall, error = Learning(lost, there).fall(0, 2)
        falls.append(fall)
        errors.append(error)

    assert np.mean(falls) == pytest.approx(0.03, abs=0.001)
    assert np.mean(errors) == pytest.approx(float(np.std(falls)), rel=0.1)


class Answers:
    """In the client's place: keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, list[dict[str, object]]]]] = []

    async def post(self, path: str, body: bytes, headers: str = "") -> bytes:
        told = json.loads(body)
        self.sent.append((path, told))
        if path == "/price":
            said = [
                {"price_minor": one["current_price_minor"] or one["base_price_minor"], "fallback": ["sold_out"]}
                for one in told["events"]
            ]
            return json.dumps({"recommendations": said}).encode()
        return json.dumps({"outcomes": [{"counted": False, "why": "nobody_came"} for _ in told["outcomes"]]}).encode()


def test_the_service_is_told_nothing_of_the_worlds_secrets_and_nothing_of_persons() -> None:
    client, published = Answers(), list[int]()
    policy = Service(client, 1_000 * 3_600_000, lambda selling, at_ms: published.append(at_ms))  # type: ignore[arg-type]

    run = played(policy)

    names = {name for _, told in client.sent for items in told.values() for one in items for name in one}
    assert names == {
        "event_time_ms", "event_id", "promoter_id", "category", "currency", "base_price_minor", "current_price_minor",
        "starts_at_ms", "interval_start_ms", "price_minor", "tickets_sold", "visitors",
    }  # fmt: skip
    assert len(published) == sum(path == "/price" for path, _ in client.sent) and not run.broken
    assert policy.fallbacks["sold_out"] == policy.uncounted["nobody_came"] > 0


def test_the_report_is_one_file_and_says_what_did_not_hold(tmp_path: Path) -> None:
    best = best_of(SPEC, EVENTS)
    runs = {"fixed": played(Fixed()), "rule": played(SellThrough()), "service": played(Constant(1.0))}
    markets = {SPEC.seed: earned(EVENTS, best.revenue_minor, runs)}

    learning = learning_table({SPEC.seed: Learning.of(best.plenty, runs["service"].sold)})
    path = price_path("One event", EVENTS[0], runs, 1.2)
    page = write_pricing_report(
        markets, [learning, path], [Tolerance("more <revenue>", "less", False)], tmp_path / "r.html"
    ).read_text()

    assert headline(markets).startswith("The service earned 0.0% more than fixed prices")
    assert (
        page.count("<polyline") == 6 and "1.2 times the base price" in page and "✘ more &lt;revenue&gt;: less" in page
    )
    assert "<script" not in page and "http" not in page


class Stumbles(Answers):
    """Fails once before each answer; `reason` is how."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self._reason = reason
        self._failed = False

    async def post(self, path: str, body: bytes, headers: str = "") -> bytes:
        self._failed = not self._failed
        if self._failed:
            raise HttpFailure(self._reason)
        return await super().post(path, body, headers)


def test_what_was_not_answered_is_sent_again_and_what_was_refused_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.pricing_policies._PAUSE_S", 0.0)
    client = Stumbles("status_503")

    run = played(Service(client, 0, lambda selling, at_ms: None))  # type: ignore[arg-type]

    assert run.tickets.sum() > 0 and client.sent
    with pytest.raises(HttpFailure, match="status_422"):
        played(Service(Stumbles("status_422"), 0, lambda selling, at_ms: None))  # type: ignore[arg-type]
