"""`POST /predict`: from bytes to a decision and its record."""

import time
import uuid
from collections import Counter
from functools import reduce
from operator import and_, or_
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import redis
from litestar import Litestar
from litestar.testing import TestClient
from prometheus_client.parser import text_string_to_metric_families

from api.scorer import READ_TOGETHER
from deploy.local.fault_proxy import Fault, FaultProxy
from fraud_assets.contracts.chain import digest
from fraud_assets.contracts.events import Decision, Outcome, ViewStatus
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.engine.request import RequestReader
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.models.artifact import load_champion, read_champion
from fraud_assets.models.manifest import Definitions
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.online_port import Write
from fraud_assets.stores.served import served_states, served_statuses, served_vector
from tests.api.world import (
    CARDS,
    Producer,
    fold_into,
    published,
    request,
    runtime,
    served,
    served_features,
    until,
    with_champion,
)
from tests.models.made import Trained

UNITS = RequestReader(ServicePlan(EnginePlan(registry()), FRAUD_SCORING)).unit_names
MISSING = dict.fromkeys(UNITS, ViewStatus.MISSING)


def statuses(decision: Decision) -> dict[str, ViewStatus]:
    """What the record says of each view."""
    return served_statuses(decision, registry().service_digest(FRAUD_SCORING), UNITS)


def test_one_payment_gives_one_decision(client: TestClient[Litestar]) -> None:
    """Every field a client acts on."""
    response = client.post("/predict", json=request())

    answer = response.json()
    assert response.status_code == 200
    assert answer["transaction_id"] == "t1"
    assert 0 <= answer["fraud_score"] <= 1
    assert answer["decision"] in ("approve", "review", "deny")
    assert answer["is_fraud"] == (answer["decision"] == "deny")
    assert answer["model_version"] == "v1"
    assert (answer["degraded_reasons"], answer["missing_views"]) == ([], [])
    assert answer["latency_ms"] > 0


def test_many_payments_give_decisions_in_their_order(client: TestClient[Litestar]) -> None:
    """More than are read in one round trip."""
    batch = {"transactions": [request(transaction_id=f"t{i}", account_id=f"a{i % 7}") for i in range(100)]}

    answers = client.post("/predict", json=batch).json()["decisions"]

    assert [answer["transaction_id"] for answer in answers] == [f"t{i}" for i in range(100)]
    assert len({answer["decision_id"] for answer in answers}) == 100


def test_decision_ids_are_random_uuids(client: TestClient[Litestar]) -> None:
    """Version 4 of RFC 9562, all of its 122 other bits left to chance: a bit that never changes would be seen."""
    answers = client.post("/predict", json={"transactions": [request() for _ in range(100)]}).json()["decisions"]

    ids = [uuid.UUID(answer["decision_id"]) for answer in answers]
    assert {(one.version, one.variant) for one in ids} == {(4, uuid.RFC_4122)}
    assert [one.hex for one in ids] == [answer["decision_id"] for answer in answers]
    numbers = [one.int for one in ids]
    assert (reduce(or_, numbers) ^ reduce(and_, numbers)).bit_count() == 122


def test_every_decision_is_counted_by_what_it_was(client: TestClient[Litestar], store: OnlineStore) -> None:
    """In a batch that is read in several parts, and decided in several ways."""
    fold_into(store, published(6))
    strange = {"account_id": "a2", "card_number": None, "device_id": "d2", "ip": "8.8.4.4"}
    batch = [request(transaction_id=f"t{i}", **(strange if i % 3 else {})) for i in range(40)]
    before = counted(client)

    answers = client.post("/predict", json={"transactions": batch}).json()["decisions"]

    made = Counter(answer["decision"] for answer in answers)
    assert len(made) > 1
    assert counted(client) == {action: before[action] + made[action] for action in before}


def counted(client: TestClient[Litestar]) -> dict[str, float]:
    """fraud_decisions_total by action."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = next(family.samples for family in families if family.name == "fraud_decisions")
    return {one.labels["decision"]: one.value for one in samples if one.name == "fraud_decisions_total"}


def test_history_in_the_store_reaches_the_decision(
    client: TestClient[Litestar], store: OnlineStore, producer: Producer
) -> None:
    """Six declines of a card within the hour: a rule denies it, and says why."""
    fold_into(store, published(6))

    answer = client.post("/predict", json=request()).json()

    assert (answer["decision"], answer["is_fraud"]) == ("deny", True)
    assert answer["reason_codes"][0] == "CARD_TESTING"
    decision = until(producer.decisions)[0]
    found = served_features(decision)
    assert found["card_declined_count_1h"] == 6
    assert found["account_txn_count_24h"] == 6
    assert found["amount_minor"] == 5_000


def test_the_record_holds_what_a_recomputation_needs(
    client: TestClient[Litestar], store: OnlineStore, producer: Producer, shared_models: Path
) -> None:
    """Vector, states with their positions, digests, and the score that this model gives that vector."""
    fold_into(store, published(3, outcome=Outcome.APPROVED))

    answer = client.post("/predict", json=request()).json()
    decision = until(producer.decisions)[0]

    champion = read_champion(shared_models)
    assert champion is not None
    model = load_champion(shared_models, champion, Definitions.of(registry(), FRAUD_SCORING))
    assert decision.fraud_score == answer["fraud_score"] == model.score(served_vector(decision))
    assert (decision.epoch, decision.model_sha256) == ("e1", model.sha256)
    assert decision.service_digest == registry().service_digest(FRAUD_SCORING)
    states = {state.group: state for state in served_states(decision)}
    assert states["card"].position == {"transactions.v1/0": 2}
    assert (states["card"].version, states["category"].version) == (1, 0)
    assert len(states) == 10
    assert digest(decision) == decision.sha256
    assert producer.sent[0][:2] == ("decisions.v1", b"a1")


def test_nothing_raw_leaves_the_edge(
    client: TestClient[Litestar], producer: Producer, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither the record nor the answer nor the log holds a card number, an e-mail or an address."""
    answer = client.post("/predict", json=request()).content
    until(producer.decisions)

    seen = answer + b"".join(value for _, _, value in producer.sent) + "".join(capfd.readouterr()).encode()

    for raw in (*CARDS, "somebody@", "8.8.8.8"):
        assert raw.encode() not in seen
    assert producer.decisions()[0].request["ip_country"] == "US"


def test_a_payment_without_card_or_email_reads_no_card(client: TestClient[Litestar], producer: Producer) -> None:
    """A voucher has neither; that is no error and no unknown card."""
    response = client.post("/predict", json=request(card_number=..., email=..., payment_method="voucher"))

    assert response.status_code == 200
    groups = {state.group for state in served_states(until(producer.decisions)[0])}
    assert groups.isdisjoint({"card", "account_card"})


def test_a_payment_already_in_a_state_is_marked(
    client: TestClient[Litestar], store: OnlineStore, producer: Producer
) -> None:
    """Its own event would be among its features; such decisions are kept out of training."""
    fold_into(store, published(2, outcome=Outcome.APPROVED))

    client.post("/predict", json=request(transaction_id="old1"))

    assert until(producer.decisions)[0].self_included


def test_a_store_that_is_behind_says_so_and_passes_by_itself(
    client: TestClient[Litestar], store: OnlineStore, producer: Producer
) -> None:
    """Nobody has to rebuild it: whoever reads the reason shall not be told that it has no epoch."""
    store.hold("one", {"entity.account.v1/0": 0})
    store.fall_behind("one", {"entity.account.v1/0": 5})

    behind = client.post("/predict", json=request()).json()
    store.advance({"entity.account.v1/0": 5})
    assert store.catch_up()

    assert behind["degraded_reasons"] == ["online_store_behind"]
    assert behind["missing_views"] == list(UNITS)
    until(lambda: client.post("/predict", json=request()).json()["degraded_reasons"] == [])


def test_a_flushed_store_degrades_the_decision_and_denies_nobody(
    client: TestClient[Litestar], store: OnlineStore, producer: Producer, valkey_server: str
) -> None:
    """Every customer would look new; the answer says what was missing."""
    raw = redis.Redis.from_url(valkey_server)
    raw.flushall()
    raw.close()

    response = client.post("/predict", json=request(amount_minor=90_000))

    answer = response.json()
    assert response.status_code == 200
    assert answer["degraded_reasons"] == ["online_store_no_epoch"]
    assert answer["decision"] == "review"
    assert "LIMITED_INFORMATION" in answer["reason_codes"]
    assert answer["missing_views"] == list(UNITS)
    decision = until(producer.decisions)[0]
    assert (served_states(decision), statuses(decision)) == ([], MISSING)
    until(lambda: client.get("/health/ready").status_code == 503)


def test_without_a_store_decisions_go_on(shared_models: Path, free_port: int) -> None:
    """From the payment alone, at once."""
    producer = Producer()
    with served(runtime(shared_models, f"redis://127.0.0.1:{free_port}/0", producer)) as client:
        answers = [client.post("/predict", json=request()).json() for _ in range(20)]

    assert all(answer["degraded_reasons"] == ["online_store_unreachable"] for answer in answers)
    assert all(answer["missing_views"] == list(UNITS) for answer in answers)
    assert statuses(producer.decisions()[0]) == MISSING
    assert sorted(answer["latency_ms"] for answer in answers)[10] < 50
    found = served_features(producer.decisions()[0])
    assert found["amount_minor"] == 5_000
    assert found["account_txn_count_1h"] is None


def test_a_store_that_hangs_is_waited_for_once_in_a_batch(
    store: OnlineStore, valkey_server: str, shared_models: Path
) -> None:
    """The parts of a batch that come after the first do not wait as long again, one after the other."""
    producer, timeout_ms = Producer(), 1_000
    address = urlsplit(valkey_server)
    assert address.hostname is not None and address.port is not None
    with FaultProxy(address.hostname, address.port) as proxy:
        url, timeouts = f"redis://127.0.0.1:{proxy.port}/0", {"store_timeout_ms": timeout_ms, "shared_timeout_ms": 15}
        behind = runtime(shared_models, url, producer, **timeouts)
        with served(behind) as client:
            until(lambda: client.post("/predict", json=request()).json()["degraded_reasons"] == [])
            proxy.set(Fault.HUNG)
            batch = [request(transaction_id=f"t{number}") for number in range(6 * READ_TOGETHER)]
            answers = client.post("/predict", json={"transactions": batch}).json()["decisions"]

    assert {(*answer["degraded_reasons"], *answer["missing_views"]) for answer in answers} == {
        ("online_store_timeout", *UNITS)
    }
    assert statuses(producer.decisions()[-1]) == MISSING
    assert answers[-1]["latency_ms"] < 2 * timeout_ms


def test_views_without_history_are_named_only_where_the_store_is_at_fault(
    client: TestClient[Litestar], store: OnlineStore, producer: Producer
) -> None:
    """A customer whom nobody knows is no degraded decision; its record says what was null."""
    fold_into(store, published(2, outcome=Outcome.APPROVED))

    answer = client.post("/predict", json=request(device_id="new")).json()

    decision = until(producer.decisions)[0]
    assert (answer["degraded_reasons"], answer["missing_views"]) == ([], [])
    assert {"PRESENT", "MISSING"} <= set(statuses(decision).values())


def test_a_torn_state_costs_one_decision_its_history(
    client: TestClient[Litestar], store: OnlineStore, producer: Producer
) -> None:
    """A defect of the store is not an error of the client."""
    store.compare_and_set("account", [Write("a1", 0, b"\x01garbage")])

    torn = client.post("/predict", json=request()).json()
    other = client.post("/predict", json=request(account_id="a2")).json()

    assert (torn["degraded_reasons"], torn["missing_views"]) == (["online_state_unreadable"], list(UNITS))
    assert (other["degraded_reasons"], other["missing_views"]) == ([], [])
    until(lambda: len(producer.decisions()) == 2)
    assert statuses(producer.decisions()[0]) == MISSING


def test_a_payment_in_a_batch_is_decided_and_recorded_as_it_is_alone(
    client: TestClient[Litestar], store: OnlineStore, producer: Producer
) -> None:
    """To the last bit: known and unknown entities, no card, a torn state, approved and not, in more parts than one."""
    fold_into(store, published(6))
    store.compare_and_set("account", [Write("torn", 0, b"\x01garbage")])
    kinds: list[dict[str, object]] = [
        {}, {"account_id": "torn"}, {"card_number": None}, {"account_id": "new", "device_id": "new|er"},
        {"card_number": "5555555555554444", "ip": "203.0.113.9"}, {"account_id": "torn", "amount_minor": 90_000},
    ]  # fmt: skip
    sent_ms = time.time_ns() // 1_000_000 - 1_000
    sent = [request(transaction_id=f"t{i}", event_time_ms=sent_ms, **kinds[i % len(kinds)]) for i in range(40)]

    together = client.post("/predict", json={"transactions": sent}).json()["decisions"]
    alone = [client.post("/predict", json=one).json() for one in sent]

    own: dict[str, Any] = {"decision_id": "", "latency_ms": 0.0}
    assert [one | own for one in together] == [one | own for one in alone]
    assert len({one["decision"] for one in alone}) > 1 < len({tuple(one["degraded_reasons"]) for one in alone})
    until(lambda: len(producer.decisions()) == 2 * len(sent))
    own |= {"decided_at_ms": 0, "broker_clock_offset_ms": 0, "chain_position": 0, "previous_sha256": "", "sha256": ""}
    recorded = [msgspec.structs.replace(one, **own) for one in producer.decisions()]
    assert recorded[: len(sent)] == recorded[len(sent) :]


def test_a_full_kafka_queue_costs_neither_decisions_nor_records(
    client: TestClient[Litestar], producer: Producer
) -> None:
    """They wait on disk, in their order."""
    producer.full = True
    for number in range(3):
        assert client.post("/predict", json=request(transaction_id=f"t{number}")).status_code == 200
    until(lambda: b"fraud_decision_events_pending 3.0" in client.get("/metrics").content)
    assert producer.sent == []

    producer.full = False

    until(lambda: [one.transaction_id for one in producer.decisions()] == ["t0", "t1", "t2"])


def test_without_a_model_there_is_no_decision_and_no_readiness(
    store: OnlineStore, valkey_server: str, tmp_path: Path, trained: Trained
) -> None:
    """503 with what is missing; and once a champion is published, it is served without a restart."""
    with served(runtime(tmp_path, valkey_server, Producer())) as client:
        refused = client.post("/predict", json=request())
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert client.get("/health/live").status_code == 200
        assert "no model" in client.get("/health/ready").json()["detail"]

        with_champion(tmp_path, trained)

        until(lambda: client.get("/health/ready").status_code == 200)
        assert client.post("/predict", json=request()).status_code == 200


def test_a_new_champion_is_swapped_in_and_a_bad_one_is_not(
    store: OnlineStore, valkey_server: str, own_models: Path, trained: Trained
) -> None:
    """The old model answers until the new one is verified, and after it is refused."""
    with served(runtime(own_models, valkey_server, Producer())) as client:
        with_champion(own_models, trained, "v2")
        until(lambda: client.post("/predict", json=request()).json()["model_version"] == "v2")

        with_champion(own_models, trained, "v3", service_digest="0" * 64)
        until(lambda: b'fraud_model_reloads_total{result="other_definitions"} 1.0' in client.get("/metrics").content)

        assert client.post("/predict", json=request()).json()["model_version"] == "v2"


def test_reload_loads_what_is_published_now(client: TestClient[Litestar]) -> None:
    """And says what is served after it."""
    reloaded = client.post("/admin/reload")

    assert (reloaded.status_code, reloaded.json()["model_version"]) == (200, "v1")
