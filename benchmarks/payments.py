"""Payments of many people with a past: a month of a small ticket seller folded into the online store, and the purchases that come next."""

from collections.abc import Sequence
from itertools import count, cycle, islice
from pathlib import Path
from typing import NamedTuple

import msgspec

from api.contract import ScoringRequest
from api.intake import scored
from benchmarks.online_rebuild import published, simulated_lake
from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.engine.plan import EnginePlan
from fraud_assets.engine.prepare import entity_key
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.settings import DEVELOPMENT_TOKEN_KEY
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_port import OnlineStates
from simulator.build import build_world, name_world
from simulator.live_events import requests, transactions
from simulator.live_plan import plan_live
from simulator.scenarios.normal_traffic import SCENARIO
from simulator.spec import DAY_MS, WorldSpec, default_accounts

DAYS, RATE = 30, 1_000
# One second in which 600 people buy: each another one, as far as there are other people.
PURCHASES, SPAN_S = 600, 1
KEY = TokenKey.of("dev", DEVELOPMENT_TOKEN_KEY)


class Known(NamedTuple):
    """accounts: different ones. entities, states, state_bytes: that a payment names, that the store knows of them, and their size; means."""

    accounts: int
    entities: float
    states: float
    state_bytes: float


def filled(folder: Path, redis_url: str, now_ms: int) -> tuple[list[ScoringRequest], Known]:
    """The store holds what a month until just now left; and the payments of now, none of which it has seen."""
    start_ms = now_ms // DAY_MS * DAY_MS - (DAYS - 1) * DAY_MS
    until_ms = now_ms - SPAN_S * 1_000
    accounts = default_accounts(DAYS, RATE)
    spec = WorldSpec(seed=7, start_ms=start_ms, days=DAYS, rate_per_day=RATE, accounts=accounts, until_ms=until_ms)
    plan = EnginePlan(registry())
    store = OnlineStore.connect(redis_url, plan.registry, timeout_s=60)
    published(simulated_lake(folder, spec), plan, store, until_ms)
    store.current_epoch()
    payments = _next_payments(spec)
    known = _known(plan, store, payments, now_ms)
    store.close()
    return payments, known


def _next_payments(spec: WorldSpec) -> list[ScoringRequest]:
    world = build_world(spec)
    names = name_world(world, KEY)
    plan = plan_live(world, SCENARIO, PURCHASES / SPAN_S, SPAN_S, 7, spec.end_ms)
    return [msgspec.convert(one, ScoringRequest) for one in requests(names, plan, transactions(world, names, plan))]


def _known(plan: EnginePlan, store: OnlineStates, payments: Sequence[ScoringRequest], now_ms: int) -> Known:
    events = [scored(payment, KEY, now_ms) for payment in payments]
    named, sizes = 0, list[int]()
    for group in plan.groups:
        keys = [key for event in events if (key := entity_key(group.group.entity, event)) is not None]
        named += len(keys)
        sizes += [len(state.packed) for state in store.read_many(group.name, keys) if state is not None]
    accounts = len({payment.account_id for payment in payments})
    return Known(accounts, named / len(events), len(sizes) / len(events), sum(sizes) / len(events))


def write_bodies(path: Path, payments: Sequence[ScoringRequest], many: int) -> None:
    """So many requests, one a line, each a transaction of its own; after the last payment comes the first again."""
    with path.open("wb") as out:
        for number, payment in zip(count(), islice(cycle(payments), many)):
            one = msgspec.structs.replace(payment, transaction_id=f"{payment.transaction_id}-{number}")
            out.write(msgspec.json.encode(one) + b"\n")
