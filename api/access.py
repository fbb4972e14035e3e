"""Who may call what. A route says which scope it needs, or that it is public; one that says neither is closed."""

from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from api.errors import MissingScope, Unauthenticated

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Send
    from litestar.types import Scope as Connection

_BEARER = b"bearer "


class Scope(StrEnum):
    """What a key is good for: deciding on payments, saying what they turned out to be, pricing events, operating a service."""

    SCORE = "score"
    LABEL = "label"
    PRICE = "price"
    ADMIN = "admin"


class Caller(NamedTuple):
    """client: whom we serve; it may have several keys. key_id: the one used, `jwt` for a token.

    rate_per_s: transactions or labels; None: as many as anybody.
    """

    client: str
    key_id: str
    scopes: frozenset[Scope]
    rate_per_s: int | None = None


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
    """The application's outermost middleware, around every handler: default deny.

    Not a guard: before each, Litestar copies the whole route handler, which costs a payment 23 µs.
    """

    def __init__(self, *knowing: Identifies) -> None:
        self._knowing = knowing

    def around(self, app: "ASGIApp") -> "ASGIApp":
        """As Litestar wants a middleware."""

        async def gated(scope: "Connection", receive: "Receive", send: "Send") -> None:
            self.admit(scope, scope["route_handler"].opt)
            await app(scope, receive, send)

        return gated

    def admit(self, scope: Any, opt: dict[str, Any]) -> None:
        """Raises Unauthenticated or MissingScope; leaves the Caller as the connection's user."""
        if opt.get("public") is True:
            return
        caller = self._caller(scope["headers"])
        if caller is None:
            raise Unauthenticated
        scope["user"] = caller
        needed = opt.get("scope")
        if needed not in caller.scopes:  # also a route that declares none
            raise MissingScope(needed)

    def _caller(self, headers: list[tuple[bytes, bytes]]) -> Caller | None:
        """Two credentials are none: a proxy before us might have looked at the other."""
        given = [value for name, value in headers if name == b"authorization"]
        if len(given) != 1 or given[0][: len(_BEARER)].lower() != _BEARER:
            return None
        credential = given[0][len(_BEARER) :].decode("latin-1").strip()
        for knows in self._knowing:
            if (caller := knows.caller(credential)) is not None:
                return caller
        return None
