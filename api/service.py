"""The edge around all routes: what every request gets, whatever becomes of it."""

import time
from typing import TYPE_CHECKING, Any

import structlog
from litestar import Litestar

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Message, Receive, Scope, Send  # noqa: F401  # named in annotations

log = structlog.get_logger()

_LINE = "fraud.line"


def say(scope: Any, **fields: object) -> None:
    """Add to the request's one log line. Never a value that was sent: it may be a card number in the wrong place.

    audit: what was asked for, where it changes what the platform says or knows; who and when are on every line.
    """
    scope[_LINE].update(fields)


class Service(Litestar):
    """Litestar, with one log line for each request, written once its answer is on its way."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        began_s = time.perf_counter()
        line: dict[str, Any] = {}
        scope[_LINE] = line
        status = 0

        async def watched(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await super().__call__(scope, receive, watched)
        finally:
            self._write(scope, line, status, time.perf_counter() - began_s)

    def _write(self, scope: Any, line: dict[str, Any], status: int, took_s: float) -> None:
        """status 0: no answer, the caller was gone. route: as declared, never as it was sent."""
        caller = scope.get("user")
        log.info(
            "request",
            method=scope["method"],
            route=scope.get("path_template") or "unknown",
            status=status,
            latency_ms=round(took_s * 1_000, 3),
            client=caller.client if caller else "",
            key_id=caller.key_id if caller else "",
            **line,
        )
