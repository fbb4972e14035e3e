"""The pricing service as an ASGI application."""

from api.edge import service_of
from api.pricing import routes
from api.pricing.contract import MAX_BYTES
from api.pricing.openapi import document
from api.pricing.runtime import Runtime
from api.service import Service


def create_app(runtime: Runtime) -> Service:
    """Its routes around a runtime."""
    return service_of(runtime, routes.HANDLERS, document(), MAX_BYTES)
