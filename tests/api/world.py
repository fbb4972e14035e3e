"""A scorer with everything real but Kafka: a model made by XGBoost, states folded by the engine, a Valkey."""

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar
from litestar.testing import TestClient

from api.access import Scope
from api.app import create_app
from api.keys import make_key, now_utc, write_keys
from api.runtime import Runtime
from api.settings import ApiSettings
from fraud_assets.contracts import codec, topics
from fraud_assets.contracts.events import Decision, Outcome, Transaction
from fraud_assets.contracts.tokens import TokenKey, tokenise
from fraud_assets.engine.plan import EnginePlan
from fraud_assets.engine.prepare import columns_from_events, entity_key, rows_of
from fraud_assets.engine.state import StateEngine
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.models.artifact import publish_champion, write_artifact
from fraud_assets.settings import DEVELOPMENT_TOKEN_KEY
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_port import Write
from fraud_assets.stores.served import served_vector
from tests.models.made import Trained

KEY = TokenKey.of("dev", DEVELOPMENT_TOKEN_KEY)
WITHIN_S = 60.0  # a verification's child process on a busy machine takes seconds
MAX_DECISION_BYTES = 256 * 1024

# A key for each scope, one for all of them, and one that has been ended.
ALL, ENDED = "all", "ended"
MADE = {
    **{scope.value: make_key(f"{scope}-client", [scope], now_utc()) for scope in Scope},
    ALL: make_key("shop", list(Scope), now_utc()),
    ENDED: make_key("shop", list(Scope), now_utc(), not_after=now_utc()),
}


def bearer(role: str) -> dict[str, str]:
    """The header of a caller with this key."""
    return {"Authorization": f"Bearer {MADE[role].credential}"}


class Producer:
    """Keeps what is produced; `full` is librdkafka's full queue, `silent` a broker that is gone, `error` what it says,
    `message` what it reports as delivered.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, bytes]] = []
        self.headers: list[dict[str, bytes]] = []
        self._waiting: list[Callable[[Any, Any], None]] = []
        self.reset()

    def reset(self) -> None:
        self.sent.clear()
        self.headers.clear()
        self.full = self.silent = False
        self.error: object = None
        self.message = Delivered()

    def produce(
        self,
        topic: str,
        value: bytes,
        key: bytes,
        on_delivery: Callable[[Any, Any], None],
        headers: Sequence[tuple[str, bytes]],
    ) -> None:
        if self.full:
            raise BufferError
        self.sent.append((topic, key, value))
        self.headers.append(dict(headers))
        self._waiting.append(on_delivery)

    def poll(self, timeout: float) -> int:
        """Everything is delivered at the first look."""
        if self.silent:
            return 0
        waiting, self._waiting = self._waiting, []
        for report in waiting:
            report(self.error, self.message)
        return len(waiting)

    def flush(self, timeout: float) -> int:
        return 0

    def decisions(self) -> list[Decision]:
        sent = [value for topic, _, value in self.sent if topic == topics.DECISIONS.name]
        return [codec.decode(Decision, value, max_bytes=MAX_DECISION_BYTES) for value in sent]


class Delivered:
    """What we use of a message that the broker has."""

    def timestamp(self) -> tuple[int, int]:
        return 0, 0

    def latency(self) -> float | None:
        return None


def runtime(model_dir: Path, redis_url: str, producer: Producer, **settings: Any) -> Runtime:
    keys = model_dir.parent / "api-keys.json"
    write_keys(keys, [made.key for made in MADE.values()])
    # What a decision says must not turn on the 15 or 20 ms in which a busy machine may not answer.
    fields: dict[str, Any] = {
        "model_dir": model_dir,
        "redis_url": redis_url,
        "store_timeout_ms": 1_000,
        "shared_timeout_ms": 1_000,
        "api_keys_file": keys,
        # Its own: the next process sends what a folder's journal still owes, another test's decisions too.
        "decision_journal_dir": Path(tempfile.mkdtemp(prefix="decisions-", dir=model_dir.parent)),
    }
    return Runtime(ApiSettings(**fields | settings), registry(), FRAUD_SCORING, producer)


@contextmanager
def served(made: Runtime) -> Iterator[TestClient[Litestar]]:
    """A client whose key is good for everything."""
    app: Litestar = create_app(made)
    with TestClient(app) as client:
        client.headers.update(bearer(ALL))
        yield client


def with_champion(model_dir: Path, trained: Trained, version: str = "v1", **changes: object) -> Path:
    write_artifact(model_dir / version, trained.booster_json, trained.manifest(version, **changes))
    publish_champion(model_dir, version)
    return model_dir


CARDS = ("4111111111111111", "4111 1111 1111 1111")
"""One card number, as it is tokenised and as it is typed: whole, for four of its digits stand in a trace id too."""


def request(**changes: object) -> dict[str, object]:
    """A payment a second ago."""
    fields: dict[str, object] = {
        "transaction_id": "t1",
        "event_time_ms": time.time_ns() // 1_000_000 - 1_000,
        "account_id": "a1",
        "event_id": "e1",
        "promoter_id": "p1",
        "device_id": "d1",
        "ip": "8.8.8.8",
        "card_number": CARDS[1],
        "email": "somebody@example.com",
        "payment_method": "card",
        "amount_minor": 5_000,
        "currency": "EUR",
        "ticket_count": 2,
        "tier": "standard",
        "category": "concert",
        "billing_country": "DE",
        "user_agent": "test",
    }
    fields.update(changes)
    return {name: value for name, value in fields.items() if value is not ...}


def published(count: int, *, outcome: Outcome = Outcome.DECLINED_BY_ISSUER, **changes: object) -> list[Transaction]:
    """`count` earlier payments of the same entities, a minute apart."""
    raw = request(**changes)
    known = {name: value for name, value in raw.items() if name not in ("ip", "card_number", "email")}
    known |= {
        "ip_token": tokenise("ip", str(raw["ip"]), KEY),
        "ip_country": "US",
        "card_token": tokenise("card", str(raw["card_number"]), KEY),
        "outcome": outcome,
    }
    last = int(str(raw["event_time_ms"]))
    return [
        msgspec.convert(
            known | {"transaction_id": f"old{i}", "event_time_ms": last - 60_000 * (count - i)},
            Transaction,
            strict=False,
        )
        for i in range(count)
    ]


def fold_into(store: OnlineStore, events: list[Transaction]) -> None:
    """What the worker does, for the groups of one set of entities."""
    plan = EnginePlan(registry())
    source = FRAUD_SCORING.scored
    positions = [(topics.TRANSACTIONS.name, 0, offset) for offset in range(len(events))]
    columns = columns_from_events(plan, source, events, positions, [event.event_time_ms for event in events])
    for group in plan.groups:
        if any(item.name == source.name for item in group.sources):
            folded = StateEngine(plan, group).fold(None, rows_of(plan, group, columns)).packed[0]
            key = entity_key(group.group.entity, events[0])
            assert key is not None
            assert store.compare_and_set(group.name, [Write(key, 0, folded)]) == [True]


def until(true: Callable[[], Any], within_s: float = WITHIN_S) -> Any:
    """Its first true value, within the deadline."""
    deadline = time.monotonic() + within_s
    while not (found := true()):
        assert time.monotonic() < deadline, "not within the deadline"
        time.sleep(0.01)
    return found


def served_features(decision: Decision) -> dict[str, float | None]:
    """The vector that was served, by name; None for null."""
    values = [None if math.isnan(value) else value for value in served_vector(decision).tolist()]
    return dict(zip(registry().feature_names(FRAUD_SCORING), values, strict=True))
