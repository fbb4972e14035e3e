"""Proofs about the stream worker: killed, and poisoned."""

import random
import time
import urllib.request
from collections import Counter
from typing import NamedTuple

from deploy.local.ports import held_ports
from fraud_assets.contracts.codec import encode
from fraud_assets.contracts.topics import DEAD_LETTERS, TRANSACTIONS
from fraud_assets.engine.state import StateEngine, UnitState
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.snapshot import entity_rows, events_until
from streaming.core.dead_letters import letter_of
from tests.chaos.proof import Outcome, Scale
from tests.chaos.stream import WITHIN_S, Line, is_whole, line
from tests.chaos.struck_worker import STEPS
from tests.streaming.events import DAY, POISON, transaction
from tests.streaming.live import ANSWER_S, wait_for
from tests.streaming.world import caught_up

# --------------------------------------------------------------------------------------- R1

SEED = 1
MOST_ROUNDS = 4  # a blow comes after the first to the fourth time that its step was done
ALL_OF_IT = "supervisor"


def killed(scale: Scale) -> Outcome:
    """SIGKILL under load, after every step of every role and at any instant: nothing lost, nothing twice."""
    chance = random.Random(SEED)
    with line() as made:
        made.worker.start()
        with made.traffic():
            for role, step in _blows(chance, scale.kills):
                _kill(made, chance, role, step)
        made.wait_caught_up()
        compared = made.compared()
        struck, drained = made.struck(), made.worker.stop() == 0
        felt = made.worker.log.read_text().count('"code": -9')
    # The supervisor feels each blow to a role; one that is killed itself says nothing.
    noticed = felt >= len(struck) and len(struck) + made.kills == scale.kills
    figure = {"kills": scale.kills, "after_steps": len(set(struck)), "of_all": made.kills, "seed": SEED, **compared}
    return Outcome(is_whole(compared) and drained and noticed, figure)


def _blows(chance: random.Random, count: int) -> list[tuple[str, str]]:
    """Every step of every role once, in any order, and the whole worker each fourth time."""
    steps = [(role, step) for role, steps in STEPS.items() for step in steps]
    chance.shuffle(steps)
    found: list[tuple[str, str]] = []
    while len(found) < count:
        if len(found) % 4 == 3:
            found.append((ALL_OF_IT, ""))
        else:
            steps.append(steps.pop(0))
            found.append(steps[-1])
    return found


def _kill(made: Line, chance: random.Random, role: str, step: str) -> None:
    if role == ALL_OF_IT:
        made.kill_at_any_instant(chance.uniform(0.0, 1.0))
    else:
        made.strike(role, step, chance.randint(1, MOST_ROUNDS))


# --------------------------------------------------------------------------------------- R8

EVERY = 100  # one in so many records is poison


def poisoned(scale: Scale) -> Outcome:
    """One record in a hundred is no event: all of them, and nothing else, are dead letters, and no process starts again."""
    with line() as made:
        made.worker.start()
        wait_for(lambda: set(STEPS) <= set(made.worker.children()), "all roles run")
        before = {role: child.pid for role, child in made.worker.children().items()}
        poison = _send_with_poison(made, scale.events)
        wait_for(lambda: caught_up(made.world), "all is routed and folded", within_s=60 + scale.events / 200)
        letters = Counter(
            (one.reason, one.key, one.value) for one in map(letter_of, made.world.log.read(DEAD_LETTERS.name))
        )
        after = {role: child.pid for role, child in made.worker.children().items()}
        ids = Counter(made.lake.scan("transactions")["transaction_id"].to_pylist())
        states = made.states_equal_to_batch()
        drained = made.worker.stop() == 0
    sent = scale.events - poison.total()
    figure = {
        "events": scale.events, "poison": poison.total(), "kinds": len({reason for reason, _, _ in poison}),
        "letters": letters.total(), "unlike": ((letters - poison) + (poison - letters)).total(),
        "lost": sent - len(ids), "duplicated": ids.total() - len(ids), "restarts": sum(before[role] != after[role] for role in before),
        "states": states,
    }  # fmt: skip
    clean = not any(figure[name] for name in ("unlike", "lost", "duplicated", "restarts"))
    return Outcome(clean and drained and poison.total() == scale.events // EVERY, figure)


def _send_with_poison(made: Line, count: int) -> Counter[tuple[str, bytes | None, bytes | None]]:
    """(reason, key, bytes) of what was sent and must be refused."""
    kinds: list[tuple[str, bytes, bytes | None]] = [(reason, b"a1", raw) for reason, raw in POISON.items()]
    kinds += [("malformed_json", b"a2", None), ("wrong_key", b"somebody", encode(transaction(account_id="a3")))]
    sent: Counter[tuple[str, bytes | None, bytes | None]] = Counter()
    log = made.world.log
    for number in range(count):
        if number % EVERY == EVERY // 2:
            kind = kinds[number // EVERY % len(kinds)]
            sent[kind] += 1
            log.send(TRANSACTIONS.name, kind[1], kind[2])
        else:
            paid = transaction(transaction_id=f"t{number}", account_id=f"a{number % 500}", device_id=f"d{number % 300}")
            log.send(TRANSACTIONS.name, paid.account_id.encode(), encode(paid))
        if number % 1_000 == 0:
            log.flush()  # a producer's queue has an end
    log.flush()
    return sent


# --------------------------------------------------------------------------------------- R10


def wrong_clocks(scale: Scale) -> Outcome:
    """Producers a day ahead and a day behind among honest ones: the first quarantined, the second counted as late, nobody's windows moved."""
    with held_ports(3, in_a_row=True) as ports, line(FRAUD_WORKER_METRICS_PORT=str(ports[0])) as made:
        made.worker.start()
        count, now_ms = scale.events // 20, time.time_ns() // 1_000_000
        _send_dated(made, "honest", count, now_ms)
        wait_for(lambda: caught_up(made.world), "the honest ones are folded", WITHIN_S)
        before = _rest(made)
        ahead = _send_dated(made, "ahead", count, now_ms + DAY)
        behind = _send_dated(made, "behind", count, now_ms - DAY)
        wait_for(lambda: caught_up(made.world), "the others are judged", WITHIN_S)
        after = _rest(made)
        letters = [letter_of(one) for one in made.world.log.read(DEAD_LETTERS.name)]
        late, quarantined = (_metric(ports[0], f"fraud_worker_{name}_total{{") for name in ("late", "quarantined"))
        states = made.states_equal_to_batch()
        made.worker.stop()
    figure = {
        "ahead": len(ahead), "quarantined": int(quarantined), "behind": len(behind), "late": int(late),
        "moved": sum(after[key].newest != newest for key, (newest, _) in before.items()), "compared": len(before), "states": states,
        "honest_changed": sum(after[key] != rest for key, rest in before.items() if "honest" in key[1]),
    }  # fmt: skip
    exact = Counter(one.value for one in letters) == Counter(ahead) and {one.reason for one in letters} == {
        "future_dated"
    }
    counted = quarantined == len(ahead) and late == len(behind)
    still = figure["moved"] == figure["honest_changed"] == 0 and before
    return Outcome(bool(exact and counted and still and states > 0), figure)


class _AtRest(NamedTuple):
    newest: tuple[int | None, ...]
    tiles: tuple[UnitState, ...]


def _send_dated(made: Line, whose: str, count: int, at_ms: int) -> list[bytes]:
    """Payments of accounts of their own, at the promoters, events and addresses of everybody."""
    sent = []
    for number in range(count):
        paid = transaction(
            transaction_id=f"{whose}-{number}", account_id=f"{whose}-{number % 20}", device_id=f"{whose}-{number % 15}",
            card_token=f"dev:{whose.encode().hex()}", event_time_ms=at_ms + number,
        )  # fmt: skip
        sent.append(made.world.send(paid))
    made.world.log.flush()
    return sent


def _rest(made: Line) -> dict[tuple[str, str], _AtRest]:
    """Newest times and tiles of every entity that the lake knows."""
    store, found = OnlineStore.connect(made.env["REDIS_URL"], registry()), {}
    events = events_until(made.lake, made.plan, as_known_at_ms=None)
    for group in made.plan.groups:
        engine, keys = StateEngine(made.plan, group), entity_rows(made.plan, group, events).keys
        for key, state in zip(keys, store.read_many(group.name, keys), strict=True):
            assert state is not None, f"{group.name} {key}"
            units = engine.at_rest(state.packed)
            found[group.name, key] = _AtRest(tuple(unit.newest for unit in units), units)
    store.close()
    return found


def _metric(port: int, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=ANSWER_S) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))
