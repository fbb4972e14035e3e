"""The scorer as an ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Response, get
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from api import routes
from api.access import PUBLIC, Gate
from api.errors import Refusals
from api.intake import MAX_BODY_BYTES
from api.openapi import document
from api.runtime import Runtime
from api.service import Service


def create_app(runtime: Runtime) -> Service:
    """Routes and errors around a runtime, which the application starts and stops."""

    @asynccontextmanager
    async def running(_: object) -> AsyncIterator[None]:
        await runtime.start()
        try:
            yield
        finally:
            await runtime.close()

    refusals = Refusals(runtime.metrics)
    service = Service(
        [*routes.HANDLERS, _schema()],
        middleware=[Gate(*runtime.knowing).around],
        dependencies={"runtime": Provide(lambda: runtime, sync_to_thread=False, use_cache=True)},
        exception_handlers={HTTPException: refusals.answer, Exception: refusals.answer},
        lifespan=[running],
        request_max_body_size=MAX_BODY_BYTES,
        openapi_config=None,  # see api/openapi.py
        logging_config=None,
        debug=False,
    )
    service.runtime = runtime
    service.max_in_flight = runtime.max_in_flight
    service.on_overload = runtime.metrics.refused.labels("overloaded").inc
    return service


def _schema() -> HTTPRouteHandler:
    body = document()

    @get("/schema", opt=PUBLIC)
    async def schema() -> Response[bytes]:
        return Response(body, media_type="application/json")

    return schema
