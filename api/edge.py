"""What all our services have in common: the gate, the error table, the bound on what is under way, the server."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from litestar import Response, get
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.access import PUBLIC, Gate, Identifies, Scope, needs
from api.body import body_of
from api.errors import Refusals
from api.jwt_bearer import JwtBearer
from api.keyring import KeyRing
from api.metrics import EdgeMetrics
from api.rates import Rates
from api.service import Service
from api.settings import EdgeSettings
from api.shared import Shared
from fraud_assets.features.registry import Registry
from fraud_assets.stores.online_cluster import reader_of
from fraud_assets.tracing import spans_of

# Longer than callers keep a connection that they do not use (a minute, in most pools). The other way
# round a payment now and then meets a connection that is just being closed, and gets no answer.
KEEP_ALIVE_S = 75
_NO_STORE = (
    "the online store is unreachable, or is behind and folds what it lost, or holds no valid epoch; run online_store_snapshot if it is the"
    " last"
)


class EdgeRuntime:
    """What a process of any service holds between requests: who may call and how much, and the online store.

    `start` needs a running event loop. name: as spans have it.
    """

    name: str
    metrics: EdgeMetrics

    def __init__(self, settings: EdgeSettings, registry: Registry) -> None:
        self.cards_in_ids = settings.cards_in_ids
        self.max_in_flight = settings.max_in_flight
        self.spans = spans_of(settings, self.name)
        self.keys = KeyRing(settings.api_keys_file, self.metrics)
        self.knowing: list[Identifies] = [self.keys, *([JwtBearer(settings.jwt)] if settings.jwt else [])]
        self.store = reader_of(settings.online_store_url, registry, settings.store_timeout_ms / 1_000)
        self.shared = Shared(settings.redis_url, settings.shared_timeout_ms / 1_000)
        self.rates = Rates(settings.redis_url, self.shared, settings.api_rate_per_s)

    def missing(self) -> list[str]:
        """Why this process should get no traffic; empty when it should."""
        return [] if self.store.marker is not None else [_NO_STORE]

    async def start(self) -> Any:
        self.keys.start()
        self.store.start()
        await self.rates.start()

    async def close(self) -> None:
        await self.keys.close()
        await self.store.close()
        await self.shared.close()
        if self.spans is not None:
            await asyncio.to_thread(self.spans.close)


def service_of(runtime: EdgeRuntime, handlers: Sequence[Any], document: bytes, max_body_bytes: int) -> Service:
    """Routes and errors around a runtime, which the application starts and stops. document: what `/schema` says."""

    @asynccontextmanager
    async def running(_: object) -> AsyncIterator[None]:
        await runtime.start()
        try:
            yield
        finally:
            await runtime.close()

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
