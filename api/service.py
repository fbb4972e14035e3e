"""The edge around all routes: what every request gets, whatever becomes of it."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog
from litestar import Litestar

from api.trace import HEADER, Trace
from fraud_assets.contracts.topics import CLIENT_HEADER
from fraud_assets.tracing import Kind, Span, Spans

log = structlog.get_logger()

_LINE, _TRACE = "fraud.line", "fraud.trace"

# Health and metrics answer also when there is too much to do: that is when they are asked.
_UNBOUNDED = ("/health/", "/metrics", "/admin/")
_OVERLOADED = (
    b'{"type":"overloaded","title":"More is asked than can be decided in time.","status":503,'
    b'"detail":"wait as long as Retry-After says, then send it again"}'
)
_OVERLOADED_HEADERS = [
    (b"content-type", b"application/problem+json"),
    (b"content-length", str(len(_OVERLOADED)).encode()),
    (b"retry-after", b"1"),
]


def say(scope: Any, **fields: object) -> None:
    """Add to the request's one log line. Never a value that was sent: it may be a card number in the wrong place.

    audit: what was asked for, where it changes what the platform says or knows; who and when are on every line.
    """
    scope[_LINE].update(fields)


def trace_headers(scope: Any) -> list[tuple[str, bytes]]:
    """What an event that comes of this request carries: its trace, and the client that asked."""
    return [(HEADER.decode(), scope[_TRACE].parent), (CLIENT_HEADER, scope["user"].client.encode())]


class Service(Litestar):
    """Litestar, with a bound on what it works on, and one log line for each request once its answer is on its way.

    on_overload: called for each request that is turned away. spans: None where nobody asks for them.
    """

    runtime: Any  # api.runtime.Runtime, which knows nothing of services
    max_in_flight = 16
    on_overload: "Callable[[], None]" = staticmethod(lambda: None)
    in_flight = 0
    spans: Spans | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        if scope["type"] == "websocket":  # there is none, and an ASGI handler would be given it
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        trace = Trace(scope["headers"], None if self.spans is None else self.spans.keeps)
        if self.in_flight >= self.max_in_flight and not scope["path"].startswith(_UNBOUNDED):
            await self._turn_away(scope, send, trace)
            return
        began_s = time.perf_counter()
        line: dict[str, Any] = {"trace_id": trace.trace_id}
        scope[_LINE], scope[_TRACE] = line, trace
        status = 0

        async def watched(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (HEADER, trace.parent)]
            await send(message)

        self.in_flight += 1
        try:
            await super().__call__(scope, receive, watched)
        finally:
            self.in_flight -= 1
            # In the loop's next turn: uvloop sends at the end of this one, and nobody shall wait for a log.
            took_s = time.perf_counter() - began_s
            asyncio.get_running_loop().call_soon(self._write, scope, line, status, took_s)

    async def _turn_away(self, scope: Any, send: Any, trace: Trace) -> None:
        """Before anything is read: an overloaded scorer that works on its refusals decides nothing."""
        await send(
            {"type": "http.response.start", "status": 503, "headers": [*_OVERLOADED_HEADERS, (HEADER, trace.parent)]}
        )
        await send({"type": "http.response.body", "body": _OVERLOADED})
        self.on_overload()
        self._write(scope, {"problem": "overloaded", "trace_id": trace.trace_id}, 503, 0.0)

    def _write(self, scope: Any, line: dict[str, Any], status: int, took_s: float) -> None:
        """status 0: no answer, the caller was gone. route: as declared, never as it was sent."""
        if self.spans is not None:
            self._tell(self.spans, scope, status, took_s)
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

    def _tell(self, spans: Spans, scope: Any, status: int, took_s: float) -> None:
        """The request as a span, if its trace is one that is told of. As the log line, it holds nothing that was sent."""
        trace: Trace | None = scope.get(_TRACE)
        if trace is None or not trace.is_sampled:
            return
        ended_ns, route = time.time_ns(), scope.get("path_template") or "unknown"
        said = {"http.request.method": scope["method"], "http.route": route, "http.response.status_code": status}
        spans.add(
            Span(
                f"{scope['method']} {route}", Kind.SERVER, trace.trace_id, trace.span_id, trace.caller_span,
                ended_ns - round(took_s * 1e9), ended_ns, said, status == 0 or status >= 500,
            )
        )  # fmt: skip
