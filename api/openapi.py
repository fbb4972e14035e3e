"""The scorer's OpenAPI document at `/schema`."""

from typing import Any

from api.access import Scope
from api.contract import Answer, Answers, Model, ScoringBatch, ScoringRequest
from api.describe import Paths, answering, bodies, document_of, needing, plain, problem
from api.labels import Accepted, LabelBatch
from fraud_assets.policy.reasons import TEXTS

_REFUSALS = {
    "400": "Not UTF-8, not JSON, or nested too deeply",
    "413": "Larger than 16 KiB for each transaction",
    "415": "Not announced as application/json",
    "422": "A field outside the contract; `field` names it, `detail` says the fix",
    "503": "No model is loaded yet; try again after `Retry-After` seconds",
}


def document() -> bytes:
    """The document; a route without `security` is public."""
    paths: Paths = {
        "/predict": {"post": _predict()},
        "/health/ready": {"get": plain("Model and online store are there", "503")},
        "/labels": {"post": _labels()},
        "/admin/model": {"get": answering("What is served, and what was refused", "Model") | needing(Scope.ADMIN)},
        "/admin/reload": {"post": answering("Load the champion now", "Model") | needing(Scope.ADMIN)},
    }
    contracts = (ScoringRequest, ScoringBatch, Answer, Answers, LabelBatch, Accepted, Model)
    return document_of("Fraud scorer", paths, contracts)


def _predict() -> dict[str, Any]:
    codes = "\n".join(f"- `{code}`: {text}" for code, text in TEXTS.items())
    return {
        "summary": "Decide on one payment or many",
        **needing(Scope.SCORE),
        "description": f"One object gives one decision, a batch gives them in its order.\n\nReason codes:\n{codes}",
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "schema": {"type": "string", "pattern": r"^[\x21-\x7e]{1,128}$"},
                "description": "The same key and body are answered with the same bytes",
            }
        ],
        "requestBody": {"required": True, "content": bodies("ScoringRequest", "ScoringBatch")},
        "responses": {
            "200": {"description": "Decided", "content": bodies("Answer", "Answers")},
            "409": problem("A request with the same Idempotency-Key is still being decided"),
            **{status: problem(text) for status, text in _REFUSALS.items()},
        },
    }


def _labels() -> dict[str, Any]:
    refusals = _REFUSALS | {"413": "Larger than 1 MiB", "503": "The event log did not confirm; send it again as it is"}
    return {
        "summary": "Say what payments turned out to be",
        **needing(Scope.LABEL),
        "requestBody": {"required": True, "content": bodies("LabelBatch")},
        "responses": {
            "202": {"description": "The event log has all of them", "content": bodies("Accepted")},
            **{status: problem(text) for status, text in refusals.items()},
        },
    }
