"""`make bench-peers`: our scorer beside Feast + FastAPI + XGBoost, each with 300 trees on its features and a real Valkey of its own, in turns.

Ours reads the states of ten entities and makes the features, answers with reasons and writes a record to the broker, behind all its middleware. The peer
fetches 336 features of six entities that somebody has computed, scores, and answers. One client that waits for its answers over one kept connection, then
eight, then sixteen; every payment names entities that exist. Run by our Python, told the peers'.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.measure import percentile, report
from benchmarks.open_loop import Taken, Target, Turn, joined, measured
from benchmarks.payments import filled, write_bodies
from benchmarks.scorer_rig import SERVICES, equipped, server, serving
from deploy.local.stack import running

ENTITIES, BODIES = 5_000, 20_000
# (clients, turns of each side); the first turn of each side warms up and is not counted.
PARTS, TURN_S = ((1, 8), (8, 4), (16, 4)), 4.0
MODULE = ("-m", "benchmarks.peers.feast_peer")
# Feast checks types at run time unless Python is told -O; that was worth a quarter to it in one run and nothing in others. The faster one is the peer.
PEERS = {"optimised": ["-O"], "as_installed": []}
QUIET = {"FEAST_USAGE": "False", "OMP_NUM_THREADS": "1"}  # one thread a row: more make tails
SIDES = ("ours", *PEERS)


@contextmanager
def our_scorer(folder: Path) -> Iterator[tuple[Target, dict[str, float]]]:
    """Ready, and what its payments find."""
    folder.mkdir()
    with running(SERVICES, folder / "var") as stack:
        payments, known = filled(folder, stack.env["REDIS_URL"], time.time_ns() // 1_000_000)
        write_bodies(folder / "bodies", payments, BODIES)
        env, credential = equipped(stack, folder)
        with serving(server("scorer"), env, "/health/ready") as port:
            yield Target(port, "/predict", str(folder / "bodies"), credential), known._asdict()


@contextmanager
def feast(python: str, folder: Path) -> Iterator[dict[str, Target]]:
    """One server of each of PEERS over one repository; ready, and found to score as its model does."""
    folder.mkdir()
    with running(["valkey"], folder / "var") as stack, ExitStack() as servers:
        env = {**os.environ, **QUIET}
        told = map(str, (folder, stack.context.ports["valkey"], ENTITIES, BODIES))
        subprocess.run([python, *MODULE, "fill", *told], env=env, check=True, stdout=sys.stderr)
        targets = {}
        for name, options in PEERS.items():
            port = servers.enter_context(serving([python, *options, *MODULE, str(folder)], env, "/health"))
            check(f"http://127.0.0.1:{port}/score", json.loads((folder / "example.json").read_text()))
            targets[name] = Target(port, "/score", str(folder / "bodies"))
        yield targets


def check(url: str, example: dict[str, object]) -> None:
    """A peer that answers something else is not measured. Raises RuntimeError."""
    call = urllib.request.Request(url, json.dumps(example["request"]).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(call, timeout=60) as response:
        score = json.load(response)["fraud_score"]
    if abs(score - float(str(example["score"]))) > 1e-5:
        raise RuntimeError(f"the peer scores {score}, and its model {example['score']}")


def told(taken: Taken) -> dict[str, object]:
    """Requests, answers a second, ms, and what went wrong."""
    return {
        "rows": len(taken.latency_ms),
        "per_s": round(taken.per_s, 1),
        "p50": percentile(taken.latency_ms, 50),
        "p99": percentile(taken.latency_ms, 99),
        "failures": taken.failures,
    }


def in_turns(targets: dict[str, Target], clients: int, turns: int) -> dict[str, Taken]:
    """Of each side; its first turn warms up and is not counted. Every other round goes backwards: nobody always follows the same one."""
    order = [side for number in range(turns + 1) for side in (SIDES if number % 2 else SIDES[::-1])]
    taken = measured(targets, [Turn(side, clients=clients, seconds=TURN_S) for side in order])
    counted = list(zip(order, taken, strict=True))[len(SIDES) :]
    return {side: joined([turn for whose, turn in counted if whose == side]) for side in SIDES}


def main(python: str) -> None:
    with (
        tempfile.TemporaryDirectory() as name,
        feast(python, Path(name) / "peer") as peers,
        our_scorer(Path(name) / "ours") as (ours, known),
    ):
        for clients, turns in PARTS:
            taken = in_turns({"ours": ours, **peers}, clients, turns)
            peer = max(PEERS, key=lambda side: taken[side].per_s)
            mine, theirs = taken["ours"], taken[peer]
            report(
                "api.vs_feast", mine.per_s, theirs.per_s, mine.per_s / theirs.per_s, "req/s", len(mine.latency_ms),
                clients=clients, peer_is=peer, degraded=mine.degraded, sides={side: told(taken[side]) for side in SIDES},
                **{what: round(value, 1) for what, value in known.items()},
            )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
