"""Who may call what. A route says which scope it needs, or that it is public; one that says neither is closed."""

from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from api.errors import MissingScope, Unauthenticated

_BEARER = "bearer "


class Scope(StrEnum):
    """What a key is good for: deciding on payments, saying what they turned out to be, operating the scorer."""

    SCORE = "score"
    LABEL = "label"
    ADMIN = "admin"


class Caller(NamedTuple):
    """client: whom we serve; it may have several keys. key_id: the one used, `jwt` for a token."""

    client: str
    key_id: str
    scopes: frozenset[Scope]


class Identifies(Protocol):
    """Somebody who knows what a bearer's credential is worth."""

    def caller(self, credential: str) -> Caller | None:
        """None for a credential that is worth nothing."""


PUBLIC = {"public": True}
"""`opt` of a route that anybody may call."""


def needs(scope: Scope) -> dict[str, Any]:
    """`opt` of a route for callers of this scope."""
    return {"scope": scope}


class Gate:
    """The application's one guard, run before every handler: default deny."""

    def __init__(self, *knowing: Identifies) -> None:
        self._knowing = knowing

    async def admit(self, connection: ASGIConnection[Any, Any, Any, Any], route: BaseRouteHandler) -> None:
        """Raises Unauthenticated or MissingScope; leaves the Caller as the connection's user."""
        if route.opt.get("public") is True:
            return
        caller = self._caller(connection)
        if caller is None:
            raise Unauthenticated
        connection.scope["user"] = caller
        scope = route.opt.get("scope")
        if scope not in caller.scopes:  # also a route that declares none
            raise MissingScope(scope)

    def _caller(self, connection: ASGIConnection[Any, Any, Any, Any]) -> Caller | None:
        given = connection.headers.get("authorization", "")
        if given[: len(_BEARER)].lower() != _BEARER:
            return None
        credential = given[len(_BEARER) :].strip()
        return next((caller for knows in self._knowing if (caller := knows.caller(credential)) is not None), None)
