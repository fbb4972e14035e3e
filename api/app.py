"""The scorer as an ASGI application."""

from api import routes
from api.edge import service_of
from api.intake import MAX_BODY_BYTES
from api.openapi import document
from api.runtime import Runtime
from api.service import Service


def create_app(runtime: Runtime) -> Service:
    """Its routes around a runtime."""
    return service_of(runtime, routes.HANDLERS, document(), MAX_BODY_BYTES)
