"""The pricing service over HTTP: what it takes, says, refuses, learns and shares."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from litestar import Litestar
from litestar.testing import TestClient

from api.access import Scope
from api.pricing.contract import MAX_BATCH
from fraud_assets.stores.online import OnlineStore
from tests.api.pricing.world import HOUR_MS, NOON_MS, activities, asked, fold_event, outcome, runtime, sales, served
from tests.api.world import ENDED, bearer, until

PERSONAL = ("account_id", "device_id", "ip", "card_number", "email", "user_agent", "billing_country", "customer_id")


@pytest.fixture(scope="module")
def two(valkey_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[TestClient[Litestar]]]:
    """Two processes' worth of the service that share nothing but Redis."""
    folder = tmp_path_factory.mktemp("pricing")
    with served(runtime(folder, valkey_server)) as one, served(runtime(folder, valkey_server)) as other:
        yield [one, other]


@pytest.fixture
def client(two: list[TestClient[Litestar]], store: OnlineStore) -> TestClient[Litestar]:
    """The first of the two, ready, in a world where nothing was sold; `store` begins empty."""
    for one in two:
        until(lambda one=one: one.get("/health/ready").status_code == 200)  # type: ignore[misc]
    fold_event(store, activities(NOON_MS))
    return two[0]


def test_a_recommendation_says_what_it_is_made_of(client: TestClient[Litestar]) -> None:
    said = client.post("/price", json=asked()).json()

    assert said["interval_start_ms"] == NOON_MS and said["interval_end_ms"] == NOON_MS + HOUR_MS
    assert said["features"]["current_inventory"] == 400 and said["features"]["concurrent_viewers"] == 10
    assert said["fallback"] == [] and said["action"] in ("raise", "lower", "keep")
    assert sum(one["propensity"] for one in said["choices"]) == pytest.approx(1.0)
    chosen = next(one for one in said["choices"] if one["multiplier"] == said["multiplier"])
    assert chosen["price_minor"] == said["price_minor"] and chosen["propensity"] > 0
    assert {one["multiplier"] for one in said["choices"] if not one["forbidden_by"]} == {0.9, 1.0, 1.1}
    assert "base price" in said["explanation"]
    assert client.get("/price/e1").json() == said


def test_two_processes_say_one_price_in_one_interval(
    client: TestClient[Litestar], two: list[TestClient[Litestar]], store: OnlineStore
) -> None:
    """Also where the world, and what is asked, has changed meanwhile: who asks later gets what the first got."""
    first = client.post("/price", json=asked()).json()
    fold_event(store, activities(NOON_MS + HOUR_MS // 2, inventory=3, viewers=30))

    later = two[1].post("/price", json=asked(event_time_ms=NOON_MS + HOUR_MS // 2, current_price_minor=7_000)).json()
    again = client.post("/price", json={"events": [asked(), asked()]}).json()["recommendations"]

    assert later == first and again == [first, first]
    assert two[1].get("/price/e1").json() == first


@pytest.mark.parametrize("field", PERSONAL)
def test_no_field_of_a_person_is_taken(client: TestClient[Litestar], field: str) -> None:
    """Fairness: what cannot be said cannot set a price."""
    for path, body in (("/price", asked()), ("/price/outcome", outcome())):
        refused = client.post(path, json=body | {field: "x"})

        assert (refused.status_code, refused.json()["type"]) == (422, "unknown_field")
        assert refused.json()["field"] == field


@pytest.mark.parametrize(
    ("changes", "field", "kind"),
    [
        ({"base_price_minor": 0}, "base_price_minor", "invalid_value"),
        ({"category": "opera"}, "category", "invalid_value"),
        ({"promoter_id": ...}, "promoter_id", "missing_field"),
        ({"floor_minor": 6_000, "cap_minor": 5_000}, "floor_minor", "invalid_value"),
        ({"event_time_ms": NOON_MS + 10**9}, "event_time_ms", "invalid_value"),
        ({"event_id": "4111111111111111"}, "event_id", "invalid_value"),
    ],
)
def test_a_refusal_names_the_field(
    client: TestClient[Litestar], changes: dict[str, object], field: str, kind: str
) -> None:
    alone = client.post("/price", json=asked(**changes))
    among = client.post("/price", json={"events": [asked(), asked(**changes)]})

    assert (alone.status_code, alone.json()["type"], alone.json()["field"]) == (422, kind, field)
    assert (among.status_code, among.json()["field"]) == (422, f"events[1].{field}")
    assert alone.headers["content-type"] == "application/problem+json"


def test_a_batch_has_a_bound(client: TestClient[Litestar]) -> None:
    too_many = {"events": [asked(event_id=f"e{n}") for n in range(MAX_BATCH + 1)]}

    assert client.post("/price", json=too_many).json()["field"] == "events"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"event_id": "unheard-of"}, "event_realtime_metrics_missing"),
        ({"event_time_ms": NOON_MS + 3 * HOUR_MS}, "event_realtime_metrics_stale"),
        ({"starts_at_ms": NOON_MS}, "event_started"),
    ],
)
def test_without_fresh_features_the_price_stays(
    client: TestClient[Litestar], changes: dict[str, object], reason: str
) -> None:
    said = client.post("/price", json=asked(current_price_minor=5_170, **changes)).json()

    assert (said["action"], said["price_minor"], said["fallback"]) == ("keep", 5_170, [reason])
    assert "choices" not in said and reason in said["explanation"]


def test_sold_out_is_no_time_to_change_a_price(client: TestClient[Litestar], store: OnlineStore) -> None:
    fold_event(store, activities(NOON_MS, inventory=0))

    assert client.post("/price", json=asked()).json()["fallback"] == ["sold_out"]


def test_a_price_beyond_its_cap_comes_back_to_it_also_without_features(client: TestClient[Litestar]) -> None:
    said = client.post("/price", json=asked(event_id="unheard-of", current_price_minor=9_000)).json()

    assert (said["price_minor"], said["guard_rails"], said["action"]) == (7_500, ["cap"], "lower")


def test_an_outcome_counts_once_whoever_says_it_again(
    client: TestClient[Litestar], two: list[TestClient[Litestar]], store: OnlineStore
) -> None:
    price = client.post("/price", json=asked()).json()["price_minor"]

    told = outcome(price_minor=price)
    answers = [one.post("/price/outcome", json=told).json() for one in (client, two[1], client)]
    fold_event(store, activities(NOON_MS + HOUR_MS))
    later = two[1].post("/price", json=asked(event_time_ms=NOON_MS + HOUR_MS)).json()

    assert [(one["counted"], one["why"]) for one in answers] == [
        (True, ""), (False, "counted_before"), (False, "counted_before"),
    ]  # fmt: skip
    assert later["learned"]["event_visitors"] == pytest.approx(100, rel=1e-6)
    assert later["learned"]["event_tickets"] == pytest.approx(7, rel=1e-6)


def test_outcomes_of_one_event_in_one_batch_are_all_counted(client: TestClient[Litestar], store: OnlineStore) -> None:
    """Each is computed from the state before; whoever is overtaken computes again."""
    hours = [NOON_MS + hour * HOUR_MS for hour in range(4)]
    told = []
    for at_ms in hours[:3]:
        fold_event(store, activities(at_ms))
        price = client.post("/price", json=asked(event_time_ms=at_ms)).json()["price_minor"]
        told.append(outcome(interval_start_ms=at_ms, price_minor=price))

    said = client.post("/price/outcome", json={"outcomes": [*told, told[0] | {"event_id": "e2"}]}).json()["outcomes"]

    fold_event(store, activities(hours[3]))
    learned = client.post("/price", json=asked(event_time_ms=hours[3])).json()["learned"]
    assert [one["why"] for one in said] == ["", "", "", "no_recommendation"]
    assert learned["event_visitors"] == pytest.approx(300, rel=0.01)
    assert learned["event_intervals"] == pytest.approx(3, rel=0.01)


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"price_minor": 5_003}, "price_off_grid"), ({"tickets_sold": 400}, "sold_out"), ({"visitors": 0}, "nobody_came")],
)
def test_what_says_nothing_of_demand_is_not_learned_from(
    client: TestClient[Litestar], changes: dict[str, object], why: str
) -> None:
    client.post("/price", json=asked())

    assert client.post("/price/outcome", json=outcome(**changes)).json()["why"] == why


def test_what_one_event_teaches_is_its_categorys_next_events_prior(
    client: TestClient[Litestar], two: list[TestClient[Litestar]], store: OnlineStore
) -> None:
    """Cold start: nothing of the concert `new` was ever sold, nor of the comedy `other`."""
    for hour, (charged, tickets) in enumerate(((4_000, 200), (6_000, 40))):
        at_ms = NOON_MS + hour * HOUR_MS
        for number in range(3):
            fold_event(store, activities(at_ms, event_id=f"old{number}", inventory=100_000))
            client.post("/price", json=asked(event_id=f"old{number}", event_time_ms=at_ms))
            told = {"price_minor": charged, "tickets_sold": tickets, "visitors": 1_000, "interval_start_ms": at_ms}
            client.post("/price/outcome", json=outcome(event_id=f"old{number}", **told))

    later_ms = NOON_MS + 2 * HOUR_MS
    learned = []
    for event_id, category in (("new", "concert"), ("other", "comedy")):
        fold_event(store, activities(later_ms, event_id=event_id))
        new = asked(event_id=event_id, category=category, event_time_ms=later_ms)
        learned.append(two[1].post("/price", json=new).json()["learned"])

    assert [one["event_visitors"] for one in learned] == [0, 0]
    assert learned[0]["sensitivity"] > 2.0 > 1.2 > learned[1]["sensitivity"]
    assert learned[0]["sensitivity_sd"] < learned[1]["sensitivity_sd"]


def test_the_stream_alone_says_what_became_of_an_interval(client: TestClient[Litestar], store: OnlineStore) -> None:
    """The event's own counters an interval later: what was sold since, and who looked."""
    fold_event(store, activities(NOON_MS), sales(5, NOON_MS))
    client.post("/price", json=asked())
    hour_later = NOON_MS + HOUR_MS
    fold_event(store, activities(hour_later, inventory=391, viewers=12), sales(14, hour_later))

    learned = client.post("/price", json=asked(event_time_ms=hour_later)).json()["learned"]
    late = client.post("/price/outcome", json=outcome()).json()

    assert learned["event_tickets"] == pytest.approx(9) and learned["event_visitors"] == pytest.approx(12 * 12)
    assert late["why"] == "counted_before"


def test_a_full_or_absent_redis_leaves_prices_as_they_are(tmp_path: Path) -> None:
    with served(runtime(tmp_path, "redis://127.0.0.1:9/0")) as alone:
        said = alone.post("/price", json=asked(current_price_minor=5_170))
        unconfirmed = alone.post("/price/outcome", json=outcome())

        assert said.json()["fallback"] == ["posteriors_unreachable"] and said.json()["price_minor"] == 5_170
        assert (unconfirmed.status_code, unconfirmed.json()["type"]) == (503, "not_ready")
        assert alone.get("/health/ready").status_code == 503
        assert alone.get("/health/live").status_code == 200


def test_an_event_that_is_not_on_sale_yet_begins_where_its_category_would(client: TestClient[Litestar]) -> None:
    said = client.post("/price", json=asked(current_price_minor=None)).json()

    assert all(not one["forbidden_by"] for one in said["choices"])
    assert said["current_price_minor"] is None and said["price_minor"] > 0


def test_an_event_that_is_on_sale_cannot_be_said_not_to_be(client: TestClient[Litestar], store: OnlineStore) -> None:
    """Else whoever leaves its price out would get around `max_change`."""
    first = client.post("/price", json=asked()).json()
    fold_event(store, activities(NOON_MS + HOUR_MS))

    said = client.post("/price", json=asked(event_time_ms=NOON_MS + HOUR_MS, current_price_minor=None)).json()

    assert said["current_price_minor"] == first["price_minor"]
    assert any("max_change" in one["forbidden_by"] for one in said["choices"])


def test_an_event_that_was_never_priced_is_not_found(client: TestClient[Litestar]) -> None:
    answer = client.get("/price/unheard-of")

    assert (answer.status_code, answer.json()["type"]) == (404, "not_found")
    assert "POST /price" in answer.json()["detail"]


ROUTES = {("POST", "/price"): Scope.PRICE, ("GET", "/price/e1"): Scope.PRICE, ("POST", "/price/outcome"): Scope.PRICE, ("GET", "/metrics"): Scope.ADMIN}  # fmt: skip


@pytest.mark.parametrize("role", ["nobody", ENDED, *Scope])
def test_each_route_is_open_to_its_scope_alone(client: TestClient[Litestar], role: str) -> None:
    header = {"Authorization": ""} if role == "nobody" else bearer(role)
    for (method, path), scope in ROUTES.items():
        status = client.request(method, path, headers=header).status_code
        if role in ("nobody", ENDED):
            assert status == 401
        else:
            assert (status == 403) == (role != scope), (method, path)


def test_the_schema_names_every_route(client: TestClient[Litestar]) -> None:
    said = client.get("/schema").json()

    served_paths = {route.path.replace(":str", "") for route in client.app.routes}
    assert set(said["paths"]) == served_paths
    assert said["components"]["schemas"]["PriceRequest"]["additionalProperties"] is False


def test_posteriors_are_forgotten_only_long_after_they_say_anything(
    client: TestClient[Litestar], valkey_server: str
) -> None:
    price = client.post("/price", json=asked()).json()["price_minor"]
    client.post("/price/outcome", json=outcome(price_minor=price))

    with redis.Redis.from_url(valkey_server) as server:
        left_s = {key.split(b":")[3]: server.ttl(key) for key in server.scan_iter("fraud:price:*:*")}

    assert set(left_s) == {b"event", b"category", b"curve", b"decision", b"outcome", b"newest"}
    assert left_s[b"event"] > 200 * 86_400 and left_s[b"outcome"] > left_s[b"decision"] > 13 * 86_400
