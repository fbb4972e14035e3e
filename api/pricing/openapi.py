"""The pricing service's OpenAPI document at `/schema`."""

from typing import Any

from api.access import Scope
from api.describe import Paths, answering, bodies, document_of, needing, plain, problem
from api.pricing.contract import (
    Counted,
    CountedAll,
    OutcomeBatch,
    PriceBatch,
    PriceOutcome,
    PriceRequest,
    Recommendation,
    Recommendations,
)

_REFUSALS = {
    "400": "Not UTF-8, not JSON, or nested too deeply",
    "413": "Larger than 256 KiB",
    "415": "Not announced as application/json",
    "422": "A field outside the contract, any person's among them; `field` names it, `detail` says the fix",
}


def document() -> bytes:
    """The document; a route without `security` is public."""
    unconfirmed = _REFUSALS | {"503": "The store of posteriors did not answer; send it again as it is"}
    paths: Paths = {
        "/price": {
            "post": _taking("Recommend a price for one event or many", ("PriceRequest", "PriceBatch"), ("Recommendation", "Recommendations"), _REFUSALS)
        },
        "/price/{event_id}": {"get": _newest()},
        "/price/outcome": {
            "post": _taking("Say what became of one interval or many", ("PriceOutcome", "OutcomeBatch"), ("Counted", "CountedAll"), unconfirmed)
        },
        "/health/ready": {"get": plain("The online store is there", "503")},
    }  # fmt: skip
    contracts = (
        PriceRequest, PriceBatch, Recommendation, Recommendations, PriceOutcome, OutcomeBatch, Counted, CountedAll,
    )  # fmt: skip
    return document_of("Event pricing", paths, contracts)


def _taking(summary: str, takes: tuple[str, ...], gives: tuple[str, ...], refusals: dict[str, str]) -> dict[str, Any]:
    operation = answering(summary, *gives) | needing(Scope.PRICE)
    operation["requestBody"] = {"required": True, "content": bodies(*takes)}
    operation["responses"] |= {status: problem(text) for status, text in refusals.items()}
    return operation


def _newest() -> dict[str, Any]:
    operation = answering("The event's last recommendation", "Recommendation") | needing(Scope.PRICE)
    operation["parameters"] = [{"name": "event_id", "in": "path", "required": True, "schema": {"type": "string"}}]
    operation["responses"] |= {"404": problem("Nothing was recommended for it"), "503": problem("Try again")}
    return operation
