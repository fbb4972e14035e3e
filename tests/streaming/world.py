"""A world of events through a worker: what was sent, and how it is compared with what the worker made of it."""

import subprocess
import sys
import time
import urllib.request
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fraud_assets.contracts import topics
from fraud_assets.contracts.codec import encode
from fraud_assets.contracts.events import Event, LabelFact
from fraud_assets.engine.plan import EnginePlan
from fraud_assets.engine.state import StateEngine
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_memory import MemoryStore
from fraud_assets.stores.snapshot import entity_rows, events_until, publish_snapshot
from streaming import folder, label_stage, router
from tests.streaming.events import DAY, MINUTE, TOPIC_OF, activity, label, profile, transaction
from tests.streaming.live import ANSWER_S, ENTITY, RAW, Log, Worker

ACCOUNTS = 40


@dataclass
class World:
    """What was sent, and what the worker made of it."""

    env: dict[str, str]
    log: Log
    epoch: str = ""
    poison: Counter[bytes] = field(default_factory=Counter)
    conflicts: Counter[bytes] = field(default_factory=Counter)
    future: Counter[bytes] = field(default_factory=Counter)
    matured: set[str] = field(default_factory=set)
    frauds: dict[str, int] = field(default_factory=dict)
    copies: int = 0
    accepted: int = 0

    def send(self, event: Event) -> bytes:
        topic, raw = TOPIC_OF[type(event)], encode(event)
        self.log.send(topic.name, getattr(event, topic.key).encode(), raw)
        return raw


def feed(world: World, numbers: range) -> None:
    """Half of the transactions are older than the label delay; every kind of trouble is among them."""
    now = time.time_ns() // 1_000_000
    for i in numbers:
        account, at = f"a{i % ACCOUNTS}", now - (8 * DAY if i % 2 else 60 * MINUTE) + i
        paid = transaction(
            transaction_id=f"t{i}",
            account_id=account,
            event_time_ms=at,
            device_id=f"d{i % 25}",
            card_token=f"dev:c{i % 30}" if i % 7 else None,
            event_id=f"e{i % 5}",
            amount_minor=1000 + i,
        )
        world.send(paid)
        world.send(activity(activity_id=f"v{i}", event_id=f"e{i % 5}", account_id=account, event_time_ms=at))
        world.accepted += 2
        if i % 10 == 0:
            world.send(profile(profile_id=f"f{i}", account_id=account, event_time_ms=at))
            world.accepted += 1
        if i % 20 == 4:
            known = now - MINUTE
            world.send(label(label_id=f"l{i}", transaction_id=f"t{i}", account_id=account, event_time_ms=known))
            world.frauds[f"t{i}"] = known
            world.accepted += 1
        elif i % 2:
            world.matured.add(f"t{i}")
        if i % 15 == 0:
            world.send(paid)
            world.copies += 1
            world.conflicts[world.send(msgspec.structs.replace(paid, amount_minor=1))] += 1
        if i % 25 == 0:
            junk = b'{"transaction_id": "t%d", ' % i + b"\xff"
            world.log.send(topics.TRANSACTIONS.name, account.encode(), junk)
            world.poison[junk] += 1
            world.future[
                world.send(msgspec.structs.replace(paid, transaction_id=f"x{i}", event_time_ms=now + 60 * MINUTE))
            ] += 1
    world.log.flush()


def folded(world: World) -> int:
    return sum(world.log.committed(f"{folder.GROUP}.{world.epoch}", list(world.log.ends(ENTITY))).values())


def caught_up(world: World) -> bool:
    groups = [
        (router.GROUP, RAW),
        (label_stage.GROUP, [topics.TRANSACTIONS.name, topics.LABELS.name]),
        (f"{folder.GROUP}.{world.epoch}", ENTITY),
    ]
    return all(world.log.has_caught_up(group, names) for group, names in groups) and all(
        world.log.has_caught_up(group, names) for group, names in groups
    )


def facts(world: World) -> list[LabelFact]:
    """Distinct facts by id; a crash may have appended some twice."""
    raw = [msgspec.json.decode(one.value or b"", type=LabelFact) for one in world.log.read(topics.LABEL_FACTS.name)]
    return list({fact.fact_id: fact for fact in raw}.values())


def dead_letters(world: World) -> dict[str, Counter[bytes]]:
    """Bytes by reason; a source position that was refused again after a crash counts once."""
    found: dict[str, dict[tuple[Any, ...], bytes]] = defaultdict(dict)
    for one in world.log.read(topics.DEAD_LETTERS.name):
        headers = dict(one.headers)
        at = tuple(headers[name] for name in ("source_topic", "source_partition", "source_offset"))
        found[(headers["reason"] or b"").decode()][at] = one.value or b""
    return {reason: Counter(values.values()) for reason, values in found.items()}


def lake_rows(world: World) -> dict[str, list[dict[str, Any]]]:
    lake = Lake(world.env["FRAUD_LAKE_URI"])
    tables = ("transactions", "activity", "profiles", "labels", "label_facts")
    return {name: lake.scan(name, duplicates=True).to_pylist() for name in tables}


def rebuild(worker: Worker, *options: str) -> subprocess.CompletedProcess[str]:
    """As `make rebuild-online` calls it."""
    command = [sys.executable, "-m", "streaming", "rebuild-online", *options]
    return subprocess.run(command, env=worker.env, capture_output=True, text=True, check=False, timeout=120)


def is_folding(port: int) -> bool:
    """What the folder tells its scraper."""
    return samples(port, "fraud_worker_epoch_valid") == {"fraud_worker_epoch_valid": 1.0}


def samples(port: int, name: str) -> dict[str, float]:
    """What a process tells its scraper of one metric, by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=ANSWER_S) as answer:
        lines = [line.rpartition(" ") for line in answer.read().decode().splitlines()]
    return {label: float(value) for label, _, value in lines if label.partition("{")[0] == name}


def assert_equal_to_batch(lake: Lake, plan: EnginePlan, live: OnlineStore) -> Counter[str]:
    """Every state of every group: tiles, newest and position as the lake's events give them. Entities by group."""
    batch, events = MemoryStore(registry()), events_until(lake, plan, as_known_at_ms=None)
    publish_snapshot(batch, plan, events, epoch="e0", log="test", resume={}, now_ms=0)
    live.current_epoch()
    compared: Counter[str] = Counter()
    for group in plan.groups:
        engine, keys = StateEngine(plan, group), entity_rows(plan, group, events).keys
        for key, want, found in zip(
            keys, batch.read_many(group.name, keys), live.read_many(group.name, keys), strict=True
        ):
            assert want is not None
            assert found is not None, f"{group.name} {key}"
            assert engine.at_rest(found.packed) == engine.at_rest(want.packed), f"{group.name} {key}"
            assert engine.position(found.packed) == engine.position(want.packed), f"{group.name} {key}"
            compared[group.name] += 1
    return compared
