"""A stream worker with everything real around it, and what was sent compared with what became of it."""

import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.dataset as ds
from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient

from deploy.local.stack import Stack, running
from deploy.local.topics import PLATFORM_TOPICS, ensure_platform_topics, entity_groups
from fraud_assets.contracts.topics import entity_topic
from fraud_assets.engine.plan import EnginePlan
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.online import OnlineStore
from streaming import explainer, folder, label_stage, router
from streaming.supervise import ROLES
from tests.chaos.brokers import own_broker
from tests.streaming.live import ANSWER_S, Log, Worker, wait_for
from tests.streaming.world import World, assert_equal_to_batch, caught_up, dead_letters, facts, feed, folded, lake_rows

STRUCK_WORKER = Path(__file__).with_name("struck_worker.py")
WITHIN_S = 120.0
CHUNK = 20


def strike(strikes: Path, role: str, step: str, times: int = 1, blow: signal.Signals = signal.SIGKILL) -> None:
    """The role's process gets the signal after it has done a step so many times; returns when it has. See struck_worker.py."""
    before = len(struck(strikes))
    part = strikes / ".plan"
    part.write_text(f"{int(blow)}\t{step}\t{times}")
    part.rename(strikes / role)
    wait_for(lambda: len(struck(strikes)) > before, f"{role} is struck after: {step}", WITHIN_S)


def struck(strikes: Path) -> list[str]:
    told = strikes / "struck"
    return told.read_text().splitlines() if told.exists() else []


@dataclass
class Line:
    """strikes: where blows are planned. fed: how many numbers of `feed` were sent. kills: of the whole worker. others: workers beside it."""

    folder: Path
    stack: Stack
    world: World
    worker: Worker
    strikes: Path
    plan: EnginePlan = field(default_factory=lambda: EnginePlan(registry()))
    fed: int = 0
    kills: int = 0
    others: list[Worker] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        return self.stack.env

    @property
    def lake(self) -> Lake:
        return Lake(self.env["FRAUD_LAKE_URI"])

    def another(self, name: str) -> Worker:
        """A second worker of the same groups, not started; no blow that is meant for the first finds it."""
        spared = self.folder / f"{name}-strikes"
        spared.mkdir()
        env = {**self.worker.env, "FRAUD_WORKER_ID": name, "CHAOS_STRIKES": str(spared)}
        self.others.append(Worker(env, self.folder / f"{name}.log", self.worker.command))
        return self.others[-1]

    def feed(self, count: int) -> None:
        feed(self.world, range(self.fed, self.fed + count))
        self.fed += count

    @contextmanager
    def traffic(self, pause_s: float = 0.25) -> Iterator[None]:
        """A few events of every kind, again and again, for as long as the block lasts."""
        done, failed = threading.Event(), list[BaseException]()

        def send() -> None:
            try:
                while not done.wait(pause_s):
                    self.feed(CHUNK)
            except BaseException as error:  # noqa: BLE001  # raised where the block ends
                failed.append(error)

        thread = threading.Thread(target=send, name="traffic")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
        assert not failed, failed

    def strike(self, role: str, step: str, times: int = 1, blow: signal.Signals = signal.SIGKILL) -> None:
        """The role's process gets the signal after it has done a step so many times; returns when it has."""
        strike(self.strikes, role, step, times, blow)

    def kill_at_any_instant(self, after_s: float) -> None:
        """SIGKILL the supervisor and with it all roles, so long after they all work; and start them again."""
        wait_for(lambda: len(self.worker.children()) == len(ROLES), "all roles run", WITHIN_S)
        before = folded(self.world)
        wait_for(lambda: folded(self.world) > before, "states are folded", WITHIN_S)
        time.sleep(after_s)
        self.worker.kill()
        self.kills += 1
        self.worker.start()

    def struck(self) -> list[str]:
        return struck(self.strikes)

    def wait_caught_up(self) -> None:
        wanted = len(self.world.matured) + len(self.world.frauds)
        wait_for(lambda: caught_up(self.world), "all groups have committed the ends of their topics", WITHIN_S)
        wait_for(lambda: len({one.transaction_id for one in facts(self.world)}) == wanted, "every verdict is a fact")
        wait_for(lambda: caught_up(self.world), "and the facts are folded too", WITHIN_S)

    def compared(self) -> dict[str, int]:
        """What became of all that was sent; `states` are those that equal their recomputation. Raises if one does not.

        lost, repeated: transactions that the lake lacks, or has twice as a plain reader of its files sees it. other: of events
        that the lake has beside those that were accepted. wrong_letters, wrong_verdicts: dead letters and label facts unlike what was sent.
        """
        world, rows = self.world, lake_rows(self.world)
        ids = Counter(row["transaction_id"] for row in rows["transactions"] if not row["is_duplicate"])
        wanted = Counter(f"t{number}" for number in range(self.fed))
        tables = ("transactions", "activity", "profiles", "labels")
        kept = sum(not row["is_duplicate"] for name in tables for row in rows[name])
        files = ds.dataset(self.lake.glob("transactions").split("/event_date")[0]).to_table()
        at = Counter(zip(files["source_partition"].to_pylist(), files["source_offset"].to_pylist(), strict=True))
        letters = {
            "malformed_json": world.poison, "conflicting_duplicate": world.conflicts, "future_dated": world.future,
        }  # fmt: skip
        found = dead_letters(world)
        wrong = sum(
            ((found.get(why, Counter()) - sent) + (sent - found.get(why, Counter()))).total()
            for why, sent in letters.items()
        )
        return {
            "events": world.accepted, "lost": (wanted - ids).total(), "duplicated": (ids - wanted).total(),
            "rows_in_two_files": sum(count - 1 for count in at.values()), "other": abs(kept - world.accepted),
            "wrong_letters": wrong + len(set(found) - set(letters)), "wrong_verdicts": self._wrong_verdicts(), "states": self.states_equal_to_batch(),
        }  # fmt: skip

    def states_equal_to_batch(self) -> int:
        """How many; raises if one is not what the lake's events give."""
        live = OnlineStore.connect(self.env.get("FRAUD_ONLINE_STORE_URL", self.env["REDIS_URL"]), registry())
        try:
            return assert_equal_to_batch(self.lake, self.plan, live).total()
        finally:
            live.close()

    def workers(self) -> int:
        """Members that each of the four groups has, once all have settled; 0 while they have not."""
        # A process that is told to stop before it runs ends as Python does, and its supervisor then says that not all has drained.
        names = [router.GROUP, label_stage.GROUP, explainer.GROUP, f"{folder.GROUP}.{self.world.epoch}"]
        asked = self.world.log.admin.describe_consumer_groups(names, request_timeout=ANSWER_S)
        told = [answer.result(ANSWER_S) for answer in asked.values()]
        counts = {len(one.members) if one.state is ConsumerGroupState.STABLE else 0 for one in told}
        return counts.pop() if len(counts) == 1 else 0

    def _wrong_verdicts(self) -> int:
        world, remaining = self.world, Counter[tuple[str, bool]]()
        for fact in facts(world):
            remaining[fact.transaction_id, fact.is_fraud] += fact.sign
        expected = Counter({(name, False): 1 for name in world.matured} | {(name, True): 1 for name in world.frauds})
        return len(set(+remaining) ^ set(expected))


NOTHING_WRONG = ("lost", "duplicated", "rows_in_two_files", "other", "wrong_letters", "wrong_verdicts")


def is_whole(compared: Mapping[str, int]) -> bool:
    return compared["states"] > 0 and not any(compared[name] for name in NOTHING_WRONG)


@contextmanager
def line(*, is_broker_own: bool = False, **settings: str) -> Iterator[Line]:
    """A new world and its worker, not started. On the broker that KAFKA_BOOTSTRAP_SERVERS names, or on one of its own; is_broker_own: never on another."""
    with (
        tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as made,
        _stack(Path(made), settings, is_broker_own) as stack,
    ):
        log = Log(stack.env["KAFKA_BOOTSTRAP_SERVERS"])
        strikes = Path(made) / "strikes"
        strikes.mkdir()
        env = {**stack.env, "CHAOS_STRIKES": str(strikes)}
        worker = Worker(env, Path(made) / "worker.log", (sys.executable, str(STRUCK_WORKER)))
        told = worker.init_epoch()
        assert told.returncode == 0, told.stderr
        found = Line(Path(made), stack, World(stack.env, log, epoch=told.stdout.split()[1]), worker, strikes)
        try:
            yield found
        except BaseException:
            print(worker.told(), file=sys.stderr)
            raise
        finally:
            for one in (worker, *found.others):
                _end(one)


def _end(worker: Worker) -> None:
    """Of a proof that failed: else its processes would ask for the broker that is gone, for ever."""
    if worker.process is not None and worker.process.poll() is None:
        for child in worker.children().values():
            child.send_signal(signal.SIGCONT)  # one that a failed proof left stopped sees no lifeline close
        worker.kill()


@contextmanager
def _stack(folder: Path, settings: Mapping[str, str], is_broker_own: bool) -> Iterator[Stack]:
    told = {"FRAUD_LAKE_FLUSH_S": "0.5", **settings}
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given is None or is_broker_own:
        with running(["valkey", own_broker()], folder, told) as stack:
            ensure_platform_topics(stack.env["KAFKA_BOOTSTRAP_SERVERS"])
            yield stack
        return
    with running(["valkey"], folder, {**told, "KAFKA_BOOTSTRAP_SERVERS": given}) as stack, _topics_of_ours(given):
        yield stack


@contextmanager
def _topics_of_ours(bootstrap_servers: str) -> Iterator[None]:
    """Every topic of the platform, new, and gone afterwards. Refuses a broker that has one: it is somebody's."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    names = [topic.name for topic in (*PLATFORM_TOPICS, *map(entity_topic, entity_groups()))]
    held = set(admin.list_topics(timeout=ANSWER_S).topics) & set(names)
    assert not held, f"{bootstrap_servers} holds {', '.join(sorted(held))}: give a broker without the platform's topics"
    ensure_platform_topics(bootstrap_servers)
    try:
        yield
    finally:
        groups = admin.list_consumer_groups().result(ANSWER_S).valid
        ours = [group.group_id for group in groups if group.group_id.startswith("fraud-worker")]
        # A member that was killed stays in its group until its session ends.
        deadline = time.monotonic() + ANSWER_S
        while ours and time.monotonic() < deadline:
            answers = admin.delete_consumer_groups(ours)
            ours = [name for name, answer in answers.items() if answer.exception(ANSWER_S)]
            time.sleep(0.5 if ours else 0)
        for answer in admin.delete_topics(names).values():
            answer.result(ANSWER_S)
