"""Routes. A handler reads, calls and answers; errors are answered by `api/errors.py`."""

import time
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State

from api import plain
from api.access import PUBLIC, Caller, Scope, needs
from api.edge import read_body
from api.errors import NotReady, Refused
from api.pricing.contract import MAX_BYTES, CountedAll, Recommendations
from api.pricing.intake import outcomes_of, requests_of
from api.pricing.runtime import Runtime
from api.service import say
from api.shared import SharedGone
from fraud_assets.contracts.cards import on_card

Call = Request[object, object, State]

_encode = msgspec.json.Encoder().encode


class NothingRecommended(Refused):
    """GET of an event that was never priced, or not for two weeks."""

    status_code = HTTPStatus.NOT_FOUND
    detail = "nothing was recommended for this event; POST /price asks for a price"


class PosteriorsSilent(NotReady):
    """The store did not confirm what it was given."""

    def __init__(self) -> None:
        super().__init__("the store of posteriors did not answer; send it again as it is: an interval counts once")


@post("/price", status_code=200, opt=needs(Scope.PRICE))
async def price(request: Call, runtime: Runtime) -> Response[bytes]:
    """One event gives one recommendation; {"events": [...]} gives {"recommendations": [...]}."""
    raw, began_s = await _spent(request, runtime), time.perf_counter()
    is_batch, asked = requests_of(raw, runtime.now_ms(), on_card(runtime.cards_in_ids, []))
    await runtime.rates.spend(_caller(request), len(asked) - 1)
    made = await runtime.pricer.recommend(asked)
    runtime.metrics.latency.observe(time.perf_counter() - began_s)
    say(request.scope, n=len(made), fallbacks=sum(bool(one.fallback) for one in made))
    return _json(Recommendations(made) if is_batch else made[0])


@get("/price/{event_id:str}", opt=needs(Scope.PRICE))
async def newest(request: Call, runtime: Runtime, event_id: str) -> Response[bytes]:
    """What holds for the event, or held last; asking changes nothing."""
    await runtime.rates.spend(_caller(request), 1)
    try:
        found = await runtime.pricer.newest(event_id)
    except SharedGone:
        raise PosteriorsSilent from None
    if found is None:
        raise NothingRecommended
    return _json(found)


@post("/price/outcome", status_code=200, opt=needs(Scope.PRICE))
async def outcome(request: Call, runtime: Runtime) -> Response[bytes]:
    """What became of an interval, each counted once; {"outcomes": [...]} for several."""
    raw = await _spent(request, runtime)
    is_batch, outcomes = outcomes_of(raw, on_card(runtime.cards_in_ids, []))
    await runtime.rates.spend(_caller(request), len(outcomes) - 1)
    try:
        found = await runtime.pricer.learn(outcomes)
    except SharedGone:
        raise PosteriorsSilent from None
    say(request.scope, audit="price_outcomes", n=len(found), counted=sum(one.counted for one in found))
    return _json(CountedAll(found) if is_batch else found[0])


@get("/health/ready", opt=PUBLIC)
async def ready(runtime: Runtime) -> dict[str, str]:
    if missing := runtime.missing():
        raise NotReady("; ".join(missing))
    return {"status": "ready"}


async def _spent(request: Call, runtime: Runtime) -> bytes:
    """The body, once its sender may send it."""
    plain.require_json(request.scope)
    await runtime.rates.spend(_caller(request), 1)
    return await read_body(request.scope, request.receive, MAX_BYTES)


def _caller(request: Call) -> Caller:
    caller: Caller = request.scope["user"]
    return caller


def _json(answer: Any) -> Response[bytes]:
    return Response(_encode(answer), media_type=plain.JSON)


HANDLERS = (price, newest, outcome, ready)
