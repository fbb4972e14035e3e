"""What all our services have in common: the gate, the error table, the bound on what is under way, the server."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import uvicorn
from litestar import Response, get
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.access import PUBLIC, Gate, Identifies, Scope, needs
from api.body import body_of
from api.errors import Refusals
from api.metrics import EdgeMetrics
from api.service import Service
from fraud_assets.tracing import Spans

# Longer than callers keep a connection that they do not use (a minute, in most pools). The other way
# round a payment now and then meets a connection that is just being closed, and gets no answer.
KEEP_ALIVE_S = 75


class Held(Protocol):
    """What a process holds between requests. knowing: who knows its callers. spans: None where nobody asks for them."""

    knowing: list[Identifies]
    max_in_flight: int
    spans: Spans | None

    @property
    def metrics(self) -> EdgeMetrics: ...

    async def start(self) -> Any: ...

    async def close(self) -> None: ...


def service_of(runtime: Held, handlers: Sequence[Any], document: bytes, max_body_bytes: int) -> Service:
    """Routes and errors around a runtime, which the application starts and stops. document: what `/schema` says."""

    @asynccontextmanager
    async def running(_: object) -> AsyncIterator[None]:
        await runtime.start()
        try:
            yield
        finally:
            await runtime.close()
            if runtime.spans is not None:
                await asyncio.to_thread(runtime.spans.close)

    refusals = Refusals(runtime.metrics)
    service = Service(
        [*handlers, live, metrics, _schema(document)],
        middleware=[Gate(*runtime.knowing).around],
        dependencies={"runtime": Provide(lambda: runtime, sync_to_thread=False, use_cache=True)},
        exception_handlers={HTTPException: refusals.answer, Exception: refusals.answer},
        lifespan=[running],
        request_max_body_size=max_body_bytes,
        openapi_config=None,  # see api/openapi.py
        logging_config=None,
        debug=False,
    )
    service.runtime = runtime
    service.spans = runtime.spans
    service.max_in_flight = runtime.max_in_flight
    service.on_overload = runtime.metrics.refused.labels("overloaded").inc
    return service


async def read_body(scope: Any, receive: Any, max_bytes: int) -> bytes:
    """As `body_of`. Who sends slowly holds no place among the requests that are worked on."""
    service: Service = scope["app"]
    service.in_flight -= 1
    try:
        return await body_of(scope, receive, max_bytes)
    finally:
        service.in_flight += 1


def serve(service: Service, host: str, port: int) -> None:
    """Until it is told to stop."""
    uvicorn.run(
        service,
        host=host,
        port=port,
        access_log=False,  # one canonical line per request comes from the service itself
        log_config=None,  # its lines are ours, api/logs.py
        log_level="warning",
        server_header=False,
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_S,
    )


@get("/health/live", opt=PUBLIC)
async def live() -> dict[str, str]:
    return {"status": "live"}


@get("/metrics", media_type=CONTENT_TYPE_LATEST, opt=needs(Scope.ADMIN))
async def metrics(runtime: Any) -> Response[bytes]:
    return Response(generate_latest(runtime.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _schema(document: bytes) -> HTTPRouteHandler:
    @get("/schema", opt=PUBLIC)
    async def schema() -> Response[bytes]:
        return Response(document, media_type="application/json")

    return schema
