"""A proof about the roles that follow decisions: explainer, database sink and notifier, killed after each of their steps."""

import asyncio
import random
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from deploy.local.postgres import empty_database, running_server
from streaming import database_sink, explainer, notifier
from streaming.core.notices import notices, read_rules
from tests.chaos.broker import recorded_in
from tests.chaos.load import Answered, open_loop
from tests.chaos.proof import Outcome, Scale
from tests.chaos.rig import Rig, payment, rig
from tests.chaos.soak import TOLD_ACCOUNT, with_all_roles
from tests.chaos.stream import STRUCK_WORKER, WITHIN_S, strike, struck
from tests.chaos.struck_worker import STEPS_OF_DECISIONS
from tests.streaming.live import Log, Worker, wait_for
from tests.streaming.test_notifier import Hook

RATE = 10.0
GROUPS = {
    explainer.GROUP: ["decisions.v1"], notifier.GROUP: ["decisions.v1"], database_sink.GROUP: ["decisions.v1", "explanations.v1"],
}  # fmt: skip


def killed(scale: Scale) -> Outcome:
    """SIGKILL under load after every step of each: every decision is explained, in the database once, and told; a repetition under its id."""
    blows = [(role, step) for role, steps in STEPS_OF_DECISIONS.items() for step in steps]
    blows = random.Random(1).sample(blows, k=len(blows) if scale.is_long else scale.kills)
    with rig() as made, running_server() as server, Hook() as hook:
        url, strikes = empty_database(server).url, made.folder / "strikes"
        strikes.mkdir()
        env = {**with_all_roles(made, hook), "DATABASE_URL": url, "CHAOS_STRIKES": str(strikes)}
        log = Log(env["KAFKA_BOOTSTRAP_SERVERS"])
        with Worker(env, made.folder / "worker.log", (sys.executable, str(STRUCK_WORKER))):
            with _asked(made) as answers:
                for role, step in blows:
                    strike(strikes, role, step)
            for group, names in GROUPS.items():
                wait_for(lambda g=group, n=names: log.has_caught_up(g, n), f"{group} has it all", WITHIN_S)  # type: ignore[misc]
        decided = [one for one, _, _ in recorded_in(env["KAFKA_BOOTSTRAP_SERVERS"])]
        rules = read_rules(Path(env["FRAUD_NOTIFICATIONS_FILE"]).read_bytes())
        to_tell = {notice.id for one in decided for notice in notices(rules, one)}
        stored = {table: Counter(_ids(url, table)) for table in ("decisions", "explanations")}
        told, kills = hook.ids(), len(struck(strikes))
        hook.shutdown()
    wanted = {one.decision_id for one in answers if not one.failure}
    figure = {
        "kills": kills, "after_steps": len(set(blows)), "decisions": len(wanted),
        **{f"{table}_missing": len(wanted - set(found)) for table, found in stored.items()},
        "rows_twice": sum(found.total() - len(found) for found in stored.values()),
        "notices": len(to_tell), "untold": len(to_tell - told), "strangers_told": len(told - to_tell),
    }  # fmt: skip
    whole = not any(
        figure[name] for name in ("decisions_missing", "explanations_missing", "rows_twice", "untold", "strangers_told")
    )
    return Outcome(whole and kills == len(blows) and bool(wanted) and bool(to_tell), figure)


@contextmanager
def _asked(made: Rig) -> Iterator[list[Answered]]:
    """Payments at a fixed rate for as long as the block lasts, and then all their answers."""
    found: list[Answered] = []
    done = threading.Event()

    async def load() -> None:
        ended = asyncio.Event()
        async with made.client() as client:
            asked = asyncio.create_task(open_loop(client, payment(account_id=TOLD_ACCOUNT), RATE, ended))
            await asyncio.to_thread(done.wait)
            ended.set()
            found.extend(await asked)

    thread = threading.Thread(target=lambda: asyncio.run(load()), name="payments")
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def _ids(url: str, table: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [name for (name,) in connection.execute(f"SELECT decision_id FROM fraud.{table}".encode())]
