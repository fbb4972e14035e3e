"""Payments of a few accounts at a fixed rate, some with a label, and how long each waits until its account's state has it."""

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from fraud_assets.contracts.codec import encode
from fraud_assets.contracts.topics import LABELS, TRANSACTIONS
from fraud_assets.engine.plan import EnginePlan
from fraud_assets.engine.state import StateEngine
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_port import NoEpoch, StoreUnavailable
from tests.streaming.events import label, transaction
from tests.streaming.live import Log

ACCOUNTS = [f"probe-{number}" for number in range(24)]  # some in each of eight partitions
LOOK_S = 0.05
LABELLED = 10  # one payment in so many: a label stage without labels has no fact to send


class Probes:
    """gap: the longest that a payment has waited since it was last taken. regressions: states seen at a lower position than before."""

    def __init__(self, log: Log, redis_url: str, rate: float) -> None:
        self._log, self._rate = log, rate
        self._store = OnlineStore.connect(redis_url, registry())
        plan = EnginePlan(registry())
        self._engine = StateEngine(plan, plan.group("account"))
        self._waiting: dict[str, deque[tuple[str, int, float]]] = defaultdict(deque)
        self._seen: dict[tuple[str, str], int] = {}
        self._gap_s, self.regressions, self.looks, self.sent = 0.0, 0, 0, 0
        self._lock, self._done = threading.Lock(), threading.Event()
        self._failed: list[BaseException] = []

    @contextmanager
    def running(self) -> Iterator[Self]:
        threads = [threading.Thread(target=self._tried, args=(work,)) for work in (self._send, self._look)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._done.set()
            for thread in threads:
                thread.join()
            self._log.flush()
            self._store.close()
        assert not self._failed, self._failed

    def gap_s(self) -> float:
        """Takes the longest wait since it was last taken, those of payments that still wait among them."""
        with self._lock:
            found, self._gap_s = max(self._gap_s, self._waits_s()), 0.0
        return found

    def oldest_s(self) -> float:
        """How long the payment has waited that waits longest."""
        with self._lock:
            return self._waits_s()

    def _tried(self, work: Any) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # raised where the block ends
            self._failed.append(error)

    def _send(self) -> None:
        began_s = time.monotonic()
        while not self._done.wait(max(0.0, began_s + self.sent / self._rate - time.monotonic())):
            account, now_ms = ACCOUNTS[self.sent % len(ACCOUNTS)], time.time_ns() // 1_000_000
            paid = transaction(
                transaction_id=f"t{self.sent}", account_id=account, event_time_ms=now_ms, device_id=account
            )
            sent_s = time.monotonic()

            def delivered(error: Any, message: Any, account: str = account, sent_s: float = sent_s) -> None:
                assert error is None, error
                with self._lock:
                    at = f"{TRANSACTIONS.name}/{message.partition()}"
                    self._waiting[account].append((at, message.offset(), sent_s))

            self._log.producer.produce(
                TRANSACTIONS.name, key=account.encode(), value=encode(paid), on_delivery=delivered
            )
            if self.sent % LABELLED == 0:
                said = label(
                    label_id=f"l{self.sent}", transaction_id=f"t{self.sent}", account_id=account, event_time_ms=now_ms
                )
                self._log.producer.produce(LABELS.name, key=account.encode(), value=encode(said))
            self._log.producer.poll(0)
            self.sent += 1

    def _look(self) -> None:
        while not self._done.wait(LOOK_S):
            try:
                read = self._store.read_many("account", ACCOUNTS)
            except (NoEpoch, StoreUnavailable):
                continue
            self.looks += 1
            for account, state in zip(ACCOUNTS, read, strict=True):
                self._compare(account, self._engine.position(state.packed) if state else {})

    def _compare(self, account: str, position: dict[str, int]) -> None:
        now_s = time.monotonic()
        for at, before in ((at, before) for (whose, at), before in self._seen.items() if whose == account):
            self.regressions += position.get(at, -1) < before
        self._seen.update({(account, at): offset for at, offset in position.items()})
        with self._lock:
            waiting = self._waiting[account]
            while waiting and position.get(waiting[0][0], -1) >= waiting[0][1]:
                self._gap_s = max(self._gap_s, now_s - waiting.popleft()[2])

    def _waits_s(self) -> float:
        now_s = time.monotonic()
        return max((now_s - waiting[0][2] for waiting in self._waiting.values() if waiting), default=0.0)


def unlike_sent(ids: list[str], sent: int) -> tuple[int, int]:
    """Of the payments in the lake: how many are missing, and how many there are too many."""
    found, wanted = Counter(ids), Counter(f"t{number}" for number in range(sent))
    return (wanted - found).total(), (found - wanted).total()
