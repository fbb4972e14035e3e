"""A proof about time: what runs for long grows by nothing."""

import asyncio
import contextlib
import statistics
import sys
import threading
import time
from collections import Counter, defaultdict

import psutil

from streaming.supervise import ROLES
from tests.chaos.load import Answered, open_loop
from tests.chaos.proof import Outcome, Scale
from tests.chaos.rig import Rig, payment, rig
from tests.streaming.live import Log, Worker, wait_for
from tests.streaming.world import World, feed

# Not the explainer, which holds a booster for each model version that it meets.
WATCHED = ("router", "folder", "labels")
CHUNK, PAUSE_S = 10, 0.5
SAMPLES = 60
# Allocators keep what a burst took; a leak of a kilobyte a request would show as 60 MiB in ten minutes at a hundred a second.
MAX_GROWTH_MIB = 24.0
MAX_NEW_DESCRIPTORS = 8


def flat(scale: Scale) -> Outcome:
    """Requests and events at a fixed rate: scorer, router, folder and label stage hold as much at the end as once they were warm."""
    with rig() as made:
        env = {**made.stack.env, "FRAUD_LAKE_FLUSH_S": "2"}
        with Worker(env, made.folder / "worker.log", (sys.executable, "-m", "streaming")) as worker:
            wait_for(lambda: set(ROLES) <= set(worker.children()), "the worker runs")
            watched = {role: process for role, process in worker.children().items() if role in WATCHED}
            processes = {"scorer": psutil.Process(made.scorer.process.pid), **watched}
            answers, samples, fed = _under_load(made, processes, scale)
            restarted = sum(not process.is_running() for process in processes.values())
    figure: dict[str, object] = {"seconds": scale.soak_s, "requests": len(answers), "events_fed": fed}
    figure["restarted"] = restarted
    figure["unanswered"] = dict(Counter(one.failure for one in answers if one.failure))
    # Whether each is answered is R14's question; load that nobody answers makes nothing grow.
    answered = sum(not one.failure for one in answers)
    passed = answered >= 0.9 * len(answers) > 0 and restarted == 0 and fed > 0
    for name, taken in samples.items():
        # The first third is warming up: kernels, pools, caches of a bounded size.
        warm, end = taken[len(taken) // 3 :][:5], taken[-5:]
        (mib, files), (grown_mib, grown_files) = _typical(warm), _typical(end)
        figure[name] = {
            "mib": round(mib),
            "grown_mib": round(grown_mib - mib, 1),
            "descriptors": int(grown_files - files),
        }
        passed = passed and grown_mib - mib <= MAX_GROWTH_MIB and grown_files - files <= MAX_NEW_DESCRIPTORS
    return Outcome(passed, figure)


def _typical(taken: list[tuple[float, int]]) -> tuple[float, float]:
    return statistics.median(mib for mib, _ in taken), statistics.median(files for _, files in taken)


def _under_load(
    made: Rig, processes: dict[str, psutil.Process], scale: Scale
) -> tuple[list[Answered], dict[str, list[tuple[float, int]]], int]:
    done = threading.Event()
    world = World(made.stack.env, Log(made.stack.env["KAFKA_BOOTSTRAP_SERVERS"]))
    samples: dict[str, list[tuple[float, int]]] = defaultdict(list)
    fed = 0

    def events() -> None:
        nonlocal fed
        while not done.wait(PAUSE_S):
            feed(world, range(fed, fed + CHUNK))
            fed += CHUNK

    async def requests() -> list[Answered]:
        ended = asyncio.Event()
        async with made.client() as client:
            load = asyncio.create_task(open_loop(client, payment(), scale.rate, ended))
            began = time.monotonic()
            for number in range(SAMPLES):
                await asyncio.sleep(max(0.0, began + (number + 1) * scale.soak_s / SAMPLES - time.monotonic()))
                for name, process in processes.items():
                    with contextlib.suppress(psutil.NoSuchProcess):  # counted as restarted
                        samples[name].append((process.memory_info().rss / 2**20, process.num_fds()))
            ended.set()
            return await load

    thread = threading.Thread(target=events, name="events")
    thread.start()
    try:
        answers = asyncio.run(requests())
    finally:
        done.set()
        thread.join()
    return answers, samples, fed
