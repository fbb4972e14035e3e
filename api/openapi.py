"""The OpenAPI document at `/schema`: plain JSON made from the contracts themselves.

Written here and not derived by the framework, because bodies are decoded by the contracts' codec,
which the framework does not see; and viewers' pages load scripts from somebody else's server.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from api.access import Scope
from api.contract import Answer, Answers, Model, ScoringBatch, ScoringRequest
from api.errors import PROBLEM_JSON, Problem
from api.labels import Accepted, LabelBatch
from fraud_assets.policy.reasons import TEXTS

_REFUSALS = {
    "400": "Not UTF-8, not JSON, or nested too deeply",
    "413": "Larger than 16 KiB for each transaction",
    "415": "Not announced as application/json",
    "422": "A field outside the contract; `field` names it, `detail` says the fix",
    "503": "No model is loaded yet; try again after `Retry-After` seconds",
}
_CLOSED = {"401": "No key that is good now", "403": "The key's scopes do not include this"}


def document() -> bytes:
    """The document; a route without `security` is public."""
    contracts = (ScoringRequest, ScoringBatch, Answer, Answers, LabelBatch, Accepted, Model, Problem)
    _, components = msgspec.json.schema_components(contracts, ref_template="#/components/schemas/{name}")
    paths = {
        "/predict": {"post": _predict()},
        "/health/live": {"get": _plain("The process answers")},
        "/health/ready": {"get": _plain("Model and online store are there", "503")},
        "/metrics": {"get": _plain("Counters and histograms for Prometheus") | _for(Scope.ADMIN)},
        "/schema": {"get": _plain("This document")},
        "/labels": {"post": _labels()},
        "/admin/model": {"get": _answering("What is served, and what was refused", "Model") | _for(Scope.ADMIN)},
        "/admin/reload": {"post": _answering("Load the champion now", "Model") | _for(Scope.ADMIN)},
    }
    for path in paths.values():
        for operation in path.values():
            if "security" in operation:
                operation["responses"] |= {status: _problem(text) for status, text in _CLOSED.items()}
    bearer = {"type": "http", "scheme": "bearer", "description": "An API key `<id>.<secret>`, or a signed token"}
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "Fraud scorer", "version": _version()},
            "paths": paths,
            "components": {"schemas": components, "securitySchemes": {"bearer": bearer}},
        }
    )


def _predict() -> dict[str, Any]:
    codes = "\n".join(f"- `{code}`: {text}" for code, text in TEXTS.items())
    return {
        "summary": "Decide on one payment or many",
        **_for(Scope.SCORE),
        "description": f"One object gives one decision, a batch gives them in its order.\n\nReason codes:\n{codes}",
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "schema": {"type": "string", "pattern": r"^[\x21-\x7e]{1,128}$"},
                "description": "The same key and body are answered with the same bytes",
            }
        ],
        "requestBody": {"required": True, "content": _json("ScoringRequest", "ScoringBatch")},
        "responses": {
            "200": {"description": "Decided", "content": _json("Answer", "Answers")},
            "409": _problem("A request with the same Idempotency-Key is still being decided"),
            **{status: _problem(text) for status, text in _REFUSALS.items()},
        },
    }


def _labels() -> dict[str, Any]:
    refusals = _REFUSALS | {"413": "Larger than 1 MiB", "503": "The event log did not confirm; send it again as it is"}
    return {
        "summary": "Say what payments turned out to be",
        **_for(Scope.LABEL),
        "requestBody": {"required": True, "content": _json("LabelBatch")},
        "responses": {
            "202": {"description": "The event log has all of them", "content": _json("Accepted")},
            **{status: _problem(text) for status, text in refusals.items()},
        },
    }


def _answering(summary: str, name: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": "Done", "content": _json(name)}}}


def _for(scope: Scope) -> dict[str, Any]:
    return {"security": [{"bearer": [scope.value]}]}


def _plain(summary: str, *refusals: str) -> dict[str, Any]:
    responses = {"200": {"description": summary}}
    return {"summary": summary, "responses": responses | {status: _problem("Refused") for status in refusals}}


def _json(*names: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in names]}}}


def _problem(text: str) -> dict[str, Any]:
    return {"description": text, "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


def _version() -> str:
    try:
        return version("fraud-assets")
    except PackageNotFoundError:  # run from a checkout
        return "0"
