"""One client in a closed loop, eight, and sixteen: decisions over HTTP against an empty handler behind the same middleware and server.

Both are ASGI handlers of one process: the same keys, bounds, traces and log lines; only what the handler does differs. Turns alternate, so
that a slow second is both's. Beside them: an empty handler as most are written in Litestar, with a request and a response (`ordinary`),
and a bare Litestar with the same empty handler and none of our middleware (`bare`).

Everything is real: `python -m api` as a process, the embedded Valkey holding states of ten entities,
the development broker taking decision events, 300 trees. Over one connection latency and throughput
say the same; eight clients keep the server busy, and sixteen are as many as it works for at once.
"""

import socket
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from api.contract import ScoringRequest
from api.intake import scored
from benchmarks.measure import percentile, report
from benchmarks.open_loop import Taken, Target, Turn, is_whole, joined, measured
from benchmarks.scorer_rig import SERVICES, equipped, server, serving
from deploy.local.stack import running
from fraud_assets.contracts.events import Category, Outcome, PaymentMethod, Tier, Transaction
from fraud_assets.contracts.tokens import TokenKey
from fraud_assets.engine.plan import EnginePlan
from fraud_assets.engine.prepare import columns_from_events, entity_key, rows_of
from fraud_assets.engine.state import StateEngine
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.settings import Settings
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_port import Write

REQUESTS, TURN, WARM_UPS, HISTORY = 3_000, 250, 300, 60
CLIENTS, BUSY_S, BUSY_TURNS = (8, 16, 64), 1.0, 6
PATHS = ("/empty", "/ordinary", "/predict")

Floats = npt.NDArray[np.float64]


def payment(now_ms: int, number: int = 0) -> ScoringRequest:
    return ScoringRequest(
        transaction_id=f"t{number}", event_time_ms=now_ms, account_id="a1", event_id="e1", promoter_id="p1", device_id="d1",
        ip="8.8.8.8", card_number="4111111111111111", email="somebody@example.com", payment_method=PaymentMethod.CARD, amount_minor=5_000,
        currency="EUR", ticket_count=2, tier=Tier.STANDARD, category=Category.CONCERT, billing_country="DE",
        lat_e6=52_500_000, lon_e6=13_400_000, user_agent="Mozilla/5.0",
    )  # fmt: skip


def fill(redis_url: str, now_ms: int) -> int:
    """History of the payment's entities over two months, folded and stored; bytes of all states."""
    plan, settings = EnginePlan(registry()), Settings()
    key = TokenKey.of_settings(settings)
    store = OnlineStore.connect(redis_url, registry())
    store.publish_epoch("bench", log="bench", resume={}, now_ms=now_ms)
    now = msgspec.structs.asdict(scored(payment(now_ms), key, now_ms))
    times = [now_ms - 86_400_000 * day - 3_600_000 for day in range(HISTORY, 0, -1)]
    events = [
        Transaction(**{**now, "transaction_id": f"h{t}", "event_time_ms": t}, outcome=Outcome.APPROVED) for t in times
    ]
    positions = [("transactions.v1", 0, offset) for offset in range(len(events))]
    columns = columns_from_events(plan, FRAUD_SCORING.scored, events, positions, times)
    size = 0
    for group in plan.groups:
        if group.name == "category":
            continue
        packed = StateEngine(plan, group).fold(None, rows_of(plan, group, columns)).packed[0]
        store.compare_and_set(group.name, [Write(entity_key(group.group.entity, events[0]) or "", 0, packed)])
        size += len(packed)
    return size


def ask(port: int, path: str, bodies: list[bytes], credential: str) -> tuple[Floats, int]:
    """ms of each request over one kept connection, and how many decisions went without history.

    Raises RuntimeError unless each is answered by 200.
    """
    taken, degraded = np.empty(len(bodies)), 0
    with socket.create_connection(("127.0.0.1", port)) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place, body in enumerate(bodies):
            head = (
                f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {credential}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            started = time.perf_counter()
            wire.sendall(head.encode() + body)
            answer = _whole(wire)
            taken[place] = (time.perf_counter() - started) * 1e3
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(answer[:1_000].decode())
            degraded += answer.count(b'degraded_reasons":["')
    return taken, degraded


def _whole(wire: socket.socket) -> bytes:
    answer = b""
    while not is_whole(answer):
        answer += wire.recv(1 << 20)
    return answer


def main() -> None:
    now_ms = time.time_ns() // 1_000_000
    bodies = [msgspec.json.encode(payment(now_ms, number)) for number in range(WARM_UPS + REQUESTS)]
    with tempfile.TemporaryDirectory() as folder, running(SERVICES, Path(folder) / "var") as stack:
        size = fill(stack.env["REDIS_URL"], now_ms)
        env, credential = equipped(stack, Path(folder))
        with serving(server("bare"), env, "/health/live") as port:
            bare = ask(port, "/empty", bodies, credential)[0][WARM_UPS:]
        with serving(server("scorer"), env, "/health/ready") as port:
            alone = in_turns(port, bodies, credential)
            Path(folder, "bodies").write_bytes(b"\n".join(bodies) + b"\n")
            busy = {clients: busy_in_turns(port, Path(folder, "bodies"), credential, clients) for clients in CLIENTS}
    peer, ordinary, ours = (np.concatenate(alone.taken[path]) for path in PATHS)
    p50, empty_p50 = float(np.median(ours)), float(np.median(peer))
    more = {
        "clients": 1,
        "entities": 9,
        "state_bytes": size,
        "p99": round(float(np.percentile(ours, 99)), 3),
        "degraded": alone.degraded,
    }
    report("api.p50", p50, empty_p50, empty_p50 / p50, "ms", len(ours), **more)
    report(
        "api.vs_empty", 1e3 / ours.mean(), 1e3 / peer.mean(), peer.mean() / ours.mean(), "req/s", len(ours),
        clients=1, ordinary=round(1e3 / ordinary.mean()), of_ordinary=round(ordinary.mean() / ours.mean(), 3), bare=round(1e3 / bare.mean()),
    )  # fmt: skip
    for clients, (empty_busy, ordinary_busy, our_busy) in busy.items():
        report(
            "api.vs_empty", our_busy.per_s, empty_busy.per_s, our_busy.per_s / empty_busy.per_s, "req/s", len(our_busy.latency_ms),
            clients=clients, ordinary=round(ordinary_busy.per_s), of_ordinary=round(our_busy.per_s / ordinary_busy.per_s, 3),
            p99=percentile(our_busy.latency_ms, 99), failures=our_busy.failures, degraded=our_busy.degraded,
        )  # fmt: skip


class Alone(NamedTuple):
    """taken: ms of every request, turn after turn. degraded: decisions without history."""

    taken: dict[str, list[Floats]]
    degraded: int


def in_turns(port: int, bodies: list[bytes], credential: str) -> Alone:
    """Some hundred of each path in turn, after some of each to warm up."""
    for path in PATHS:
        ask(port, path, bodies[:WARM_UPS], credential)
    taken: dict[str, list[Floats]] = {path: [] for path in PATHS}
    degraded = 0
    for first in range(WARM_UPS, len(bodies), TURN):
        for path in PATHS:
            found, without = ask(port, path, bodies[first : first + TURN], credential)
            taken[path].append(found)
            degraded += without
    return Alone(taken, degraded)


def busy_in_turns(port: int, bodies: Path, credential: str, clients: int) -> list[Taken]:
    """Every path with so many clients, in turn, the first turn of each to warm up."""
    targets = {path: Target(port, path, str(bodies), credential) for path in PATHS}
    turns = [Turn(path, clients=clients, seconds=BUSY_S) for _ in range(BUSY_TURNS + 1) for path in PATHS]
    taken = measured(targets, turns)[len(PATHS) :]
    return [joined(taken[place :: len(PATHS)]) for place in range(len(PATHS))]


if __name__ == "__main__":
    main()
