"""How many purchases a second the simulator drives live, asking and publishing each when it is due: one JSON line.

`ours`: the highest of the tried rates that it held: every purchase asked and answered, none shed, and the driver itself never later than a second
(p99). It asks a scorer that approves everything, and publishes to an embedded broker; all three share the machine. There is no peer.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from benchmarks.measure import report
from deploy.local.demo_steps import start, stop
from deploy.local.ports import LOOPBACK, held_ports
from deploy.local.stack import running
from fraud_assets.contracts.tokens import TokenKey
from simulator.build import World, build_world, name_world
from simulator.http_client import HttpClient
from simulator.kafka_source import KafkaSource, ensure_topics
from simulator.live import LiveRun, RunSettings
from simulator.live_plan import plan_live
from simulator.metrics import RunMetrics, metrics_of
from simulator.ports import ApiScorer
from simulator.scenarios.registry import SCENARIOS
from simulator.script import script_of
from simulator.spec import DAY_MS, WorldSpec
from simulator.world import Names

RATES = (1_000, 1_500, 2_000, 2_500, 3_000)
SECONDS = 10.0
KEY = TokenKey.of("bench", "a-secret-for-benchmarks-only")


class _Asked(msgspec.Struct):
    transaction_id: str


class _Batch(msgspec.Struct):
    transactions: list[_Asked]


async def approve(_scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """As little as a scorer can do."""
    body = (await receive())["body"]
    asked = msgspec.json.decode(body, type=_Batch).transactions
    decisions = [{"transaction_id": one.transaction_id, "fraud_score": 0.0, "decision": "approve"} for one in asked]
    answer = msgspec.json.encode({"decisions": decisions})
    length = str(len(answer)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": answer})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", type=int, help="be the scorer, on that port")
    chosen = parser.parse_args()
    if chosen.serve:
        uvicorn.run(approve, host=LOOPBACK, port=chosen.serve, log_level="error", access_log=False, lifespan="off")
    else:
        measure()


def measure() -> None:
    today = int(time.time() * 1000) // DAY_MS * DAY_MS
    world = build_world(WorldSpec(seed=7, start_ms=today - 5 * DAY_MS, days=5, rate_per_day=10_000, accounts=50_000))
    names = name_world(world, KEY)
    with tempfile.TemporaryDirectory() as folder, running(["broker"], Path(folder)) as stack, held_ports(1) as (port,):
        scorer = start([sys.executable, "-m", "benchmarks.simulator_live", "--serve", str(port)], stack.env)
        try:
            bootstrap = stack.env["KAFKA_BOOTSTRAP_SERVERS"]
            ensure_topics(bootstrap)
            drive(world, names, RATES[0], 2.0, port, bootstrap)
            found = {rate: drive(world, names, rate, SECONDS, port, bootstrap) for rate in RATES}
        finally:
            stop(scorer)
    report(
        "simulator.live",
        max((rate for rate, metrics in found.items() if metrics.held_rate), default=0),
        None,
        None,
        "purchases/s",
        sum(metrics.purchases for metrics in found.values()),
        lag_p99_ms={str(rate): metrics.lag_ms.p99 for rate, metrics in found.items()},
        latency_p50_ms={str(rate): metrics.latency_ms.p50 for rate, metrics in found.items()},
    )


def drive(world: World, names: Names, rate: float, seconds: float, port: int, bootstrap: str) -> RunMetrics:
    script = script_of(
        world, names, plan_live(world, SCENARIOS["normal-traffic"], rate, seconds, 7, int(time.time() * 1000))
    )

    async def run() -> RunMetrics:
        async with HttpClient(f"http://{LOOPBACK}:{port}", timeout_s=10.0) as client:
            settings = RunSettings(rate, seconds, 7, ("api", "kafka"), max_in_flight=20_000)
            source = KafkaSource(bootstrap)
            live = LiveRun(world, names, script, settings, ApiScorer(client), source, world.events.sold_before)
            return metrics_of(await live.run())

    return asyncio.run(run())


if __name__ == "__main__":
    main()
