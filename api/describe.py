"""Parts of an OpenAPI document: plain JSON made from the contracts themselves.

Written here and not derived by the framework, because bodies are decoded by the contracts' codec,
which the framework does not see; and viewers' pages load scripts from somebody else's server.
"""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from api.access import Scope
from api.errors import PROBLEM_JSON, Problem

Paths = dict[str, dict[str, dict[str, Any]]]

_CLOSED = {"401": "No key that is good now", "403": "The key's scopes do not include this"}


def document_of(title: str, paths: Paths, contracts: Sequence[type]) -> bytes:
    """The document, with the routes that every service has; a route without `security` is public."""
    _, components = msgspec.json.schema_components((*contracts, Problem), ref_template="#/components/schemas/{name}")
    described = {
        **paths,
        "/health/live": {"get": plain("The process answers")},
        "/metrics": {"get": plain("Counters and histograms for Prometheus") | needing(Scope.ADMIN)},
        "/schema": {"get": plain("This document")},
    }
    for path in described.values():
        for operation in path.values():
            if "security" in operation:
                operation["responses"] |= {status: problem(text) for status, text in _CLOSED.items()}
    bearer = {"type": "http", "scheme": "bearer", "description": "An API key `<id>.<secret>`, or a signed token"}
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": title, "version": _version()},
            "paths": described,
            "components": {"schemas": components, "securitySchemes": {"bearer": bearer}},
        }
    )


def answering(summary: str, *names: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": "Done", "content": bodies(*names)}}}


def needing(scope: Scope) -> dict[str, Any]:
    return {"security": [{"bearer": [scope.value]}]}


def plain(summary: str, *refusals: str) -> dict[str, Any]:
    responses = {"200": {"description": summary}}
    return {"summary": summary, "responses": responses | {status: problem("Refused") for status in refusals}}


def bodies(*names: str) -> dict[str, Any]:
    """Any of these contracts, as JSON."""
    return {"application/json": {"schema": {"oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in names]}}}


def problem(text: str) -> dict[str, Any]:
    return {"description": text, "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


def _version() -> str:
    try:
        return version("fraud-assets")
    except PackageNotFoundError:  # run from a checkout
        return "0"
