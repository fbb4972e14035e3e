"""Routes. A handler reads, calls and answers; errors are answered by `api/errors.py`."""

import time

import msgspec
import structlog
from litestar import Request, Response, get, post
from litestar.datastructures import State
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.access import PUBLIC, Scope, needs
from api.contract import Answers
from api.errors import NotReady, UnsupportedMedia
from api.intake import parse
from api.runtime import Runtime
from api.scorer import answer

JSON = "application/json"

log = structlog.get_logger()
_encode = msgspec.json.Encoder().encode

Call = Request[object, object, State]


@post("/predict", status_code=200, opt=needs(Scope.SCORE))
async def predict(request: Call, runtime: Runtime) -> Response[bytes]:
    """A single transaction object gives one decision; {"transactions": [...]} gives {"decisions": [...]}."""
    _require_json(request)
    raw = await request.body()
    return Response(await decide(runtime, raw), media_type=JSON)


async def decide(runtime: Runtime, raw: bytes) -> bytes:
    """Body to body. What can wait (decision events, counters, the log line) is queued for after the answer."""
    began = time.perf_counter()
    parsed = parse(raw, runtime.token_key, runtime.scorer.now_ms())
    made = await runtime.scorer.decide(parsed.events)
    took_s = time.perf_counter() - began
    answers = [answer(one, round(took_s * 1_000, 3)) for one in made]
    runtime.record(made, took_s)
    return _encode(Answers(answers) if parsed.is_batch else answers[0])


@get("/health/live", opt=PUBLIC)
async def live() -> dict[str, str]:
    return {"status": "live"}


@get("/health/ready", opt=PUBLIC)
async def ready(runtime: Runtime) -> dict[str, str]:
    if missing := runtime.missing():
        raise NotReady("; ".join(missing))
    return {"status": "ready", "model_version": runtime.model_version}


@get("/metrics", media_type=CONTENT_TYPE_LATEST, opt=needs(Scope.ADMIN))
async def metrics(runtime: Runtime) -> Response[bytes]:
    return Response(generate_latest(runtime.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


@post("/admin/reload", status_code=200, opt=needs(Scope.ADMIN))
async def reload(runtime: Runtime) -> dict[str, str]:
    """Load the champion now, also one that was refused before."""
    await runtime.champion.refresh(again=True)
    log.info("model_reload_requested", model_version=runtime.model_version)
    return {"model_version": runtime.model_version}


def _require_json(request: Call) -> None:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise UnsupportedMedia
