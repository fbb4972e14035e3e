"""Every route for every role, from the application's own table of routes; and what happens to one that says nothing."""

from collections.abc import Iterator

import pytest
from litestar import Litestar, get
from litestar.exceptions import WebSocketDisconnect
from litestar.testing import TestClient

from api.access import Caller, Gate, Scope
from tests.api.world import ENDED, MADE, bearer

RAW = {"/predict"}
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
ROLES = ("nobody", "stranger", ENDED, *Scope)
PUBLIC = {("GET", "/health/live"), ("GET", "/health/ready"), ("GET", "/schema")}
# What each scope opens. A new route is closed until it is written down here and in its handler.
OPENS = {
    Scope.SCORE: {("POST", "/predict")},
    Scope.LABEL: {("POST", "/labels")},
    Scope.PRICE: set[tuple[str, str]](),
    Scope.ADMIN: {("GET", "/metrics"), ("GET", "/admin/model"), ("POST", "/admin/reload")},
}


def of(role: str) -> dict[str, str]:
    if role == "nobody":
        return {"Authorization": ""}
    return {"Authorization": f"Bearer k0.{'x' * 43}"} if role == "stranger" else bearer(role)


def routes(app: Litestar) -> Iterator[tuple[str, str]]:
    """An ASGI handler's route declares no methods: it gets them all."""
    for route in app.routes:
        for method in sorted(route.methods or METHODS):
            yield method, route.path


@pytest.mark.parametrize("role", ROLES)
def test_every_route_answers_each_role_as_written(client: TestClient[Litestar], role: str) -> None:
    """401 to whoever is nobody, 403 to somebody else, and anything but these to those who may."""
    asked = set()
    for method, path in routes(client.app):
        status = client.request(method, path, headers=of(role)).status_code
        asked.add((method, path))
        if (method, path) in PUBLIC:
            assert status == 200, (method, path)
        elif role not in list(Scope):
            assert status == 401, (method, path)
        elif (method, path) in OPENS[Scope(role)]:
            assert status not in (401, 403, 405), (method, path)
        elif ("POST", path) in OPENS[Scope(role)] and path in RAW:
            assert status == 405, (method, path)
        else:
            assert status == 403, (method, path)

    raw = {(method, path) for method in METHODS for path in RAW}
    assert asked == PUBLIC.union(*OPENS.values()) | {("OPTIONS", path) for _, path in asked} | raw


@pytest.mark.parametrize("path", ["/predict", "/labels"])
def test_nobody_gets_a_websocket(sturdy: TestClient[Litestar], path: str) -> None:
    """An ASGI handler is given whatever comes; a key could be tried there past rates and log."""
    with pytest.raises(WebSocketDisconnect) as closed, sturdy.websocket_connect(path):
        pass
    assert closed.value.code == 1008


def test_a_forgotten_declaration_closes_the_route() -> None:
    """Nobody gets in, not even with every scope."""

    class Anybody:
        def caller(self, credential: str) -> Caller | None:
            return Caller("all", credential, frozenset(Scope))

    @get("/forgotten")
    async def forgotten() -> None: ...

    with TestClient(Litestar([forgotten], middleware=[Gate(Anybody()).around], openapi_config=None)) as client:
        assert client.get("/forgotten").status_code == 401
        assert client.get("/forgotten", headers={"Authorization": "Bearer k"}).status_code == 403


def test_a_refusal_says_what_to_do_and_nothing_else(sturdy: TestClient[Litestar]) -> None:
    """It does not tell an unknown key from a wrong secret or an ended key."""
    known = MADE[Scope.SCORE].credential.partition(".")[0]
    wrong = [of("nobody"), of("stranger"), of(ENDED), {"Authorization": f"Bearer {known}.{'y' * 43}"}]
    answers = [sturdy.post("/predict", headers=header) for header in wrong]

    assert {(answer.status_code, answer.content) for answer in answers} == {(401, answers[0].content)}
    assert answers[0].headers["www-authenticate"] == "Bearer"
    assert "Authorization: Bearer" in answers[0].json()["detail"]
    other = sturdy.post("/admin/reload", headers=bearer(Scope.SCORE))
    assert (other.status_code, other.json()["detail"]) == (403, "the key needs the scope admin")


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer ", "Basic {key}", "{key}", "Bearer {key}.", "Bearer .{key}", "Bearer é"]
)
def test_a_credential_of_another_shape_is_nobodys(sturdy: TestClient[Litestar], given: str) -> None:
    header = given.format(key=MADE[Scope.SCORE].credential).encode("latin-1")

    assert sturdy.post("/predict", headers={b"Authorization": header}).status_code == 401


def test_two_credentials_are_none(sturdy: TestClient[Litestar]) -> None:
    """A proxy may have looked at the one, and we at the other."""
    headers = [("Authorization", f"Bearer {MADE[scope].credential}") for scope in (Scope.ADMIN, Scope.SCORE)]

    assert status_of(sturdy, headers) == 401


def status_of(client: TestClient[Litestar], headers: list[tuple[str, str]]) -> int:
    """Without the client's own credential."""
    request = client.build_request("GET", "/metrics", headers=headers)
    request.headers = type(request.headers)(headers)
    return client.send(request).status_code


def test_the_word_bearer_is_read_in_any_case(sturdy: TestClient[Litestar]) -> None:
    """RFC 9110: a scheme's name has no case."""
    assert (
        sturdy.get("/metrics", headers={"Authorization": f"bEaReR {MADE[Scope.ADMIN].credential}"}).status_code == 200
    )


def test_the_schema_says_what_is_open_and_for_whom(sturdy: TestClient[Litestar]) -> None:
    """As enforced."""
    said = {
        (method.upper(), path): operation.get("security")
        for path, methods in sturdy.get("/schema").json()["paths"].items()
        for method, operation in methods.items()
    }

    expected = {route: [{"bearer": [scope.value]}] for scope, opened in OPENS.items() for route in opened}
    assert said == expected | dict.fromkeys(PUBLIC)
