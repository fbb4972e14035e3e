"""Whatever happens in whatever order: states, lake and dead letters are those that the log alone says they must be.

Hypothesis makes up the days of a worker: events, copies, late and future ones, poison, deaths at any step, replays, lost
stores, rebuilt epochs. The judge knows the log and nothing else: verdicts by a few lines of Python, features by the parity
suite's naive oracle.
"""

import zlib
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from fraud_assets.contracts.codec import Reason, encode
from fraud_assets.contracts.events import Event
from fraud_assets.engine.prepare import entity_key
from fraud_assets.features.catalogue.sources import ACCOUNT, DEVICE, PROFILES, TRANSACTIONS
from fraud_assets.features.expressions import col
from fraud_assets.features.language import FeatureService, FeatureView, count, distinct, total
from fraud_assets.features.registry import Registry
from fraud_assets.features.windows import DAY_MS, hours
from fraud_assets.stores.online_port import NoEpoch
from streaming.core.accept import MAX_AHEAD_MS
from streaming.core.fold import GroupFolder
from streaming.core.records import Record, Refusal
from tests.parity import oracle
from tests.parity.executions import Reader
from tests.parity.test_as_served import assert_reads_as_the_oracle
from tests.streaming.events import DAY, MINUTE, T0, profile, transaction
from tests.streaming.machine import Crash, Fuse, FusedStore, Place, Worker

PARTITIONS = 2
ACCOUNTS = ("a1", "a2", "a3")
HOUR = 60 * MINUTE
VIEWS = (
    FeatureView(
        name="account_machine", entity=ACCOUNT, source=TRANSACTIONS, ttl_ms=30 * DAY_MS,
        aggregates=(
            count(windows=(hours(1), hours(24))), total(col("amount_minor"), windows=(hours(1), hours(24))),
            distinct(col("device_id"), windows=(hours(24),)),
        ),
        description="What an account did.",
    ),
    FeatureView(
        name="device_machine", entity=DEVICE, source=TRANSACTIONS, ttl_ms=30 * DAY_MS,
        aggregates=(count(windows=(hours(1),)), distinct(col("account_id"), windows=(hours(24),))),
        description="Who used a device.",
    ),
)  # fmt: skip
SERVICE = FeatureService(name="machine", scored=TRANSACTIONS, views=VIEWS, unseen=("outcome",))
REGISTRY = Registry(views=VIEWS, services=(SERVICE,))
SOURCE_OF = {TRANSACTIONS.topic: TRANSACTIONS, PROFILES.topic: PROFILES}

fuses = st.none() | st.integers(0, 25)


class Judged:
    """What the log says: for each position when it arrived and whether it is a duplicate, or the reason of its refusal."""

    def __init__(self, raw: dict[tuple[str, int], list[Record]], events: dict[Place, Event | str]) -> None:
        self.rows: dict[Place, tuple[int, bool]] = {}
        self.letters: dict[Place, str] = {}
        self.firsts: list[tuple[Record, Event]] = []
        for log in raw.values():
            arrival, known = 0, defaultdict[Any, list[tuple[int, Event]]](list)
            for record in log:
                arrival = max(arrival, record.timestamp_ms)
                self._judge(record, events[record[:3]], arrival, known)

    def _judge(self, record: Record, event: Event | str, arrival: int, known: Any) -> None:
        if isinstance(event, str):
            self.letters[record[:3]] = event
            return
        is_profile = record.topic == PROFILES.topic
        if event.event_time_ms > arrival + MAX_AHEAD_MS and not is_profile:
            self.letters[record[:3]] = Refusal.FUTURE_DATED
            return
        earlier = known[getattr(event, "profile_id" if is_profile else "transaction_id"), record.key]
        within = [first for came, first in earlier if arrival - came <= DAY]
        if within and within[-1] != event:
            self.letters[record[:3]] = Refusal.CONFLICTING_DUPLICATE
            return
        self.rows[record[:3]] = (arrival, bool(within))
        if not within:
            earlier.append((arrival, event))
            self.firsts.append((record, event))


class Days(RuleBasedStateMachine):
    """One worker's days."""

    def __init__(self) -> None:
        super().__init__()
        self.worker = Worker(REGISTRY)
        self.events: dict[Place, Event | str] = {}
        self.now_ms = T0
        self.is_seen_lost = self.is_clock_back = False

    def _published(self, key: str, value: bytes, meant: Event | str, topic: str = "transactions.v1") -> None:
        at = (topic, zlib.crc32(key.encode()) % PARTITIONS)
        self.worker.append(at, key.encode(), value, self.now_ms)
        self.events[(*at, len(self.worker.raw[at]) - 1)] = meant

    @rule(
        account=st.sampled_from(ACCOUNTS), number=st.integers(0, 4), amount=st.integers(1, 2), device=st.sampled_from("de"),
        ago=st.sampled_from((0, 0, 1, 30 * MINUTE, DAY, -4 * MINUTE, -6 * MINUTE)),
    )  # fmt: skip
    def pay(self, account: str, number: int, amount: int, device: str, ago: int) -> None:
        """Few ids and amounts: many are copies of others, or conflict with them."""
        event = transaction(
            account_id=account, transaction_id=f"t{number}", amount_minor=amount, device_id=device,
            event_time_ms=(self.now_ms - ago) // MINUTE * MINUTE if ago >= 0 else self.now_ms - ago,
        )  # fmt: skip
        self._published(account, encode(event), event)

    @rule(account=st.sampled_from(ACCOUNTS), number=st.integers(0, 2), ahead=st.sampled_from((0, HOUR)))
    def register(self, account: str, number: int, ahead: int) -> None:
        """A profile may be valid from later on; no view here reads it, the lake keeps it."""
        event = profile(account_id=account, profile_id=f"f{number}", event_time_ms=T0 + ahead)
        self._published(account, encode(event), event, "profiles.v1")

    @rule(account=st.sampled_from(ACCOUNTS), kind=st.sampled_from((Reason.MALFORMED_JSON, Refusal.WRONG_KEY)))
    def poison(self, account: str, kind: str) -> None:
        value = b"{" if kind == Reason.MALFORMED_JSON else encode(transaction(account_id="somebody"))
        self._published(account, value, str(kind))

    @rule(ms=st.sampled_from((1, MINUTE, HOUR, DAY, DAY + 1)))
    def wait(self, ms: int) -> None:
        self.now_ms += ms

    # A process that has lost its dedupe store reads how far arrival was from the lake, and refused records are not there.
    @precondition(lambda self: not self.is_seen_lost)
    @rule(ms=st.sampled_from((1, MINUTE)))
    def set_the_brokers_clock_back(self, ms: int) -> None:
        self.is_clock_back = True
        self.now_ms -= ms

    def _until_it_dies(self, fuse: int | None, act: Any) -> None:
        self.worker.fuse.left = fuse
        try:
            act()
            self.worker.fuse.left = None
        except Crash:
            self.worker.start()

    @rule(most=st.integers(1, 5), fuse=fuses)
    def route(self, most: int, fuse: int | None) -> None:
        self._until_it_dies(fuse, lambda: self.worker.route(most))

    @rule(fuse=fuses)
    def write_lake(self, fuse: int | None) -> None:
        self._until_it_dies(fuse, self.worker.write_lake)

    @rule(written=st.integers(0, 3), fuse=fuses)
    def hand_over(self, written: int, fuse: int | None) -> None:
        self._until_it_dies(fuse, lambda: self.worker.hand_over(written))

    @rule(most=st.integers(1, 8), back=st.sampled_from((0, 0, 1, 5)), fuse=fuses)
    def fold(self, most: int, back: int, fuse: int | None) -> None:
        self._until_it_dies(fuse, lambda: self.worker.fold(most, back))

    @rule()
    def die(self) -> None:
        self.worker.start()

    @rule()
    def lose_the_partitions_and_get_them_back(self) -> None:
        self.worker.read_again()

    @precondition(lambda self: not self.is_clock_back)
    @rule()
    def lose_the_dedupe_store(self) -> None:
        self.is_seen_lost = True
        self.worker.seen.marks.clear()
        self.worker.seen.packed.clear()

    @rule()
    def rebuild_the_online_store(self) -> None:
        self.worker.publish()
        self.worker.bind()

    @precondition(lambda self: self.worker.epochs > 1)
    @rule()
    def a_folder_of_an_earlier_epoch_wakes(self) -> None:
        """It is refused, and nothing has changed."""
        before = dict(self.worker.server)
        for group, log in zip(self.worker.plan.groups, self.worker.entity.values(), strict=True):
            zombie = FusedStore(REGISTRY, self.worker.server, Fuse())
            zombie._epoch = f"e{self.worker.epochs - 1}"
            if log:
                with pytest.raises(NoEpoch):
                    GroupFolder(self.worker.plan, group, zombie).fold(log)
        assert self.worker.server == before

    @rule()
    def settle(self) -> None:
        """Everything that has arrived goes through; then the judge."""
        self.worker.route(len(self.events))
        self.worker.write_lake()
        self.worker.fold(sum(map(len, self.worker.entity.values())))
        said = Judged(self.worker.raw, self.events)
        assert {place: (row.arrival_ms, row.is_duplicate) for place, row in self.worker.lake.items()} == said.rows
        assert self.worker.letters == said.letters
        self._judge_states(said)

    def _judge_states(self, said: Judged) -> None:
        """Each entity's features at the moment, later, and when windows have passed, against the naive oracle."""
        self.states, self._known = (
            dict[tuple[str, str], bytes](),
            defaultdict[tuple[str, str], list[oracle.Known]](list),
        )
        for group in self.worker.plan.groups:
            for record, event in said.firsts:
                source = SOURCE_OF[record.topic]
                key = entity_key(group.group.entity, event) if source in group.sources else None
                if key is not None:
                    self._known[group.name, key].append(oracle.Known(source, event))
            keys = sorted(key for name, key in self._known if name == group.name)
            read = self.worker.store.read_many(group.name, keys)
            self.states |= {(group.name, key): one.packed for key, one in zip(keys, read, strict=True) if one}
        stored = [key for key in self.worker.server if key.startswith("fs:") and f":e{self.worker.epochs}:" in key]
        assert len(stored) == len(self._known)
        for owner in self._known:
            for later in (0, 59 * MINUTE, HOUR, DAY, 31 * DAY):
                assert_reads_as_the_oracle(self, READER, owner, self.now_ms + later)  # type: ignore[arg-type]

    def known(self, group: str, key: str) -> list[oracle.Known]:
        return self._known[group, key]

    def teardown(self) -> None:
        self.settle()


READER = Reader(Worker(REGISTRY).plan)
HARD = settings(max_examples=30, stateful_step_count=30, deadline=None, print_blob=True)


def test_any_days_of_a_worker_end_in_what_the_log_says() -> None:
    """A failure prints its steps, and the blob that repeats them."""
    run_state_machine_as_test(Days, settings=HARD)


class NoMemory(Days):
    """Firsts are never kept: every copy is a first."""

    def __init__(self) -> None:
        super().__init__()
        self.worker.seen.write = lambda marks, firsts: self.worker.seen.marks.update(marks)  # type: ignore[method-assign]


class CommitsFirst(Days):
    """Offsets before rows, and a while between them in which to die."""

    def write_lake_of_a_bad_worker(self) -> None:
        self.worker.committed.update(self.worker.uncommitted.cut().ends)
        for _ in range(8):
            self.worker.fuse.burn()
        Worker.write_lake(self.worker)

    def __init__(self) -> None:
        super().__init__()
        self.worker.write_lake = self.write_lake_of_a_bad_worker  # type: ignore[method-assign]


class HandsOverTooMuch(Days):
    """Commits what it had not the time to write."""

    def hand_over_of_a_bad_worker(self, written: int) -> None:  # as the good one is called
        self.worker.committed.update(self.worker.uncommitted.ends)
        self.worker.read_again()

    def __init__(self) -> None:
        super().__init__()
        self.worker.hand_over = self.hand_over_of_a_bad_worker  # type: ignore[method-assign]


class NoPositions(Days):
    """A folder that goes by what it was given and not by what the state has."""

    def __init__(self) -> None:
        super().__init__()
        self.worker.entity = {topic: Shifting() for topic in self.worker.entity}


class Shifting(list[Record]):
    """Each record claims another position than its event's."""

    def append(self, one: Record) -> None:
        headers = [
            (name, str(10**6 + len(self)).encode() if name == "source_offset" else value) for name, value in one.headers
        ]
        super().append(one._replace(headers=headers))


@pytest.mark.parametrize("broken", [NoMemory, CommitsFirst, HandsOverTooMuch, NoPositions])
def test_the_judge_sees_a_worker_that_errs(broken: type[Days]) -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            broken, settings=settings(HARD, max_examples=1_000, phases=(Phase.generate,), print_blob=False)
        )
