"""A layer of a live platform stopped alone, and what the others do meanwhile; layers and processes are those of the table of docs/reliability.md.

Stopped is SIGSTOP: a process that hangs is harder on its neighbours than one that has gone, whose connections are refused at once.
"""

import json
import re
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pyarrow as pa

from deploy.local.demo_traffic import pending_of
from deploy.local.probes import dagster_daemon_beats, dagster_has_loaded, wait_until
from deploy.local.scorer_key import key_path
from deploy.local.stack import Stack
from fraud_assets.contracts.events import Transaction
from fraud_assets.contracts.topics import TRANSACTIONS
from fraud_assets.features.catalogue.ticketing import registry
from fraud_assets.models.artifact import read_champion
from fraud_assets.stores.files import beside
from fraud_assets.stores.lake import Lake
from fraud_assets.stores.online import OnlineStore
from fraud_assets.training.reproduce import reproduce
from simulator.kafka_source import KafkaSource
from tests.deploy.client import poll_until

# A consumer that was stopped past its session comes back by a rebalance, on a busy machine late.
WITHIN_S = 120.0
Stop = Callable[[], AbstractContextManager[None]]
HEADING = "## Five layers"
PAYMENT = {
    "event_id": "opera-tonight", "promoter_id": "opera", "ip": "8.8.8.8", "payment_method": "card", "amount_minor": 24_000,
    "currency": "EUR", "ticket_count": 2, "tier": "vip", "category": "culture", "billing_country": "DE",
}  # fmt: skip


def layers_of(page: Path) -> dict[str, tuple[str, ...]]:
    """Each layer of the page's table, and the processes that it says are stopped."""
    section = page.read_text().partition(f"{HEADING}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| \*\*([^*]+)\*\* \| ([^|]+) \|", section, re.MULTILINE)
    return {layer: tuple(re.findall(r"`([^`]+)`", stopped)) for layer, stopped in rows}


class Live:
    """A running platform as its users see it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.env = stack.env
        self.lake = Lake(self.env["FRAUD_LAKE_URI"])
        self._key = key_path(stack.context.var_dir).read_text().strip()
        self._source = KafkaSource(self.env["KAFKA_BOOTSTRAP_SERVERS"])

    def decide(self, order: str) -> Mapping[str, Any]:
        """Of an account and a device of its own."""
        payment = PAYMENT | {
            "transaction_id": order, "account_id": f"{order}-account", "device_id": f"{order}-device", "event_time_ms": _now_ms(),
        }  # fmt: skip
        call = urllib.request.Request(
            f"{self.env['FRAUD_SCORER_URL']}/predict",
            json.dumps(payment).encode(),
            {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(call, timeout=30) as answer:
            found: Mapping[str, Any] = json.load(answer)
        return found

    def publish(self, order: str) -> None:
        """As the shop does, without waiting for the broker."""
        given = PAYMENT | {
            "transaction_id": order, "account_id": f"{order}-account", "device_id": f"{order}-device",
            "event_time_ms": _now_ms(), "ip_token": "dev:00", "ip_country": "DE", "outcome": "approved",
        }  # fmt: skip
        del given["ip"]
        self._source.publish(TRANSACTIONS, msgspec.convert(given, Transaction))

    def delivered(self) -> int:
        """Payments that the broker has confirmed."""
        self._source.poll()
        return self._source.published[TRANSACTIONS.name]

    def rows(self, table: str, order: str) -> int:
        return len(self.lake.scan(table, among=("transaction_id", pa.array([order]))))

    def explained(self, decision: Mapping[str, Any]) -> bool:
        found = self.lake.scan("explanations", among=("decision_id", pa.array([str(decision["decision_id"])])))
        return len(found) > 0

    def known(self, order: str) -> bool:
        """Whether the online store has a state of its account."""
        with closing(OnlineStore.connect(self.env["REDIS_URL"], registry())) as store:
            store.current_epoch()
            return store.read_many("account", [f"{order}-account"])[0] is not None

    def waiting(self) -> float:
        """Decisions on the scorer's disk."""
        return pending_of(self.env["FRAUD_SCORER_URL"], self._key) or 0.0

    def close(self) -> None:
        self._source.close()

    # -- what a layer is for ------------------------------------------------------------------------

    def scores(self, order: str) -> Mapping[str, Any]:
        """With its history: the decision."""
        decision = self.decide(order)
        assert decision["degraded_reasons"] == [], decision
        return decision

    def ingests(self, order: str) -> None:
        """What the shop has published is in the lake, once."""
        poll_until(lambda: self.rows("transactions", order), f"{order} is in the lake", WITHIN_S)
        assert self.rows("transactions", order) == 1

    def folds(self, order: str) -> None:
        """And in the state of its account."""
        poll_until(lambda: self.known(order), f"the account of {order} is known", WITHIN_S)

    def keeps(self, decision: Mapping[str, Any]) -> None:
        """The decision is in the lake, and what moved its score."""
        order = decision["transaction_id"]
        poll_until(lambda: self.rows("decisions", order), f"the decision of {order} is in the lake", WITHIN_S)
        poll_until(lambda: self.explained(decision), f"the decision of {order} is explained", WITHIN_S)

    def shows(self) -> None:
        """Dagster's pages have the asset graph."""
        wait_until(dagster_has_loaded(self.env["FRAUD_DAGSTER_URL"]), WITHIN_S, lambda: None)

    def trains(self) -> None:
        """The champion, again, of its training set: the same bytes."""
        folder = Path(self.env["FRAUD_MODEL_DIR"])
        champion = read_champion(folder)
        assert champion is not None
        assert reproduce(folder, beside(self.env["FRAUD_LAKE_URI"], "training"), champion.version).same


def without_ingestion(live: Live, stop: Stop) -> None:
    before = live.scores("layers-1")
    live.keeps(before)
    with stop():
        decision = live.scores("layers-2")
        live.publish("layers-2")
        poll_until(live.waiting, "the decision waits on disk")
        assert live.rows("decisions", "layers-1") == 1
        live.shows()
        live.trains()
        assert live.rows("transactions", "layers-2") == 0
    live.ingests("layers-2")
    live.folds("layers-2")
    live.keeps(decision)


def without_features(live: Live, stop: Stop) -> None:
    with stop():
        live.publish("layers-3")
        live.ingests("layers-3")
        live.keeps(live.scores("layers-4"))
        live.shows()
        live.trains()
        assert not live.known("layers-3")
    live.folds("layers-3")


def without_scoring(live: Live, stop: Stop) -> None:
    with stop():
        live.publish("layers-5")
        live.ingests("layers-5")
        live.folds("layers-5")
        live.shows()
        live.trains()
    live.keeps(live.scores("layers-6"))


def without_storage(live: Live, stop: Stop) -> None:
    with stop():
        decision = live.decide("layers-7")
        assert [reason.startswith("online_store_") for reason in decision["degraded_reasons"]] == [True], decision
        confirmed = live.delivered()
        live.publish("layers-7")
        poll_until(lambda: live.delivered() > confirmed, "the log has the payment")
        live.trains()
    live.ingests("layers-7")
    live.folds("layers-7")
    live.keeps(decision)
    poll_until(lambda: not live.decide("layers-8")["degraded_reasons"], "decisions have their history again")
    live.shows()


def without_training(live: Live, stop: Stop) -> None:
    with stop():
        live.publish("layers-9")
        live.ingests("layers-9")
        live.folds("layers-9")
        live.keeps(live.scores("layers-10"))
        live.shows()
        went_on_s = time.time()
    wait_until(dagster_daemon_beats(live.env["FRAUD_DAGSTER_URL"], went_on_s), WITHIN_S, lambda: None)


WITHOUT: Mapping[str, Callable[[Live, Stop], None]] = {
    "ingestion": without_ingestion,
    "features": without_features,
    "scoring": without_scoring,
    "storage and observability": without_storage,
    "training": without_training,
}
"""What is asked while each is stopped, and after it has gone on."""


def stop_each(stack: Stack, layers: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """layers: their processes, of those of WITHOUT. What was wrong, by layer; empty where nothing was."""
    live = Live(stack)
    wrong = {}
    with closing(live):
        for layer, names in layers.items():
            try:
                WITHOUT[layer](live, lambda names=names: _stopped(stack, names))  # type: ignore[misc]
                wrong[layer] = ""
            except Exception:  # noqa: BLE001  # the other layers are still asked
                wrong[layer] = traceback.format_exc()
    return wrong


@contextmanager
def _stopped(stack: Stack, names: Sequence[str]) -> Iterator[None]:
    """Services of the stack, or roles of its worker, with all that they started."""
    found = [process for name in names for process in _processes(stack, name)]
    for process in found:
        process.suspend()
    try:
        yield
        assert {process.status() for process in found} == {psutil.STATUS_STOPPED}
    finally:
        for process in found:
            process.resume()


def _processes(stack: Stack, name: str) -> list[psutil.Process]:
    if name in stack.context.ports:
        service = psutil.Process(stack.pid(name))
        return [service, *service.children(recursive=True)]
    (role,) = [one for one in psutil.Process(stack.pid("worker")).children() if one.name() == name]
    return [role]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
