"""The one table from an error to an HTTP answer (RFC 9457 problem+json).

Handlers hold no `try`. An answer names the field and the fix, and never repeats a value: it may be a
card number in the wrong place.
"""

from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from api.intake import BadField
from api.logs import raised_at
from api.metrics import EdgeMetrics
from api.service import say
from fraud_assets.contracts.codec import BadEvent, Reason

PROBLEM_JSON = "application/problem+json"


class NotReady(RuntimeError):
    """The service has no traffic to get yet; the message says what is missing."""


class Refused(HTTPException):
    """A refusal in our own words, which repeat nothing that was sent."""


class UnsupportedMedia(Refused):
    """The body is not announced as JSON."""

    status_code = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    detail = "send Content-Type: application/json"


class BodyCutOff(Refused):
    """The client left before its body was here whole; nobody hears this but our own counters."""

    status_code = HTTPStatus.BAD_REQUEST
    detail = "the connection closed before the whole body had come"


class Unauthenticated(Refused):
    """No credential, or one that is worth nothing. Which of the two, and why, is nobody's business."""

    status_code = HTTPStatus.UNAUTHORIZED
    detail = "send Authorization: Bearer and a key that is good now; its issuer makes one"

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": "Bearer"})


class MissingScope(Refused):
    """A good credential, for something else."""

    status_code = HTTPStatus.FORBIDDEN

    def __init__(self, scope: str | None) -> None:
        detail = f"the key needs the scope {scope}" if scope else "nobody may call this route"
        super().__init__(detail=detail, headers={"WWW-Authenticate": 'Bearer error="insufficient_scope"'})


class TooMany(Refused):
    """More than the key may ask."""

    status_code = HTTPStatus.TOO_MANY_REQUESTS
    detail = "the key has used up its rate; wait as long as Retry-After says"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class BadIdempotencyKey(ValueError):
    """An Idempotency-Key that cannot be taken; the message is the fix."""


class StillDeciding(Refused):
    """Another request with the same key is under way."""

    status_code = HTTPStatus.CONFLICT
    detail = "the first request with this Idempotency-Key is still being decided; send it again"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class BrokerSilent(RuntimeError):
    """The log did not confirm in time what it was given."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """type: stable, for machines. detail: the fix, for people. field: dotted path inside the body."""

    type: str
    title: str
    status: int
    detail: str = ""
    field: str = ""


_OF_REASON: dict[Reason, tuple[int, str]] = {
    Reason.OVERSIZED: (413, "The body is too large."),
    Reason.INVALID_UTF8: (400, "The body is not UTF-8."),
    Reason.MALFORMED_JSON: (400, "The body is not JSON."),
    Reason.TOO_DEEP: (400, "The body is nested too deeply."),
    Reason.NUL_CHARACTER: (400, "The body holds a NUL character."),
    Reason.UNKNOWN_SCHEMA_VERSION: (422, "The schema version is not one we read."),
    Reason.UNKNOWN_FIELD: (422, "A field is not part of the contract."),
    Reason.MISSING_FIELD: (422, "A field is missing."),
    Reason.INVALID_VALUE: (422, "A field has a value it cannot have."),
}
_FIX = {
    Reason.UNKNOWN_FIELD: "remove it, or check its spelling; /schema lists every field",
    Reason.MISSING_FIELD: "add it; /schema lists every field",
}


def problem_of(error: Exception) -> Problem:
    """What a client is told about an error."""
    match error:
        case BadEvent():
            status, title = _OF_REASON[error.reason]
            return Problem(error.reason.value, title, status, error.detail or _FIX.get(error.reason, ""), error.field)
        case BadField():
            return Problem(Reason.INVALID_VALUE.value, _OF_REASON[Reason.INVALID_VALUE][1], 422, error.fix, error.field)
        case BadIdempotencyKey():
            return Problem("idempotency_key", "The idempotency key cannot be used.", 422, str(error), "Idempotency-Key")
        case NotReady():
            return Problem("not_ready", "The service is not ready.", 503, str(error))
        case BrokerSilent():
            return Problem(
                "not_confirmed",
                "The event log did not confirm.",
                503,
                "send it again as it is, with the same ids: what arrives twice counts once",
            )
        case HTTPException(status_code=status) if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return Problem(HTTPStatus(status).name.lower(), HTTPStatus(status).phrase, status, _said(error))
        case _:
            return Problem("internal_error", "Something failed on our side.", 500, "it is logged; try again")


class Refusals:
    """Litestar's exception handlers, counting what they answer."""

    def __init__(self, metrics: EdgeMetrics) -> None:
        self._refused = metrics.refused

    def answer(self, request: "Request[Any, Any, Any]", error: Exception) -> Response[bytes]:
        problem = problem_of(error)
        self._refused.labels(problem.type).inc()
        say(request.scope, problem=problem.type)
        if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            say(request.scope, error=type(error).__name__, at=raised_at(error))
        return Response(
            msgspec.json.encode(problem),
            status_code=problem.status,
            media_type=PROBLEM_JSON,
            headers=_headers(error, problem.status),
        )


def _headers(error: Exception, status: int) -> dict[str, str]:
    """Allow and WWW-Authenticate are part of their statuses; Retry-After tells a client to come back."""
    given = (error.headers or {}) if isinstance(error, HTTPException) else {}
    return dict(given) | ({"Retry-After": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else {})


def _said(error: HTTPException) -> str:
    """Our words; Litestar's may repeat a value."""
    return error.detail if isinstance(error, Refused) else ""
