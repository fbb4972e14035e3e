"""Requests that are right and unusual: each is decided, and its record says what was known."""

from litestar import Litestar
from litestar.testing import TestClient

from fraud_assets.contracts.events import Decision, ViewStatus
from fraud_assets.engine.plan import EnginePlan, ServicePlan
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry
from fraud_assets.stores.online import OnlineStore
from fraud_assets.stores.served import served_states, served_statuses
from tests.api.world import Producer, fold_into, published, request, served_features, until

STRANGER = dict.fromkeys(("account_id", "event_id", "promoter_id", "device_id"), "nobody") | {
    "ip": "1.1.1.1", "card_number": "5555 5555 5555 4444", "email": "nobody@example.com", "category": "other",
}  # fmt: skip


def recorded(producer: Producer, count: int) -> list[Decision]:
    found: list[Decision] = until(lambda: (made := producer.decisions())[: len(made) >= count and count])
    return found


def test_a_repeated_request_is_decided_again_under_an_id_of_its_own(
    client: TestClient[Litestar], producer: Producer
) -> None:
    """A shop that heard no answer asks again: nothing remembers the first, and the same is said twice."""
    body = request()

    first, again = (client.post("/predict", json=body).json() for _ in range(2))

    assert first["decision_id"] != again["decision_id"]
    assert all(first[name] == again[name] for name in ("transaction_id", "decision", "fraud_score", "reason_codes"))
    one, other = recorded(producer, 2)
    assert {one.decision_id, other.decision_id} == {first["decision_id"], again["decision_id"]}
    assert (one.transaction_id, one.vector) == (other.transaction_id, other.vector)


def test_a_payment_twice_in_one_batch_is_decided_twice(client: TestClient[Litestar]) -> None:
    body = {"transactions": [request(), request(transaction_id="t2"), request()]}

    answers = client.post("/predict", json=body).json()["decisions"]

    assert [answer["transaction_id"] for answer in answers] == ["t1", "t2", "t1"]
    assert len({answer["decision_id"] for answer in answers}) == 3
    assert answers[0]["fraud_score"] == answers[2]["fraud_score"]


def test_a_payment_of_entities_nobody_knew_is_decided_with_missing_views(
    client: TestClient[Litestar], store: OnlineStore, producer: Producer
) -> None:
    """No failure and no degradation: null where history would be, and what the payment says of itself."""
    fold_into(store, published(6))

    response = client.post("/predict", json=request(**STRANGER))

    (decision,) = recorded(producer, 1)
    served = served_features(decision)
    assert (response.status_code, decision.degraded_reasons, decision.epoch) == (200, [], "e1")
    units = ServicePlan(EnginePlan(registry()), FRAUD_SCORING).unit_names
    statuses = served_statuses(decision, registry().service_digest(FRAUD_SCORING), units)
    assert set(statuses.values()) == {ViewStatus.MISSING}
    assert {state.version for state in served_states(decision)} == {0}
    assert served["account_txn_count_24h"] is None
    assert served["card_declined_count_1h"] is None
    assert served["amount_minor"] == 5_000


def test_an_unknown_card_on_a_known_account_costs_the_cards_views_alone(
    client: TestClient[Litestar], store: OnlineStore, producer: Producer
) -> None:
    fold_into(store, published(6))

    client.post("/predict", json=request(card_number=STRANGER["card_number"]))

    (decision,) = recorded(producer, 1)
    served = served_features(decision)
    assert served["account_txn_count_24h"] == 6
    assert served["card_declined_count_1h"] is None


def test_a_payment_of_long_ago_is_decided_as_of_its_time(client: TestClient[Litestar], producer: Producer) -> None:
    """A shop that was cut off sends late; only the future is refused."""
    response = client.post("/predict", json=request(event_time_ms=1_500_000_000_000))

    (decision,) = recorded(producer, 1)
    assert response.status_code == 200
    assert decision.event_time_ms == 1_500_000_000_000
    assert decision.decided_at_ms > 1_700_000_000_000
