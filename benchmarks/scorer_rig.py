"""A running scorer to be measured, with everything real: a model, keys, a broker, Valkey; and an empty handler behind the same middleware.

`python -m benchmarks.scorer_rig scorer|bare PORT` is the server: the scorer with two more routes, or the empty one alone.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from litestar import Litestar, Request, Response, asgi, post
from litestar.datastructures import State
from litestar.types import Receive, Send
from litestar.types import Scope as Asked

from api import logs, plain
from api.access import Scope, needs
from api.app import create_app
from api.body import body_of
from api.edge import KEEP_ALIVE_S, live
from api.intake import MAX_BODY_BYTES
from api.runtime import Runtime
from api.settings import ApiSettings
from deploy.local.ports import free_port
from deploy.local.probes import http_answers, wait_until
from deploy.local.scorer_key import ensure_key
from deploy.local.stack import Stack
from deploy.local.topics import ensure_platform_topics
from fraud_assets.features.catalogue.ticketing import FRAUD_SCORING, registry

SERVICES = ("valkey", "broker")


def equipped(stack: Stack, folder: Path) -> tuple[dict[str, str], str]:
    """A scorer's environment and a credential that it accepts: with topics, and a champion of 300 trees."""
    from benchmarks.model_row import publish, train  # the server imports this module, and a scorer loads no XGBoost

    ensure_platform_topics(stack.env["KAFKA_BOOTSTRAP_SERVERS"])
    publish(folder / "models", *train())
    credential = ensure_key(Path(stack.env["FRAUD_VAR_DIR"]))
    return {**os.environ, **stack.env, "FRAUD_MODEL_DIR": str(folder / "models")}, credential


@contextmanager
def serving(command: list[str], env: dict[str, str], path: str) -> Iterator[int]:
    """The port of a server process that is ready; it is told it as its last argument."""
    port = free_port()
    process = subprocess.Popen([*command, str(port)], env=env, stdout=subprocess.DEVNULL)

    def alive() -> None:
        if process.poll() is not None:
            raise RuntimeError(f"{command} ended with {process.returncode}")

    try:
        wait_until(http_answers(f"http://127.0.0.1:{port}{path}"), 180.0, alive)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def server(what: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.scorer_rig", what]


@asgi("/empty", opt=needs(Scope.SCORE), copy_scope=False)
async def empty(scope: Asked, receive: Receive, send: Send) -> None:
    """Reads the body and answers; what any handler of its kind behind this server pays."""
    await body_of(scope, receive, MAX_BODY_BYTES)
    await plain.answer(send, b"{}")


@post("/ordinary", status_code=200, opt=needs(Scope.SCORE))
async def ordinary(request: Request[object, object, State]) -> Response[bytes]:
    """The same as most of Litestar's handlers are written."""
    await request.body()
    return Response(b"{}", media_type="application/json")


def serve(what: str, port: int) -> None:
    """The scorer with two more routes, or the empty one alone and no middleware of ours."""
    if what == "scorer":
        logs.configure()
        app: Litestar = create_app(Runtime(ApiSettings(), registry(), FRAUD_SCORING))
        app.register(empty)
        app.register(ordinary)
    else:
        app = Litestar([empty, live], openapi_config=None, logging_config=None)
    uvicorn.run(
        app, port=port, access_log=False, log_level="warning", server_header=False, timeout_keep_alive=KEEP_ALIVE_S
    )


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
