"""Routes. A handler reads, calls and answers; errors are answered by `api/errors.py`."""

import time
from typing import Any, cast

import msgspec
from litestar import Request, Response, asgi, get, post
from litestar.datastructures import State
from litestar.types import Receive, Send
from litestar.types import Scope as Asked

from api import plain
from api.access import PUBLIC, Caller, Scope, needs
from api.body import header
from api.contract import Answers
from api.edge import read_body
from api.errors import NotReady
from api.intake import MAX_BODY_BYTES, parse
from api.labels import Accepted, counted, parse_labels
from api.metrics import BATCH
from api.runtime import Runtime
from api.scorer import Context
from api.service import Service, say, trace_headers
from fraud_assets.contracts.cards import on_card

_encode = msgspec.json.Encoder().encode

Call = Request[object, object, State]


@asgi("/predict", opt=needs(Scope.SCORE), copy_scope=False)
async def predict(scope: Asked, receive: Receive, send: Send) -> None:
    """A single transaction object gives one decision; {"transactions": [...]} gives {"decisions": [...]}.

    An ASGI handler: requests, responses and injection around one of any other kind take longer than the vector.
    """
    plain.require_post(scope)
    plain.require_json(scope)
    runtime: Runtime = _service(scope).runtime
    caller: Caller = scope["user"]
    await runtime.rates.spend(caller, 1)
    raw = await read_body(scope, receive, MAX_BODY_BYTES)
    given = header(scope, b"idempotency-key")
    if given is None:
        await plain.answer(send, await decide(runtime, raw, scope))
        return
    found = await runtime.repeats.once(caller.client, given.decode("latin-1"), raw, lambda: decide(runtime, raw, scope))
    say(scope, idempotency=found.status)
    await plain.answer(send, found.answer, (b"idempotency-status", found.status.encode()))


async def decide(runtime: Runtime, raw: bytes, scope: Any) -> bytes:
    """Body to body. The decisions are recorded before this returns; their events and the log line are left for after the answer."""
    context = Context(time.perf_counter(), trace_headers(scope))
    card_like = list[str]()
    parsed = parse(raw, runtime.token_key, runtime.scorer.now_ms(), on_card(runtime.cards_in_ids, card_like))
    if card_like:
        _let_pass(runtime, scope, card_like)
    await runtime.rates.spend(scope["user"], len(parsed.events) - 1)
    made = await runtime.scorer.decide([(event, context) for event in parsed.events])
    kind = BATCH if len(parsed.events) > 1 else parsed.events[0].payment_method
    runtime.metrics.latency[kind].observe(time.perf_counter() - context.began_s)
    say(scope, n=len(made), model_version=made[0].model_version)
    return _encode(Answers(made) if parsed.is_batch else made[0])


@get("/health/ready", opt=PUBLIC)
async def ready(runtime: Runtime) -> dict[str, str]:
    if missing := runtime.missing():
        raise NotReady("; ".join(missing))
    return {"status": "ready", "model_version": runtime.model_version}


@post("/labels", status_code=202, opt=needs(Scope.LABEL))
async def labels(request: Call, runtime: Runtime) -> Response[bytes]:
    """{"labels": [...]}: accepted means that the broker has every one."""
    plain.require_json(request.scope)
    caller: Caller = request.scope["user"]
    await runtime.rates.spend(caller, 1)
    raw, card_like = await read_body(request.scope, request.receive, MAX_BODY_BYTES), list[str]()
    found = parse_labels(raw, runtime.scorer.now_ms(), on_card(runtime.cards_in_ids, card_like))
    if card_like:
        _let_pass(runtime, request.scope, card_like)
    await runtime.rates.spend(caller, len(found) - 1)
    say(request.scope, audit="labels", n=len(found), sources=counted(found))
    await runtime.labels.send(found, trace_headers(request.scope))
    return Response(_encode(Accepted(len(found))), media_type=plain.JSON, status_code=202)


@get("/admin/model", opt=needs(Scope.ADMIN))
async def model(request: Call, runtime: Runtime) -> Response[bytes]:
    """What is served, and what was refused."""
    say(request.scope, audit="model_shown", model_version=runtime.model_version)
    return Response(_encode(runtime.models.info()), media_type=plain.JSON)


@post("/admin/reload", status_code=200, opt=needs(Scope.ADMIN))
async def reload(request: Call, runtime: Runtime) -> Response[bytes]:
    """Load the champion now, also one that was refused before."""
    await runtime.models.refresh(again=True)
    say(request.scope, audit="model_reload", model_version=runtime.model_version)
    return Response(_encode(runtime.models.info()), media_type=plain.JSON)


def _let_pass(runtime: Runtime, scope: Any, fields: list[str]) -> None:
    """Ids that look like a card number: which fields they are in, and never the ids."""
    for name in fields:
        runtime.metrics.card_like.labels(name).inc()
    say(scope, card_like_ids=len(fields), card_like_fields=sorted(set(fields)))


def _service(scope: Asked) -> Service:
    return cast(Service, scope["app"])


HANDLERS = (predict, labels, ready, model, reload)
