"""Off-policy estimates begin at the lake: what of its two tables is taken, and what of their log would be a fault."""

from pathlib import Path

import msgspec
import pytest

from fraud_assets.contracts.events import Category
from fraud_assets.contracts.prices import UNCLAIMED, Choice, OutcomeSource, PriceDecision, PricedInterval
from fraud_assets.monitoring.off_policy import Faults, as_logged, estimate, faults_of, logged
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.schemas import LogPosition, from_events
from tests.streaming.events import T0

HOUR_MS = 3_600_000


def choice(multiplier: float, propensity: float) -> Choice:
    return Choice(
        multiplier=multiplier, price_minor=round(5_000 * multiplier), forbidden_by=[], propensity=propensity, best_chance=propensity,
        tickets_per_visitor=0.05, low=0.04, high=0.06,
    )  # fmt: skip


def decision(number: int, **changes: object) -> PriceDecision:
    made = PriceDecision(
        event_time_ms=T0 + number * HOUR_MS, decision_id=f"d{number}", event_id="e1", promoter_id="p1", category=Category.CONCERT,
        currency="EUR", interval_end_ms=T0 + (number + 1) * HOUR_MS, starts_at_ms=T0 + 99 * HOUR_MS, base_price_minor=5_000, current_price_minor=None,
        price_minor=5_500, action="raise", explanation="", guard_rails=[], fallback=[], features={"current_inventory": 9.0, "other": None},
        seed=0, multiplier=1.1, choices=[choice(1.0, 0.25), choice(1.1, 0.75)],
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def sold(number: int, price_minor: int = 5_500, visitors: float = 100.0) -> PricedInterval:
    return PricedInterval(
        event_time_ms=T0 + number * HOUR_MS, decision_id=f"d{number}", event_id="e1", price_minor=price_minor, tickets_sold=6.0,
        visitors=visitors, source=OutcomeSource.POSTED,
    )  # fmt: skip


def lake_of(folder: Path, decisions: list[PriceDecision], outcomes: list[PricedInterval]) -> Lake:
    lake = Lake(str(folder / "lake"))
    for table, contract, rows in (
        ("price_decisions", PriceDecision, decisions),
        ("price_outcomes", PricedInterval, outcomes),
    ):
        at = [LogPosition(T0 + place, f"{table}.v1", 0, place) for place in range(len(rows))]
        lake.append(table, from_events(contract, rows, at), "rows")
    return lake


def test_decisions_that_were_followed_and_have_an_outcome_are_taken(tmp_path: Path) -> None:
    kept = decision(4, multiplier=None, choices=[], fallback=["sold_out"])
    lake = lake_of(
        tmp_path, [decision(0), decision(1), decision(2), decision(3), kept],
        [sold(0), sold(1, price_minor=5_000), sold(2, visitors=0.0), sold(4)],
    )  # fmt: skip

    (one,) = logged(lake)

    assert (one.event_id, one.interval_start_ms, one.place) == ("e1", T0, 1)
    assert one.propensities.tolist() == [0.25, 0.75]
    assert estimate([one], as_logged).inverse_propensity == pytest.approx(1.1 * 6 / 100)
    assert logged(lake, T0 + HOUR_MS) == []


def test_a_log_that_was_not_drawn_as_it_says_is_found(tmp_path: Path) -> None:
    faults = [
        decision(1, choices=[choice(1.0, 0.25), choice(1.1, 0.7)]),
        decision(2, choices=[choice(1.0, 1.0), choice(1.1, 0.0)]),
        decision(3, price_minor=5_600),
    ]

    assert faults_of(lake_of(tmp_path, [decision(0), *faults], [])) == Faults(3, 0)


def test_two_prices_in_one_interval_are_found_unless_redis_was_away(tmp_path: Path) -> None:
    other = {"event_time_ms": T0, "price_minor": 5_000, "multiplier": 1.0}
    away = decision(2, event_time_ms=T0, price_minor=5_170, multiplier=None, choices=[], fallback=[UNCLAIMED])

    assert faults_of(lake_of(tmp_path / "one", [decision(0), away], [])).several_prices == 0
    assert faults_of(lake_of(tmp_path / "two", [decision(0), decision(1, **other)], [])) == Faults(0, 1)
