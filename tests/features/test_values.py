"""What the catalogue's features are worth: literal events through the real fold and read, numbers worked out by hand.

The parity suite proves that the executions agree with a declaration; only this table says that the declaration is
the right one. `NOW` lies on a tile of every window up to 30 days, so that an event exactly a window ago still counts
and one a millisecond older does not.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest

from fraud_assets.contracts.events import Activity, LabelFact, Profile, Transaction
from fraud_assets.engine.batch import Log, Spine, vectors
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.engine.prepare import columns_from_events, entity_key, rows_of
from fraud_assets.engine.request import RequestReader
from fraud_assets.engine.state import StateEngine
from fraud_assets.features.catalogue.sources import ACTIVITY, LABEL_FACTS, PROFILES, TRANSACTIONS
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from tests.streaming.events import activity, profile, transaction

NOW = 1_790_856_000_000  # Thursday 2026-10-01, 12:00 UTC
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
SOURCES = {Transaction: TRANSACTIONS, Activity: ACTIVITY, Profile: PROFILES, LabelFact: LABEL_FACTS}

Number = float | None


# ---------------------------------------------------------------------------------------- fold, then read


@cache
def service() -> ServicePlan:
    return ServicePlan(EnginePlan(registry()), FRAUD_SCORING)


def served(events: Sequence[msgspec.Struct], scored: Transaction) -> dict[str, float]:
    """The vector of `scored`, by name, after `events` have arrived in the order given."""
    plan, reader = service().engine, RequestReader(service())
    states: dict[tuple[str, str], bytes] = defaultdict(bytes)
    for offset, event in enumerate(events):
        source = SOURCES[type(event)]
        assert source.topic is not None
        at = int(getattr(event, source.time_field))
        columns = columns_from_events(plan, source, [event], [(source.topic, 0, offset)], [at])
        for group in plan.groups:
            key = entity_key(group.group.entity, event) if source in group.sources else None
            if key is not None:
                folded = StateEngine(plan, group).fold(states[group.name, key] or None, rows_of(plan, group, columns))
                states[group.name, key] = folded.packed[0]
    keys = [(group.name, entity_key(group.group.entity, scored)) for group in reader.groups]
    found = [None if key is None else states.get((name, key)) for name, key in keys]
    return dict(zip(reader.names, reader.read(found, scored, scored.event_time_ms).features.tolist(), strict=True))


# -------------------------------------------------------------------------------------------------- events


def pay(ago_ms: int = MINUTE, amount_minor: int = 4200, **changed: Any) -> Transaction:
    return transaction(event_time_ms=NOW - ago_ms, amount_minor=amount_minor, **changed)


def view(ago_ms: int = MINUTE, account: str | None = None, device: str | None = None) -> Activity:
    return activity(event_time_ms=NOW - ago_ms, account_id=account, device_id=device)


def inventory(ago_ms: int, left: int) -> Activity:
    return activity(event_time_ms=NOW - ago_ms, kind="inventory", inventory=left, account_id=None)


def closed(sold: int, capacity: int, event: str = "e9") -> Activity:
    return activity(event_time_ms=NOW - DAY, kind="event_closed", event_id=event, tickets_sold=sold, capacity=capacity, account_id=None)  # fmt: skip


def fact(is_fraud: bool, sign: int = 1, ago_ms: int = DAY, category: str = "concert") -> LabelFact:
    return msgspec.convert(
        {"event_time_ms": NOW - ago_ms, "fact_id": "f", "transaction_id": "t", "account_id": "a1", "event_id": "e7", "promoter_id": "p7",
         "device_id": "d7", "ip_token": "dev:07", "category": category, "amount_minor": 100, "is_fraud": is_fraud, "sign": sign},
        LabelFact,
    )  # fmt: skip


def at(lat: float | None, lon: float | None) -> dict[str, Any]:
    return {"lat_e6": None if lat is None else round(lat * 1e6), "lon_e6": None if lon is None else round(lon * 1e6)}


# --------------------------------------------------------------------------------------------------- table


@dataclass(frozen=True)
class Case:
    """Known events in order of arrival, what differs in the scored payment, and what it must be served."""

    name: str
    events: Sequence[msgspec.Struct]
    expected: dict[str, Number]
    scored: dict[str, Any] = field(default_factory=dict)


ELSEWHERE: dict[str, Any] = {"account_id": "a2", "device_id": "d2", "ip_token": "dev:02", "card_token": "dev:c2"}
DECLINED: dict[str, Any] = {"outcome": "declined_by_issuer"}
BUSY = ("account", "device", "ip", "card")

EVENT_NOW = [
    Case("the newest inventory", [inventory(10 * MINUTE, 120), inventory(3 * MINUTE, 80)], {"current_inventory": 80}),
    Case("an inventory that came late is not the newest", [inventory(3 * MINUTE, 80), inventory(10 * MINUTE, 120)], {"current_inventory": 80}),
    Case("sold out", [inventory(MINUTE, 0)], {"current_inventory": 0, "sell_through_rate_5min": None}),
    Case("an event seen and never counted", [view(account="a1")],
         {"current_inventory": None, "sell_through_rate_5min": None, "concurrent_viewers": 1}),
    Case("an event never seen", [], {"current_inventory": None, "sell_through_rate_5min": None, "concurrent_viewers": None}),
    Case("an hour old is fresh", [inventory(HOUR, 80)], {"current_inventory": 80, "sell_through_rate_5min": 0, "concurrent_viewers": 0}),
    Case("more than an hour old is stale", [inventory(HOUR + 1, 80)],
         {"current_inventory": None, "sell_through_rate_5min": None, "concurrent_viewers": None}),
    Case("two sold of eight", [inventory(9 * MINUTE, 6), pay(MINUTE, ticket_count=2)], {"sell_through_rate_5min": 0.25}),
    Case("the last two sold", [inventory(9 * MINUTE, 0), pay(MINUTE, ticket_count=2)], {"sell_through_rate_5min": 1.0}),
    Case("a declined payment sells nothing", [inventory(9 * MINUTE, 6), pay(ticket_count=2, outcome="declined_by_us"),
         pay(ticket_count=2, **DECLINED), pay(ticket_count=2, outcome="abandoned")], {"sell_through_rate_5min": 0.0}),
    Case("sold five minutes ago", [inventory(9 * MINUTE, 6), pay(5 * MINUTE, ticket_count=2)], {"sell_through_rate_5min": 0.25}),
    Case("sold longer ago", [inventory(9 * MINUTE, 6), pay(5 * MINUTE + 1, ticket_count=2)], {"sell_through_rate_5min": 0.0}),
    Case("six viewers, four of them guests",
         [view(account="a1"), view(account="a2"), *(view(device=f"d{n}") for n in range(4))], {"concurrent_viewers": 6}),
    Case("one account on two devices", [view(account="a1", device="d1"), view(account="a1", device="d2")], {"concurrent_viewers": 1}),
    Case("two accounts on one device", [view(account="a1", device="d1"), view(account="a2", device="d1")], {"concurrent_viewers": 2}),
    Case("one guest who looks twice", [view(2 * MINUTE, device="d1"), view(device="d1")], {"concurrent_viewers": 1}),
    Case("device 7 is not account 7", [view(account="7"), view(device="7")], {"concurrent_viewers": 2}),
    Case("a view by nobody", [view()], {"concurrent_viewers": 0}),
    Case("viewed five minutes ago", [view(5 * MINUTE, account="a1"), view(5 * MINUTE + 1, account="a2")], {"concurrent_viewers": 1}),
    Case("another event's viewers", [activity(event_time_ms=NOW, event_id="e2"), inventory(MINUTE, 1)], {"concurrent_viewers": 0}),
    Case("a closing is no view", [activity(event_time_ms=NOW, kind="event_closed", tickets_sold=1, capacity=1)], {"concurrent_viewers": 0}),
]  # fmt: skip

EVENT_HISTORY = [
    Case("five tickets for a hundred", [pay(9 * DAY, 42_00, ticket_count=2), pay(DAY, 58_00, ticket_count=3), pay(DAY, 999, ticket_count=4, **DECLINED)],
         {"total_tickets_sold": 5, "avg_ticket_price": 2000}),
    Case("nothing sold", [pay(DAY, 999, ticket_count=4, **DECLINED)], {"total_tickets_sold": 0, "avg_ticket_price": None}),
    Case("a year old is fresh", [pay(365 * DAY, 42_00, ticket_count=2)], {"total_tickets_sold": 2, "avg_ticket_price": 2100}),
    Case("more than a year old is stale", [pay(365 * DAY + 1, ticket_count=2)], {"total_tickets_sold": None, "avg_ticket_price": None}),
    Case("exactly 80 % is a success", [closed(800, 1000)], {"promoter_success_rate": 1}),
    Case("a ticket less is none", [closed(799, 1000)], {"promoter_success_rate": 0}),
    Case("80 % of what five does not divide", [closed(3, 4, "e8"), closed(6, 7, "e9")], {"promoter_success_rate": 0.5}),
    Case("two of three", [closed(800, 1000, "e7"), closed(799, 1000, "e8"), closed(1000, 1000, "e9")], {"promoter_success_rate": 2 / 3}),
    Case("of no capacity there is no share", [closed(0, 0, "e8"), closed(799, 1000, "e9")], {"promoter_success_rate": 0}),
    Case("none closed yet", [pay(DAY)], {"promoter_success_rate": None}),
]  # fmt: skip

PURCHASES = [
    Case("purchases are what was approved", [pay(300 * DAY), pay(DAY), pay(DAY, **DECLINED), pay(DAY, outcome="declined_by_us"), pay(DAY, outcome="abandoned")],
         {"lifetime_purchases": 2, "fraud_risk_score": None, "preferred_category": 2}),
    Case("never bought", [pay(DAY, **DECLINED)], {"lifetime_purchases": 0, "preferred_category": None, "prefers_other_category": None}),
    Case("unknown account", [], {"lifetime_purchases": None, "fraud_risk_score": None, "preferred_category": None}),
    Case("one fraud of three verdicts", [fact(True), fact(False), fact(False)], {"fraud_risk_score": 1 / 3, "lifetime_purchases": 0}),
    Case("a fraud taken back", [fact(True), fact(False), fact(False), fact(True, -1)], {"fraud_risk_score": 0}),
    Case("the only verdict taken back", [fact(True), fact(True, -1)], {"fraud_risk_score": None}),
    Case("concerts twice, sport once", [pay(DAY, category="sport"), pay(DAY), pay(2 * DAY)], {"preferred_category": 2, "prefers_other_category": 0}),
    Case("a tie goes to the lexically first", [pay(DAY, category="sport"), pay(2 * DAY, category="conference")], {"preferred_category": 3}),
    Case("whichever came first", [pay(DAY, category="conference"), pay(2 * DAY, category="sport")],
         {"preferred_category": 3, "prefers_other_category": 1}),
    Case("declined for sport", [pay(DAY, category="sport", **DECLINED), pay(DAY, category="sport", **DECLINED), pay(DAY)], {"preferred_category": 2}),
    Case("a year old is fresh, as are purchases", [pay(365 * DAY)], {"lifetime_purchases": 1, "preferred_category": 2}),
    Case("a day more is stale", [pay(366 * DAY)], {"lifetime_purchases": None, "preferred_category": None}),
]  # fmt: skip

LAST_HOURS = [
    Case("an hour ago counts", [pay(HOUR, 2000), pay(10 * MINUTE, 4000, event_id="e2"), pay(5 * MINUTE, 3000, **DECLINED)],
         {"user_txn_count_1h": 3, "user_txn_amount_1h": 9000, "user_distinct_events_1h": 2, "user_avg_amount_24h": 3000}),
    Case("a millisecond more does not", [pay(HOUR + 1, 2000), pay(10 * MINUTE, 4000, event_id="e2")],
         {"user_txn_count_1h": 1, "user_txn_amount_1h": 4000, "user_distinct_events_1h": 1, "user_avg_amount_24h": 3000}),
    Case("a day ago is in the mean", [pay(DAY, 2000), pay(HOUR, 5000)], {"user_avg_amount_24h": 3500}),
    Case("more than a day ago is not", [pay(DAY + 1, 2000), pay(HOUR, 5000)], {"user_avg_amount_24h": 5000}),
    Case("two hours old is fresh", [pay(2 * HOUR, 2000)],
         {"user_txn_count_1h": 0, "user_txn_amount_1h": 0, "user_distinct_events_1h": 0, "user_avg_amount_24h": 2000}),
    Case("more is stale", [pay(2 * HOUR + 1, 2000)],
         {"user_txn_count_1h": None, "user_txn_amount_1h": None, "user_distinct_events_1h": None, "user_avg_amount_24h": None}),
]  # fmt: skip

CLOCK = [
    Case(name, [], {"hour_of_day": hour, "weekday": weekday, "day_of_year": day}, {"event_time_ms": time_ms})
    for name, time_ms, hour, weekday, day in [
        ("noon of a Thursday", NOW, 12, 3, 274),
        ("the last millisecond before one", NOW + HOUR - 1, 12, 3, 274),
        ("one o'clock", NOW + HOUR, 13, 3, 274),
        ("the epoch", 0, 0, 3, 1),
        ("a Sunday", NOW + 3 * DAY, 12, 6, 277),
        ("a Monday", NOW + 4 * DAY, 12, 0, 278),
        ("the end of 2026", 1_798_761_599_999, 23, 3, 365),
        ("New Year of 2027", 1_798_761_600_000, 0, 4, 1),
        ("the end of a leap year", 1_735_603_200_000, 0, 1, 366),  # 2024-12-31
        ("a leap day", 1_835_395_200_000, 0, 1, 60),  # 2028-02-29
        ("the end of 2099", 4_102_444_799_999, 23, 3, 365),
    ]
]  # fmt: skip

THE_PAYMENT = [
    Case("as it is", [], {"amount_minor": 4200, "ticket_count": 2, "category": 2, "tier": 2, "payment_method": 2, "price_per_ticket_minor": 2100}),
    Case("the first of each vocabulary", [], {"category": 1, "tier": 1, "payment_method": 1, "price_per_ticket_minor": 1400},
         {"category": "comedy", "tier": "premium", "payment_method": "bank", "ticket_count": 3}),
    Case("the last of each vocabulary", [], {"category": 8, "tier": 3, "payment_method": 4, "amount_minor": 0, "price_per_ticket_minor": 0},
         {"category": "sport", "tier": "vip", "payment_method": "wallet", "amount_minor": 0}),
    Case("countries agree", [], {"ip_country_differs_from_billing": 0}),
    Case("countries differ", [], {"ip_country_differs_from_billing": 1}, {"ip_country": "FR"}),
    Case("nothing known", [], {"is_new_device": 1, "is_new_card": 1, "is_new_event": 1, "price_ratio_to_event": None}),
    Case("all seen before", [pay(80 * DAY)], {"is_new_device": 0, "is_new_card": 0, "is_new_event": 0}),
    Case("the account has others", [pay(DAY, device_id="d2", card_token="dev:c2", event_id="e2")],
         {"is_new_device": 1, "is_new_card": 1, "is_new_event": 1}),
    Case("another account has these", [pay(DAY, account_id="a2")], {"is_new_device": 1, "is_new_card": 1, "is_new_event": 1}),
    Case("no card is no new card", [pay(DAY, card_token=None)], {"is_new_card": None, "is_new_device": 0}, {"card_token": None}),
    Case("dearer than the event's tickets", [pay(DAY, 42_00, ticket_count=2), pay(DAY, 58_00, ticket_count=3)], {"price_ratio_to_event": 1.05}),
]  # fmt: skip

# A degree of a meridian on the sphere of 6371.0088 km is 2π · 6371.0088 / 360 = 111.19508 km.
PLACE = [
    Case("a degree in half an hour", [pay(DAY, **at(10, 0)), pay(30 * MINUTE, **at(50, 10))],
         {"distance_from_last_km": 111.19508, "implied_speed_kmh": 222.39016}, at(51, 10)),
    Case("a quarter of the equator", [pay(10 * HOUR, **at(0, 0))],
         {"distance_from_last_km": 10007.5572, "implied_speed_kmh": 1000.75572}, at(0, 90)),
    Case("at once is a second", [pay(0, **at(50, 10))], {"distance_from_last_km": 111.19508, "implied_speed_kmh": 400302.29}, at(51, 10)),
    Case("half a second is a second", [pay(500, **at(50, 10))], {"implied_speed_kmh": 400302.29}, at(51, 10)),
    Case("two seconds", [pay(2000, **at(50, 10))], {"implied_speed_kmh": 200151.144}, at(51, 10)),
    Case("the same place", [pay(0, **at(51, 10))], {"distance_from_last_km": 0, "implied_speed_kmh": 0}, at(51, 10)),
    Case("a payment that comes late is no rocket", [pay(-30 * MINUTE, **at(50, 10))],
         {"distance_from_last_km": 111.19508, "implied_speed_kmh": 222.39016}, at(51, 10)),
    Case("a payment without a place between", [pay(30 * MINUTE, **at(50, 10)), pay(10 * MINUTE)],
         {"distance_from_last_km": 111.19508, "implied_speed_kmh": 222.39016}, at(51, 10)),
    Case("half a place is none", [pay(30 * MINUTE, **at(50, 10)), pay(10 * MINUTE, **at(20, None)), pay(5 * MINUTE, **at(None, 20))],
         {"distance_from_last_km": 111.19508, "implied_speed_kmh": 222.39016, "distance_from_usual_km": 111.19508}, at(51, 10)),
    Case("no place before", [pay(30 * MINUTE)],
         {"distance_from_last_km": None, "implied_speed_kmh": None, "distance_from_usual_km": None, "distance_from_home_km": None}, at(51, 10)),
    Case("no place now", [pay(30 * MINUTE, **at(50, 10))], {"distance_from_last_km": None, "implied_speed_kmh": None, "distance_from_usual_km": None}),
    Case("far from the middle of the usual", [pay(3 * DAY, **at(49, 10)), pay(2 * DAY, **at(50, 10))], {"distance_from_usual_km": 166.79262}, at(51, 10)),
    Case("the usual is of 30 days", [pay(30 * DAY, **at(49, 10)), pay(30 * DAY + 1, **at(10, 10)), pay(DAY, **at(51, 10))],
         {"distance_from_usual_km": 111.19508}, at(51, 10)),
    # Either side of the antimeridian, and of Greenwich: the middle is between them, not half way round the earth.
    Case("the usual is across the antimeridian", [pay(3 * DAY, **at(0, 179)), pay(2 * DAY, **at(0, -179))], {"distance_from_usual_km": 111.19508}, at(1, 180)),
    Case("the antimeridian by its other name", [pay(3 * DAY, **at(0, 179)), pay(2 * DAY, **at(0, -179))], {"distance_from_usual_km": 111.19508}, at(1, -180)),
    # R · atan(tan 1° / 3): a third of a degree, but for the curve.
    Case("more on one side of it", [pay(4 * DAY, **at(0, 179)), pay(3 * DAY, **at(0, 179)), pay(2 * DAY, **at(0, -179))],
         {"distance_from_usual_km": 37.06837}, at(0, 180)),
    Case("the usual is across Greenwich", [pay(3 * DAY, **at(0, 2)), pay(2 * DAY, **at(0, -1))], {"distance_from_usual_km": 55.59754}, at(0, 1)),
    # Four places around the pole, 10 degrees from it: the pole is in their middle, though their mean latitude is 80.
    Case("around the pole", [pay(DAY, **at(80, lon)) for lon in (0, 90, 180, -90)], {"distance_from_usual_km": 111.19508}, at(89, 45)),
    Case("at the opposite end of the earth", [pay(DAY, **at(50, 10))], {"distance_from_usual_km": 20015.114}, at(-50, -170)),
    Case("two ends of the earth have no middle", [pay(3 * DAY, **at(50, 10)), pay(2 * DAY, **at(-50, -170))], {"distance_from_usual_km": None}, at(51, 10)),
    Case("where it always is", [pay(n * DAY, **at(0, 0)) for n in (1, 2, 3)], {"distance_from_usual_km": 0}, at(0, 0)),
    Case("away from home", [profile(event_time_ms=NOW - DAY, home_lat_e6=52_000_000, home_lon_e6=10_000_000)], {"distance_from_home_km": 111.19508}, at(51, 10)),
    Case("a home that is not yet", [profile(event_time_ms=NOW - DAY, home_lat_e6=52_000_000, home_lon_e6=10_000_000),
         profile(event_time_ms=NOW + 1, home_lat_e6=51_000_000, home_lon_e6=10_000_000)], {"distance_from_home_km": 111.19508}, at(51, 10)),
]  # fmt: skip


def each(**expected: Number) -> dict[str, Number]:
    """The same of account, device, IP and card: `amount_ratio_to_ENTITY_mean_30d`."""
    return {name.replace("ENTITY", entity): value for name, value in expected.items() for entity in BUSY}


AMOUNTS = [
    # Mean 20.00, deviation 10.00: 42.00 lies 2.2 deviations above.
    Case("against two payments", [pay(3 * DAY, 1000), pay(2 * DAY, 3000)],
         each(amount_deviation_from_ENTITY_30d=2.2, amount_ratio_to_ENTITY_mean_30d=2.1)),
    Case("below the mean", [pay(3 * DAY, 1000), pay(2 * DAY, 3000)],
         each(amount_deviation_from_ENTITY_30d=-1.5, amount_ratio_to_ENTITY_mean_30d=0.25), {"amount_minor": 500}),
    Case("against one payment there is no deviation", [pay(3 * DAY, 1000)],
         each(amount_deviation_from_ENTITY_30d=None, amount_ratio_to_ENTITY_mean_30d=4.2)),
    Case("30 days ago counts, a millisecond more does not", [pay(30 * DAY, 1000), pay(30 * DAY + 1, 99_999), pay(DAY, 3000)],
         each(amount_deviation_from_ENTITY_30d=2.2, amount_ratio_to_ENTITY_mean_30d=2.1)),
    Case("against nothing", [pay(3 * DAY, 1000, **ELSEWHERE)], each(amount_deviation_from_ENTITY_30d=None, amount_ratio_to_ENTITY_mean_30d=None)),
    *(
        Case(f"each on its own: {entity}", [pay(3 * DAY, 1000, **ELSEWHERE | {key: same})],
             {f"amount_ratio_to_{other}_mean_30d": 4.2 if other == entity else None for other in BUSY})
        for entity, key, same in [("account", "account_id", "a1"), ("device", "device_id", "d1"), ("ip", "ip_token", "dev:00"), ("card", "card_token", "dev:c1")]
    ),
    Case("one of two of three of four of five", [pay(20 * DAY), pay(3 * DAY), pay(3 * HOUR), pay(30 * MINUTE), pay(MINUTE)],
         each(ENTITY_txn_velocity_5m_to_1h=0.5, ENTITY_txn_velocity_1h_to_24h=2 / 3, ENTITY_txn_velocity_24h_to_7d=0.75, ENTITY_txn_velocity_7d_to_30d=0.8)),
    Case("edges of the shorter windows", [pay(5 * MINUTE), pay(5 * MINUTE + 1), pay(HOUR), pay(HOUR + 1), pay(DAY), pay(DAY + 1), pay(7 * DAY), pay(7 * DAY + 1)][::-1],
         each(ENTITY_txn_velocity_5m_to_1h=1 / 3, ENTITY_txn_velocity_1h_to_24h=3 / 5, ENTITY_txn_velocity_24h_to_7d=5 / 7, ENTITY_txn_velocity_7d_to_30d=7 / 8)),
    Case("of nothing there is no share", [pay(3 * DAY)],
         each(ENTITY_txn_velocity_5m_to_1h=None, ENTITY_txn_velocity_1h_to_24h=None, ENTITY_txn_velocity_24h_to_7d=0, ENTITY_txn_velocity_7d_to_30d=1)),
]  # fmt: skip

CATEGORIES = ("comedy", "concert", "conference", "culture", "family", "festival", "other", "sport")
TWO_CATEGORIES = [pay(30 * DAY + 1, 500), pay(30 * DAY, 1000), pay(10 * DAY, 3000), pay(DAY, 9999, **DECLINED), pay(DAY, 6000, category="sport")]  # fmt: skip
# A season is a quarter of 365.25 days since 1970; that of NOW ends at 22:30.
TWO_YEARS = [pay(365 * DAY, 1000), pay(100 * DAY, 3000), pay(DAY, 9999, **DECLINED), pay(DAY, 4000)]
SEASON_END = NOW + 10 * HOUR + 30 * MINUTE

SPENDING = [
    *(
        Case(f"spent on each category: {category}", [pay(DAY, 100 * code, category=name) for code, name in enumerate(CATEGORIES, 1)],
             {"account_category_spend_minor_30d": 100 * place, "account_category_spend_share_30d": place / 36}, {"category": category})
        for place, category in enumerate(CATEGORIES, 1)
    ),
    Case("spent on concerts", TWO_CATEGORIES, {"account_category_spend_minor_30d": 4000, "account_category_spend_share_30d": 0.4,
         "account_spend_minor_sum_30d": 10_000, "account_spend_minor_sum_90d": 10_500, "account_spend_minor_sum_lifetime": 10_500}),
    Case("spent on sport", TWO_CATEGORIES, {"account_category_spend_minor_30d": 6000, "account_category_spend_share_30d": 0.6}, {"category": "sport"}),
    Case("never spent on culture", TWO_CATEGORIES, {"account_category_spend_minor_30d": 0, "account_category_spend_share_30d": 0}, {"category": "culture"}),
    Case("spent nothing", [pay(DAY, **DECLINED)], {"account_category_spend_minor_30d": 0, "account_category_spend_share_30d": None,
         "account_season_spend_minor_lifetime": 0, "account_season_spend_share_lifetime": None, "account_spend_pace_90d_to_lifetime": None,
         "account_abroad_spend_minor_sum_30d": 0, "account_abroad_spend_share_30d": None, "account_device_spend_share_30d": None}),
    Case("an account that never paid", [], {"account_category_spend_minor_30d": None, "account_season_spend_minor_lifetime": None,
         "account_spend_pace_90d_to_lifetime": None, "account_abroad_spend_share_30d": None, "account_device_spend_share_30d": None}),
    # 4000 in 90 days against 8000 in 365.
    Case("this season and that of last year", TWO_YEARS, {"account_season_spend_minor_lifetime": 5000, "account_season_spend_share_lifetime": 0.625,
         "account_spend_pace_90d_to_lifetime": 4000 / 90 / (8000 / 365)}),
    Case("the last millisecond of the season", TWO_YEARS, {"account_season_spend_minor_lifetime": 5000}, {"event_time_ms": SEASON_END - 1}),
    Case("the next season", TWO_YEARS, {"account_season_spend_minor_lifetime": 0, "account_season_spend_share_lifetime": 0}, {"event_time_ms": SEASON_END}),
    Case("the season before, a year on", TWO_YEARS, {"account_season_spend_minor_lifetime": 3000, "account_season_spend_share_lifetime": 0.375},
         {"event_time_ms": NOW + 265 * DAY}),
    Case("a young account has one pace", [pay(10 * DAY, 1000), pay(HOUR, 3000)], {"account_spend_pace_90d_to_lifetime": 1}),
    Case("an account of an hour", [pay(HOUR, 3000)], {"account_spend_pace_90d_to_lifetime": 1}),
    Case("a quarter abroad", [pay(DAY, 3000), pay(DAY, 1000, ip_country="FR"), pay(DAY, 9999, ip_country="FR", **DECLINED)],
         {"account_abroad_spend_minor_sum_30d": 1000, "account_abroad_spend_share_30d": 0.25}),
    Case("a Frenchwoman in France", [pay(DAY, 3000, ip_country="FR", billing_country="FR")],
         {"account_abroad_spend_minor_sum_30d": 0, "account_abroad_spend_share_30d": 0}),
    Case("three quarters from this device", [pay(DAY, 3000), pay(DAY, 1000, device_id="d2"), pay(DAY, 9999, **DECLINED)],
         {"account_device_spend_minor_sum_30d": 3000, "account_device_spend_share_30d": 0.75}),
    Case("nothing known from this device", [pay(DAY, 3000)],
         {"account_device_spend_minor_sum_30d": None, "account_device_spend_share_30d": None}, {"device_id": "d3"}),
]  # fmt: skip

OTHERS = [
    Case("ages of a profile", [profile(event_time_ms=NOW - DAY, created_at_ms=NOW - 10 * DAY, address_changed_at_ms=NOW - 2 * HOUR,
         email_changed_at_ms=NOW - MINUTE, phone_changed_at_ms=NOW + 1)],
         {"account_age_s": 864_000, "account_address_age_s": 7_200, "account_email_age_s": 60, "account_phone_age_s": 0}),
    Case("declines are of us and of the issuer", [pay(outcome="approved"), pay(outcome="abandoned"), pay(outcome="declined_by_us"), pay(**DECLINED)],
         {"card_declined_count_1h": 2, "card_declined_ratio_1h": 0.5}),
    Case("risk of the category", [fact(True), fact(False), fact(False), fact(False), fact(True, category="sport"), fact(True, ago_ms=8 * DAY)],
         {"category_is_fraud_mean_7d": 0.25, "category_is_fraud_mean_30d": 0.4, "category_label_count_30d": 5}),
    Case("countries of a day and of a month", [pay(20 * DAY, ip_country="FR"), pay(HOUR, ip_country="DE"), pay(MINUTE, ip_country="DE")],
         {"account_distinct_ip_countries_24h": 1, "account_distinct_ip_countries_30d": 2, "account_distinct_billing_countries_30d": 1}),
]  # fmt: skip

CASES = [
    *EVENT_NOW,
    *EVENT_HISTORY,
    *PURCHASES,
    *LAST_HOURS,
    *CLOCK,
    *THE_PAYMENT,
    *PLACE,
    *AMOUNTS,
    *SPENDING,
    *OTHERS,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_feature_has_the_value_worked_out_by_hand(case: Case) -> None:
    """Whole numbers to the last bit, others to float32's rounding, None for null."""
    found = served(case.events, transaction(**{"event_time_ms": NOW, "transaction_id": "scored"} | case.scored))

    got = {name: None if found[name] != found[name] else found[name] for name in case.expected}
    assert got == {
        name: value if value is None or value == int(value) else pytest.approx(value, rel=1e-6)
        for name, value in case.expected.items()
    }


def test_every_request_feature_and_published_column_is_in_the_table() -> None:
    """A feature that is added without a number worked out for it fails here."""
    published = (
        "account_spending",
        "account_device_spending",
        "event_realtime_metrics",
        "event_historical_metrics",
        "user_purchase_behavior",
        "user_realtime_fraud_features",
    )
    due = {
        info.name
        for info in registry().features(FRAUD_SCORING)
        if info.view in ("request", *published) and not info.hidden
    }
    shown = {name for case in CASES for name, value in case.expected.items() if value is not None}
    assert due - shown == set()


def test_a_risk_score_knows_the_labels_of_then() -> None:
    """Over history too: the verdict of the day after is not in the payment's vector."""
    plan = service().engine
    payments = [pay(3 * DAY), pay(DAY)]
    verdict = fact(True, ago_ms=2 * DAY)
    log = Log(plan, [
        columns_from_events(plan, TRANSACTIONS, payments, [("transactions.v1", 0, n) for n in range(2)], [p.event_time_ms for p in payments]),
        columns_from_events(plan, LABEL_FACTS, [verdict], [("label_facts.v1", 0, 0)], [verdict.event_time_ms]),
    ])  # fmt: skip

    features = vectors(service(), log, Spine.of_events(log, "transactions")).features

    before, after = features[:, service().names.index("fraud_risk_score")].tolist()
    assert before != before and after == 1.0


def test_what_picks_by_a_category_is_null_for_a_payment_of_none() -> None:
    """Only a stranger's file has such payments. Its category has no code to pick by: null and no error, served as over history."""
    plan = service().engine
    scored = msgspec.structs.replace(transaction(event_time_ms=NOW, transaction_id="scored"), category=None)
    log = [*TWO_CATEGORIES, scored]
    at = [("transactions.v1", 0, n) for n in range(len(log))]
    columns = columns_from_events(plan, TRANSACTIONS, log, at, [event.event_time_ms for event in log])

    now = served(TWO_CATEGORIES, scored)
    history = Log(plan, [columns])
    before = vectors(service(), history, Spine.of_events(history, "transactions")).features[-1]

    picked = (
        "category",
        "account_category_spend_minor_30d",
        "account_category_spend_share_30d",
        "prefers_other_category",
    )
    assert all(now[name] != now[name] for name in picked)
    assert now["account_spend_minor_sum_30d"] == 10_000
    assert before.tobytes() == np.array(list(now.values()), np.float32).tobytes()


def test_what_a_log_has_no_source_of_is_null() -> None:
    """A file without verdicts: a risk over history is null for every payment, and not what lay in memory. Looked at often, for that varies."""
    plan, place = service().engine, service().names.index("fraud_risk_score")
    at = [("transactions.v1", 0, n) for n in range(len(TWO_CATEGORIES))]
    times = [event.event_time_ms for event in TWO_CATEGORIES]
    log = Log(plan, [columns_from_events(plan, TRANSACTIONS, TWO_CATEGORIES, at, times)])

    looks = [vectors(service(), log, Spine.of_events(log, "transactions"), threads=1).features for _ in range(5)]

    assert all(np.isnan(look[:, place]).all() for look in looks)
    assert all(look.tobytes() == looks[0].tobytes() for look in looks)
