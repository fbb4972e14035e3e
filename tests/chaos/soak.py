"""A proof about time: what runs for long grows by nothing."""

import asyncio
import contextlib
import statistics
import sys
import threading
import time
from collections import Counter, defaultdict

import psutil
import psycopg

from deploy.local.postgres import empty_database, running_server
from fraud_assets.policy.policy import Action
from streaming.supervise import DATABASE, NOTIFIER, ROLES
from tests.chaos.load import Answered, open_loop
from tests.chaos.proof import Outcome, Scale
from tests.chaos.rig import Rig, payment, rig
from tests.streaming.live import Log, Worker, wait_for
from tests.streaming.test_notifier import Hook, rule
from tests.streaming.world import World, feed

# Its decisions are told of; a notice costs as much as ten decisions, so they are few.
TOLD_ACCOUNT, TOLD_RATE = "told", 1.0
CHUNK, PAUSE_S = 10, 0.5
SAMPLES = 60
# Allocators keep what a burst took; a leak of a kilobyte a request would show as 60 MiB in ten minutes at a hundred a second.
MAX_GROWTH_MIB = 24.0
MAX_NEW_DESCRIPTORS = 8


def flat(scale: Scale) -> Outcome:
    """Requests and events at a fixed rate: every process of scorer and worker holds as much at the end as once it was warm."""
    with rig() as made, running_server() as server, Hook() as hook:
        database, env = empty_database(server), with_all_roles(made, hook)
        env["DATABASE_URL"] = database.url
        with Worker(env, made.folder / "worker.log", (sys.executable, "-m", "streaming")) as worker:
            wait_for(lambda: {*ROLES, DATABASE, NOTIFIER} <= set(worker.children()), "the worker runs")
            beside = {name: one for name, one in made.processes().items() if name in ("scorer", "recorder")}
            processes = {**beside, **worker.children()}
            answers, samples, fed = _under_load(made, processes, scale)
            restarted = sum(not process.is_running() for process in processes.values())
        worked = {"stored": _stored(database.url), "told": len(hook.ids())}
        hook.shutdown()
    figure: dict[str, object] = {"seconds": scale.soak_s, "requests": len(answers), "events_fed": fed}
    figure |= {"restarted": restarted, **worked}
    figure["unanswered"] = dict(Counter(one.failure for one in answers if one.failure))
    # Whether each is answered is R14's question; load that nobody answers makes nothing grow.
    answered = sum(not one.failure for one in answers)
    # Who had nothing to do was not watched at work.
    passed = answered >= 0.9 * len(answers) > 0 and restarted == 0 and fed > 0 and all(worked.values())
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


def with_all_roles(made: Rig, hook: Hook) -> dict[str, str]:
    """Settings of a worker that explains the scorer's decisions, and tells of some of them."""
    notify = made.folder / "notify.toml"
    notify.write_text(rule(hook.url, accounts=[TOLD_ACCOUNT], actions=list(Action)))
    return {
        **made.stack.env, "FRAUD_LAKE_FLUSH_S": "2", "FRAUD_MODEL_DIR": str(made.model_dir), "FRAUD_NOTIFICATIONS_FILE": str(notify),
    }  # fmt: skip


def _stored(database_url: str) -> int:
    """Explanations in the database."""
    with psycopg.connect(database_url) as connection:
        found = connection.execute("SELECT count(*) FROM fraud.explanations").fetchone()
    return int(found[0]) if found else 0


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
            told = asyncio.create_task(open_loop(client, payment(account_id=TOLD_ACCOUNT), TOLD_RATE, ended))
            began = time.monotonic()
            for number in range(SAMPLES):
                await asyncio.sleep(max(0.0, began + (number + 1) * scale.soak_s / SAMPLES - time.monotonic()))
                for name, process in processes.items():
                    with contextlib.suppress(psutil.NoSuchProcess):  # counted as restarted
                        samples[name].append((process.memory_info().rss / 2**20, process.num_fds()))
            ended.set()
            return [*await load, *await told]

    thread = threading.Thread(target=events, name="events")
    thread.start()
    try:
        answers = asyncio.run(requests())
    finally:
        done.set()
        thread.join()
    return answers, samples, fed
